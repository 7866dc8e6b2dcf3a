"""What goes into which field of a CRM, and what activities tell: changed in a form, and shown before it is saved.

Every step is a form that works without scripts. A plan that was typed goes from page to page in the form itself; only
`save` stores it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from leads.desk.auth import admin_only
from leads.desk.mapform import SAME_TEXT, Row, choices_of, plan_in, rows_of, typed_rows
from leads.desk.room import Room, existing
from leads.store.models import Connection
from leads.store.people import answers_of
from leads.store.queries.enquiries import Stored, latest_enquiries
from leads.store.vault import VaultError
from leads.sync.mapping import HEALTH, OWN, SOURCES, label_of, own_answers
from leads.sync.options import SetupError
from leads.sync.plan import SHAREABLE, WRITES_IN_WORDS, Plan, PlanError, changes, default_plan, load_plan, plan_of
from leads.sync.rehearsal import differences
from leads.sync.remote_fields import ask_fields, examine, health_data

_LOOKED_AT = 20  # enquiries whose questions can be chosen


def add_routes(desk: Blueprint, room: Room) -> None:
    """The form with its steps."""

    @desk.route("/connections/<uuid:connection_id>/mapping", methods=["GET", "POST"], endpoint="mapping")
    @admin_only
    def mapping_form(connection_id: UUID) -> ResponseReturnValue:
        row = existing(room, connection_id)
        if request.method == "GET":
            return _stored(room, row)
        return _STEPS.get(request.form.get("do", "").partition("-")[0], _preview)(room, row)


def _stored(room: Room, row: Connection, **more: Any) -> str:
    """The form with what is in use."""
    plan = plan_of(row)
    return _form(room, row, rows_of(plan.rules), plan.share, seen=plan.mark(), **more)


def _typed(room: Room, row: Connection, rows: Sequence[Row], **more: Any) -> str:
    """The form with what was typed."""
    return _form(room, row, rows, request.form.getlist("share"), seen=request.form.get("seen", ""), **more)


def _form(
    room: Room, row: Connection, rows: Sequence[Row], share: Sequence[str], seen: str, troubles: Sequence[str] = ()
) -> str:
    asked = ask_fields(room.setup().connector(row))
    return render_template(
        "desk/mapping.html",
        connection=row,
        rows=rows,
        share=share,
        seen=seen,
        troubles=troubles,
        asked=asked,
        fields={field.name: field for field in asked.fields},
        choices_of=choices_of,
        same_text=SAME_TEXT,
        ours=[*SOURCES.items(), *_own_questions(room, row, rows), (SAME_TEXT, "The same text always")],
        sources=SOURCES,
        shareable=SHAREABLE,
        health=HEALTH,
        writes=WRITES_IN_WORDS,
    )


def _own_questions(room: Room, row: Connection, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Questions of the clinic's own that can be chosen: those of the latest enquiries, and what the rules name."""
    with room.read() as session:
        enquiries = latest_enquiries(session, row.site_id, limit=_LOOKED_AT)
    asked = {name for one in enquiries for name in own_answers(_answers(room, one))}
    named = {one.source for one in rows if one.source.startswith(OWN)}
    return [(name, f"{label_of(name)} (may be health data)") for name in sorted(asked | named, key=str.casefold)]


def _answers(room: Room, enquiry: Stored) -> Mapping[str, Any]:
    try:
        return answers_of(room.vault, enquiry.event)
    except VaultError:
        return {}


def _add(room: Room, row: Connection) -> ResponseReturnValue:
    return _typed(room, row, [*typed_rows(request.form), Row()])


def _remove(room: Room, row: Connection) -> ResponseReturnValue:
    rows, number = typed_rows(request.form), request.form["do"].partition("-")[2]
    return _typed(room, row, [one for place, one in enumerate(rows) if str(place) != number])


def _reset(room: Room, row: Connection) -> ResponseReturnValue:
    plan = default_plan(row.kind)
    return _form(room, row, rows_of(plan.rules), plan.share, seen=request.form.get("seen", ""))


def _preview(room: Room, row: Connection) -> ResponseReturnValue:
    try:
        plan = plan_in(request.form)
    except PlanError as error:
        return _typed(room, row, typed_rows(request.form), troubles=error.sentences), 422
    return _shown(room, row, plan)


def _reveal(room: Room, row: Connection) -> ResponseReturnValue:
    return _shown(room, row, _carried(), reveal=True)


def _edit(room: Room, row: Connection) -> ResponseReturnValue:
    plan = _carried()
    return _form(room, row, rows_of(plan.rules), plan.share, seen=request.form.get("seen", ""))


def _save(room: Room, row: Connection) -> ResponseReturnValue:
    try:
        room.setup().remap(row.id, _carried(), request.form.get("seen", ""))
    except SetupError as error:
        return _stored(room, existing(room, row.id), troubles=[str(error)]), 409
    flash(f"Saved: from now on “{row.name}” gets it like this.")
    return redirect(url_for("desk.connection", connection_id=row.id), 303)


_STEPS: dict[str, Callable[[Room, Connection], ResponseReturnValue]] = {
    "add": _add,
    "remove": _remove,
    "reset": _reset,
    "reveal": _reveal,
    "edit": _edit,
    "save": _save,
}


def _carried() -> Plan:
    """The plan that the page before has shown."""
    try:
        return load_plan(json.loads(request.form.get("plan", "")))
    except (ValueError, RecursionError):  # PlanError among them: nobody has typed this
        abort(400)


def _shown(room: Room, row: Connection, plan: Plan, *, reveal: bool = False) -> str:
    """What would differ, before anything is saved."""
    before = plan_of(row)
    with room.read() as session:
        enquiries = latest_enquiries(session, row.site_id)
    found = differences(room.vault, before, plan, enquiries, reveal=reveal)
    if reveal:
        room.setup().revealed(row.id, [one.enquiry.lead.code for one in found])
    return render_template(
        "desk/mapping_preview.html",
        connection=row,
        plan=json.dumps(plan.dump()),
        seen=request.form.get("seen", ""),
        changes=changes(before, plan),
        findings=examine(plan, ask_fields(room.setup().connector(row))),
        health=health_data(plan),
        differences=found,
        reveal=reveal,
    )
