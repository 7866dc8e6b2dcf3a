"""The desk: staff pages under /desk. Who may see what is decided in `auth.py`, before any route."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from integrations.core.registry import UnknownKindError
from leads.desk import (
    account,
    actions,
    audit,
    auth,
    balance,
    canary,
    connections,
    consent,
    correct,
    crm_sign_in,
    dry_run,
    erase,
    export,
    home,
    leads,
    mapping,
    put_aside,
    replay,
    second_factor,
    unreadable,
    users,
    websites,
    words,
)
from leads.desk.hashing import BusyError
from leads.desk.room import Room
from leads.store.people import name_of
from leads.store.vault import VaultError
from leads.sync.options import SetupError

_VENDORED = Path(__file__).parent / "static" / "vendor" / "vendor.json"


def create_desk(room: Room, timeouts: auth.Timeouts, *, second_factor_required: bool = False) -> Blueprint:
    """All pages for staff.

    timeouts: when one has to sign in again. second_factor_required: whoever has none sets one up before anything else.
    """
    desk = Blueprint(
        "desk",
        __name__,
        url_prefix="/desk",
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    desk.before_request(lambda: auth.require_sign_in(timeouts, second_factor_required))
    people = (account, second_factor, users, audit)
    setting_up = (websites, connections, crm_sign_in, mapping, dry_run, canary)
    enquiries = (home, leads, actions, correct, consent, put_aside, replay, erase, export, balance, unreadable)
    for part in (*people, *setting_up, *enquiries):
        part.add_routes(desk, room)
    _add_helpers(desk, second_factor_required)
    _handle_errors(desk)
    return desk


def _add_helpers(desk: Blueprint, second_factor_required: bool) -> None:
    """What every page may use."""
    integrity = {file["file"]: file["integrity"] for file in json.loads(_VENDORED.read_text(encoding="utf-8"))}

    @desk.context_processor
    def helpers() -> dict[str, Any]:
        shared = {"words": words, "name_of": name_of, "me": current_user, "integrity": integrity}
        # Asked by the page: one that says that the database is gone cannot know who it is.
        must_first = partial(auth.must_first, second_factor_required)
        return {**shared, "must_first": must_first, "second_factor_required": second_factor_required}


def _handle_errors(desk: Blueprint) -> None:
    @desk.errorhandler(BusyError)
    def busy(_: Exception) -> ResponseReturnValue:
        return render_template("desk/busy.html"), 429, {"Retry-After": "5"}

    @desk.errorhandler(VaultError)
    def sealed(_: Exception) -> ResponseReturnValue:
        return render_template("desk/sealed.html"), 500

    @desk.errorhandler(SetupError)  # a colleague was quicker
    def changed_meanwhile(error: Exception) -> ResponseReturnValue:
        flash(str(error))
        return redirect(url_for("desk.connections"), 303)

    @desk.errorhandler(403)
    def forbidden(_: Exception) -> ResponseReturnValue:
        return render_template("desk/forbidden.html"), 403

    @desk.errorhandler(UnknownKindError)  # somebody took away the connector of a connection
    @desk.errorhandler(404)
    def missing(_: Exception) -> ResponseReturnValue:
        # A page that refreshes itself keeps what it shows.
        return ("", 404) if auth.refreshes_itself() else (render_template("desk/missing.html"), 404)
