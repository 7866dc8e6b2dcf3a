"""The pace of a connection: all workers together start at most so many calls a second, and fewer when the CRM says
that its limit is near. The next start stands in the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from integrations.core.base import Allowance
from integrations.core.errors import Throttled
from leads.store.models import Connection
from leads.store.quota import is_news
from leads.store.session import KEEPS_ITS_KEY, Database

log = structlog.get_logger()

_LONGEST = timedelta(seconds=60)  # that a turn is put off; then one call shows how things stand
_PATIENCE = timedelta(seconds=5)  # that a lane sleeps for it; then it had better let go of its lease
_SLACK = 0.04  # of each second is left free, so that one start that comes late does not meet the next ones
_LATE = timedelta(seconds=0.01)  # that a start may come late within that; those after a later one move along
_REST = 5.0  # seconds for a database in trouble
_FEW = 10  # calls left in a window, from which on they are spread over the rest of it


@contextmanager
def before_anything_is_sent() -> Iterator[None]:
    """Within it our own database may fail: the connection rests for a moment, instead of a doubt whether something
    arrived and of a fault that would count as the CRM's."""
    try:
        yield
    except SQLAlchemyError as error:
        log.warning("the database did not answer before a call", type=type(error).__name__)
        sentence = "Frontdesk's own database did not answer, so nothing was sent just then."
        raise Throttled("no_database", sentence, retry_after=_REST) from None


def wait_turn(database: Database, connection_id: UUID, rate: float | None) -> timedelta:
    """Take the next free start and sleep until it has come. rate: calls per second; None: no limit but what the CRM
    itself said.

    Returns how much too late it came, for `move_along`. Raises Throttled when it is so far off that the connection
    should rest.
    """
    gap = timedelta(seconds=(1 + _SLACK) / rate) if rate else timedelta()
    if not gap and not _is_put_off(database, connection_id):
        return timedelta()
    with database.write() as session:
        now, read_at = database.now(session), time.monotonic()
        row = session.get(Connection, connection_id, with_for_update=KEEPS_ITS_KEY)
        if row is None:
            return timedelta()
        # Whoever comes a little late has the start that was free all the same, or each would lose what it was late.
        start = row.pace_at if row.pace_at and row.pace_at > now - _LATE else now
        if start - now > _LONGEST + 10 * gap:
            start = now  # no queue is that long: the clock was set back
        if start - now > _PATIENCE + 10 * gap:
            raise _used_up(start - now)
        row.pace_at = start + gap
    due = read_at + (start - now).total_seconds()
    time.sleep(max(due - time.monotonic(), 0))  # the commit may have taken a while
    late = timedelta(seconds=time.monotonic() - due) - _LATE
    return max(late, timedelta()) if gap else timedelta()


def move_along(database: Database, connection_id: UUID, late: timedelta) -> None:
    """Put the next start off by what one came too late: whoever was planned after it would come too soon after it."""
    with database.write() as session:
        row = session.get(Connection, connection_id, with_for_update=KEEPS_ITS_KEY)
        if row is not None and row.pace_at is not None:
            row.pace_at += late


def heed(database: Database, connection_id: UUID, said: Allowance) -> None:
    """Put the next start off before a limit is met, for all workers, and keep what the CRM says of its day."""
    with database.read() as session:
        now, row = database.now(session), session.get(Connection, connection_id)
    rest, left = _rest(said), said.left_today
    if row is None or not (rest or (left is not None and is_news(row, left, said.of_today, now))):
        return
    with database.write() as session:
        now = database.now(session)
        row = session.get_one(Connection, connection_id, with_for_update=KEEPS_ITS_KEY)
        if rest:
            row.pace_at = max(row.pace_at or now, now + rest)
        if left is not None:
            row.quota_left, row.quota_of, row.quota_at = left, said.of_today, now


def _rest(said: Allowance) -> timedelta:
    """Until the next call: nothing while the window has plenty left, and all of it once it is used up."""
    if said.left is None or said.seconds is None or said.left > _FEW:
        return timedelta()
    seconds = said.seconds if said.left <= 1 else said.seconds / said.left
    return min(timedelta(seconds=max(seconds, 0)), _LONGEST)


def _is_put_off(database: Database, connection_id: UUID) -> bool:
    with database.read() as session:
        row = session.get(Connection, connection_id)
        return row is not None and row.pace_at is not None and row.pace_at > database.now(session)


def _used_up(rest: timedelta) -> Throttled:
    sentence = "The CRM's limit of calls is used up for a moment."
    return Throttled("rate_limit", sentence, retry_after=rest.total_seconds())
