"""The pace of a connection: all workers together start at most so many calls a second, kept in the database."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

from leads.store.models import Connection
from leads.store.session import Database


def wait_turn(database: Database, connection_id: UUID, rate: float | None) -> None:
    """Take the next free start and sleep until it has come. rate: calls per second; None: no limit."""
    if not rate:
        return
    with database.write() as session:
        now = database.now(session)
        row = session.get(Connection, connection_id, with_for_update=True)
        if row is None:
            return
        start = max(row.pace_at or now, now)
        if start - now > timedelta(seconds=60 + 10 / rate):
            start = now  # no queue is that long: the clock was set back
        row.pace_at = start + timedelta(seconds=1 / rate)
    time.sleep((start - now).total_seconds())
