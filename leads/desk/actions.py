"""What staff decide about an enquiry. Each decision is written down with who made it and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from leads.desk import words
from leads.desk.room import Room, existing
from leads.store import outbox
from leads.store.consents import taken_back
from leads.store.models import Connection, Delivery, Drift, Event, Lead, Resubmission, Unreadable
from leads.store.queries.lists import deliveries_of
from leads.store.session import ONLY_STAYS
from leads.store.staff import record

GOES_LATER = "Noted. It goes as soon as a connection can take it."
_RELEASES = {"spam": "not_spam", "no_consent": "consent_given"}


def add_routes(desk: Blueprint, room: Room) -> None:
    """Buttons: each is a POST that ends where it was pressed."""

    @desk.post("/deliveries/<uuid:delivery_id>/send-again")
    def send_again(delivery_id: UUID) -> ResponseReturnValue:
        return _decide(room, delivery_id, _send_again, "It is on its way again.")

    @desk.post("/deliveries/<uuid:delivery_id>/send-to/<uuid:connection_id>")
    def send_elsewhere(delivery_id: UUID, connection_id: UUID) -> ResponseReturnValue:
        return _send_elsewhere(room, delivery_id, existing(room, connection_id))

    @desk.post("/deliveries/<uuid:delivery_id>/handled")
    def handled(delivery_id: UUID) -> ResponseReturnValue:
        return _decide(room, delivery_id, _take_care, "Noted: you took care of it.")

    @desk.post("/drifts/<uuid:drift_id>/right")
    def drift_right(drift_id: UUID) -> ResponseReturnValue:
        return _settle(room, drift_id)

    @desk.post("/events/<uuid:event_id>/<any(not_spam, consent_given):what>")
    def release(event_id: UUID, what: str) -> ResponseReturnValue:
        return _release(room, event_id, what)

    @desk.post("/resubmissions/<uuid:row_id>/seen")
    def resubmission_seen(row_id: UUID) -> ResponseReturnValue:
        with room.write() as session:
            row = session.get(Resubmission, row_id) or abort(404)
            _note_seen(room, session, row, "resubmission_seen")
            lead_id = session.get_one(Event, row.event_id).lead_id
        return _back_to(lead_id)

    @desk.post("/unreadable/<uuid:row_id>/all-seen")
    def all_unreadable_seen(row_id: UUID) -> ResponseReturnValue:
        return _all_seen(room, row_id)

    @desk.post("/unreadable/<uuid:row_id>/seen")
    def unreadable_seen(row_id: UUID) -> ResponseReturnValue:
        with room.write() as session:
            _note_seen(room, session, session.get(Unreadable, row_id) or abort(404), "unreadable_seen")
        return redirect(url_for("desk.unreadable"), 303)


def _back_to(lead_id: UUID) -> ResponseReturnValue:
    """The lead's page, and the part of it on which the button was pressed."""
    return redirect(url_for("desk.lead", lead_id=lead_id, older=request.form.get("older")), 303)


def _decide(
    room: Room, delivery_id: UUID, decide: Callable[[Session, Delivery, str, datetime], bool], told: str
) -> ResponseReturnValue:
    with room.write() as session:
        delivery = session.get(Delivery, delivery_id) or abort(404)
        done = decide(session, delivery, current_user.name, room.database.now(session))
        room.database.nudge(session)
    flash((GOES_LATER if delivery.state == "held" else told) if done else words.TOO_LATE)
    return _back_to(delivery.lead_id)


def _take_care(session: Session, delivery: Delivery, by: str, now: datetime) -> bool:
    """What is spam is so for each CRM; all else somebody takes care of at one."""
    if delivery.code != "spam":
        return outbox.take_care(session, delivery, by, now)
    alike = (Delivery.event_id == delivery.event_id, Delivery.code == "spam")
    found = session.scalars(select(Delivery).where(*alike).order_by(Delivery.id)).all()
    return sum(outbox.take_care(session, one, by, now) for one in found) > 0


def _send_again(session: Session, delivery: Delivery, by: str, now: datetime) -> bool:
    if not outbox.is_by_hand(delivery):
        return outbox.send_again(session, delivery, by, now)
    if request.form.get("mark") == "again":  # a colleague took care of it since that page was opened
        return False
    event = session.get_one(Event, delivery.event_id)
    return outbox.send_after_all(session, delivery, event, _locked(session, event), by, now)


def _send_elsewhere(room: Room, delivery_id: UUID, chosen: Connection) -> ResponseReturnValue:
    connector = room.setup().connector(chosen)
    looks_first = connector is not None and connector.tier != "C"
    with room.write() as session:
        delivery = session.get(Delivery, delivery_id) or abort(404)
        lead = _locked(session, session.get_one(Event, delivery.event_id))
        to = session.get_one(Connection, chosen.id, with_for_update=ONLY_STAYS)
        session.refresh(delivery, with_for_update=True)
        now, by = room.database.now(session), current_user.name
        if outbox.send_elsewhere(session, delivery, to, now, looks_first):
            record(session, by, "sent_elsewhere", now, delivery_id=delivery.id, vault=room.vault, note=to.name)
            room.database.nudge(session)
            flash(f"Handed over to “{to.name}”. Below is how it stands there.")
        else:
            flash(words.TOO_LATE)
    return _back_to(lead.id)


def _settle(room: Room, drift_id: UUID) -> ResponseReturnValue:
    with room.write() as session:
        found, now = session.get(Drift, drift_id) or abort(404), room.database.now(session)
        lead_id = session.get_one(Delivery, found.delivery_id).lead_id
        if outbox.settle(session, found, current_user.name, now):
            record(session, current_user.name, "drift_right", now, delivery_id=found.delivery_id)
            room.database.nudge(session)
            flash("Noted: it is right as the CRM has it.")
    return _back_to(lead_id)


def _note_seen(room: Room, session: Session, row: Resubmission | Unreadable, what: str) -> None:
    row.seen_at = room.database.now(session)
    record(session, current_user.name, what, row.seen_at)


def _all_seen(room: Room, row_id: UUID) -> ResponseReturnValue:
    with room.write() as session:
        newest, now = session.get(Unreadable, row_id) or abort(404), room.database.now(session)
        # Up to the newest on the page: what came meanwhile, nobody has seen.
        shown = (Unreadable.seen_at.is_(None), Unreadable.received_at <= newest.received_at)
        session.execute(update(Unreadable).where(*shown).values(seen_at=now))
        record(session, current_user.name, "unreadable_seen", now)
    return redirect(url_for("desk.home"), 303)


def _locked(session: Session, event: Event) -> Lead:
    """Nobody else decides about this event before the commit. The lead first, as the intake does."""
    while True:
        lead = session.get_one(Lead, event.lead_id, with_for_update=True)
        session.refresh(event, with_for_update=True)
        if event.lead_id == lead.id:  # else a caller turned out to be somebody known just then
            return lead


def _release(room: Room, event_id: UUID, what: str) -> ResponseReturnValue:
    """what: which button it was. Of what is no spam it may be asked next whether consent was given: a second press, or
    a page that was opened before, must not say yes to that."""
    with room.write() as session:
        event = session.get(Event, event_id) or abort(404)
        lead = _locked(session, event)
        if _RELEASES.get(event.hold_code or "") == what:
            flash(_what_follows(event, _let_go(room, session, event, lead, what)))
        else:
            flash("Nothing was done: somebody has decided this already.")
    return _back_to(lead.id)


def say_that_consent_was_given(room: Room, session: Session, event: Event) -> int | None:
    """One of many, each of whom somebody vouches for. Returns how many deliveries go; None, with nothing changed: it
    was decided meanwhile, also by who took care of it, or its visitor took consent back."""
    lead = _locked(session, event)
    ways = deliveries_of(session, event.id)
    waits = not ways or any((way.state, way.code) == ("held", "no_consent") for way in ways)
    if event.hold_code != "no_consent" or not waits or taken_back(session, [event.id]):
        return None
    return _let_go(room, session, event, lead, "consent_given")


def _let_go(room: Room, session: Session, event: Event, lead: Lead, what: str) -> int:
    """Lead and event are locked. Returns how many deliveries go."""
    now = room.database.now(session)
    held = [row.id for row in outbox.to_release(deliveries_of(session, event.id), event)]
    going = outbox.release_hold(session, room.vault, event, lead, now)
    if what == "consent_given":
        _note_where_it_was_given(session, event, now)
    for delivery_id in held:
        record(session, current_user.name, what, now, delivery_id=delivery_id)
    if not held:  # no CRM is connected yet
        record(session, current_user.name, what, now, lead_id=lead.id)
    room.database.nudge(session)
    return going


def _note_where_it_was_given(session: Session, event: Event, now: datetime) -> None:
    """Whoever says that consent was given has read the forms by which it was."""
    here = (Resubmission.event_id == event.id, Resubmission.seen_at.is_(None))
    session.execute(update(Resubmission).where(*here, Resubmission.consent_given.is_(True)).values(seen_at=now))


def _what_follows(event: Event, going: int) -> str:
    if event.hold_code == "no_consent":
        return "Noted: it is not spam. It still waits, because no consent was given."
    return "It is on its way to the CRM." if going else GOES_LATER
