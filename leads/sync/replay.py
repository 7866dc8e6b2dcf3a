"""Replays go on in the background, a slice at a time, until they are finished or a person stops them."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import SQLAlchemyError

from leads.store.outbox.replays import replay_slice, running_replays
from leads.sync.connect import Context

log = structlog.get_logger()


def replay_on(context: Context) -> None:
    """Send the next slice of every running replay. Never raises for a database in trouble."""
    try:
        with context.database.read() as session:
            running = running_replays(session)
        for replay_id in running:
            replay_slice(context.database, replay_id)
    except SQLAlchemyError as error:
        log.warning("replays have to wait", type=type(error).__name__)
