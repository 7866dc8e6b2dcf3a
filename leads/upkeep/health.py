"""Whether all is up: `/healthz` for the process alone, `/readyz` for all that a lead needs on its way."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError

from leads.store.clock import worker_seen_at
from leads.store.queries.overview import is_silent
from leads.store.schema import is_current
from leads.store.session import Database

NO_WORKER, NOT_ASKED = "no worker is running", "not asked"


def create_health(database: Database) -> Blueprint:
    """Routes /healthz and /readyz."""
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @health.get("/readyz")
    def readyz() -> tuple[Response, int]:
        checks = readiness(database)
        ready = all(text == "ok" for text in checks.values())
        return jsonify(status="ok" if ready else "not ready", checks=checks), 200 if ready else 503

    return health


def readiness(database: Database) -> dict[str, str]:
    """Database, disk, migrations and worker: `ok`, or what is wrong."""
    try:
        migrated = is_current(database)
        return {
            "database": "its file was replaced: start Frontdesk again" if database.was_replaced() else "ok",
            "disk": "almost full: new enquiries are turned away" if database.space.is_short() else "ok",
            "migrations": "ok" if migrated else "run: frontdesk db upgrade",
            "worker": _worker(database) if migrated else NOT_ASKED,
        }
    except SQLAlchemyError:
        return {"database": "no answer"}


def _worker(database: Database) -> str:
    with database.read() as session:
        seen, now = worker_seen_at(session), database.now(session)
    if seen is None:
        return NO_WORKER
    return "silent since " + seen.isoformat(timespec="seconds") if is_silent(seen, now) else "ok"
