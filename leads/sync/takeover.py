"""A new connection gets what came before it, also where the program that made it was ended in the midst of that."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import SQLAlchemyError

from leads.store import outbox
from leads.sync.connect import Context

log = structlog.get_logger()


def take_over_on(context: Context) -> None:
    """Give every new connection the rest. Never raises for a database in trouble."""
    try:
        with context.database.read() as session:
            connections = outbox.taking_over(session)
        for connection_id in connections:
            outbox.take_over(context.database, connection_id, context.stop)
    except SQLAlchemyError as error:
        log.warning("a new connection has to wait", type=type(error).__name__)
