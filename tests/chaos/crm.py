"""The sandbox CRM with a memory of its own: how often each event was written to it, whoever wrote it."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections import Counter
from threading import Lock
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

from sandbox_crm.__main__ import _Handler  # as the real one: callers keep their connection
from sandbox_crm.app import create_app
from sandbox_crm.store import Store


def count_pushes(app: Flask) -> None:
    """Serve `/pushes.json`: event id → how many calls wanted to write it, whatever became of them."""
    pushes: Counter[str] = Counter()
    lock = Lock()

    @app.before_request
    def count() -> None:
        if request.path == "/v1/activities/batch/upsert":
            body: dict[str, Any] = json.loads(request.get_data(cache=True))
            with lock:
                pushes.update(one["external_id"] for one in body["inputs"])

    @app.get("/pushes.json")
    def tell() -> Response:
        with lock:
            return jsonify(dict(pushes))


def main() -> None:
    """Usage: PORT KEY [--no-unique]. Serve until SIGTERM."""
    _, port, key, *options = sys.argv
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = create_app(Store(unique=not options), key)
    count_pushes(app)
    make_server("127.0.0.1", int(port), app, threaded=True, request_handler=_Handler).serve_forever()
