"""Deliveries of tests: followed until they are seen in every CRM, removed there, and forgotten after a week."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from leads.store import canary
from leads.store.models import CanaryRun, Connection, Delivery, Event, Lead, RemoteRecord
from leads.store.outbox.lanes import Lane, mine, to_remove_now
from leads.store.outbox.records import standing_for
from leads.store.retention import delete_leads
from leads.store.session import Database

_KEPT = timedelta(days=7)
_REMOVED = "This was a test; it was removed from the CRM again."
_CALLED_OFF = "This was a test; it was called off."
_SOON, _LATE = timedelta(seconds=2), timedelta(hours=1)


class Leftover(NamedTuple):
    """A test that the CRM holds and that is to go. shared: the record is a visitor's as well, so it stays."""

    delivery_id: UUID
    remote_id: str
    shared: bool


def follow(session: Session, run: CanaryRun, patience: timedelta, now: datetime) -> None:
    """Write down how far a stored test has come, and whether the run is over.

    patience: how long it may take to be seen, and then to be removed.
    """
    ways = [(row, connection) for row, connection in session.execute(_ways(run)).all()]
    if not ways:
        canary.fail(run, "no_connection", "This site has no connection in use, so the test enquiry ended here.", now)
        return
    if run.seen_at is None and all(_arrived(row) for row, _ in ways):
        run.seen_at = max(row.confirmed_at or row.sent_at or now for row, _ in ways)
    if all(row.state == "erased" for row, _ in ways):
        _all_removed(run, now)
    elif run.state == "running" and (trouble := _trouble(run, ways, patience, now)):
        canary.fail(run, *trouble, now)
        for row, _ in ways:
            _call_off(row, now)


def _ways(run: CanaryRun) -> Select[Delivery, Connection]:
    return (
        select(Delivery, Connection)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.event_id == run.event_id)
        .order_by(Delivery.id)
        .with_for_update(of=Delivery)
    )


def _arrived(row: Delivery) -> bool:
    """Seen in the CRM; where that cannot be read, its answer has to do."""
    gone = row.state == "erased" and row.sent_at is not None
    return gone or row.state == "confirmed" or (row.state == "sent" and row.check_at is None)


def _all_removed(run: CanaryRun, now: datetime) -> None:
    run.removed_at = now
    if run.state == "running":
        run.state, run.ended_at = "ok", now


def _trouble(
    run: CanaryRun, ways: Sequence[tuple[Delivery, Connection]], patience: timedelta, now: datetime
) -> tuple[str, str] | None:
    """Why the run has failed; None while it may still come to a good end."""
    for row, connection in ways:
        if row.state in ("refused", "expired"):
            return "refused", f"“{connection.name}” did not take it. {row.sentence or ''}".rstrip()
    if now - (run.seen_at or run.started_at) < patience:
        return None
    row, connection = next(way for way in ways if not (_arrived(way[0]) if run.seen_at is None else _is_gone(way[0])))
    why = f" {row.sentence or connection.sentence or ''}".rstrip()
    if run.seen_at is None:
        return "not_seen", f"“{connection.name}” did not show it within {_minutes(patience)}.{why}"
    return "not_removed", f"It arrived in “{connection.name}”, but could not be removed there.{why}"


def _is_gone(row: Delivery) -> bool:
    return row.state == "erased"


def _minutes(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    number, word = (seconds // 60, "minute") if seconds % 60 == 0 else (seconds, "second")
    return f"{number} {word}{'' if number == 1 else 's'}"


def _call_off(row: Delivery, now: datetime) -> None:
    """Do not send what may still be called back. What may be in the CRM goes on, and is removed once it is seen."""
    row.check_at = row.check_at if row.state == "sent" else None
    if row.state in ("held", "refused", "expired") or (row.state == "waiting" and not row.unknown):
        row.state, row.due_at = "refused" if row.remote_id else "erased", now
        row.sentence = row.sentence or _CALLED_OFF


def to_remove(database: Database, lane: Lane) -> list[Leftover]:
    """Tests that the lane's CRM holds and that are to be removed there now."""
    with database.read() as session:
        now = database.now(session)
        due = to_remove_now(now).with_only_columns(Delivery.id, Delivery.remote_id, Delivery.remote_url)
        rows = session.execute(due.where(Delivery.connection_id == lane.connection_id, mine(lane, now))).all()
        return [Leftover(id_, one, _is_a_visitors(session, lane, one, url)) for id_, one, url in rows if one]


def _is_a_visitors(session: Session, lane: Lane, remote_id: str, url: str | None) -> bool:
    leads = [row.lead_id for row in standing_for(session, lane, [remote_id], url)]
    return session.scalar(select(Lead.id).where(Lead.id.in_(leads), ~Lead.is_test).limit(1)) is not None


def removed(database: Database, test: Leftover) -> None:
    """The CRM holds this test no more."""
    with database.write() as session:
        now = database.now(session)
        row = session.get_one(Delivery, test.delivery_id, with_for_update=True)
        row.state, row.check_at, row.code, row.sentence = "erased", None, None, _REMOVED
        mine = (RemoteRecord.lead_id == row.lead_id, RemoteRecord.connection_id == row.connection_id)
        session.execute(delete(RemoteRecord).where(*mine))
        session.flush()
        run = session.scalars(select(CanaryRun).where(CanaryRun.event_id == row.event_id)).one()
        follow(session, run, timedelta.max, now)


def not_removed(database: Database, test: Leftover, sentence: str) -> None:
    """It could not be removed now; it is tried again, less often the older it gets. sentence: why."""
    with database.write() as session:
        now = database.now(session)
        row = session.get_one(Delivery, test.delivery_id, with_for_update=True)
        row.due_at = now + min(max((now - row.created_at) / 2, _SOON), _LATE)
        # Nobody needs to be told that somebody removed it by hand, so no sweep looks for it.
        row.sentence, row.check_at = sentence, None


def forget(session: Session, now: datetime) -> int:
    """Delete tests, and only tests, that are older than a week, and all that belongs to them. Returns how many."""
    old = Event.is_test & (Event.received_at < now - _KEPT)
    events = session.execute(select(Event.id, Event.lead_id).where(old)).all()
    session.execute(delete(CanaryRun).where(CanaryRun.started_at < now - _KEPT, CanaryRun.event_id.is_(None)))
    session.execute(delete(CanaryRun).where(CanaryRun.event_id.in_([event_id for event_id, _ in events])))
    delete_leads(session, [lead_id for _, lead_id in events])
    return len(events)
