"""The sandbox CRM: a pretend CRM with the API of a real one, a page that shows what it holds, and faults on demand.

It is a stranger to Frontdesk: its own process, its own file, nothing shared but HTTP.
"""

from __future__ import annotations

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from sandbox_crm.api import api
from sandbox_crm.house import House
from sandbox_crm.pages import pages
from sandbox_crm.store import Store

MAX_BODY = 4 * 1024 * 1024  # bytes


def create_app(store: Store, key: str) -> Flask:
    """Build the server. key: the API key that callers must show."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.extensions["house"] = House(store, key)
    app.register_blueprint(api)
    app.register_blueprint(pages)
    app.register_error_handler(HTTPException, _as_json)
    return app


def _as_json(error: HTTPException) -> Response:
    if isinstance(error.response, Response):
        return error.response
    response = jsonify(code=error.name.lower().replace(" ", "_"), message=error.description)
    response.status_code = error.code or 500
    return response
