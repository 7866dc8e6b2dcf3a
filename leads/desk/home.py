"""The first page: one sentence, what waits and why, connections, today, and who wrote last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from flask import Blueprint, render_template, url_for
from flask_login import current_user

from leads import plain
from leads.desk import words
from leads.desk.canary import canary_lines
from leads.desk.headline import headline
from leads.desk.room import Room
from leads.store.queries.drift import open_drifts
from leads.store.queries.foreign import ForeignPage, foreign_pages
from leads.store.queries.leads import LeadFilter, leads
from leads.store.queries.overview import Overview, Wait, overview
from leads.store.retention import notice_period

# What a person can help with comes first.
_ORDER = (
    "problem",
    *("refused", "unknown_outcome", "missing", "expired", "no_consent", "removed"),  # these need one
    *("no_connection", "spam", "paused", "on_the_way", "unknown_caller"),
)
_LOOKS_LIKE_SPAM = "Open each one and say whether it is real; or put all of them aside in their list."
_SPAM_ALONE = "Open it and say whether it is real."
_SPAM_UNCONNECTED = "Open each one that is real and say so; the others can be put aside once a CRM is connected."
_ASK_FIRST = "Ask the visitor before you say that consent was given."
_LEFT_BEHIND = "The next CRM that an admin connects takes over what waits; or take care of it yourself."
_LEFT_BESIDE = "Open each one: a button sends it another way where one is open; else take care of it yourself."
_LATEST = 8
# Where the leads of a reason are listed; those not named here are among the ones that need a person.
_LISTS = {
    "on_the_way": "on_the_way",
    "problem": "on_the_way",
    "unknown_caller": "not_now",
    "paused": "not_now",
    "spam": "spam",
}
# What leads to a list that holds others as well.
_SHOW_ALL = {
    "needs_you": "Show all that need you",
    "on_the_way": "Show all on the way",
    "not_now": "Show all not sent for now",
    "spam": "Show all that may be spam",
}


class WaitLine(NamedTuple):
    """One reason why enquiries wait, in words; the wait itself for its count and age. listed: where they are shown, of
    one website where there are several. show: what the button says that leads there. pages: from which several came,
    though their website has not listed them."""

    wait: Wait
    why: str
    help: str
    listed: str
    show: str
    pages: Sequence[ForeignPage] = ()


def add_routes(desk: Blueprint, room: Room) -> None:
    """The home page, and the part of it that refreshes itself."""

    @desk.get("/")
    def home() -> str:
        return _render(room, "desk/home.html")

    @desk.get("/live")
    def home_live() -> str:
        return _render(room, "desk/home_live.html")


def _render(room: Room, template: str) -> str:
    with room.read() as session:
        now = room.database.now(session)
        state = overview(session, now)
        latest = leads(session, room.vault, LeadFilter(), size=_LATEST).rows
        drifted = open_drifts(session, room.vault)
        canaries = canary_lines(session, now)
        foreign = foreign_pages(session, room.vault) if state.waiting.get("spam") else []
    return render_template(
        template,
        now=now,
        overview=state,
        headline=headline(state, room.database.space),
        waits=[
            _wait_line(wait, state, room.keep)._replace(pages=_of(wait, foreign))
            for wait in sorted(state.waits, key=lambda wait: _ORDER.index(wait.reason))
        ],
        unreadable_help=_forgotten(state.unreadable_since or now, room.keep, now),
        latest=latest,
        drifted=drifted,
        canaries=canaries,
        site_of={day.site.id: day.site for day in state.today},
    )


def _wait_line(wait: Wait, state: Overview, keep: timedelta) -> WaitLine:
    """Why these wait and what happens next. keep: how long a person is kept; zero: for ever."""
    now, name, told = state.now, _named(wait), wait.sentence or ""
    they_go = "It goes" if wait.number == 1 else "They go"
    why, help_text = {
        "problem": (f"waiting for {name}, which has a problem", _with_whom_to_tell(_next_try(wait, None, now))),
        "paused": (f"waiting for {name}, which staff paused", f"{they_go} as soon as an admin starts it again."),
        "on_the_way": (f"on the way to {name}", _next_try(wait, wait.due, now)),
        "unknown_caller": ("waiting for the caller to be known", f"{name} was set up so; a form may tell who it was."),
        "spam": (
            f"held before {name}: looks like spam",
            _of_spam(wait) + _forgotten(wait.oldest, keep, now),
        ),
        "no_consent": (f"held before {name}: no consent to share", _ASK_FIRST + _forgotten(wait.oldest, keep, now)),
        "removed": (f"not sent to {name}", _LEFT_BESIDE if _has_another(wait, state) else _LEFT_BEHIND),
        "refused": (f"refused by {name}", told),
        "unknown_outcome": (f"may or may not have arrived at {name}", told),
        "missing": (f"not kept by {name}", told),
        "expired": (f"given up after many tries at {name}", told),
        "no_connection": ("with nowhere to go", told),
    }[wait.reason]
    return WaitLine(wait, why, help_text, *_shown(wait, state))


def _of_spam(wait: Wait) -> str:
    if wait.connection is None:
        return _SPAM_UNCONNECTED
    return _SPAM_ALONE if wait.number == 1 else _LOOKS_LIKE_SPAM


def _shown(wait: Wait, state: Overview) -> tuple[str, str]:
    """The list in which these stand, and what the button says that leads there."""
    place = _list_of(wait)
    sites = {day.site.id: day.site.key for day in state.today}
    key = sites.get(wait.site_id) if wait.site_id and len(sites) > 1 else None
    # What looks like spam is not sent for now either; what goes nowhere stands in none of them.
    somewhere = [one for one in state.waits if one.reason != "no_connection"]
    there = [one for one in somewhere if place == _list_of(one) or (place, _list_of(one)) == ("not_now", "spam")]
    alone = all(one is wait or (key and one.site_id != wait.site_id) for one in there)
    show = f"Show {'it' if wait.number == 1 else 'them'}" if alone else _SHOW_ALL[place]
    return url_for("desk.lead_list", state=place, site=key), show


def _list_of(wait: Wait) -> str:
    return _LISTS.get(wait.reason, "needs_you")


def _of(wait: Wait, foreign: Sequence[ForeignPage]) -> list[ForeignPage]:
    """Those that sent to the website of what waits here as spam."""
    return [one for one in foreign if wait.reason == "spam" and one.site.id == wait.site_id]


def _with_whom_to_tell(problem: str) -> str:
    """What a CRM says of a connection, such as “Enter a new key”, is for those who can."""
    return problem if current_user.is_admin else f"{problem} {words.TELL_AN_ADMIN}".strip()


def _forgotten(oldest: datetime, keep: timedelta, now: datetime) -> str:
    """That the first of them will be forgotten, where that is soon."""
    at = oldest + keep
    if not keep or at - now > notice_period(keep):
        return ""
    return f" Nobody decided for long: the oldest is forgotten {plain.days_until(at, now) or 'any time now'}."


def _named(wait: Wait) -> str:
    """`“Old CRM”, which was removed`; for none the website, where no CRM is connected."""
    connection = wait.connection
    if connection is None:
        return f"any CRM of {wait.site.name}" if wait.site else ""
    return f"“{connection.name}”{', which was removed' if connection.removed_at else ''}"


def _has_another(wait: Wait, state: Overview) -> bool:
    """Whether a connection of the same website is in use."""
    return wait.connection is not None and wait.connection.site_id in {row.site_id for row in state.connections}


def _next_try(wait: Wait, due: datetime | None, now: datetime) -> str:
    """What was wrong the last time, if anything was, and when it is tried again: at `due` or as the connection may."""
    connection = wait.connection
    if connection is None or not connection.sentence:
        return ""
    if words.wants_sign_in(connection):
        return connection.sentence
    if words.is_tried_now(connection, now):
        return f"{connection.sentence} It is tried again now."
    times = [moment for moment in (due, connection.probe_at, connection.wait_until) if moment and moment > now]
    soon = words.span(max(times) - now) if times else "a moment"
    return f"{connection.sentence} We try again by ourselves in {soon}."
