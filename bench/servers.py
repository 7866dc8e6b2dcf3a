"""The WSGI servers that were compared, each as it would serve Frontdesk: one process, the same number of threads."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from typing import Any

THREADS = 16
App = Callable[..., Any]


def serve(server: str, app: App, port: int) -> None:
    """Serve until SIGTERM."""
    SERVERS[server](app, port)


def _waitress(app: App, port: int) -> None:
    import waitress  # noqa: PLC0415 - none of them costs the others memory

    logging.getLogger("waitress").setLevel(logging.ERROR)  # it logs a line whenever a request has to wait
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # else it drops what is in flight
    waitress.serve(
        app,
        host="127.0.0.1",
        port=port,
        threads=THREADS,
        connection_limit=1000,
        asyncore_use_poll=True,
        channel_timeout=30,
        max_request_body_size=1024 * 1024,
        ident=None,
        clear_untrusted_proxy_headers=False,
        _quiet=True,
    )


def _gthread(app: App, port: int) -> None:
    from gunicorn.app.base import BaseApplication  # noqa: PLC0415 - as above

    class Gunicorn(BaseApplication):  # type: ignore[misc]  # it has no types
        def load_config(self) -> None:
            options = {
                "bind": f"127.0.0.1:{port}",
                "workers": 1,
                "worker_class": "gthread",
                "threads": THREADS,
                "worker_connections": 1000,
                "keepalive": 30,
                "loglevel": "warning",
            }
            for name, value in options.items():
                self.cfg.set(name, value)

        def load(self) -> App:
            return app

    Gunicorn().run()


def _granian(app: App, port: int) -> None:
    """As it comes."""
    from granian.constants import HTTPModes, Interfaces, Loops  # noqa: PLC0415 - as above
    from granian.server.mp import MPServer  # noqa: PLC0415 - as above

    MPServer(
        "frontdesk",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.WSGI,
        loop=Loops.asyncio,
        http=HTTPModes.http1,
        backlog=1024,
        backpressure=1000,
        blocking_threads=THREADS,
        log_enabled=False,
    ).serve(target_loader=lambda: app, wrap_loader=False)


def _ours(app: App, port: int) -> None:
    """Granian as Frontdesk runs it."""
    from leads.web import serve as serve_app  # noqa: PLC0415 - as above

    serve_app(app, "127.0.0.1", port, THREADS, 64 * 1024)


SERVERS = {"ours": _ours, "granian": _granian, "gthread": _gthread, "waitress": _waitress}
