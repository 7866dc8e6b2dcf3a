"""Connections: everybody sees how they are; admins add, test, change, pause and remove them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from integrations.core.base import Finding
from integrations.core.registry import connector_class, kinds
from leads.desk import forms, words
from leads.desk.auth import admin_only
from leads.desk.crm_sign_in import send_to_crm
from leads.desk.room import Room, existed, existing
from leads.store.models import Connection, Site
from leads.store.queries.lists import connection_actions, connections_in_use, sites
from leads.store.queries.places import connection_counts
from leads.store.staff import note_of
from leads.sync import sign_in
from leads.sync.mapping import label_of
from leads.sync.options import SetupError
from leads.sync.plan import describe, plan_of
from leads.sync.setup import CALLERS


def add_routes(desk: Blueprint, room: Room) -> None:
    """Pages and buttons of connections."""
    _add_pages(desk, room)
    _add_changes(desk, room)
    _add_switches(desk, room)


def _add_pages(desk: Blueprint, room: Room) -> None:
    @desk.get("/connections", endpoint="connections")
    def connection_list() -> ResponseReturnValue:
        with room.read() as session:
            now, known = room.database.now(session), {site.id: site for site in sites(session)}
            rows = [(row, known[row.site_id]) for row in connections_in_use(session)]
        return render_template("desk/connections.html", now=now, rows=rows, kinds=kinds())

    @desk.get("/connections/<uuid:connection_id>")
    def connection(connection_id: UUID) -> ResponseReturnValue:
        row = existed(room, connection_id)
        return _page(room, row) if row.removed_at is None else _removed(room, row)


def _add_changes(desk: Blueprint, room: Room) -> None:
    @desk.get("/connections/new")
    @admin_only
    def connection_kinds() -> ResponseReturnValue:
        by_label = sorted(kinds().values(), key=lambda kind: kind.label.casefold())
        with room.read() as session:
            return render_template("desk/connection_kinds.html", kinds=by_label, sites=sites(session))

    @desk.route("/connections/new/<kind>", methods=["GET", "POST"])
    @admin_only
    def connection_new(kind: str) -> ResponseReturnValue:
        return _form(room, kind) if request.method == "GET" else _create(room, kind)

    @desk.route("/connections/<uuid:connection_id>/options", methods=["GET", "POST"])
    @admin_only
    def connection_options(connection_id: UUID) -> ResponseReturnValue:
        row = existing(room, connection_id)
        return _form(room, row.kind, row) if request.method == "GET" else _replace(room, row)


def _add_switches(desk: Blueprint, room: Room) -> None:
    @desk.route("/connections/<uuid:connection_id>/test", methods=["GET", "POST"])
    @admin_only
    def connection_test(connection_id: UUID) -> ResponseReturnValue:
        row = existing(room, connection_id)
        if request.method == "GET":  # the address of what a test has shown, opened again
            return redirect(url_for("desk.connection", connection_id=row.id))
        findings = room.setup().test(row.id)
        is_tried = room.setup().start_if_well(row.id, findings)
        return _page(room, existing(room, row.id), findings, is_tried)

    @desk.post("/connections/<uuid:connection_id>/check-all")
    @admin_only
    def connection_check_all(connection_id: UUID) -> ResponseReturnValue:
        row = existing(room, connection_id)
        number = words.enquiries(room.setup().check_all(row.id))
        flash(f"Looking at {number} in “{row.name}” again. The first page tells what is found.")
        return redirect(url_for("desk.connection", connection_id=row.id), 303)

    @desk.post("/connections/<uuid:connection_id>/<any(pause, resume):what>")
    @admin_only
    def connection_switch(connection_id: UUID, what: str) -> ResponseReturnValue:
        row = existing(room, connection_id)
        if what == "pause":
            room.setup().pause(row.id)
            flash(f"“{row.name}” is paused. New enquiries are kept and wait.")
        else:
            room.setup().resume(row.id)
            flash(f"“{row.name}” is tried again now.")
        if request.form.get("back") == "home":
            return redirect(url_for("desk.home"), 303)
        return redirect(url_for("desk.connection", connection_id=row.id), 303)

    @desk.route("/connections/<uuid:connection_id>/remove", methods=["GET", "POST"])
    @admin_only
    def connection_remove(connection_id: UUID) -> ResponseReturnValue:
        row = existing(room, connection_id)
        if request.method == "GET":
            return _render(room, "desk/connection_remove.html", row)
        left = room.setup().remove(row.id)
        rest = f" {left} had not arrived; {'it stays' if left == 1 else 'they stay'} here." if left else ""
        flash(f"“{row.name}” was removed and its key forgotten.{rest}")
        return redirect(url_for("desk.connections"), 303)


def _page(room: Room, row: Connection, findings: Sequence[Finding] = (), is_tried: bool = False) -> str:
    return _render(room, "desk/connection.html", row, findings=findings, is_tried=is_tried)


def _removed(room: Room, row: Connection) -> str:
    """For whoever follows an old link: what became of it, and where enquiries go now."""
    with room.read() as session:
        return render_template(
            "desk/connection_removed.html",
            now=room.database.now(session),
            connection=row,
            site=session.get_one(Site, row.site_id),
            by=next((one for one in connection_actions(session, row.id) if one.what == "connection_removed"), None),
            counts=connection_counts(session, row.id),
            others=[other for other in connections_in_use(session) if other.site_id == row.site_id],
        )


def _render(room: Room, template: str, row: Connection, **more: Any) -> str:
    connector = room.setup().connector(row) or (connector_class(row.kind) if row.kind in kinds() else None)
    with room.read() as session:
        return render_template(
            template,
            now=room.database.now(session),
            connection=row,
            site=session.get_one(Site, row.site_id),
            counts=connection_counts(session, row.id),
            actions=connection_actions(session, row.id),
            connector=connector,
            options=_shown(room, row) if connector else [],
            rules=[describe(rule) for rule in plan_of(row).rules] if connector else [],
            shared=[label_of(name) for name in row.share],
            note_of=partial(note_of, room.vault),
            callers=CALLERS[row.unknown_callers],
            oauth=sign_in.sign_in_of(room.setup(), row),
            callback=room.callback,
            **more,
        )


def _shown(room: Room, row: Connection) -> list[tuple[str, str]]:
    """The options that are no secret and that somebody has set, with their labels."""
    usual = {option.name: option.value for option in forms.draw(row.kind)}
    drawn = forms.draw(row.kind, room.setup().merged(row, {}))
    chosen = [option for option in drawn if not option.secret and option.value not in ("", usual[option.name])]
    return [(option.label, _in_words(option)) for option in chosen]


def _in_words(option: forms.Option) -> str:
    value = option.value
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else option.choices.get(value, str(value))


def _form(room: Room, kind: str, row: Connection | None = None, **more: Any) -> str:
    """The form to add (no row) or change a connection. What was typed comes back, except secrets."""
    stored = room.setup().merged(row, {}) if row else {}
    values = stored | (forms.typed(kind, request.form) if request.method == "POST" else {})
    with room.read() as session:
        known = sites(session)
    options = forms.draw(kind, values)
    removable = {one.name for one in options if one.secret and not one.required and stored.get(one.name)}
    context: dict[str, Any] = {"trouble": "", "errors": {}, "twice": "", "findings": []} | more
    return render_template(
        "desk/connection_form.html",
        connector=connector_class(kind),
        connection=row,
        mark=request.form.get("mark") or (_mark(room, row) if row else ""),
        options=options,
        removable=removable,
        sites=known,
        typed=request.form,
        labels={"name": "Name", "pace": "Pace"} | {option.name: option.label for option in options},
        callback=room.callback if connector_class(kind).people_sign_in else None,
        **context,
    )


def _create(room: Room, kind: str) -> ResponseReturnValue:
    setup, typed = room.setup(), forms.typed(kind, request.form)
    try:
        setup.require_site(request.form.get("site", ""))
        setup.require_free(request.form.get("name", ""))
        setup.require_pace(kind, request.form.get("pace", ""))
        twice, is_sure = setup.connected(request.form.get("site", ""), kind, typed), "anyway" in request.form
        findings = _wrong(setup.try_out(kind, typed))
        if (twice or findings) and not is_sure:
            return _form(room, kind, twice=twice, findings=findings), 422
        created = setup.create(
            request.form.get("site", ""),
            kind,
            request.form.get("name", ""),
            typed,
            _callers() or "record",
            findings,
            request.form.get("pace", ""),
            once=not is_sure,
        )
    except SetupError as error:
        return _form(room, kind, trouble=_told(error), errors=error.errors), 422
    if sign_in.sign_in_of(setup, created):
        flash(f"“{created.name}” is saved. One step is left: somebody has to sign in at the CRM.")
        return send_to_crm(room, created)
    return _saved(created, findings)


def _replace(room: Room, row: Connection) -> ResponseReturnValue:
    setup, typed = room.setup(), forms.typed(row.kind, request.form)
    try:
        setup.require_free(request.form.get("name", ""), row)
        setup.require_pace(row.kind, request.form.get("pace", ""))
        findings = _wrong(setup.try_out(row.kind, setup.merged(row, typed), row))
        mark = _mark(room, existing(room, row.id))
        if request.form.get("mark", mark) != mark:
            flash(words.CHANGED_MEANWHILE)
            return redirect(url_for("desk.connection_options", connection_id=row.id), 303)
        if findings and "anyway" not in request.form:
            return _form(room, row.kind, row, findings=findings), 422
        name, pace = request.form.get("name", ""), request.form.get("pace")
        changed = setup.replace(row.id, typed, findings, name, _callers(), pace)
    except SetupError as error:
        return _form(room, row.kind, row, trouble=_told(error), errors=error.errors), 422
    if changed.tokens_sealed is None and sign_in.sign_in_of(setup, changed):
        flash(f"“{changed.name}” is saved. One step is left: somebody has to sign in at the CRM.")
        return redirect(url_for("desk.connection", connection_id=row.id), 303)
    return _saved(changed, findings)


def _mark(room: Room, row: Connection) -> str:
    """Tells what is set now, so that a form which was opened before undoes nothing that somebody else has saved."""
    drawn = forms.draw(row.kind, room.setup().merged(row, {}))
    shown = [row.name, row.unknown_callers, row.pace, *(option.value for option in drawn)]
    return room.vault.digest("connection", row.id, json.dumps(shown, default=str)).hex()


def _callers() -> str | None:
    """What was chosen for unknown callers; None where that was not asked."""
    chosen = request.form.get("unknown_callers")
    return chosen if chosen in CALLERS else None


def _told(error: SetupError) -> str:
    """What is told at the top; what belongs to an option stands beside it."""
    return "" if error.errors else str(error)


def _wrong(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.ok]


def _saved(row: Connection, findings: Sequence[Finding]) -> ResponseReturnValue:
    told = " ".join(finding.sentence for finding in findings)
    flash(f"“{row.name}” is saved. " + (f"It was not right when tested: {told}" if findings else words.ALL_WELL))
    return redirect(url_for("desk.connection", connection_id=row.id), 303)
