"""Websites: where enquiries come from, what is set of each, and what goes into its pages. Staff see
the last of it alone; the rest is for admins."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from leads.desk import words
from leads.desk.auth import admin_only
from leads.desk.forms import typed_in
from leads.desk.room import Room
from leads.desk.website_form import as_typed, asked, details, empty, in_words, lines_of
from leads.snippet import for_plugins, is_of_this_machine, pieces
from leads.store.models import Site
from leads.store.queries.lists import connections_in_use, sites
from leads.store.sites import (
    SiteError,
    add_site,
    change_hook_token,
    change_site,
    close_site,
    consent_text,
    find_site,
    open_site,
    our_wording,
    remove_site,
)
from leads.store.staff import record

_WORDED_ANEW = (
    "If the website has a form of its own or a form plugin, change the text beside its checkbox too: copy it from "
    "below. Until then it is not known which text its visitors agreed to, and their enquiries may be held."
)


def add_routes(desk: Blueprint, room: Room) -> None:
    """List, add, show, change, give a new address for form plugins, close, open again, remove."""
    _add_pages(desk, room)
    _add_changes(desk, room)
    _add_ends(desk, room)


def _add_pages(desk: Blueprint, room: Room) -> None:
    @desk.get("/websites", endpoint="websites")
    def website_list() -> ResponseReturnValue:
        with room.read() as session:
            rows, connections = sites(session), connections_in_use(session)
        return render_template("desk/websites.html", rows=rows, connections=connections)

    @desk.get("/websites/<key>")
    def website(key: str) -> ResponseReturnValue:
        with room.read() as session:
            site = _named(session, key)
            consent = consent_text(session, site)
            return render_template(
                "desk/website.html",
                now=room.database.now(session),
                site=site,
                facts=in_words(site, consent),
                connections=[row for row in connections_in_use(session) if row.site_id == site.id],
                pieces=pieces(room.public_url, site, consent),
                hook_address=for_plugins(room.public_url, site, room.vault) if current_user.is_admin else "",
                of_this_machine=is_of_this_machine(room.public_url),
                can_mail=room.can_mail,
            )


def _add_changes(desk: Blueprint, room: Room) -> None:
    @desk.route("/new-website", methods=["GET", "POST"])
    @admin_only
    def website_new() -> ResponseReturnValue:
        if request.method == "POST":
            return _add(room)
        with room.read() as session:
            *_, latest = [None, *sites(session)]
        return _form(empty(latest))

    @desk.route("/websites/<key>/settings", methods=["GET", "POST"])
    @admin_only
    def website_change(key: str) -> ResponseReturnValue:
        if request.method == "POST":
            return _change(room, key)
        with room.read() as session:
            site = _named(session, key)
            consent = consent_text(session, site)
        return _form(as_typed(site, consent), site, mark=_mark(room, site, consent))

    @desk.route("/websites/<key>/hook-address", methods=["GET", "POST"])
    @admin_only
    def website_hook_address(key: str) -> ResponseReturnValue:
        if request.method == "GET":
            with room.read() as session:
                return render_template("desk/website_hook_address.html", site=_named(session, key))
        return _change_hook_address(room, key)


def _add_ends(desk: Blueprint, room: Room) -> None:
    @desk.route("/websites/<key>/close", methods=["GET", "POST"])
    @admin_only
    def website_close(key: str) -> ResponseReturnValue:
        if request.method == "GET":
            with room.read() as session:
                return render_template("desk/website_close.html", site=_named(session, key))
        return _close(room, key)

    @desk.post("/websites/<key>/open")
    @admin_only
    def website_open(key: str) -> ResponseReturnValue:
        return _open(room, key)

    @desk.route("/websites/<key>/remove", methods=["GET", "POST"])
    @admin_only
    def website_remove(key: str) -> ResponseReturnValue:
        if request.method == "GET":
            with room.read() as session:
                return render_template("desk/website_remove.html", site=_named(session, key))
        return _remove(room, key)


def _named(session: Session, key: str) -> Site:
    return find_site(session, key) or abort(404)


def _record(room: Room, session: Session, what: str, key: str) -> None:
    record(session, current_user.name, what, room.database.now(session), vault=room.vault, note=key)


def _add(room: Room) -> ResponseReturnValue:
    typed = typed_in(asked(), request.form)
    given, key = cast(dict[str, Any], details(typed)), typed["key"]
    given["consent"] = given["consent"] or None
    try:
        with room.write() as session:
            add_site(session, key=key, now=room.database.now(session), **given)
            _record(room, session, "site_added", key)
    except SiteError as error:
        return _form(typed, errors=error.mistakes), 422
    flash("Added. Two steps are left: connect its CRM, and put the form or the script into its pages.")
    return redirect(url_for("desk.website", key=key), 303)


def _mark(room: Room, site: Site, consent: str) -> str:
    """Tells what is set now, so that a form which was opened before undoes nothing that somebody else has saved."""
    return room.vault.digest("website", site.id, json.dumps(as_typed(site, consent), sort_keys=True)).hex()


def _change(room: Room, key: str) -> ResponseReturnValue:
    mark = request.form.get("mark", "")
    with room.read() as session:
        before = _named(session, key)
        consent = consent_text(session, before)
    if mark != _mark(room, before, consent):
        flash(words.CHANGED_MEANWHILE)
        return redirect(url_for("desk.website_change", key=key), 303)
    typed = typed_in(asked(before), request.form)
    given = details(typed)
    if given["consent"] == lines_of(consent):
        del given["consent"]  # so that our own goes with the language
    elif not given["consent"]:
        given["consent"] = our_wording(given["language"])
    try:
        with room.write() as session:
            site = _named(session, key)
            change_site(session, site, given, room.database.now(session))
            _record(room, session, "site_changed", key)
    except SiteError as error:
        return _form(typed, before, error.mistakes, mark), 422
    flash("Saved. It takes effect within a second.")
    if site.consent_version != before.consent_version or site.language != before.language:
        flash(_WORDED_ANEW)
    return redirect(url_for("desk.website", key=key), 303)


def _change_hook_address(room: Room, key: str) -> ResponseReturnValue:
    with room.write() as session:
        change_hook_token(_named(session, key))
        _record(room, session, "hook_address_changed", key)
    flash("Form plugins have a new address. Paste it into the plugin’s settings now: it stands below.")
    return redirect(url_for("desk.website", key=key) + "#plugins", 303)


def _close(room: Room, key: str) -> ResponseReturnValue:
    told = "Closed. It takes effect within a second. Take its forms and scripts off the website’s pages."
    _end(room, key, "site_closed", lambda session, site: close_site(session, site, room.database.now(session)), told)
    return redirect(url_for("desk.website", key=key), 303)


def _open(room: Room, key: str) -> ResponseReturnValue:
    _end(room, key, "site_opened", open_site, "Open again: it takes enquiries.")
    return redirect(url_for("desk.website", key=key), 303)


def _remove(room: Room, key: str) -> ResponseReturnValue:
    told = f"Removed. Take its forms and scripts off the website’s pages: {key} is not known here any more."
    if _end(room, key, "site_removed", remove_site, told):
        return redirect(url_for("desk.websites"), 303)
    return redirect(url_for("desk.website", key=key), 303)


def _end(room: Room, key: str, what: str, change: Callable[[Session, Site], None], told: str) -> bool:
    """Do it and write it down as `what`, or tell why it cannot be. Returns whether it was done."""
    try:
        with room.write() as session:
            change(session, _named(session, key))
            _record(room, session, what, key)
    except SiteError as error:
        flash(str(error))
        return False
    flash(told)
    return True


def _form(
    values: Mapping[str, Any], site: Site | None = None, errors: Mapping[str, list[str]] | None = None, mark: str = ""
) -> str:
    """The form to add (no site) or change a website, with these values in it. mark: of what was set when it was
    opened."""
    options = [option._replace(value=values.get(option.name, "")) for option in asked(site)]
    return render_template(
        "desk/website_form.html",
        site=site,
        mark=mark,
        options=options,
        errors=errors or {},
        labels={option.name: option.label for option in options},
    )
