"""A sandbox CRM that answers on a port, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from werkzeug.serving import make_server

from sandbox_crm.app import create_app
from sandbox_crm.store import Store

KEY = "sandbox-key"


class Sandbox(NamedTuple):
    """options: those of a connection to it."""

    store: Store
    options: dict[str, str]


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """`with sandbox() as crm:` it answers."""
    store = Store()
    server = make_server("127.0.0.1", 0, create_app(store, KEY), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Sandbox(store, {"url": f"http://127.0.0.1:{server.server_port}", "key": KEY})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        store.close()
