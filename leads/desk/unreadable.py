"""What could not be understood, for a person to read: names and values where it can be taken apart, and as it came.

Any stranger may have sent it, so what is drawn of it is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from flask import Blueprint, render_template
from flask_login import current_user

from leads.decode import MAX_NAME, Undecodable, any_json, clean_text, decode_form
from leads.desk import words
from leads.desk.room import Room
from leads.store.models import Site, Unreadable
from leads.store.queries.lists import sites
from leads.store.queries.unreadable import number_unseen, unreadable
from leads.store.staff import note_view

_MOST = 60  # names and values of one message
_MOST_PARTS = 1000  # of a form
_DEPTH = 12
_LONGEST = 2000  # characters of one value
_FORM, _FORM_WITH_FILES = "application/x-www-form-urlencoded", "multipart/form-data"
_LIKE_A_FORM = re.compile(r"[^\s=&<>\"{}]+=[^\s<>\"{}]*")  # whatever it says that it is
# How a form with files begins. The header that names this line is not kept.
_BOUNDARY = re.compile(r"\s*--([\w'()+,./:=? -]{1,70})\r\n", re.ASCII)


class Shown(NamedTuple):
    """One message. answers: what could be taken apart; is_whole: whether that is all there is of them. text: as it
    came."""

    row: Unreadable
    site: Site | None
    answers: list[tuple[str, str]]
    is_whole: bool
    text: str


def add_routes(desk: Blueprint, room: Room) -> None:
    """The list. That somebody has seen one is noted in `actions.py`."""

    @desk.get("/unreadable", endpoint="unreadable")
    def unreadable_list() -> str:
        with room.read() as session:
            now, by_id = room.database.now(session), {site.id: site for site in sites(session)}
            rows, unseen = unreadable(session), number_unseen(session)
        if rows:
            note_view(room.database, current_user.name, None, now, what="unreadable_viewed")
        shown = [_shown(room, row, by_id.get(row.site_id) if row.site_id else None) for row in rows]
        return render_template("desk/unreadable.html", now=now, rows=shown, unseen=unseen)


def _shown(room: Room, row: Unreadable, site: Site | None) -> Shown:
    body = room.vault.open(row.body_sealed, "unreadable", "body", row.id)
    return Shown(row, site, *taken_apart(body["text"], body.get("content_type", "")), body["text"])


def taken_apart(text: str, kind: str) -> tuple[list[tuple[str, str]], bool]:
    """The names and values of JSON or of a form, and whether these are all. None of anything else. kind: what it said
    that it is."""
    try:
        found = list(islice(_pairs(text, kind), _MOST + 1))
    except Undecodable:
        return [], True
    cut = [
        (words.ANSWERS.get(name, clean_text(name[:MAX_NAME])), said)
        for name, value in found[:_MOST]
        if (said := clean_text(value[:_LONGEST]))  # control characters alone say nothing
    ]
    return cut, len(found) <= _MOST and all(len(value) <= _LONGEST for _, value in found)


def _pairs(text: str, kind: str) -> Iterator[tuple[str, str]]:
    sent = text.encode("utf-8", "replace")
    if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        yield from _flat("", any_json(sent), _DEPTH)
        return
    options = dict[str, str]()
    if begins := _BOUNDARY.match(text):
        kind, options = _FORM_WITH_FILES, {"boundary": begins[1]}
    elif _LIKE_A_FORM.fullmatch(text.strip()):
        kind = _FORM
    form = decode_form(sent.strip() if kind == _FORM else sent, kind, options, _MOST_PARTS)
    for name, values in form.fields.items():
        yield from _flat(name, values, _DEPTH)
    yield from _flat("files_left_out", form.files, _DEPTH)


def _flat(name: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Each that says something, with the names that it stands under. Raises Undecodable below `depth`."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        value = _inner(value)
    if not depth and isinstance(value, Mapping | list):
        raise Undecodable("It is nested too deeply.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name[:MAX_NAME]} › {key}" if name else key, item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            yield from _flat(name, item, depth - 1)
    elif value not in (None, ""):
        yield name, {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _inner(text: str) -> Any:
    """Some plugins write the whole form as JSON into one field."""
    try:
        return any_json(text.encode("utf-8", "replace")) or text
    except Undecodable:
        return text  # somebody's own words
