"""The outbox: the only writer of Delivery. accept → claim → finish, and requeue for a person's decision.

`accept` stores event, lead and deliveries in one commit. `lease` gives a worker one connection, `claim` gives it due
deliveries with a token, and `finish` writes down what became of them, for the holder of the token only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, exists, not_, or_, select, update
from sqlalchemy.orm import Session, aliased

from leads.store.failpoint import reach
from leads.store.models import (
    Attempt,
    Connection,
    Delivery,
    Event,
    Lead,
    RemoteRecord,
    Resubmission,
    Site,
    new_id,
)
from leads.store.people import Trace, join, trace
from leads.store.session import Database
from leads.store.vault import Vault

HOLD_SENTENCES = {
    "spam": "This looks like spam. Nothing was sent; if it is a real enquiry, press “Not spam, send”.",
    "no_consent": "The visitor did not agree that the details are shared with the CRM.",
    "paused": "This connection was paused by staff.",
    "unknown_caller": "This connection takes calls only once the caller is known.",
    "removed": "The connection was removed before this was sent. Add a new one, or take care of it yourself.",
}
_NOT_ARRIVED = ("waiting", "sending", "held", "refused", "expired")


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What the intake understood. client_id: made by the browser. suspicion: why it may be spam, or None."""

    site_id: UUID
    kind: str
    client_id: str
    visitor_id: str | None
    answers: Mapping[str, Any]
    source: str
    consent_given: bool | None
    consent_version: str | None
    suspicion: str | None = None


class Accepted(NamedTuple):
    """reference: the lead's code. repeated: the same browser id was here before."""

    event_id: UUID
    reference: str
    received_at: datetime
    repeated: bool


def accept(database: Database, vault: Vault, new: NewEvent) -> Accepted:
    """Store an event with its lead and deliveries in one commit, once per browser id.

    Raises sqlalchemy.exc.OperationalError when the database cannot take it: then nothing was promised.
    """
    found = trace(vault, new.site_id, new.answers, new.visitor_id)
    client = vault.digest("client", new.site_id, new.client_id)
    with database.write() as session:
        database.lock(session, [client, *found.digests.values()])
        now = database.now(session)
        accepted = _repeated(session, vault, client, new, now) or _store(session, vault, client, found, new, now)
        database.nudge(session)
        reach("accept.written")
    reach("accept.committed")
    return accepted


def _repeated(session: Session, vault: Vault, client: bytes, new: NewEvent, now: datetime) -> Accepted | None:
    row = session.execute(
        select(Event, Lead.code).join(Lead, Lead.id == Event.lead_id).where(Event.client_digest == client)
    ).one_or_none()
    if row is None:
        return None
    event, code = row
    if event.body_digest != (body := _body_digest(vault, new)):
        _keep_other_answers(session, vault, event, body, new, now)
    return Accepted(event.id, code, event.received_at, repeated=True)


def _keep_other_answers(
    session: Session, vault: Vault, event: Event, body: bytes, new: NewEvent, now: datetime
) -> None:
    same = (Resubmission.event_id == event.id, Resubmission.body_digest == body)
    if session.scalar(select(Resubmission.id).where(*same)) is None:
        row = Resubmission(id=new_id(), event_id=event.id, body_digest=body, received_at=now)
        row.answers_sealed = vault.seal(dict(new.answers), "resubmission", "answers", row.id)
        session.add(row)


def _body_digest(vault: Vault, new: NewEvent) -> bytes:
    return vault.digest("body", new.kind, sorted(new.answers.items()), new.consent_given)


def _store(session: Session, vault: Vault, client: bytes, found: Trace, new: NewEvent, now: datetime) -> Accepted:
    trusted = bool(new.consent_given) and new.suspicion is None
    lead = join(session, vault, new.site_id, found, trusted, now)
    event = Event(
        id=new_id(),
        site_id=new.site_id,
        lead_id=lead.id,
        kind=new.kind,
        client_digest=client,
        body_digest=_body_digest(vault, new),
        source=new.source,
        consent_given=new.consent_given,
        consent_version=new.consent_version,
        hold_code=_hold_code(new),
        received_at=now,
    )
    event.answers_sealed = vault.seal(dict(new.answers), "event", "answers", event.id)
    session.add(event)
    session.flush()
    _deliver_to(session, event, lead, _connections(session, new.site_id), now)
    return Accepted(event.id, lead.code, now, repeated=False)


def _hold_code(new: NewEvent) -> str | None:
    if new.suspicion is not None:
        return "spam"
    return "no_consent" if new.kind == "consultation_request" and not new.consent_given else None


def _connections(session: Session, site_id: UUID) -> Sequence[Connection]:
    here = (Connection.site_id == site_id, Connection.removed_at.is_(None))
    return session.scalars(select(Connection).where(*here)).all()


def _deliver_to(session: Session, event: Event, lead: Lead, connections: Iterable[Connection], now: datetime) -> None:
    for connection in connections:
        hold = _hold(event, lead, connection)
        session.add(
            Delivery(
                event_id=event.id,
                connection_id=connection.id,
                lead_id=lead.id,
                state="held" if hold else "waiting",
                due_at=now,
                attempts=0,
                unknown=False,
                missing=0,
                code=hold,
                sentence=HOLD_SENTENCES[hold] if hold else None,
                created_at=event.received_at,
                tries_from=now,
            )
        )
    session.flush()


def _hold(event: Event, lead: Lead, connection: Connection) -> str | None:
    """Why this event may not go to this connection now; None when it may."""
    if event.hold_code:
        return event.hold_code
    if connection.state == "paused":
        return "paused"
    waits = event.kind == "call_click" and not lead.known and connection.unknown_callers == "wait"
    return "unknown_caller" if waits else None


def backfill(session: Session, connection: Connection, now: datetime) -> int:
    """Give a new connection what no other one has or will get. Returns how many events."""
    left_by_removed = and_(Delivery.state == "held", Delivery.code == "removed")
    orphans = session.execute(
        select(Event, Lead)
        .join(Lead, Lead.id == Event.lead_id)
        .where(
            Event.site_id == connection.site_id, ~exists().where(Delivery.event_id == Event.id, not_(left_by_removed))
        )
        .order_by(Event.received_at)
    ).all()
    for event, lead in orphans:
        session.execute(
            update(Delivery)
            .where(Delivery.event_id == event.id)
            .values(state="handled", code="replaced", sentence="It goes through another connection instead.")
        )
        _deliver_to(session, event, lead, [connection], now)
    return len(orphans)


@dataclass(frozen=True, slots=True)
class Lane:
    """A worker's right to use one connection until `until`; `probing`: one delivery only, to see if it works again."""

    connection_id: UUID
    worker: str
    token: UUID
    probing: bool


def ready(session: Session, now: datetime) -> list[UUID]:
    """Connections that have something due, may be used now and are in nobody's hands."""
    due = exists().where(Delivery.connection_id == Connection.id, _due(now))
    unread = exists().where(Delivery.connection_id == Connection.id, _to_check(now))
    retiring = exists().where(RemoteRecord.connection_id == Connection.id, _may_retire())
    work = or_(due, unread, retiring)
    return list(session.scalars(select(Connection.id).where(_usable(now), _free(now), work)))


def lease(database: Database, connection_id: UUID, worker: str, seconds: float) -> Lane | None:
    """Take a connection for this worker alone. None: another one has it, or it may not be used now."""
    token = new_id()
    with database.write() as session:
        now = database.now(session)
        row = session.execute(
            update(Connection)
            .where(Connection.id == connection_id, _usable(now), _free(now))
            .values(lease_worker=worker, lease_token=token, lease_until=now + timedelta(seconds=seconds))
            .returning(Connection.state)
        ).one_or_none()
    return Lane(connection_id, worker, token, probing=row.state == "failing") if row else None


def release(database: Database, lane: Lane) -> None:
    """Give a connection back before its lease ends."""
    with database.write() as session:
        session.execute(
            update(Connection)
            .where(Connection.id == lane.connection_id, Connection.lease_token == lane.token)
            .values(lease_worker=None, lease_token=None, lease_until=None)
        )


def _usable(now: datetime) -> ColumnElement[bool]:
    probe = and_(Connection.state == "failing", Connection.probe_at <= now)
    quiet = and_(Connection.wait_until.is_not(None), Connection.wait_until > now)
    return and_(Connection.removed_at.is_(None), or_(Connection.state == "working", probe), ~quiet)


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(Connection.lease_until.is_(None), Connection.lease_until < now)


def _due(now: datetime) -> ColumnElement[bool]:
    waiting = and_(Delivery.state == "waiting", Delivery.due_at <= now)
    left_behind = and_(Delivery.state == "sending", Delivery.lease_until < now)
    return or_(waiting, left_behind)


def _to_check(now: datetime) -> ColumnElement[bool]:
    return and_(Delivery.state == "sent", Delivery.check_at <= now)


def _may_retire() -> ColumnElement[bool]:
    """A merged lead's record goes once nothing of it is still on its way to the person's record."""
    moving = exists().where(
        Lead.id == RemoteRecord.lead_id,
        Delivery.lead_id == Lead.merged_into,
        Delivery.connection_id == RemoteRecord.connection_id,
        Delivery.state.in_(("waiting", "sending")),
    )
    return and_(RemoteRecord.retire.is_(True), ~moving)


class Claimed(NamedTuple):
    """A delivery in our hands, with all that is needed to write it to the CRM."""

    delivery: Delivery
    event: Event
    lead: Lead
    site: Site
    remote_id: str | None
    token: UUID
    left_behind: bool


def claim(database: Database, lane: Lane, limit: int, seconds: float) -> list[Claimed]:
    """Lease up to `limit` due deliveries of the lane's connection, never two of one lead.

    Extends the lane's lease; an empty list also when the lane was lost or its connection may no longer be used.
    """
    token = new_id()
    with database.write() as session:
        now = database.now(session)
        until = now + timedelta(seconds=seconds)
        held = update(Connection).where(
            Connection.id == lane.connection_id, Connection.lease_token == lane.token, _usable(now)
        )
        if session.execute(held.values(lease_until=until).returning(Connection.id)).one_or_none() is None:
            return []
        rows = _next_due(session, lane.connection_id, 1 if lane.probing else limit, now)
        claimed = [_claimed(row, token) for row in rows]
        for item in claimed:
            item.delivery.state, item.delivery.token, item.delivery.lease_until = "sending", token, until
        session.flush()
        reach("claim.written")
    reach("claim.committed")
    return claimed


def _next_due(session: Session, connection_id: UUID, limit: int, now: datetime) -> Sequence[Any]:
    earlier = aliased(Delivery)
    overtakes = exists().where(
        earlier.lead_id == Delivery.lead_id,
        earlier.connection_id == Delivery.connection_id,
        earlier.state.in_(("waiting", "sending")),
        or_(
            earlier.created_at < Delivery.created_at,
            and_(earlier.created_at == Delivery.created_at, earlier.id < Delivery.id),
        ),
    )
    return session.execute(
        select(Delivery, Event, Lead, Site, RemoteRecord.remote_id)
        .join(Event, Event.id == Delivery.event_id)
        .join(Lead, Lead.id == Delivery.lead_id)
        .join(Site, Site.id == Event.site_id)
        .outerjoin(
            RemoteRecord,
            and_(RemoteRecord.lead_id == Delivery.lead_id, RemoteRecord.connection_id == Delivery.connection_id),
        )
        .where(Delivery.connection_id == connection_id, _due(now), ~overtakes)
        .order_by(Delivery.due_at, Delivery.id)
        .limit(limit)
        .with_for_update(of=Delivery, skip_locked=True)
    ).all()


def _claimed(row: Any, token: UUID) -> Claimed:
    delivery, event, lead, site, remote_id = row
    return Claimed(delivery, event, lead, site, remote_id, token, left_behind=delivery.state == "sending")


def _with_details() -> Select[Delivery, Event, Lead, Site, str]:
    record = and_(RemoteRecord.lead_id == Delivery.lead_id, RemoteRecord.connection_id == Delivery.connection_id)
    return (
        select(Delivery, Event, Lead, Site, RemoteRecord.remote_id)
        .join(Event, Event.id == Delivery.event_id)
        .join(Lead, Lead.id == Delivery.lead_id)
        .join(Site, Site.id == Event.site_id)
        .outerjoin(RemoteRecord, record)
    )


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


def finish(database: Database, lane: Lane, outcomes: Sequence[Outcome], health: Health) -> int:
    """Write down what became of claimed deliveries, in one commit. Returns how many another worker had taken over."""
    fenced = 0
    with database.write() as session:
        now = database.now(session)
        for outcome in outcomes:
            fenced += not _finish_one(session, outcome, now)
        _report(session, lane, health, now)
        reach("finish.written")
    reach("finish.committed")
    return fenced


def _finish_one(session: Session, outcome: Outcome, now: datetime) -> bool:
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
        _remember_record(session, claimed, row, outcome)
    session.add(_attempt(outcome))
    return True


def _remember_record(session: Session, claimed: Claimed, row: Delivery, outcome: Outcome) -> None:
    moved = row.lead_id != claimed.lead.id  # the caller became known while this was on its way
    if moved:
        row.state, row.code = "waiting", "moved"
    session.merge(
        RemoteRecord(
            lead_id=claimed.lead.id,
            connection_id=row.connection_id,
            remote_id=outcome.remote_id,
            url=outcome.remote_url,
            retire=moved,
        )
    )


def _attempt(outcome: Outcome) -> Attempt:
    return Attempt(
        delivery_id=outcome.claimed.delivery.id,
        started_at=outcome.started_at,
        milliseconds=outcome.milliseconds,
        verdict=outcome.verdict,
        code=outcome.code,
        status=outcome.status,
        sentence=outcome.sentence,
    )


def _report(session: Session, lane: Lane, health: Health, now: datetime) -> None:
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


def to_check(database: Database, lane: Lane, limit: int) -> list[Claimed]:
    """Sent deliveries that are to be read back from the CRM now."""
    with database.read() as session:
        now = database.now(session)
        here = (Delivery.connection_id == lane.connection_id, _to_check(now))
        rows = session.execute(_with_details().where(*here).order_by(Delivery.check_at).limit(limit)).all()
    return [_claimed(row, lane.token) for row in rows]


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
            session.add(_attempt(outcome))
        if health is not None:
            _report(session, lane, health, now)


def to_retire(database: Database, lane: Lane) -> tuple[list[UUID], list[str]]:
    """Callers who became known and whose own records nothing needs any more: their leads, and the records to erase."""
    with database.read() as session:
        here = RemoteRecord.connection_id == lane.connection_id
        rows = session.scalars(select(RemoteRecord).where(here, _may_retire()).limit(100)).all()
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


def give_back(database: Database, claimed: Sequence[Claimed]) -> None:
    """Return deliveries of which nothing was sent: no attempt, due at once."""
    with database.write() as session:
        for item in claimed:
            session.execute(
                update(Delivery)
                .where(Delivery.id == item.delivery.id, Delivery.token == item.token, Delivery.state == "sending")
                .values(
                    state="waiting",
                    token=None,
                    lease_until=None,
                    unknown=item.left_behind or item.delivery.unknown,
                )
            )


def requeue(delivery: Delivery, now: datetime) -> None:
    """Send again, with a fresh budget: what staff press and what a release does."""
    delivery.state, delivery.due_at, delivery.attempts = "waiting", now, 0
    delivery.code = delivery.sentence = delivery.field = None
    delivery.missing, delivery.tries_from = 0, now


def release_hold(session: Session, event: Event, lead: Lead, now: datetime) -> int:
    """A person has cleared the event (not spam, or consent was given). Returns how many deliveries may go now."""
    asks_consent = event.hold_code == "spam" and event.kind == "consultation_request" and not event.consent_given
    event.hold_code = "no_consent" if asks_consent else None
    lead.shareable = lead.shareable or (lead.known and event.hold_code is None)
    held = session.execute(
        select(Delivery, Connection)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.event_id == event.id, Delivery.state == "held")
    ).all()
    for delivery, connection in held:
        requeue(delivery, now)
        if hold := _hold(event, lead, connection):
            delivery.state, delivery.code, delivery.sentence = "held", hold, HOLD_SENTENCES[hold]
    return sum(delivery.state == "waiting" for delivery, _ in held)


def pause(session: Session, connection: Connection, now: datetime) -> None:
    """Staff stop a connection: nothing is sent until they resume it."""
    connection.state, connection.state_since = "paused", now
    connection.code, connection.sentence = "paused", HOLD_SENTENCES["paused"]
    connection.probe_at = connection.wait_until = None
    session.execute(
        update(Delivery)
        .where(Delivery.connection_id == connection.id, Delivery.state == "waiting")
        .values(state="held", code="paused", sentence=HOLD_SENTENCES["paused"])
    )


def resume(session: Session, connection: Connection, now: datetime) -> None:
    """Start a connection again, whether staff or a fault had stopped it; all that waits is due at once."""
    connection.state, connection.state_since = "working", now
    connection.code = connection.sentence = connection.probe_at = connection.wait_until = None
    connection.failures = connection.probes = 0
    session.execute(
        update(Delivery)
        .where(Delivery.connection_id == connection.id, Delivery.state == "held", Delivery.code == "paused")
        .values(state="waiting", due_at=now, code=None, sentence=None)
    )
    bring_forward(session, connection.id, now)


def remove(session: Session, connection: Connection, now: datetime) -> int:
    """Take a connection out of use. Returns how many of its deliveries had not arrived; they stay to be seen."""
    connection.removed_at = now
    left = session.scalars(
        update(Delivery)
        .where(Delivery.connection_id == connection.id, Delivery.state.in_(_NOT_ARRIVED))
        .values(state="held", code="removed", sentence=HOLD_SENTENCES["removed"], token=None, lease_until=None)
        .returning(Delivery.id)
    ).all()
    return len(left)


def handled(delivery: Delivery) -> None:
    """A person took care of it outside of Frontdesk."""
    delivery.state, delivery.code, delivery.field = "handled", "by_hand", None
    delivery.sentence = "A person took care of this."
