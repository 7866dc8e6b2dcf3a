"""The list of leads with its filters and search, and the page of one lead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from leads.desk import words
from leads.desk.correction import correction_of
from leads.desk.filters import PERIODS, Choice, choice_of, misses
from leads.desk.room import Room
from leads.store import outbox
from leads.store.holds import LOOK_FIRST
from leads.store.models import Action, Attempt, Connection, Site
from leads.store.people import name_of
from leads.store.queries.erasures import erasures_of
from leads.store.queries.journey import DeliveryStory, Journey, journey
from leads.store.queries.leads import (
    MOST_FOUND,
    MOST_SEARCHED,
    Cursor,
    LeadFilter,
    lead_by_code,
    leads,
    search,
)
from leads.store.queries.lists import connections_in_use, sites
from leads.store.staff import LEFT_OPEN, VIEWED_ANEW, note_of, note_view
from leads.store.vault import VaultError

STATES = {
    "needs_you": "Needs you",
    "on_the_way": "On the way",
    "in_the_crm": "In the CRM",
    "not_now": "Not sent for now",
    "spam": "Maybe spam",
    "handled": "Taken care of",
    "erased": "Erased",
}


def add_routes(desk: Blueprint, room: Room) -> None:
    """The list, the search, and the lead's page with the part of it that refreshes itself."""

    @desk.get("/leads")
    def lead_list() -> ResponseReturnValue:
        return _list(room)

    @desk.post("/leads")
    def lead_search() -> ResponseReturnValue:
        # By POST: a name or phone number in a URL would end up in logs and histories. What was found stands at an
        # address that hides it, since browsers do not go back to the answer of a POST.
        return _search(room, request.form.get("q", "").strip()[:200])

    @desk.get("/leads/<uuid:lead_id>")
    def lead(lead_id: UUID) -> ResponseReturnValue:
        return _lead(room, lead_id, "desk/lead.html")

    @desk.get("/leads/<uuid:lead_id>/live")
    def lead_live(lead_id: UUID) -> ResponseReturnValue:
        # Whoever asks for this part alone reads all the same.
        return _lead(room, lead_id, "desk/lead_live.html", once_in=LEFT_OPEN, refreshed=True)


def _list(room: Room) -> ResponseReturnValue:
    if typed := _searched(room):
        return _found(room, typed)
    with room.read() as session:
        now, known = room.database.now(session), sites(session)
        choice = choice_of(request.args, STATES, known)
        page = leads(
            session,
            room.vault,
            _filter(choice, known, now),
            older_than=cursor(request.args.get("older")),
            newer_than=cursor(request.args.get("newer")),
        )
        is_served = _is_served(session, choice.site_id_among(known))
    left_out = "found" in request.args or misses(request.args, choice)
    return _render_list(known, choice, now, page=page, rows=page.rows, left_out=left_out, is_served=is_served)


def _is_served(session: Session, site_id: UUID | None) -> bool:
    """Whether a CRM is connected to this website; None: to any of those that one looks after."""
    return any(site_id in (None, row.site_id) for row in connections_in_use(session))


def _search(room: Room, typed: str) -> ResponseReturnValue:
    with room.read() as session:
        choice = choice_of(request.form, STATES, sites(session))
        if not typed:
            return redirect(_list_url(choice), 303)
        if coded := lead_by_code(session, typed):
            return redirect(url_for("desk.lead", lead_id=coded.id), 303)
    hidden = room.vault.hidden(typed, current_user.id)
    return redirect(url_for("desk.lead_list", found=hidden, **choice.given()), 303)


def _searched(room: Room) -> str:
    """What the address hides; empty: nobody searches here, or it was somebody else."""
    try:
        return room.vault.shown(request.args.get("found", ""), current_user.id)
    except VaultError:
        return ""


def _found(room: Room, typed: str) -> ResponseReturnValue:
    with room.read() as session:
        now, known = room.database.now(session), sites(session)
        choice = choice_of(request.args, STATES, known)
        found = search(session, room.vault, typed, _filter(choice, known, now))
    return _render_list(known, choice, now, found=found, rows=found.rows, typed=typed)


def _render_list(known: Sequence[Site], choice: Choice, now: datetime, **more: Any) -> str:
    context = {"page": None, "found": None, "typed": "", "left_out": False} | more
    return render_template(
        "desk/leads.html",
        now=now,
        sites=known,
        choice=choice,
        states=STATES,
        kinds=words.EVENTS,
        periods=PERIODS,
        most_searched=MOST_SEARCHED,
        most_found=MOST_FOUND,
        mark=mark,
        site_names=[(site.key, site.name) for site in known],
        **context,
    )


def _filter(choice: Choice, known: Sequence[Site], now: datetime) -> LeadFilter:
    return LeadFilter(
        place=choice.state or None,
        kind=choice.kind or None,
        site_id=choice.site_id_among(known),
        since=choice.since(known, now),
    )


def _list_url(choice: Choice) -> str:
    return url_for("desk.lead_list", **choice.given())


def mark(cursor: Cursor) -> str:
    """A place in a list, as it stands in an address."""
    return f"{cursor.at.isoformat()}~{cursor.id.hex}"


def cursor(mark: str | None) -> Cursor | None:
    """The place in a list that an address names; None where it names none."""
    at, _, identifier = (mark or "").partition("~")
    try:
        moment = datetime.fromisoformat(at)
        return Cursor(moment.astimezone(UTC), UUID(identifier)) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _lead(
    room: Room, lead_id: UUID, template: str, once_in: timedelta = VIEWED_ANEW, **more: Any
) -> ResponseReturnValue:
    context = lead_context(room, lead_id, cursor(request.args.get("older")))
    if (found := context["journey"].lead.id) != lead_id:
        return redirect(url_for("desk.lead", lead_id=found), 303)
    note_view(room.database, current_user.name, lead_id, context["now"], once_in)
    return render_template(template, **context, **more)


def lead_context(room: Room, lead_id: UUID, start: Cursor | None = None) -> dict[str, Any]:
    """What the lead's page shows, also of the person whom a caller turned out to be. start: the first of its enquiries;
    None: the newest."""
    with room.read() as session:
        now = room.database.now(session)
        found = journey(session, room.vault, lead_id, start) or abort(404)
        erasures = erasures_of(session, found.lead.id) if found.lead.erased_at else []
        in_use = connections_in_use(session)
    return {
        "now": now,
        "journey": found,
        "who": _who(found),
        "older": mark(start) if start else None,
        "mark": mark,
        "timeline": _timeline,
        "erasures": erasures,
        "correction": correction_of(found),
        "note_of": partial(note_of, room.vault),
        "may_send_again": outbox.may_send_again,
        "is_by_hand": outbox.is_by_hand,
        "look_first": LOOK_FIRST,
        "can_be_handled": outbox.CAN_BE_HANDLED,
        "elsewhere": {} if found.lead.is_test else _elsewhere(found, in_use),
    }


def _who(found: Journey) -> str:
    if found.lead.erased_at:
        return f"Erased {found.lead.code}"
    return name_of(found.person) or f"Caller {found.lead.code}"


def _elsewhere(found: Journey, in_use: Iterable[Connection]) -> dict[UUID, list[Connection]]:
    """Delivery that a removed connection left → the connections of its website that do not have the enquiry."""
    others = [row for row in in_use if row.site_id == found.site.id]
    return {
        way.delivery.id: [row for row in others if row.id not in {one.connection.id for one in story.deliveries}]
        for story in found.events
        for way in story.deliveries
        if outbox.is_left(way.delivery, way.connection, story.event)
    }


def _timeline(way: DeliveryStory) -> list[tuple[datetime, Attempt | None, Action | None]]:
    """Tries and decisions of staff, in the order in which they happened."""
    tries = [(attempt.started_at, attempt, None) for attempt in way.attempts]
    decisions = [(action.at, None, action) for action in way.actions]
    return sorted([*tries, *decisions], key=lambda line: line[0])
