"""`python -m sandbox_crm`: serve the sandbox CRM on this machine."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from sandbox_crm.app import create_app
from sandbox_crm.store import Store

DEFAULT_KEY = "sandbox-key"


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # as real CRMs speak it; Werkzeug ends each connection after its answer all the same

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """No line per call: `/calls.json` tells them."""


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m sandbox_crm", description="A pretend CRM that fails on demand.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="port to listen on (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder for its SQLite file; without it all is in memory")
    parser.add_argument(
        "--key", default=DEFAULT_KEY, help="the API key to accept (%(default)s: it guards nothing real)"
    )
    parser.add_argument(
        "--no-unique", action="store_true", help="every write without an id makes a record, as in a CRM without keys"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        if options.data:
            options.data.mkdir(parents=True, exist_ok=True)
        path = str(options.data / "sandbox.sqlite3") if options.data else ":memory:"
        store = Store(path, unique=not options.no_unique)
        app = create_app(store, options.key)
        server = make_server(options.host, options.port, app, threaded=True, request_handler=_Handler)
    except OSError as error:
        sys.exit(f"The sandbox CRM cannot start: {error.strerror or error}")
    print(f"Sandbox CRM on http://{options.host}:{server.port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        store.close()


if __name__ == "__main__":
    main()
