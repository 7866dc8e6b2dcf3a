"""Who did what: for admins."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from leads.audit import GROUPS, describe
from leads.desk.auth import admin_only
from leads.desk.leads import cursor, mark
from leads.desk.room import Room
from leads.store.queries.audit import audit_log
from leads.store.queries.lists import sites, users, usual_zone


def add_routes(desk: Blueprint, room: Room) -> None:
    """The list of all that people did, newest first."""

    @desk.get("/actions", endpoint="audit")
    @admin_only
    def audit_list() -> ResponseReturnValue:
        return _page(room)


def _page(room: Room) -> str:
    who, group = request.args.get("who", "").strip().lower()[:100], request.args.get("group", "")
    chosen = GROUPS.get(group)
    with room.read() as session:
        now, known = room.database.now(session), sites(session)
        names = [user.name for user in users(session)]
        page = audit_log(
            session,
            room.vault,
            who=who,
            kinds=chosen.sentences if chosen else (),
            older_than=cursor(request.args.get("older")),
        )
    given: dict[str, Any] = {"who": who, "group": group if chosen else ""}
    return render_template(
        "desk/audit.html",
        now=now,
        zone=usual_zone(known),
        names=[*names, "command line"],
        groups=GROUPS,
        given=given,
        page=page,
        describe=describe,
        older=url_for("desk.audit", older=mark(page.older), **given) if page.older else "",
        is_first="older" not in request.args,
    )
