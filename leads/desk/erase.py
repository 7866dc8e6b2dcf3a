"""Erasure on request: a button that asks first and says what happens, and what staff do about a CRM that will not."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.desk import words
from leads.desk.auth import admin_only
from leads.desk.room import Room
from leads.store import outbox
from leads.store.in_use import kept_in_use
from leads.store.models import Connection, Delivery, Erasure, Event, Lead
from leads.store.people import person_behind
from leads.store.queries.erasures import holding
from leads.store.queries.journey import journey
from leads.store.queries.lists import count
from leads.store.queries.names import details_of
from leads.store.staff import note_view, record

_DONE = "Erased here. What a CRM holds is erased there by the sync; below you see how far it is."
_CAME_MEANWHILE = (
    "Nothing was erased: an enquiry of theirs came since that page was opened, and nobody may have read it. "
    "Below is what would go now."
)
_UNLISTED = (
    "But it could not be written into the list of erasures on the server, so nobody would know of it after a backup is "
    "restored. It is tried again each hour. Tell whoever looks after the server: frontdesk doctor says more."
)


def add_routes(desk: Blueprint, room: Room) -> None:
    """The page that asks, and the buttons for what cannot be erased by us."""

    @desk.get("/leads/<uuid:lead_id>/erase")
    @admin_only
    def lead_erase(lead_id: UUID) -> ResponseReturnValue:
        return _ask(room, lead_id)

    @desk.post("/leads/<uuid:lead_id>/erase")
    @admin_only
    def lead_erase_now(lead_id: UUID) -> ResponseReturnValue:
        with room.read() as session:
            person = person_behind(session, session.get(Lead, lead_id) or abort(404))
            newest = _newest(session, person)
        if request.form.get("newest", newest) != newest:
            flash(_CAME_MEANWHILE)
            return redirect(url_for("desk.lead_erase", lead_id=person.id), 303)
        # No CRM is called from here: it may be down, and somebody would wait for it.
        done = outbox.erase(room.database, room.vault, room.erasures, person.id, current_user.name)
        flash(_DONE if done else words.TOO_LATE)
        if done and not done.is_listed:
            flash(_UNLISTED)
        return redirect(url_for("desk.lead", lead_id=person.id), 303)

    @desk.post("/erasures/<uuid:lead_id>/<uuid:connection_id>/<any(again, by_hand):what>")
    def erasure_decide(lead_id: UUID, connection_id: UUID, what: str) -> ResponseReturnValue:
        with room.write() as session:
            flash(_decide(session, room, lead_id, connection_id, what))
            person = person_behind(session, session.get_one(Lead, lead_id))
        return redirect(url_for("desk.lead", lead_id=person.id), 303)


def _ask(room: Room, lead_id: UUID) -> ResponseReturnValue:
    with room.read() as session:
        now, found = room.database.now(session), journey(session, room.vault, lead_id) or abort(404)
        there, newest = holding(session, found.lead.id), _newest(session, found.lead)
        of_theirs = Delivery.event_id.in_(select(Event.id).where(Event.lead_id == found.lead.id))
        details = details_of(session, room.vault, found.lead)
        waiting = count(session, Delivery.id, of_theirs, Delivery.state.in_(("waiting", "held", "refused", "expired")))
        under_way = count(session, Delivery.id, of_theirs, Delivery.state == "sending") > 0
    if found.lead.erased_at is not None or found.lead.is_test:
        return redirect(url_for("desk.lead", lead_id=found.lead.id), 303)
    note_view(room.database, current_user.name, found.lead.id, now)
    return render_template(
        "desk/erase.html",
        journey=found,
        newest=newest,
        details=details,
        holding=there,
        waiting=waiting,
        under_way=under_way,
    )


def _newest(session: Session, person: Lead) -> str:
    """Up to which enquiry the page tells of somebody: what came after it was opened would go unread and unsent."""
    events = select(Event.id).where(Event.lead_id == person.id)
    return str(session.scalars(events.order_by(Event.received_at.desc(), Event.id.desc()).limit(1)).first() or "")


def _decide(session: Session, room: Room, lead_id: UUID, connection_id: UUID, what: str) -> str:
    """Returns what to tell."""
    in_use = kept_in_use(session, Connection.id == connection_id)
    row = session.get(Erasure, (lead_id, connection_id), with_for_update=True) or abort(404)
    if row.ended_at is not None or (what == "again" and not in_use):
        return words.TOO_LATE
    now = room.database.now(session)
    if what == "again":
        outbox.try_again(row, now)
        room.database.nudge(session)
    else:
        outbox.end(session, row, "handled", now)
    here = (Delivery.lead_id == lead_id, Delivery.connection_id == connection_id)
    delivery_id = session.scalar(select(Delivery.id).where(*here).order_by(Delivery.id.desc()).limit(1))
    record(session, current_user.name, f"erase_{what}", now, delivery_id=delivery_id)
    return "It is tried again now." if what == "again" else "Noted: you erased it there."
