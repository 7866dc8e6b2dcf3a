"""Who may sign in: for admins."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from leads.desk.auth import admin_only
from leads.desk.room import Room
from leads.store.models import ROLES, User
from leads.store.queries.lists import users
from leads.store.second_factor import turn_off
from leads.store.staff import StaffError, add_user, change_role, record, remove_user, reset_password

_LOST = "If nobody has written it down, press “New password” once more."


def add_routes(desk: Blueprint, room: Room) -> None:
    """List, add, give a new password or another role, take a second factor away, remove."""

    @desk.get("/users", endpoint="users")
    @admin_only
    def user_list() -> ResponseReturnValue:
        return _page(room)

    @desk.post("/users")
    @admin_only
    def user_add() -> ResponseReturnValue:
        with room.hashing.turn():
            return _add(room)

    @desk.post("/users/<uuid:user_id>/password")
    @admin_only
    def user_password(user_id: UUID) -> ResponseReturnValue:
        with room.hashing.turn():
            return _new_password(room, user_id)

    @desk.post("/users/<uuid:user_id>/role")
    @admin_only
    def user_role(user_id: UUID) -> ResponseReturnValue:
        return _change_role(room, user_id)

    @desk.route("/users/<uuid:user_id>/second-factor", methods=["GET", "POST"])
    @admin_only
    def user_second_factor(user_id: UUID) -> ResponseReturnValue:
        return _second_factor(room, user_id)

    @desk.route("/users/<uuid:user_id>/remove", methods=["GET", "POST"])
    @admin_only
    def user_remove(user_id: UUID) -> ResponseReturnValue:
        return _remove(room, user_id)


def _page(
    room: Room, *, trouble: str = "", name: str = "", role: str = "staff", given: tuple[str, str] | None = None
) -> str:
    """given: a user's name and one-time password. It is shown in this one answer and kept nowhere."""
    with room.database.read() as session:
        now = room.database.now(session)
        rows = users(session)
    return render_template(
        "desk/users.html",
        now=now,
        users=rows,
        roles=ROLES,
        trouble=trouble,
        name=name,
        role=role,
        given=given,
        mark_of=partial(_mark_of, room),
    )


def _mark_of(room: Room, user: User) -> str:
    """Tells the password that a user has now, and nobody what it is: a form that carries it is good once."""
    return room.vault.digest("password", user.id, user.password_hash).hex()


def _add(room: Room) -> ResponseReturnValue:
    name, role = request.form.get("name", ""), request.form.get("role", "")
    try:
        with room.database.write() as session:
            now = room.database.now(session)
            user, password = add_user(session, name, role, now)
            record(session, current_user.name, "user_added", now, vault=room.vault, note=user.name)
    except StaffError as error:
        return _page(room, trouble=str(error), name=name[:100], role=role), 422
    return _page(room, given=(user.name, password))


def _new_password(room: Room, user_id: UUID) -> ResponseReturnValue:
    with room.database.write() as session:
        user = session.get(User, user_id, with_for_update=True) or abort(404)
        if user.id == current_user.id:
            flash("Change your own password on your account page.")
            return redirect(url_for("desk.account"), 303)
        if request.form.get("mark") != _mark_of(room, user):  # sent once more, as by loading its answer anew
            flash(f"Nothing was done: {user.name} has another password since that page was opened. {_LOST}")
            return redirect(url_for("desk.users"), 303)
        password = reset_password(user)
        now = room.database.now(session)
        record(session, current_user.name, "password_reset", now, vault=room.vault, note=user.name)
    return _page(room, given=(user.name, password))


def _change_role(room: Room, user_id: UUID) -> ResponseReturnValue:
    role = request.form.get("role", "")
    try:
        with room.database.write() as session:
            user = session.get(User, user_id) or abort(404)
            if user.id == current_user.id:
                raise StaffError("Your own role is for another admin to change.")
            if told := change_role(session, user, role):
                now = room.database.now(session)
                record(session, current_user.name, "role_changed", now, vault=room.vault, note=told)
    except StaffError as error:
        flash(str(error))
    else:
        flash(f"{user.name} has the role {role} now, at once.")
    return redirect(url_for("desk.users"), 303)


def _second_factor(room: Room, user_id: UUID) -> ResponseReturnValue:
    if user_id == current_user.id:
        return redirect(url_for("desk.second_factor"), 303)
    if request.method == "GET":
        return render_template("desk/user_second_factor.html", user=_existing(room, user_id))
    with room.database.write() as session:
        user = session.get(User, user_id) or abort(404)
        if user.has_second_factor:
            turn_off(session, user)
            now = room.database.now(session)
            record(session, current_user.name, "second_factor_reset", now, vault=room.vault, note=user.name)
    flash(f"{user.name} has no second factor any more.")
    return redirect(url_for("desk.users"), 303)


def _remove(room: Room, user_id: UUID) -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("desk/user_remove.html", user=_existing(room, user_id))
    try:
        with room.database.write() as session:
            user = session.get(User, user_id) or abort(404)
            remove_user(session, user)
            now = room.database.now(session)
            record(session, current_user.name, "user_removed", now, vault=room.vault, note=user.name)
    except StaffError as error:
        flash(str(error))
    else:
        flash(f"{user.name} can no longer sign in.")
    return redirect(url_for("desk.users"), 303)


def _existing(room: Room, user_id: UUID) -> User:
    """Whom a page that asks first is about; the answer is 404 where there is nobody."""
    with room.database.read() as session:
        return session.get(User, user_id) or abort(404)
