"""The pace of a connection: all workers together start at most so many calls a second, and fewer when the CRM says
that its limit is near. The last starts and the next one stand in the database."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
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
_SLACK = 0.04  # of each second is left free, for a call that takes longer on its way than the ones after it
_CATCH_UP = 5  # starts that were missed follow at once
_LATE = timedelta(seconds=0.01)  # that a start may come late within that; a later one is written down
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


def wait_turn(database: Database, connection_id: UUID, rate: float | None) -> None:
    """Take the next free start and sleep until it has come. rate: calls per second; None: no limit but what the CRM
    itself said.

    Raises Throttled when it is so far off that the connection should rest.
    """
    if not rate and not _is_put_off(database, connection_id):
        return
    with database.write() as session:
        now, read_at = database.now(session), time.monotonic()
        row = session.get(Connection, connection_id, with_for_update=KEEPS_ITS_KEY)
        if row is None:
            return
        start = _planned(row, rate, now)
    due = read_at + (start - now).total_seconds()
    time.sleep(max(due - time.monotonic(), 0))  # the commit may have taken a while
    late = timedelta(seconds=time.monotonic() - due)
    if rate and late > _LATE:
        _write_down(database, connection_id, start, start + late)


def _planned(row: Connection, rate: float | None, now: datetime) -> datetime:
    """The next start, written down: evenly after the last one, and never so soon that its window had too many. Starts
    that were missed just before follow at once. Raises Throttled."""
    gap, most = timedelta(seconds=1 / rate if rate else 0), math.ceil(rate or 0)
    window = most * gap * (1 + _SLACK)
    far = _PATIENCE + 10 * gap
    # What lies further ahead was planned before the clock was set back.
    starts = [at for at in map(_moment, row.pace_starts or []) if at <= now + far]
    # Whoever was idle, or took over from a version that writes none of this down, has missed none.
    missed = _CATCH_UP * gap if starts and starts[-1] > now - window else timedelta()
    even = max(row.pace_at or now, now - missed)
    if even - now > _LONGEST + 10 * gap:
        even = now  # no queue is that long: the clock was set back
    start = max(even, now, starts[-most] + window if 0 < most <= len(starts) else now)
    if start - now > far:
        raise _used_up(start - now)
    row.pace_at = even + gap
    if rate:
        row.pace_starts = _newest(starts, start, most)
    return start


def _write_down(database: Database, connection_id: UUID, planned: datetime, started: datetime) -> None:
    """A start came later than planned: those of the next second are counted from when it came."""
    with database.write() as session:
        row = session.get(Connection, connection_id, with_for_update=KEEPS_ITS_KEY)
        if row is not None and row.pace_starts:
            others = [at for at in map(_moment, row.pace_starts) if at != planned]
            row.pace_starts = _newest(others, started, len(row.pace_starts))


def _newest(starts: Iterable[datetime], start: datetime, most: int) -> list[float]:
    return [at.timestamp() for at in sorted([*starts, start])[-most:]]


def _moment(written: float) -> datetime:
    return datetime.fromtimestamp(written, UTC)


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
