"""Proof: what was sent is read back, and records that nothing needs any more go."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select

from leads.store.failpoint import reach
from leads.store.models import Delivery, RemoteRecord
from leads.store.outbox.lanes import Claimed, Lane, as_claimed, may_retire, to_check_now, with_details
from leads.store.outbox.outcomes import Health, Outcome, attempt_of, report
from leads.store.session import Database


def to_check(database: Database, lane: Lane, limit: int) -> list[Claimed]:
    """Sent deliveries that are to be read back from the CRM now."""
    with database.read() as session:
        now = database.now(session)
        here = (Delivery.connection_id == lane.connection_id, to_check_now(now))
        rows = session.execute(with_details().where(*here).order_by(Delivery.check_at).limit(limit)).all()
    return [as_claimed(row, lane.token) for row in rows]


def checked(database: Database, lane: Lane, outcomes: Sequence[Outcome], health: Health | None) -> None:
    """Write down what was read back. What changed meanwhile is left alone. health: None when all is well."""
    with database.write() as session:
        now = database.now(session)
        for outcome in outcomes:
            seen = outcome.claimed.delivery
            row = session.get(Delivery, seen.id, with_for_update=True)
            if row is None or row.state != "sent" or row.sent_at != seen.sent_at:
                continue
            row.state, row.due_at, row.check_at = outcome.state, outcome.due_at, outcome.check_at
            row.code, row.sentence = outcome.code, outcome.sentence
            row.missing += outcome.verdict == "missing"
            if outcome.state == "confirmed":
                row.confirmed_at, row.remote_id, row.remote_url = now, outcome.remote_id, outcome.remote_url
            session.add(attempt_of(outcome))
        if health is not None:
            report(session, lane, health, now)
        session.flush()
        reach("checked.written")
    reach("checked.committed")


def to_retire(database: Database, lane: Lane) -> tuple[list[UUID], list[str]]:
    """Callers who became known and whose own records nothing needs any more: their leads, and the records to erase."""
    with database.read() as session:
        here = RemoteRecord.connection_id == lane.connection_id
        rows = session.scalars(select(RemoteRecord).where(here, may_retire()).limit(100)).all()
        ids = {row.remote_id for row in rows}
        # The CRM may have taken both for one person: that record stays.
        in_use = (here, RemoteRecord.retire.is_(False), RemoteRecord.remote_id.in_(ids))
        kept = set(session.scalars(select(RemoteRecord.remote_id).where(*in_use)))
    return [row.lead_id for row in rows], sorted(ids - kept)


def retired(database: Database, lane: Lane, lead_ids: Sequence[UUID]) -> None:
    """Forget the records of these leads: the CRM holds them no more."""
    with database.write() as session:
        here = RemoteRecord.connection_id == lane.connection_id
        session.execute(delete(RemoteRecord).where(here, RemoteRecord.lead_id.in_(lead_ids), RemoteRecord.retire))
        reach("retire.written")
    reach("retire.committed")
