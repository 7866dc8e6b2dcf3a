"""Send many again: first how many and why they failed, then one button, then how far it has come.

How far putting aside spam has come (`put_aside.py`) is told by the same pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from leads.desk import words
from leads.desk.filters import PERIODS, Choice, choice_of, misses, of_one_site
from leads.desk.room import Room
from leads.store.models import Connection, Replay, Site
from leads.store.outbox.replays import REPLAYABLE, Chosen, ReplayError, load_chosen, start_replay, stop_replay
from leads.store.queries.lists import connections_in_use, sites, usual_zone
from leads.store.queries.replays import reasons, recent_replays

STATES = {
    "needs_you": "Refused or given up",
    "refused": "Refused",
    "expired": "Given up after many tries",
    "waiting": "Waiting for the next try",
    "in_the_crm": "In the CRM already",
}


def add_routes(desk: Blueprint, room: Room) -> None:
    """The choice, the start, the progress and the stop."""

    @desk.get("/replays", endpoint="replays")
    def replay_list() -> ResponseReturnValue:
        return _choose(room)

    @desk.post("/replays")
    def replay_start() -> ResponseReturnValue:
        return _start(room)

    @desk.get("/replays/<uuid:replay_id>")
    def replay(replay_id: UUID) -> ResponseReturnValue:
        return _progress(room, replay_id, "desk/replay.html")

    @desk.get("/replays/<uuid:replay_id>/live")
    def replay_live(replay_id: UUID) -> ResponseReturnValue:
        return _progress(room, replay_id, "desk/_replay.html")

    @desk.post("/replays/<uuid:replay_id>/stop")
    def replay_stop(replay_id: UUID) -> ResponseReturnValue:
        with room.write() as session:
            replay = session.get(Replay, replay_id, with_for_update=True) or abort(404)
            stop_replay(session, replay, current_user.name, room.database.now(session))
        return redirect(url_for("desk.replay", replay_id=replay_id), 303)


def _choose(room: Room) -> ResponseReturnValue:
    with room.read() as session:
        now, known, connections = room.database.now(session), sites(session), connections_in_use(session)
        choice = _choice(request.args, known, connections)
        found = reasons(session, _chosen(choice, known, now), now)
        earlier = [(one, *_words(session, one)) for one in recent_replays(session)]
    return render_template(
        "desk/replays.html",
        now=now,
        choice=choice,
        states=STATES,
        periods=PERIODS,
        sites=[(site.key, site.name) for site in known],
        connections=[(str(row.id), row.name) for row in connections],
        reasons=found,
        total=sum(reason.number for reason in found),
        earlier=earlier,
        zone=usual_zone(known),
    )


def _start(room: Room) -> ResponseReturnValue:
    with room.write() as session:
        now, known, connections = room.database.now(session), sites(session), connections_in_use(session)
        choice = _choice(request.form, known, connections)
        chosen = _chosen(choice, known, now)
        try:
            if misses(request.form, choice):
                raise ReplayError(words.GONE_MEANWHILE)
            begun = start_replay(session, room.vault, chosen, current_user.name, now)
        except ReplayError as error:
            flash(str(error))
            return redirect(url_for("desk.replays"), 303)
    return redirect(url_for("desk.replay", replay_id=begun.id), 303)


def _progress(room: Room, replay_id: UUID, template: str) -> ResponseReturnValue:
    with room.read() as session:
        now = room.database.now(session)
        row = session.get(Replay, replay_id) or abort(404)
        (told, done), zone = _words(session, row), usual_zone(sites(session))
    return render_template(template, now=now, replay=row, told=told, done=done, zone=zone)


def _choice(given: Mapping[str, str], known: Sequence[Site], connections: Sequence[Connection]) -> Choice:
    choice = of_one_site(choice_of(given, REPLAYABLE, known, connections), known, connections)
    return choice if choice.state else replace(choice, state="needs_you")


def _chosen(choice: Choice, known: Sequence[Site], now: datetime) -> Chosen:
    return Chosen(
        choice.state,
        UUID(choice.connection) if choice.connection else None,
        choice.site_id_among(known),
        choice.code or None,
        choice.since(known, now),
    )


def _words(session: Session, replay: Replay) -> tuple[str, str]:
    """What was chosen, and what is done to it, in words."""
    chosen = load_chosen(replay.chosen)
    parts = ["What looks like spam" if chosen.is_spam else STATES[chosen.state]]
    if chosen.kind:
        parts.append(f"({words.EVENTS[chosen.kind]})")
    if chosen.connection_id and (row := session.get(Connection, chosen.connection_id)):
        parts.append(f"at {row.name}")
    if chosen.site_id and (site := session.get(Site, chosen.site_id)):
        parts.append(f"of {site.name}")
    if chosen.code:
        parts.append(f"with the code {chosen.code}")
    if chosen.since:
        parts.append(f"received since {chosen.since:%d %b %Y, %H:%M} UTC")
    return " ".join(parts), "put aside" if chosen.is_spam else "given another try"
