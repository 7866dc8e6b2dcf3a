"""The CRMs' host: a sandbox CRM for each connection, which notes who called it and when."""

from __future__ import annotations

import json
import logging
import socket
import struct
import sys
import threading
import time
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

from sandbox_crm.__main__ import _Handler  # as the one that comes with Frontdesk
from sandbox_crm.app import create_app
from sandbox_crm.store import Store

_SINCE = struct.Struct("=8x44xI")  # tcpi_last_data_recv in struct tcp_info of linux/tcp.h


def keep_book(app: Flask) -> None:
    """Serve `/book.json`: of every API call when it came (seconds since 1970), from where, and which enquiries it
    wrote."""
    book: list[tuple[float, str, list[str]]] = []

    @app.before_request
    def note() -> None:
        if request.path.startswith("/v1/"):
            book.append((_arrived(request.environ["werkzeug.socket"]), request.remote_addr or "", _written()))

    @app.get("/book.json")
    def tell() -> Response:
        return jsonify(book)


def _arrived(connection: socket.socket) -> float:
    """When the kernel had the call. We get to it only when we have a core, and all hosts share them."""
    now, told = time.time(), connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SINCE.size)
    return now - float(_SINCE.unpack(told)[0]) / 1000


def _written() -> list[str]:
    if request.path != "/v1/activities/batch/upsert":
        return []
    body: dict[str, Any] = json.loads(request.get_data(cache=True))
    return [one["external_id"] for one in body["inputs"]]


def main() -> None:
    """Usage: KEY PORT... Serve one CRM on each port."""
    _, key, *ports = sys.argv
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for port in ports:
        app = create_app(Store(), key)
        keep_book(app)
        server = make_server("0.0.0.0", int(port), app, threaded=True, request_handler=_Handler)  # noqa: S104 - a namespace
        threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    main()
