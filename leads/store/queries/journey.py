"""One lead: all there is to tell of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session

from leads.store.codes import reference_of
from leads.store.consents import taken_back
from leads.store.models import (
    Action,
    Attempt,
    Connection,
    ConsentText,
    Delivery,
    Drift,
    Event,
    Lead,
    RemoteRecord,
    Resubmission,
    Site,
)
from leads.store.people import answers_of, person_behind, person_of
from leads.store.queries.leads import Cursor
from leads.store.queries.places import LISTED, PLACES
from leads.store.vault import Vault

# Any stranger can send as many as they like.
EVENTS = 50  # on one page
RESUBMISSIONS = 20  # of one event


class DeliveryStory(NamedTuple):
    """One enquiry's way to one connection, with every try and everything a person did about it."""

    delivery: Delivery
    connection: Connection
    attempts: Sequence[Attempt]
    actions: Sequence[Action]
    drifts: Sequence[Drift]


class Again(NamedTuple):
    """The same form once more. answers: empty where they are the same. wording: of the consent that was asked for then.
    consent: what it says, where that changed from one to the other; None where all say the same, or nobody knows."""

    row: Resubmission
    answers: Mapping[str, Any]
    wording: str | None
    consent: bool | None


class EventStory(NamedTuple):
    """One enquiry. code: what its visitor can say. wording: of the consent that was asked for. resubmissions: the same
    form with other answers or consent; those that nobody has seen come first where there are more. taken_back: the last
    word on consent is no."""

    event: Event
    code: str
    answers: Mapping[str, Any]
    wording: str | None
    resubmissions: Sequence[Again]
    more_resubmissions: int
    taken_back: bool
    deliveries: Sequence[DeliveryStory]


class LeftRecord(NamedTuple):
    """A record that this person had as an unknown caller, and that was left in the CRM: staff worked on it, or the CRM
    would not delete it."""

    caller: str
    connection: Connection
    record: RemoteRecord


class Journey(NamedTuple):
    """One lead and a page of its enquiries, newest first. older: where the next page begins; None: this is the last.
    older_waiting: the newest enquiry on a later page of which somebody has to decide or see something."""

    lead: Lead
    site: Site
    person: Mapping[str, str]
    events: Sequence[EventStory]
    left: Sequence[LeftRecord]
    older: Cursor | None
    older_waiting: Cursor | None


def journey(
    session: Session, vault: Vault, lead_id: UUID, start: Cursor | None = None, size: int = EVENTS
) -> Journey | None:
    """What there is to tell of a lead; of the person when this caller was merged. None: there is no such lead.

    start: the enquiry that the page begins with; None: the newest.
    """
    lead = session.get(Lead, lead_id)
    if lead is None:
        return None
    lead = person_behind(session, lead)
    site = session.get_one(Site, lead.site_id)
    found = session.scalars(_newest(select(Event), lead, start).limit(size + 1)).all()
    events, older = found[:size], _place(found[size]) if len(found) > size else None
    return Journey(
        lead,
        site,
        person_of(vault, lead),
        _stories(session, vault, lead, site, events),
        _left_records(session, lead),
        older,
        _waiting(session, lead, older) if older else None,
    )


def _place(event: Event) -> Cursor:
    return Cursor(event.received_at, event.id)


def _newest(events: Any, lead: Lead, start: Cursor | None) -> Any:
    mine = events.where(Event.lead_id == lead.id).order_by(Event.received_at.desc(), Event.id.desc())
    return mine.where(tuple_(Event.received_at, Event.id) <= start) if start else mine


def _waiting(session: Session, lead: Lead, start: Cursor) -> Cursor | None:
    """The newest enquiry from `start` on that waits for a person: it must not hide behind what anybody can send."""
    mine = Delivery.event_id == Event.id
    waits = or_(
        exists().where(mine, or_(PLACES["needs_you"], LISTED["spam"])),
        and_(Event.hold_code.is_not(None), ~exists().where(mine)),
        exists().where(mine, Drift.delivery_id == Delivery.id, Drift.settled_at.is_(None)),
        exists().where(Resubmission.event_id == Event.id, Resubmission.seen_at.is_(None)),
    )
    found = _newest(select(Event.received_at, Event.id), lead, start).where(waits).limit(1)
    return next((Cursor(*row) for row in session.execute(found)), None)


def _left_records(session: Session, lead: Lead) -> list[LeftRecord]:
    """Of callers who turned out to be this person: the records that are not to be taken out of a CRM any more."""
    records = select(Lead.code, Connection, RemoteRecord).join(RemoteRecord, RemoteRecord.lead_id == Lead.id)
    records = records.join(Connection, Connection.id == RemoteRecord.connection_id)
    left = records.where(Lead.merged_into == lead.id, RemoteRecord.retire.is_(False))
    return [LeftRecord(*row) for row in session.execute(left.order_by(Lead.created_at, Lead.id))]


def _stories(session: Session, vault: Vault, lead: Lead, site: Site, events: Sequence[Event]) -> list[EventStory]:
    """All that belongs to these enquiries, each kind of it in one statement."""
    ids = [event.id for event in events]
    ways, again, more = _ways(session, ids), *_resubmissions(session, ids)
    unwanted = taken_back(session, again.keys())
    wordings = _wordings(session, site, [*events, *(row for rows in again.values() for row in rows)])
    stories = []
    for event in events:
        answers = answers_of(vault, event)
        repeats = _repeats(vault, event, answers, again.get(event.id, ()), wordings)
        wording = wordings.get(event.consent_version)
        beside = (answers, wording, repeats, more.get(event.id, 0), event.id in unwanted, ways.get(event.id, []))
        stories.append(EventStory(event, reference_of(event, lead), *beside))
    return stories


def _ways(session: Session, event_ids: Sequence[UUID]) -> dict[UUID, list[DeliveryStory]]:
    rows = session.execute(
        select(Delivery, Connection)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.event_id.in_(event_ids))
        .order_by(Connection.created_at)
    ).all()
    ids = [delivery.id for delivery, _ in rows]
    tries = _by_delivery(session, Attempt, ids, Attempt.started_at, Attempt.id)
    actions = _by_delivery(session, Action, ids, Action.at, Action.id)
    drifts = _by_delivery(session, Drift, ids, Drift.found_at, Drift.id)
    found = defaultdict(list)
    for delivery, connection in rows:
        mine = (tries[delivery.id], actions[delivery.id], drifts[delivery.id])
        found[delivery.event_id].append(DeliveryStory(delivery, connection, *mine))
    return found


def _by_delivery(session: Session, model: Any, ids: Sequence[UUID], *order: Any) -> dict[UUID, list[Any]]:
    found = defaultdict(list)
    for row in session.scalars(select(model).where(model.delivery_id.in_(ids)).order_by(*order)):
        found[row.delivery_id].append(row)
    return found


def _resubmissions(
    session: Session, event_ids: Sequence[UUID]
) -> tuple[dict[UUID, list[Resubmission]], dict[UUID, int]]:
    """Event → its first RESUBMISSIONS in the order in which they came, unseen ones before all others; and how many more
    there are."""
    of_event = Resubmission.event_id
    first = (Resubmission.seen_at.is_not(None), Resubmission.received_at, Resubmission.id)
    numbered = select(
        Resubmission.id,
        func.row_number().over(partition_by=of_event, order_by=first).label("number"),
        func.count().over(partition_by=of_event).label("all"),
    )
    one = numbered.where(of_event.in_(event_ids)).subquery("one")
    shown = select(Resubmission, one.c.all).join(one, one.c.id == Resubmission.id).where(one.c.number <= RESUBMISSIONS)
    found, more = defaultdict(list), {}
    for row, every in session.execute(shown.order_by(Resubmission.received_at, Resubmission.id)):
        found[row.event_id].append(row)
        more[row.event_id] = max(every - RESUBMISSIONS, 0)
    return found, more


def _repeats(
    vault: Vault,
    event: Event,
    first: Mapping[str, Any],
    rows: Sequence[Resubmission],
    wordings: Mapping[str | None, str],
) -> list[Again]:
    asked = {name: value for name, value in first.items() if name != "suspicion"}
    words = {bool(event.consent_given), *(row.consent_given for row in rows)} - {None}
    found = []
    for row in rows:
        answers = vault.open(row.answers_sealed, "resubmission", "answers", row.id)
        consent = row.consent_given if len(words) > 1 else None
        found.append(Again(row, {} if answers == asked else answers, wordings.get(row.consent_version), consent))
    return found


def _wordings(session: Session, site: Site, asked: Iterable[Event | Resubmission]) -> dict[str | None, str]:
    """Version → what visitors were asked to agree to."""
    versions = {row.consent_version for row in asked} - {None}
    here = (ConsentText.site_id == site.id, ConsentText.version.in_(versions))
    return {row.version: row.text for row in session.scalars(select(ConsentText).where(*here))}
