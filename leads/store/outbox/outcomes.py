"""Out, second half: what became of each claimed delivery, written down for the holder of the token only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from leads.store.callers import MOVED
from leads.store.failpoint import reach
from leads.store.models import Attempt, Connection, Delivery, Lead, RemoteRecord
from leads.store.outbox.lanes import Claimed, Lane
from leads.store.session import Database


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try. state, due_at, counts: as `sync.retry` decided. verdict, code, …: for the Attempt."""

    claimed: Claimed
    state: str
    due_at: datetime
    counts: bool
    verdict: str
    started_at: datetime
    milliseconds: int
    code: str | None = None
    sentence: str | None = None
    field: str | None = None
    status: int | None = None
    unknown: bool = False
    remote_id: str | None = None
    remote_url: str | None = None
    check_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What a try says of the connection itself; the values to write."""

    state: str
    failures: int
    probes: int
    code: str | None = None
    sentence: str | None = None
    probe_at: datetime | None = None
    wait_until: datetime | None = None


def finish(database: Database, lane: Lane, outcomes: Sequence[Outcome], health: Health | None) -> int:
    """Write down what became of claimed deliveries, in one commit. health: None when the CRM was not asked.

    Returns how many another worker had taken over.
    """
    fenced = 0
    with database.write() as session:
        now = database.now(session)
        people = _turned_out_to_be(session, [outcome.claimed.lead.id for outcome in outcomes])
        for outcome in outcomes:
            fenced += not _finish_one(session, outcome, people.get(outcome.claimed.lead.id), now)
        if health is not None:
            report(session, lane, health, now)
        reach("finish.written")
    reach("finish.committed")
    return fenced


def _turned_out_to_be(session: Session, lead_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Callers who became known while this was on its way → the person's lead. Locked first, as the intake does."""
    rows = select(Lead.id, Lead.merged_into).where(Lead.id.in_(lead_ids)).order_by(Lead.id)
    return {lead: person for lead, person in session.execute(rows.with_for_update(read=True)) if person}


def _finish_one(session: Session, outcome: Outcome, person: UUID | None, now: datetime) -> bool:
    claimed = outcome.claimed
    row = session.scalars(
        select(Delivery)
        .where(Delivery.id == claimed.delivery.id, Delivery.state == "sending", Delivery.token == claimed.token)
        .with_for_update()
    ).one_or_none()
    if row is None:
        return False
    row.state, row.due_at, row.unknown = outcome.state, outcome.due_at, outcome.unknown
    row.code, row.sentence, row.field = outcome.code, outcome.sentence, outcome.field
    row.attempts += outcome.counts
    row.token = row.lease_until = None
    if outcome.remote_id is not None:
        row.remote_id, row.remote_url = outcome.remote_id, outcome.remote_url
        row.sent_at, row.check_at = now, outcome.check_at
        _remember_record(session, claimed, row, outcome, retire=person is not None)
    if person and row.state != "waiting" and not row.unknown:
        _move(row, person, now)
    session.add(attempt_of(outcome))
    return True


def _move(row: Delivery, person: UUID, now: datetime) -> None:
    """What the CRM has of the caller is known now: the event goes to the person."""
    row.lead_id, row.code, row.sentence = person, "moved", MOVED
    row.state, row.due_at = "waiting", now


def _remember_record(session: Session, claimed: Claimed, row: Delivery, outcome: Outcome, *, retire: bool) -> None:
    session.merge(
        RemoteRecord(
            lead_id=claimed.lead.id,
            connection_id=row.connection_id,
            remote_id=outcome.remote_id,
            url=outcome.remote_url,
            retire=retire,
        )
    )


def attempt_of(outcome: Outcome) -> Attempt:
    return Attempt(
        delivery_id=outcome.claimed.delivery.id,
        started_at=outcome.started_at,
        milliseconds=outcome.milliseconds,
        verdict=outcome.verdict,
        code=outcome.code,
        status=outcome.status,
        sentence=outcome.sentence,
    )


def report(session: Session, lane: Lane, health: Health, now: datetime) -> None:
    row = session.scalars(
        select(Connection)
        .where(Connection.id == lane.connection_id, Connection.lease_token == lane.token)
        .with_for_update()
    ).one_or_none()
    if row is None or row.state == "paused":  # what staff decided meanwhile stands
        return
    recovered = row.state == "failing" and health.state == "working"
    if row.state != health.state:
        row.state_since = now
    row.state, row.failures, row.probes = health.state, health.failures, health.probes
    row.code, row.sentence = health.code, health.sentence
    row.probe_at, row.wait_until = health.probe_at, health.wait_until
    if recovered:
        bring_forward(session, row.id, now)


def bring_forward(session: Session, connection_id: UUID, now: datetime) -> None:
    """What waits for its next slot may go now: the reason for waiting is over."""
    session.execute(
        update(Delivery)
        .where(Delivery.connection_id == connection_id, Delivery.state == "waiting", Delivery.due_at > now)
        .values(due_at=now)
    )


def give_back(database: Database, claimed: Sequence[Claimed], due_at: datetime | None = None) -> None:
    """Return deliveries of which nothing was sent: no attempt, due at once or at `due_at`."""
    with database.write() as session:
        for item in claimed:
            session.execute(
                update(Delivery)
                .where(Delivery.id == item.delivery.id, Delivery.token == item.token, Delivery.state == "sending")
                .values(
                    state="waiting",
                    due_at=due_at or item.delivery.due_at,
                    token=None,
                    lease_until=None,
                    unknown=item.left_behind or item.delivery.unknown,
                )
            )
        reach("returned.written")
    reach("returned.committed")


def last_in_doubt(database: Database, delivery_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Delivery → when the last try ended of which nobody knows whether it was written."""
    unsure = (Attempt.delivery_id.in_(delivery_ids), Attempt.verdict.in_(("Unknown", "Bug")))
    with database.read() as session:
        tries = session.scalars(select(Attempt).where(*unsure).order_by(Attempt.started_at, Attempt.id)).all()
    return {one.delivery_id: one.started_at + timedelta(milliseconds=one.milliseconds) for one in tries}
