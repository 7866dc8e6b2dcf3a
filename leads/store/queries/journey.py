"""One lead: all there is to tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

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
from leads.store.queries.drift import drifts_of
from leads.store.vault import Vault


class DeliveryStory(NamedTuple):
    """One enquiry's way to one connection, with every try and everything a person did about it."""

    delivery: Delivery
    connection: Connection
    attempts: list[Attempt]
    actions: list[Action]
    drifts: list[Drift]


class Again(NamedTuple):
    """The same form once more. answers: empty where they are the same. wording: of the consent that was asked for then.
    consent: what it says otherwise than the first one; None where it says the same, or nobody knows."""

    row: Resubmission
    answers: Mapping[str, Any]
    wording: str | None
    consent: bool | None


class EventStory(NamedTuple):
    """One enquiry. wording: of the consent that was asked for. resubmissions: the same form with other answers or
    consent."""

    event: Event
    answers: Mapping[str, Any]
    wording: str | None
    resubmissions: list[Again]
    deliveries: list[DeliveryStory]


class LeftRecord(NamedTuple):
    """A record that this person had as an unknown caller. Staff worked on it in the CRM, so it was left there."""

    caller: str
    connection: Connection
    record: RemoteRecord


class Journey(NamedTuple):
    """All there is to tell of one lead, newest enquiry first."""

    lead: Lead
    site: Site
    person: Mapping[str, str]
    events: list[EventStory]
    left: list[LeftRecord]


def journey(session: Session, vault: Vault, lead_id: UUID) -> Journey | None:
    """All there is to tell of a lead; of the person when this caller was merged. None: there is no such lead."""
    lead = session.get(Lead, lead_id)
    if lead is None:
        return None
    lead = person_behind(session, lead)
    site = session.get_one(Site, lead.site_id)
    newest = select(Event).where(Event.lead_id == lead.id).order_by(Event.received_at.desc(), Event.id.desc())
    events = [_event_story(session, vault, event) for event in session.scalars(newest)]
    return Journey(lead, site, person_of(vault, lead), events, _left_records(session, lead))


def _left_records(session: Session, lead: Lead) -> list[LeftRecord]:
    """Of callers who turned out to be this person: the records that are not to be taken out of a CRM any more."""
    records = select(Lead.code, Connection, RemoteRecord).join(RemoteRecord, RemoteRecord.lead_id == Lead.id)
    records = records.join(Connection, Connection.id == RemoteRecord.connection_id)
    left = records.where(Lead.merged_into == lead.id, RemoteRecord.retire.is_(False))
    return [LeftRecord(*row) for row in session.execute(left.order_by(Lead.created_at, Lead.id))]


def _event_story(session: Session, vault: Vault, event: Event) -> EventStory:
    answers = answers_of(vault, event)
    again = select(Resubmission).where(Resubmission.event_id == event.id).order_by(Resubmission.received_at)
    ways = session.execute(
        select(Delivery, Connection)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.event_id == event.id)
        .order_by(Connection.created_at)
    ).all()
    return EventStory(
        event,
        answers,
        _wording(session, event, event.consent_version),
        [_again(session, vault, event, answers, row) for row in session.scalars(again)],
        [_delivery_story(session, delivery, connection) for delivery, connection in ways],
    )


def _again(session: Session, vault: Vault, event: Event, first: Mapping[str, Any], row: Resubmission) -> Again:
    answers = vault.open(row.answers_sealed, "resubmission", "answers", row.id)
    same = answers == {name: value for name, value in first.items() if name != "suspicion"}
    differs = row.consent_given is not None and row.consent_given != bool(event.consent_given)
    wording = _wording(session, event, row.consent_version)
    return Again(row, {} if same else answers, wording, row.consent_given if differs else None)


def _wording(session: Session, event: Event, version: str | None) -> str | None:
    found = session.get(ConsentText, (event.site_id, version)) if version else None
    return found.text if found else None


def _delivery_story(session: Session, delivery: Delivery, connection: Connection) -> DeliveryStory:
    tries = select(Attempt).where(Attempt.delivery_id == delivery.id).order_by(Attempt.started_at, Attempt.id)
    actions = select(Action).where(Action.delivery_id == delivery.id).order_by(Action.at, Action.id)
    tried, decided = list(session.scalars(tries)), list(session.scalars(actions))
    return DeliveryStory(delivery, connection, tried, decided, drifts_of(session, delivery.id))
