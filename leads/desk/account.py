"""Signing in and out, and one's own password."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from leads.desk.auth import end_session, safe_next, start_half_session, start_session, where_they_were_going
from leads.desk.hashing import BusyError
from leads.desk.room import Room
from leads.store.models import User, new_id
from leads.store.staff import (
    SHORTEST_PASSWORD,
    StaffError,
    change_password,
    find_user,
    is_password,
    note_sign_in,
    record,
)

_WRONG = "The name or the password is not right."
TOO_OFTEN = "Too many wrong tries. Please wait 15 minutes and try again."
_BUSY = "Many people are signing in just now. Please try again in a moment."


def add_routes(desk: Blueprint, room: Room) -> None:
    """What everybody may do, whatever their role."""

    @desk.route("/sign-in", methods=["GET", "POST"])
    def sign_in() -> ResponseReturnValue:
        if request.method == "GET":
            return render_template("desk/sign_in.html", wanted=request.args.get("next", ""), name="", trouble="")
        return _sign_in(room)

    @desk.post("/sign-out")
    def sign_out() -> ResponseReturnValue:
        # A cookie can be kept and put back, so the server has to stop believing it.
        if current_user.is_authenticated:
            with room.database.write() as session:
                session.get_one(User, current_user.id).session = new_id()
                record(session, current_user.name, "signed_out", room.database.now(session))
        end_session()
        flash("You are signed out, here and in every other browser.")
        return redirect(url_for("desk.sign_in"), 303)

    @desk.route("/account", methods=["GET", "POST"])
    def account() -> ResponseReturnValue:
        if request.method == "GET":
            return _account_page("", 200)
        with room.hashing.turn():
            return _change_password(room)


def _sign_in(room: Room) -> ResponseReturnValue:
    name, password = request.form.get("name", ""), request.form.get("password", "")
    address = request.remote_addr or ""
    # Asked and counted before the password is looked at: hashing it is what costs.
    if not room.throttle.admits(name, address):
        return _sign_in_page(name, TOO_OFTEN, 429)
    with room.database.read() as session:
        user = find_user(session, name)
    try:
        with room.hashing.turn():
            is_right = is_password(user, password)
    except BusyError:
        room.throttle.untried(name, address)
        return _sign_in_page(name, _BUSY, 429)
    if not is_right or user is None:
        if room.notes.is_news(user.name if user else "", address):
            _note_failure(room, user, address)
        return _sign_in_page(name, _WRONG, 401)
    wanted = safe_next(request.form.get("next"))
    if user.has_second_factor:
        # Not forgotten what was mistyped: whoever knows the password could go on guessing codes for ever.
        room.throttle.untried(name, address)
        start_half_session(user, wanted)
        return redirect(url_for("desk.sign_in_code"), 303)
    room.throttle.succeeded(name, address)
    with room.database.write() as session:
        note_sign_in(session, session.get_one(User, user.id), room.database.now(session))
    start_session(user)
    return redirect(wanted, 303)


def _note_failure(room: Room, user: User | None, address: str) -> None:
    """What was typed as a name that nobody has is not kept: it may be a password."""
    who, what = (user.name, "sign_in_failed") if user else ("somebody", "sign_in_unknown")
    with room.database.write() as session:
        record(session, who, what, room.database.now(session), vault=room.vault, note=address or "unknown")


def _sign_in_page(name: str, trouble: str, status: int) -> ResponseReturnValue:
    wanted = request.form.get("next", "")
    return render_template("desk/sign_in.html", wanted=wanted, name=name[:100], trouble=trouble), status


def _change_password(room: Room) -> ResponseReturnValue:
    old, new, again = (request.form.get(name, "") for name in ("old", "new", "again"))
    if new.strip() != again.strip():
        return _account_page("The two new passwords are not the same.", 422)
    with room.database.read() as session:
        user = session.get_one(User, current_user.id)
    # Who has just signed in with a one-time password need not type it a second time.
    if not user.one_time and (trouble := trouble_with_password(room, user, old, "The old password is not right.")):
        return _account_page(trouble, 429 if trouble == TOO_OFTEN else 422)
    if is_password(user, new):
        return _account_page("Please choose a password other than the one you have now.", 422)
    try:
        with room.database.write() as session:
            user = session.get_one(User, current_user.id, with_for_update=True)
            if user.session != current_user.session:  # an admin was quicker, or this person in another browser
                return redirect(url_for("desk.account"), 303)  # where they read that they were signed out
            change_password(user, new)
            record(session, user.name, "password_changed", room.database.now(session))
    except StaffError as error:
        return _account_page(str(error), 422)
    onward = where_they_were_going()
    start_session(user)
    flash("Your new password is set. You are signed out everywhere else.")
    return redirect(onward, 303)


def trouble_with_password(room: Room, user: User, typed: str, wrong: str) -> str:
    """What to say of a password that somebody signed in typed once more; empty: it is right. wrong: where it is not.

    To be asked in a turn of `room.hashing`. Counted as at the door: whoever sits at another person's session may not
    guess on and on.
    """
    address = request.remote_addr or ""
    if not room.throttle.admits(user.name, address):
        return TOO_OFTEN
    if not is_password(user, typed):
        return wrong
    room.throttle.succeeded(user.name, address)
    return ""


def _account_page(trouble: str, status: int) -> ResponseReturnValue:
    return render_template("desk/account.html", trouble=trouble, shortest=SHORTEST_PASSWORD), status
