"""In: an event with its lead and deliveries, in one commit, once per browser id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, exists, not_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from leads.store import canary
from leads.store.failpoint import reach
from leads.store.models import Connection, Delivery, Event, Lead, Resubmission, new_id
from leads.store.people import Trace, join, make_test_lead, trace
from leads.store.session import Database, may_succeed_again
from leads.store.vault import Vault

HOLD_SENTENCES = {
    "spam": "This looks like spam. Nothing was sent; if it is a real enquiry, press “Not spam, send”.",
    "no_consent": "The visitor did not agree that the details are shared with the CRM.",
    "paused": "This connection was paused by staff.",
    "unknown_caller": "This connection takes calls only once the caller is known.",
    "removed": "The connection was removed before this was sent. Add a new one, or take care of it yourself.",
}


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What the intake understood. client_id: made by the browser. suspicion: why it may be spam, or None.

    test_run: the CanaryRun that sent it; None for what a visitor sent.
    """

    site_id: UUID
    kind: str
    client_id: str
    visitor_id: str | None
    answers: Mapping[str, Any]
    source: str
    consent_given: bool | None
    consent_version: str | None
    suspicion: str | None = None
    test_run: UUID | None = None


class Accepted(NamedTuple):
    """reference: the lead's code. repeated: the same browser id was here before."""

    event_id: UUID
    reference: str
    received_at: datetime
    repeated: bool


def accept(database: Database, vault: Vault, new: NewEvent) -> Accepted:
    """Store an event with its lead and deliveries in one commit, once per browser id.

    Raises sqlalchemy.exc.SQLAlchemyError when the database cannot take it: then nothing was promised.
    """
    database.require_intake()
    try:
        return _accept(database, vault, new)
    except DBAPIError as error:
        if not may_succeed_again(error):
            raise
        return _accept(database, vault, new)  # the id makes it safe: if the commit took place, it is found


def _accept(database: Database, vault: Vault, new: NewEvent) -> Accepted:
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
    if not event.is_test and event.body_digest != (body := _body_digest(vault, new)):
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
    if new.test_run:
        lead = make_test_lead(session, vault, new.site_id, found, now)
    else:
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
        is_test=new.test_run is not None,
        received_at=now,
    )
    event.answers_sealed = vault.seal(_answers(new), "event", "answers", event.id)
    session.add(event)
    session.flush()
    _deliver_to(session, event, lead, _connections(session, new), now)
    if new.test_run:
        canary.stored(session, new.test_run, event)
    return Accepted(event.id, lead.code, now, repeated=False)


def _answers(new: NewEvent) -> dict[str, Any]:
    # Beside the answers, not among them: a repeat that looks suspicious is still the same answers.
    return {**new.answers, "suspicion": new.suspicion} if new.suspicion else dict(new.answers)


def _hold_code(new: NewEvent) -> str | None:
    if new.suspicion is not None:
        return "spam"
    return "no_consent" if new.kind == "consultation_request" and not new.consent_given else None


def _connections(session: Session, new: NewEvent) -> Sequence[Connection]:
    here = [Connection.site_id == new.site_id, Connection.removed_at.is_(None)]
    if new.test_run:  # a test that waits until staff start a connection again tells nothing
        here.append(Connection.state != "paused")
    return session.scalars(select(Connection).where(*here)).all()


def _deliver_to(session: Session, event: Event, lead: Lead, connections: Iterable[Connection], now: datetime) -> None:
    for connection in connections:
        hold = hold_reason(event, lead, connection)
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


def hold_reason(event: Event, lead: Lead, connection: Connection) -> str | None:
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
            Event.site_id == connection.site_id,
            Event.is_test.is_(False),
            ~exists().where(Delivery.event_id == Event.id, not_(left_by_removed)),
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
