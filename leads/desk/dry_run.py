"""A dry run: the exact requests for one stored enquiry, of which none is sent."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from integrations.core.base import Draft
from integrations.core.errors import DeliveryError
from leads.desk.auth import admin_only
from leads.desk.room import Room, existing
from leads.store.models import Connection, Site
from leads.store.queries.enquiries import Stored, latest_enquiries, latest_enquiry
from leads.store.queries.leads import lead_by_code
from leads.store.vault import VaultError
from leads.sync.plan import plan_of
from leads.sync.rehearsal import dry_run


def add_routes(desk: Blueprint, room: Room) -> None:
    """GET shows it masked, POST with the person's details."""

    @desk.route("/connections/<uuid:connection_id>/dry-run", methods=["GET", "POST"], endpoint="dry_run")
    @admin_only
    def dry_run_page(connection_id: UUID) -> ResponseReturnValue:
        return _page(room, existing(room, connection_id), reveal=request.method == "POST")


def _page(room: Room, row: Connection, *, reveal: bool) -> str:
    code = request.values.get("lead", "").strip()
    with room.read() as session:
        now, site = room.database.now(session), session.get_one(Site, row.site_id)
    enquiry = _enquiry(room, row, code)
    drafts, trouble = _drafts(room, row, enquiry, reveal) if enquiry else ([], "")
    if enquiry and drafts and reveal:
        room.setup().revealed(row.id, [enquiry.lead.code])
    return render_template(
        "desk/dry_run.html",
        now=now,
        site=site,
        connection=row,
        code=code,
        enquiry=enquiry,
        drafts=drafts,
        trouble=trouble,
        reveal=reveal,
        as_json=_as_json,
    )


def _enquiry(room: Room, row: Connection, code: str) -> Stored | None:
    """The lead's latest enquiry; without a code that of whoever was heard of last."""
    with room.read() as session:
        if not code:
            return next(iter(latest_enquiries(session, row.site_id, 1)), None)
        lead = lead_by_code(session, code)
        return latest_enquiry(session, lead) if lead and lead.site_id == row.site_id else None


def _drafts(room: Room, row: Connection, enquiry: Stored, reveal: bool) -> tuple[list[Draft], str]:
    """The requests, or why there are none."""
    connector = room.setup().connector(row)
    if connector is None:
        return [], "There is no connector for this kind of CRM any more."
    try:
        return dry_run(room.vault, plan_of(row), connector, enquiry, reveal=reveal), ""
    except DeliveryError as error:
        return [], error.sentence
    except VaultError:
        return [], "This enquiry cannot be read any more. Ask whoever looks after the server."


def _as_json(body: Any) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)
