"""Each of these agreed: let many go that are held for want of consent. First who they are, with a tick at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from leads.desk import words
from leads.desk.actions import say_that_consent_was_given
from leads.desk.leads import cursor, mark
from leads.desk.room import Room
from leads.store.models import Event, Site
from leads.store.queries.lists import sites
from leads.store.queries.unasked import PAGE, unasked
from leads.store.staff import note_view

_NOT_VOUCHED = "Nothing was done: tick below that you have made sure that each of them agreed."
_NOBODY = "Nothing was done: nobody was ticked."


def add_routes(desk: Blueprint, room: Room) -> None:
    """The list, and its button."""

    @desk.get("/consent")
    def consent() -> ResponseReturnValue:
        return _list(room)

    @desk.post("/consent")
    def consent_given() -> ResponseReturnValue:
        return _note(room)


def _list(room: Room) -> ResponseReturnValue:
    with room.read() as session:
        now, site = room.database.now(session), _site(request.args, sites(session))
        start = cursor(request.args.get("start"))
        page = unasked(session, room.vault, site.id if site else None, start)
    if page.rows:
        note_view(room.database, current_user.name, None, now, what="unasked_viewed")
    return render_template("desk/consent.html", now=now, site=site, start=start, page=page, mark=mark)


def _note(room: Room) -> ResponseReturnValue:
    """One after the other, each in its own transaction: whoever writes at the same time waits for none but that one,
    and what is done stays done if the rest is broken off."""
    ticked = _ticked()
    if not ticked or "vouched" not in request.form:
        flash(_NOT_VOUCHED if ticked else _NOBODY)
        return _back()
    told = [_say(room, event_id) for event_id in ticked]
    flash(_what_follows(told))
    return _back()


def _say(room: Room, event_id: UUID) -> int | None:
    with room.write() as session:
        event = session.get(Event, event_id)
        return None if event is None else say_that_consent_was_given(room, session, event)


def _what_follows(told: Sequence[int | None]) -> str:
    """told: of each how many deliveries go; None where nothing was done."""
    going, late = sum(bool(one) for one in told), told.count(0)
    left = told.count(None)
    parts = [
        f"Noted: {words.enquiries(going, 'is on its', 'are on their')} way to the CRM." if going else "",
        f"Noted: {words.enquiries(late, 'goes', 'go')} as soon as a connection can take it." if late else "",
        f"{words.enquiries(left, 'was', 'were')} left alone, {words.passed_over('sent again')}." if left else "",
    ]
    return " ".join(filter(None, parts))


def _ticked() -> list[UUID]:
    found: list[UUID] = []
    for text in request.form.getlist("event")[:PAGE]:
        with suppress(ValueError):  # not what the page sends
            found.append(UUID(text))
    return found


def _site(given: Mapping[str, str], known: list[Site]) -> Site | None:
    return next((site for site in known if site.key == given.get("site")), None)


def _back() -> ResponseReturnValue:
    site, start = (request.form.get(name) or None for name in ("site", "start"))
    return redirect(url_for("desk.consent", site=site, start=start), 303)
