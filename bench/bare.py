"""The bare limits: the least that a web application in Python could do, under the same server as ours.

`python -m bench.bare KIND SERVER PORT [DATABASE]` serves one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import psycopg
from flask import Flask, Response, jsonify, request
from marshmallow import INCLUDE, Schema, ValidationError, fields, validate
from pysqlite3 import dbapi2 as sqlite

Store = Callable[[str, str], None]  # id, body → stored durably when it returns


class Enquiry(Schema):
    """The fields of our ConsultationSchema, of plain types: nothing is read into them."""

    class Meta:
        unknown = INCLUDE

    site = fields.String(required=True, validate=validate.Length(1, 100))
    id = fields.String(required=True, validate=validate.Length(1, 100))
    visitor_id = fields.String(validate=validate.Length(1, 100))
    page = fields.String(validate=validate.Length(max=2000))
    first_name = fields.String(validate=validate.Length(max=100))
    last_name = fields.String(validate=validate.Length(max=100))
    name = fields.String(validate=validate.Length(max=200))
    email = fields.String(validate=validate.Length(max=254))
    phone = fields.String(validate=validate.Length(max=60))
    preferred_time = fields.String(validate=validate.Length(max=200))
    preferred_contact = fields.String(validate=validate.Length(max=60))
    service = fields.String(validate=validate.Length(max=200))
    message = fields.String(validate=validate.Length(max=5000))
    consent = fields.Boolean(load_default=False)
    attribution = fields.Dict(keys=fields.String(), values=fields.Raw(allow_none=True))


def nothing() -> Flask:
    """Answers 202, whatever comes."""
    app = Flask("bare")
    app.add_url_rule("/api/v1/consultations", "take", lambda: Response(status=202), methods=["POST"])
    return app


def validating(store: Store | None = None) -> Flask:
    """Reads JSON, checks it by a schema, stores it if there is where to, and answers JSON."""
    app = Flask("bare")
    schema = Enquiry()

    @app.post("/api/v1/consultations")
    def take() -> tuple[Response, int]:
        try:
            data = schema.load(request.get_json(force=True))
        except ValidationError as error:
            return jsonify(errors=error.messages), 422
        if store is not None:
            store(data["id"], request.get_data(as_text=True))
        return jsonify(id=data["id"], reference="K7Q-2MX", received_at="2026-01-01T00:00:00+00:00"), 201

    return app


def sqlite_store(path: str) -> Store:
    """One INSERT and COMMIT with synchronous=FULL; the writers queue on one lock instead of contending for SQLite's."""
    connection = sqlite.connect(path, check_same_thread=False, isolation_level=None)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE IF NOT EXISTS enquiry (id TEXT PRIMARY KEY, body TEXT)",
    ):
        connection.execute(statement)
    turn = threading.Lock()

    def store(key: str, body: str) -> None:
        with turn:
            connection.execute("INSERT INTO enquiry VALUES (?, ?)", (key, body))

    return store


def postgres_store(url: str) -> Store:
    """One INSERT and COMMIT with synchronous_commit=on, over a connection for each thread."""
    with psycopg.connect(url, autocommit=True) as first:
        first.execute("CREATE TABLE IF NOT EXISTS enquiry (id TEXT PRIMARY KEY, body TEXT)")
    mine = threading.local()

    def store(key: str, body: str) -> None:
        if not hasattr(mine, "connection"):
            mine.connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        mine.connection.execute("INSERT INTO enquiry VALUES (%s, %s)", (key, body))

    return store


def app(kind: str, database: str) -> Flask:
    """nothing, validating, sqlite, postgres, or frontdesk by the environment. database: the file, or the address."""
    if kind == "frontdesk":
        from config.settings import load_settings  # noqa: PLC0415 - so that the bare ones hold nothing of ours
        from leads.app import create_app  # noqa: PLC0415 - as above

        return create_app(load_settings())
    if kind == "nothing":
        return nothing()
    stores = {"sqlite": sqlite_store, "postgres": postgres_store}
    return validating(stores[kind](database) if kind in stores else None)


if __name__ == "__main__":
    from bench.servers import serve

    _, _kind, _server, _port, *_database = sys.argv
    serve(_server, app(_kind, *_database or [""]), int(_port))
