"""Who is held for want of consent and may have given it in another way: for whoever has asked them."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select, tuple_
from sqlalchemy.orm import Session

from leads.store.models import Delivery, Event, Lead, Resubmission, Site
from leads.store.people import listed_answers, listed_person, name_of
from leads.store.queries.leads import Cursor
from leads.store.queries.lists import count, is_real
from leads.store.queries.places import held_alone
from leads.store.unindexed import same
from leads.store.vault import Vault

PAGE = 50  # so many can be looked through, and are decided with one press
_EXCERPT = 120  # letters of a message


class Unasked(NamedTuple):
    """One enquiry. name: None for an unknown caller. was_asked: the form asked, and the visitor did not agree there."""

    lead: Lead
    event: Event
    site: Site
    name: str | None
    reach: Sequence[str]
    message: str
    was_asked: bool


class UnaskedPage(NamedTuple):
    """The oldest come first. total: on all pages. next: where the next page begins."""

    rows: Sequence[Unasked]
    total: int
    next: Cursor | None


def unasked(session: Session, vault: Vault, site_id: UUID | None, start: Cursor | None) -> UnaskedPage:
    """A page of them. Whoever said no later is not among them: each of those somebody has to look at."""
    wanted = _wanted(session, site_id)
    rows = select(Lead, Event, Site).join(Event, Event.lead_id == Lead.id).join(Site, Site.id == Event.site_id)
    if start:
        rows = rows.where(tuple_(Event.received_at, Event.id) >= start)
    found = session.execute(rows.where(*wanted).order_by(Event.received_at, Event.id).limit(PAGE + 1)).all()
    after = Cursor(found[PAGE][1].received_at, found[PAGE][1].id) if len(found) > PAGE else None
    return UnaskedPage([_row(vault, *row) for row in found[:PAGE]], count(session, Event.id, *wanted), after)


def _wanted(session: Session, site_id: UUID | None) -> list[ColumnElement[bool]]:
    held = select(Delivery.event_id).where(Delivery.state == "held", Delivery.code == "no_consent", is_real())
    said_no = exists().where(Resubmission.event_id == Event.id, Resubmission.consent_given.is_(False))
    alone = held_alone(session, "needs_you", site_id)
    stands = Event.id.in_(held.union_all(select(Event.id).where(*alone)) if alone else held)
    found = [stands, Event.hold_code == "no_consent", ~said_no, Event.is_test.is_(False)]
    return [*found, same(Event.site_id, site_id)] if site_id else found


def _row(vault: Vault, lead: Lead, event: Event, site: Site) -> Unasked:
    answers = listed_answers(vault, event)
    own = {name: str(answers[name]) for name in ("first_name", "last_name", "email", "phone") if answers.get(name)}
    person = own or listed_person(vault, lead)  # a family may share an address: who wrote this is whom to ask
    reach = [person[name] for name in ("email", "phone") if person.get(name)]
    message = shorten(str(answers.get("message") or ""), _EXCERPT, placeholder=" …")
    return Unasked(lead, event, site, name_of(person), reach, message, event.consent_given is not None)
