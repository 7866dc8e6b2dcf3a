"""None of these is real: put all aside that looks like spam. First how many and which, then one button."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from leads.desk import words
from leads.desk.filters import PERIODS, Choice, choice_of, misses, of_one_site
from leads.desk.room import Room
from leads.store.models import Site
from leads.store.outbox.replays import SPAM, Chosen, ReplayError, start_replay
from leads.store.queries.lists import sites, usual_zone
from leads.store.queries.replays import suspected
from leads.store.staff import note_view


def add_routes(desk: Blueprint, room: Room) -> None:
    """The page that asks, and its button. How far it has come is told by `replay.py`."""

    @desk.get("/put-aside")
    def put_aside() -> ResponseReturnValue:
        return _ask(room)

    @desk.post("/put-aside")
    def put_aside_start() -> ResponseReturnValue:
        return _start(room)


def _ask(room: Room) -> ResponseReturnValue:
    with room.read() as session:
        now, known = room.database.now(session), sites(session)
        choice = of_one_site(choice_of(request.args, (), known), known)
        found = suspected(session, room.vault, _chosen(choice, known, now), now)
    if found.examples:
        note_view(room.database, current_user.name, None, now, what="suspected_viewed")
    return render_template(
        "desk/put_aside.html",
        now=now,
        choice=choice,
        site=choice.site_among(known),
        period=PERIODS.get(choice.period),
        zone=usual_zone(known),
        found=found,
    )


def _start(room: Room) -> ResponseReturnValue:
    with room.write() as session:
        now, known = room.database.now(session), sites(session)
        choice = of_one_site(choice_of(request.form, (), known), known)
        try:
            if misses(request.form, choice):
                raise ReplayError(words.GONE_MEANWHILE)
            # Up to what the page told of: what came meanwhile, nobody has seen.
            chosen = _chosen(choice, known, now, datetime.fromisoformat(request.form.get("until", "")))
            begun = start_replay(session, room.vault, chosen, current_user.name, now)
        except ReplayError as error:
            flash(str(error))
            return _back(choice)
        except (ValueError, TypeError):  # not what the page sends
            return _back(choice)
    return redirect(url_for("desk.replay", replay_id=begun.id), 303)


def _back(choice: Choice) -> ResponseReturnValue:
    return redirect(url_for("desk.put_aside", **choice.given()), 303)


def _chosen(choice: Choice, known: Sequence[Site], now: datetime, until: datetime | None = None) -> Chosen:
    return Chosen(
        SPAM,
        site_id=choice.site_id_among(known),
        since=choice.since(known, now),
        until=until,
        kind=choice.kind or None,
    )
