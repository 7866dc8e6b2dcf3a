"""After a jump of the wall clock: what is planned keeps its distance, and nothing is purged for an hour.

Due times and leases are rows by the wall clock. Set back an hour, it would hold up every retry and every dead worker's
lease for an hour; set forward, it would end live leases and make the CRM be asked before it could have written.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, DateTime, and_, delete, func, select, true, type_coerce, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from leads.store.models import Connection, Delivery, Erasure, Meta, RemoteRecord, Task, UTCDateTime, Worker
from leads.store.session import Database

TOLERANCE = timedelta(seconds=30)  # a smaller step is none: answers may take that long
_CAREFUL = timedelta(hours=1)
_GONE = timedelta(days=1)
_JUMPED = "clock_jumped"

Column = InstrumentedAttribute[Any]
_ON_ITS_WAY = Delivery.state.in_(("waiting", "sending"))


def mend(database: Database, moved: timedelta, lease: float) -> timedelta:
    """Move what is planned along with the wall clock, once for all workers. Returns the jump; zero: there was none.

    moved: how far this worker saw the clock jump; zero when it cannot tell. lease: seconds that a claim holds.
    """
    with database.write() as session:
        # Whoever comes second waits here, and then finds times that fit.
        session.scalars(select(Worker.id).order_by(Worker.id).with_for_update()).all()
        now = database.now(session)
        jump = _jump(session, now, moved)
        if jump < timedelta():
            _set_back(session, database, now, jump, timedelta(seconds=lease))
        elif jump > timedelta():
            _set_forward(session, database, now, jump)
        if jump:
            note_jump(session, now)
    return jump


def _jump(session: Session, now: datetime, moved: timedelta) -> timedelta:
    seen = worker_seen_at(session)
    if seen is None:
        return timedelta()
    if seen > now + TOLERANCE:  # a heartbeat from the future
        return moved if moved < -TOLERANCE else now - seen
    # Half the way: a heartbeat newer than that is from after the jump, so somebody else has mended it already, or only
    # this worker stood still.
    return moved if moved > TOLERANCE and seen < now - moved / 2 else timedelta()


def _set_back(session: Session, database: Database, now: datetime, jump: timedelta, lease: timedelta) -> None:
    """Everything planned later than now was planned before the jump, but for leases just taken."""
    planned: tuple[tuple[Column, ColumnElement[bool]], ...] = (
        (Connection.probe_at, true()),
        (Connection.wait_until, true()),
        (Connection.pace_at, true()),
        (Connection.quota_at, true()),
        (RemoteRecord.retire_at, true()),
        (Erasure.due_at, Erasure.ended_at.is_(None)),
        (Erasure.tries_from, Erasure.ended_at.is_(None)),
        (Delivery.due_at, _ON_ITS_WAY),
        (Delivery.check_at, true()),
        (Delivery.tries_from, _ON_ITS_WAY),
        (Delivery.created_at, _ON_ITS_WAY),  # or what comes in now would overtake it
        (Task.due_at, true()),
        (Worker.seen_at, true()),
        (Worker.started_at, true()),
    )
    for column, only in planned:
        _shift(session, database, column, jump, and_(column > now, only))
    for column in (Connection.lease_until, Connection.token_lease_until, Delivery.lease_until):
        _shift(session, database, column, jump, column > now + lease)


def _set_forward(session: Session, database: Database, now: datetime, jump: timedelta) -> None:
    """What would now come too early moves along. A retry that only comes sooner does no harm and stays."""
    before = now - jump
    too_early: tuple[tuple[Column, ColumnElement[bool]], ...] = (
        (Connection.probe_at, true()),
        (Connection.wait_until, true()),
        (Connection.lease_until, true()),
        (Connection.token_lease_until, true()),
        (Delivery.lease_until, true()),
        (Delivery.check_at, Delivery.state == "sent"),  # read back too soon it would count as missing
        (Delivery.due_at, Delivery.unknown.is_(true())),  # looked up too soon it would be sent twice
    )
    for column, only in too_early:
        _shift(session, database, column, jump, and_(column > before, column <= now, only))
    # The time that an enquiry is tried for has not passed either.
    _shift(session, database, Delivery.tries_from, jump, and_(Delivery.tries_from <= before, _ON_ITS_WAY))
    _shift(session, database, Worker.seen_at, jump, Worker.seen_at <= before)


def _shift(session: Session, database: Database, column: Column, jump: timedelta, where: ColumnElement[bool]) -> None:
    session.execute(update(column.class_).where(where).values({column: _moved(database, column, jump)}))


def _moved(database: Database, column: Column, jump: timedelta) -> ColumnElement[Any]:
    if not database.is_sqlite:
        return type_coerce(type_coerce(column, DateTime(timezone=True)) + jump, UTCDateTime())
    # SQLite keeps a time as text; three digits more make it the six that all others have.
    text = func.strftime("%Y-%m-%d %H:%M:%f", column, f"{jump.total_seconds():+.3f} seconds").concat("000")
    return type_coerce(text, UTCDateTime())


def note_jump(session: Session, now: datetime) -> None:
    """From now on nothing is purged for an hour: the clock has jumped, or nobody knows whether it has."""
    session.merge(Meta(name=_JUMPED, value=now.isoformat().encode()))


def purging_allowed(session: Session, now: datetime) -> bool:
    """Whether old rows may be deleted: the clock has run evenly for an hour, as far as heartbeats can tell."""
    noted = session.scalar(select(Meta.value).where(Meta.name == _JUMPED))
    if noted is not None and now - datetime.fromisoformat(noted.decode()) < _CAREFUL:
        return False
    seen = worker_seen_at(session)
    return seen is None or abs(now - seen) < 2 * TOLERANCE


def worker_seen_at(session: Session) -> datetime | None:
    """The last heartbeat of any worker; None: there is none."""
    return session.scalar(select(func.max(Worker.seen_at)))


def heartbeat(database: Database, worker: str) -> None:
    """Write down that a worker lives; forget those that have been gone for a day."""
    with database.write() as session:
        now = database.now(session)
        others = worker_seen_at(session)
        row = session.get(Worker, worker)
        if row is None:
            session.add(Worker(id=worker, started_at=now, seen_at=now))
            if others is not None and abs(now - others) > TOLERANCE:
                note_jump(session, now)  # whatever the clock did since then, nobody saw it
        else:
            row.seen_at = now
        session.flush()
        if purging_allowed(session, now):
            session.execute(delete(Worker).where(Worker.seen_at < now - _GONE))
