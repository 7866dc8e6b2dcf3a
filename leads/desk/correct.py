"""Edit and send: staff correct the detail that a CRM refused, and the enquiry goes again."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from marshmallow import ValidationError
from sqlalchemy.orm import Session

from leads.desk import words
from leads.desk.actions import GOES_LATER
from leads.desk.correction import asked, correction_of, understood
from leads.desk.leads import lead_context
from leads.desk.room import Room
from leads.store import outbox
from leads.store.corrections import Change, correct
from leads.store.in_use import kept_in_use
from leads.store.models import Connection, Delivery, Event, Lead, Site
from leads.store.people import person_of
from leads.store.queries.leads import Cursor
from leads.store.staff import record


def add_routes(desk: Blueprint, room: Room) -> None:
    """The form's button, and its address for whoever goes back to it."""

    @desk.get("/deliveries/<uuid:delivery_id>/correct")
    def correct_again(delivery_id: UUID) -> ResponseReturnValue:
        with room.read() as session:
            found = session.get(Delivery, delivery_id) or abort(404)
            return redirect(url_for("desk.lead", lead_id=found.lead_id, _anchor="correct"), 303)

    @desk.post("/deliveries/<uuid:delivery_id>/correct")
    def correct_and_send(delivery_id: UUID) -> ResponseReturnValue:
        try:
            lead_id = _correct(room, delivery_id)
        except _Mistakes as mistakes:
            return _again(room, mistakes)
        return redirect(url_for("desk.lead", lead_id=lead_id), 303)


class _Mistakes(Exception):  # noqa: N818 - named by what it tells
    """What was typed cannot be. enquiry: which one was refused. errors: field → sentences."""

    def __init__(self, lead_id: UUID, enquiry: Cursor, errors: Mapping[str, list[str]]) -> None:
        super().__init__()
        self.lead_id, self.enquiry, self.errors = lead_id, enquiry, errors


def _correct(room: Room, delivery_id: UUID) -> UUID:
    """Store what was typed and send again. Returns the lead's id. Raises _Mistakes."""
    with room.write() as session:
        delivery = session.get(Delivery, delivery_id) or abort(404)
        lead = session.get_one(Lead, delivery.lead_id, with_for_update=True)
        event = session.get_one(Event, delivery.event_id, with_for_update=True)
        in_use = kept_in_use(session, Connection.id == delivery.connection_id)
        session.refresh(delivery, with_for_update=True)
        names = asked(delivery, event)
        # A caller may have turned out to be somebody known just then: the details on the page are not that person's.
        # A form that was opened before it was decided otherwise may have asked for less: what it lacks is not empty.
        is_whole = all(name in request.form for name in names)
        if not (names and in_use and is_whole) or lead.is_test or lead.merged_into:
            flash(words.TOO_LATE)
            return lead.id
        try:
            region, person = session.get_one(Site, lead.site_id).region, person_of(room.vault, lead)
            given = understood(person, region, names, request.form)
        except ValidationError as error:
            raise _Mistakes(lead.id, Cursor(event.received_at, event.id), error.messages_dict) from None
        _store(session, room, lead, delivery, given)
        if outbox.is_by_hand(delivery):
            connection = session.get_one(Connection, delivery.connection_id)
            outbox.let_go(delivery, event, lead, connection, room.database.now(session))
        flash("It is on its way again." if delivery.state == "waiting" else GOES_LATER)
    return lead.id


def _store(session: Session, room: Room, lead: Lead, delivery: Delivery, given: Mapping[str, str]) -> None:
    now = room.database.now(session)
    changes = correct(session, room.vault, lead, given, now)
    note = "; ".join(map(_told, changes))
    what = "corrected" if changes else "send_again"
    record(session, current_user.name, what, now, delivery_id=delivery.id, vault=room.vault, note=note)
    outbox.requeue_all_of(session, lead.id, delivery.connection_id, now)
    room.database.nudge(session)


def _told(change: Change) -> str:
    return f"{words.ANSWERS[change.field]}: {change.old or 'empty'} → {change.new or 'empty'}"


def _again(room: Room, mistakes: _Mistakes) -> ResponseReturnValue:
    """The page once more, with what was typed and what is wrong with it."""
    context = lead_context(room, mistakes.lead_id, mistakes.enquiry)
    context["correction"] = correction_of(context["journey"], request.form, mistakes.errors)
    return render_template("desk/lead.html", **context), 422
