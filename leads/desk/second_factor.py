"""The second factor: set up and turned off under "Your account", and asked for when one signs in."""

from __future__ import annotations

import base64
import time
from urllib.parse import urlsplit

import pyotp
import segno
from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from markupsafe import Markup

from leads.desk.account import TOO_OFTEN, trouble_with_password
from leads.desk.auth import HalfSignedIn, end_half_session, half_signed_in, start_session, where_they_were_going
from leads.desk.room import Room
from leads.plain import number_of
from leads.store import second_factor as store
from leads.store.models import User
from leads.store.staff import note_sign_in, record
from leads.store.vault import VaultError

_PATIENCE = 900  # seconds to find an app and scan the picture
_BEGUN = "second_factor_begun"  # the secret that is being set up, sealed: in this browser's session until it is proved
_FEW = 3  # recovery codes, of which whoever uses one is told to make new ones

_CLOCKS = (
    "If no code is ever right, the clock of the phone and that of the server do not agree: set the phone to take its "
    "time from the network, and ask an admin whether the server’s clock is right."
)
_WRONG_CODE = f"This code is not right, or it was used already. Wait until the app shows the next one. {_CLOCKS}"
_WRONG_PROOF = f"This code is not right, so nothing was changed yet. Type the one that the app shows now. {_CLOCKS}"
_WRONG_PASSWORD = "The password is not right."  # noqa: S105 - a sentence
_TOO_LATE = "That took too long. Nothing was changed. Please begin again."
_HALF_TOO_LATE = "The code has to come within five minutes of the password. Please sign in again."


def add_routes(desk: Blueprint, room: Room) -> None:
    """For everybody, whatever their role; the first one for whoever is half signed in."""

    @desk.route("/sign-in/code", methods=["GET", "POST"])
    def sign_in_code() -> ResponseReturnValue:
        half = half_signed_in(room.database)
        if half is None:
            return _back_to_the_password()
        if request.method == "GET":
            return _code_page("", 200)
        return _sign_in(room, half)

    @desk.route("/account/second-factor", methods=["GET", "POST"])
    def second_factor() -> ResponseReturnValue:
        if request.method == "GET":
            return _page(room)
        if trouble := _trouble_with_password(room):
            return _page(room, trouble), 422
        return _change(room, request.form.get("what", ""))

    @desk.post("/account/second-factor/confirm")
    def second_factor_confirm() -> ResponseReturnValue:
        secret = _begun(room)
        if secret is None:
            flash(_TOO_LATE)
            return redirect(url_for("desk.second_factor"), 303)
        return _confirm(room, secret)


def _sign_in(room: Room, half: HalfSignedIn) -> ResponseReturnValue:
    name, address = half.user.name, request.remote_addr or ""
    if not (room.throttle.admits(name, address) and room.codes.hit(half.user.id)):
        return _code_page(TOO_OFTEN, 429)
    with room.database.write() as writing:
        user, now = writing.get(User, half.user.id), room.database.now(writing)
        if user is None or user.session != half.user.session:  # since it was looked at a moment ago
            return _back_to_the_password()
        passed = store.pass_with(writing, room.vault, user, request.form.get("code", ""), now)
        if passed is not None:
            note_sign_in(writing, user, now)
            if passed.codes_left is not None:
                record(writing, name, "recovery_code_used", now, vault=room.vault, note=str(passed.codes_left))
        elif room.notes.is_news(name, address, "code"):
            record(writing, name, "code_failed", now, vault=room.vault, note=address or "unknown")
    if passed is None:
        return _code_page(_WRONG_CODE, 401)
    room.throttle.succeeded(name, address)
    room.codes.clear(user.id)
    start_session(user)
    if passed.codes_left is not None:
        _tell_what_is_left(passed.codes_left)
    return redirect(half.wanted, 303)


def _back_to_the_password() -> ResponseReturnValue:
    wanted = end_half_session()
    if wanted:
        flash(_HALF_TOO_LATE)
    return redirect(url_for("desk.sign_in", next=wanted or None), 303)


def _tell_what_is_left(codes: int) -> None:
    left = f"You used a recovery code: {number_of(codes, 'is', 'are')} left."
    more = " Make new ones under your name, “Second factor”, or set it up on your new phone." if codes <= _FEW else ""
    flash(left + more)


def _trouble_with_password(room: Room) -> str:
    with room.database.read() as reading:
        user = reading.get_one(User, current_user.id)
    with room.hashing.turn():
        return trouble_with_password(room, user, request.form.get("password", ""), _WRONG_PASSWORD)


def _change(room: Room, what: str) -> ResponseReturnValue:
    """What somebody does whose password was right just now."""
    if current_user.has_second_factor != (what in {"codes", "off"}):
        return redirect(url_for("desk.second_factor"), 303)  # it was changed since the page was opened
    if what == "codes":
        return _new_codes(room)
    if what == "off":
        return _turn_off(room)
    secret = store.new_secret()
    sealed = store.sealed_for(room.vault, current_user.id, secret)
    session[_BEGUN] = {"sealed": base64.b64encode(sealed).decode(), "at": int(time.time())}
    return _set_up_page(room, secret)


def _begun(room: Room) -> str | None:
    """The secret that this person is setting up here. None: it was not begun, or too long ago."""
    begun = session.get(_BEGUN)
    if begun is None or time.time() - begun["at"] > _PATIENCE:
        return None
    try:
        return store.secret_of(room.vault, current_user.id, base64.b64decode(begun["sealed"]))
    except VaultError:  # the key was dropped meanwhile
        return None


def _confirm(room: Room, secret: str) -> ResponseReturnValue:
    with room.database.write() as writing:
        user, now = writing.get_one(User, current_user.id, with_for_update=True), room.database.now(writing)
        if user.has_second_factor:
            return redirect(url_for("desk.second_factor"), 303)
        step = store.matching_step(secret, request.form.get("code", ""), now)
        if step is None:
            return _set_up_page(room, secret, _WRONG_PROOF), 422
        codes = store.turn_on(writing, room.vault, user, secret, step)
        record(writing, user.name, "second_factor_on", now)
    onward = where_they_were_going()
    start_session(user)
    return render_template("desk/recovery_codes.html", codes=codes, is_new=True, onward=onward)


def _new_codes(room: Room) -> ResponseReturnValue:
    with room.database.write() as writing:
        user = writing.get_one(User, current_user.id)
        codes = store.new_recovery_codes(writing, room.vault, user)
        record(writing, user.name, "recovery_codes_made", room.database.now(writing))
    return render_template("desk/recovery_codes.html", codes=codes, is_new=False, onward=url_for("desk.home"))


def _turn_off(room: Room) -> ResponseReturnValue:
    with room.database.write() as writing:
        user = writing.get_one(User, current_user.id)
        store.turn_off(writing, user)
        record(writing, user.name, "second_factor_off", room.database.now(writing))
    start_session(user)
    flash("The second factor is off. You are signed out everywhere else.")
    return redirect(url_for("desk.second_factor"), 303)


def _code_page(trouble: str, status: int) -> ResponseReturnValue:
    return render_template("desk/sign_in_code.html", trouble=trouble), status


def _page(room: Room, trouble: str = "") -> str:
    with room.database.read() as reading:
        left = store.recovery_codes_left(reading, current_user.id)
    return render_template("desk/second_factor.html", trouble=trouble, left=left)


def _set_up_page(room: Room, secret: str, trouble: str = "") -> str:
    address = urlsplit(room.callback).hostname or ""
    entry = pyotp.TOTP(secret).provisioning_uri(name=current_user.name, issuer_name=f"Frontdesk {address}".strip())
    # Black on white whatever the page's colours are: cameras want it so.
    picture = segno.make_qr(entry).svg_inline(omitsize=True, dark="#000", light="#fff")
    groups = [secret[start : start + 4] for start in range(0, len(secret), 4)]
    return render_template("desk/second_factor_set_up.html", trouble=trouble, picture=Markup(picture), groups=groups)  # noqa: S704 - made of our own lines
