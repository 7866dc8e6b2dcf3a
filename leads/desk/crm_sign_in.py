"""Signing in at a CRM by OAuth: off to it, and back with what it gives. Admins only, each in their own session."""

from __future__ import annotations

import hmac
import re
import time
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from integrations.core.errors import DeliveryError
from leads.desk import words
from leads.desk.auth import admin_only
from leads.desk.room import Room, existing
from leads.store.models import Connection
from leads.sync import sign_in
from leads.sync.options import SetupError

_PATIENCE = 600  # seconds that somebody may take at the CRM
_BEGUN = "crm_sign_in"  # what this browser has begun: kept in its session, so nobody else can finish it

_NOT_YOURS = (
    "This is not a sign-in that you began here in the last ten minutes, or it was used already. "
    "Nothing was changed. Open the connection and begin again."
)
_TOLD_NO = "The CRM was told not to let Frontdesk in. Nothing was changed. Open the connection to begin again."
_NO_CODE = "The CRM sent you back without what we need. Nothing was changed. Open the connection to begin again."


def add_routes(desk: Blueprint, room: Room) -> None:
    """The button, and the address where the CRM sends people back to."""

    @desk.post("/connections/<uuid:connection_id>/sign-in")
    @admin_only
    def connection_sign_in(connection_id: UUID) -> ResponseReturnValue:
        return send_to_crm(room, existing(room, connection_id))

    @desk.get(sign_in.CALLBACK.removeprefix("/desk"))
    @admin_only
    def oauth_callback() -> ResponseReturnValue:
        begun = _begun()
        if begun is None:
            return _sorry(_NOT_YOURS)
        del session[_BEGUN]
        row = existing(room, UUID(begun["connection"]))
        if error := request.args.get("error"):
            return _sorry(_refusal(error), row)
        if not (code := request.args.get("code")):
            return _sorry(_NO_CODE, row)
        return _finish(room, row, code, begun["verifier"])


def send_to_crm(room: Room, row: Connection) -> ResponseReturnValue:
    """Off to the CRM. By a page of our own: browsers let no form lead on to another site (`form-action` of our CSP)."""
    try:
        way = sign_in.begin(room.setup(), row, room.callback)
    except SetupError as error:
        return _sorry(str(error), row)
    session[_BEGUN] = {
        "state": way.state,
        "verifier": way.verifier,
        "connection": str(row.id),
        "user": str(current_user.id),
        "at": int(time.time()),
    }
    return render_template("desk/to_crm.html", connection=row, address=way.address)


def _begun() -> dict[str, str] | None:
    """What was begun here and comes back now. None: it was not begun here, not by this person, or too long ago."""
    begun, state = session.get(_BEGUN), request.args.get("state", "")
    if begun is None or begun["user"] != str(current_user.id):
        return None
    if not hmac.compare_digest(begun["state"].encode(), state.encode()):
        return None
    return begun if 0 <= time.time() - begun["at"] < _PATIENCE else None


def _finish(room: Room, row: Connection, code: str, verifier: str) -> ResponseReturnValue:
    setup = room.setup()
    try:
        sign_in.complete(setup, row.id, room.callback, code, verifier)
    except DeliveryError as error:
        return _sorry(f"{error.sentence} Nothing was changed.", row)
    except SetupError as error:
        return _sorry(str(error), row)
    wrong = [finding.sentence for finding in setup.test(row.id) if not finding.ok]
    tested = "Tested: not all is as it should be." if wrong else words.ALL_WELL
    for message in (f"Signed in for “{row.name}”. {tested}", *wrong):
        flash(message)
    return redirect(url_for("desk.connection", connection_id=row.id), 303)


def _refusal(error: str) -> str:
    if error.replace("-", "_") == "access_denied":  # Salesforce writes it with a hyphen
        return _TOLD_NO
    word = f" It says: {error}." if re.fullmatch(r"[A-Za-z_-]{1,40}", error) else ""
    return f"The CRM did not sign you in.{word} Nothing was changed. Open the connection to begin again."


def _sorry(sentence: str, row: Connection | None = None) -> ResponseReturnValue:
    return render_template("desk/not_signed_in.html", sentence=sentence, connection=row), 400
