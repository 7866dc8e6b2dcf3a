"""Enquiries as a file for a spreadsheet: for admins, with a page that asks first. That it was done is written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

import structlog
from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from leads import spreadsheet
from leads.desk.auth import admin_only
from leads.desk.room import Room
from leads.languages import ENGLISH
from leads.spreadsheet import SEPARATORS
from leads.store.models import Site
from leads.store.queries.export import exported, number_of
from leads.store.queries.lists import sites
from leads.store.sites import find_site
from leads.store.staff import record

log = structlog.get_logger()

_LINES = 100  # in one piece of the answer
_BROKEN_OFF = "THIS FILE IS NOT COMPLETE: the export broke off here. Please download it again.\r\n"


def add_routes(desk: Blueprint, room: Room) -> None:
    """The page that asks, and the file. `site` in the address: of one website alone, by its key."""

    @desk.get("/export", endpoint="export")
    @admin_only
    def export_ask() -> ResponseReturnValue:
        with room.read() as session:
            site = _chosen(session)
            number = number_of(session, site)
            usual = _usual([site] if site else sites(session))
        return render_template("desk/export.html", site=site, number=number, warning=spreadsheet.NOTE, usual=usual)

    @desk.post("/export")
    @admin_only
    def export_now() -> ResponseReturnValue:
        with room.write() as session:
            site = _chosen(session)
            now = room.database.now(session)
            record(session, current_user.name, "exported", now, vault=room.vault, note=spreadsheet.whose(site))
        separator = SEPARATORS.get(request.form.get("separator", ""), ",")
        lines = spreadsheet.lines(exported(room.database, room.vault, site), separator)
        answer = Response(_pieces(lines), mimetype="text/csv")
        answer.headers.set("Content-Disposition", "attachment", filename=_name(site, now))
        answer.headers["Cache-Control"] = "no-store"
        return answer


def _chosen(session: Session) -> Site | None:
    """None: every website. One that is not there is no page: to take it for all would export more than was asked."""
    if not (key := request.args.get("site")):
        return None
    return find_site(session, key) or abort(404)


def _usual(known: Sequence[Site]) -> str:
    """Which separator the clinic's Excel most likely wants: in English it is the comma, nearly everywhere else not."""
    return "comma" if not known or known[0].language == ENGLISH else "semicolon"


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    """Each line alone would be a packet of its own."""
    try:
        yield from iter(lambda: "".join(islice(lines, _LINES)), "")
    except Exception as error:  # noqa: BLE001 - whatever it was, the web server would end the file as if it were whole
        log.error("an export broke off", error=type(error).__name__)
        yield _BROKEN_OFF


def _name(site: Site | None, now: datetime) -> str:
    return "-".join(["enquiries", *([site.key] if site else []), f"{now.astimezone(UTC):%Y-%m-%d}"]) + ".csv"
