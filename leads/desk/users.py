"""Who may sign in: for admins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from leads.desk.auth import admin_only
from leads.desk.room import Room
from leads.store.models import ROLES, Site, User
from leads.store.queries.lists import sites, users
from leads.store.second_factor import turn_off
from leads.store.staff import StaffError, add_user, change_role, change_sites, record, remove_user, reset_password

_LOST = "If nobody has written it down, press “New password” once more."


def add_routes(desk: Blueprint, room: Room) -> None:
    """List, add, give a new password, another role or other websites, take a second factor away, remove."""

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

    @desk.route("/users/<uuid:user_id>/websites", methods=["GET", "POST"])
    @admin_only
    def user_sites(user_id: UUID) -> ResponseReturnValue:
        return _change_sites(room, user_id)

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
    with room.read() as session:
        now = room.database.now(session)
        rows, known = users(session), sites(session)
    return render_template(
        "desk/users.html",
        now=now,
        users=rows,
        sites=known,
        chosen=set(request.form.getlist("site")),
        only_some=request.form.get("websites", "some") == "some",  # nobody sees a clinic that was not meant for them
        names_of=partial(_names_of, known),
        roles=ROLES,
        trouble=trouble,
        name=name,
        role=role,
        given=given,
        mark_of=partial(_mark_of, room),
    )


def _names_of(known: Sequence[Site], user: User) -> str:
    """The websites that somebody looks after, in words."""
    if user.sites is None:
        return "all"
    return ", ".join(site.name for site in known if site.id in user.sites) or "none"


def _mark_of(room: Room, user: User) -> str:
    """Tells the password that a user has now, and nobody what it is: a form that carries it is good once."""
    return room.vault.digest("password", user.id, user.password_hash).hex()


def _add(room: Room) -> ResponseReturnValue:
    name, role = request.form.get("name", ""), request.form.get("role", "")
    try:
        with room.write() as session:
            now = room.database.now(session)
            chosen = None if role == "admin" else _chosen_anew(sites(session))
            user, password = add_user(session, name, role, now, chosen)
            record(session, current_user.name, "user_added", now, vault=room.vault, note=user.name)
    except StaffError as error:
        return _page(room, trouble=str(error), name=name[:100], role=role), 422
    return _page(room, given=(user.name, password))


def _new_password(room: Room, user_id: UUID) -> ResponseReturnValue:
    with room.write() as session:
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
        with room.write() as session:
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


def _change_sites(room: Room, user_id: UUID) -> ResponseReturnValue:
    trouble = ""
    if request.method == "POST":
        try:
            return _store_sites(room, user_id)
        except StaffError as error:
            trouble = str(error)
    with room.read() as session:
        user, known = session.get(User, user_id) or abort(404), sites(session)
    theirs = [site.key for site in known if user.sites and site.id in user.sites]
    chosen = request.form.getlist("site") if trouble else theirs
    page = render_template(
        "desk/user_sites.html",
        user=user,
        sites=known,
        chosen=set(chosen),
        only_some=bool(trouble) or user.sites is not None,
        trouble=trouble,
    )
    return page, 422 if trouble else 200


def _store_sites(room: Room, user_id: UUID) -> ResponseReturnValue:
    """Raises StaffError when they cannot be theirs."""
    with room.write() as session:
        user = session.get(User, user_id) or abort(404)
        choose = _chosen_anew if user.sites is None else _chosen
        if told := change_sites(user, choose(sites(session))):
            now = room.database.now(session)
            record(session, current_user.name, "user_sites_changed", now, vault=room.vault, note=told)
    flash(f"{user.name} sees {'only what was chosen' if user.sites else 'all websites'} now, at once.")
    return redirect(url_for("desk.users"), 303)


def _chosen(known: Sequence[Site]) -> list[Site] | None:
    """The websites that are ticked; None: all."""
    if request.form.get("websites") != "some":
        return None
    ticked = set(request.form.getlist("site"))
    return [site for site in known if site.key in ticked]


def _chosen_anew(known: Sequence[Site]) -> list[Site] | None:
    """The same for somebody for whom none were chosen before. Raises StaffError where all are chosen and some ticked:
    whoever overlooks “Only these” would show somebody what they shall not see."""
    if (chosen := _chosen(known)) is None and request.form.getlist("site"):
        raise StaffError("You ticked websites. Choose “Only these”, or take the ticks away.")
    return chosen


def _second_factor(room: Room, user_id: UUID) -> ResponseReturnValue:
    if user_id == current_user.id:
        return redirect(url_for("desk.second_factor"), 303)
    if request.method == "GET":
        return render_template("desk/user_second_factor.html", user=_existing(room, user_id))
    with room.write() as session:
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
        with room.write() as session:
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
    with room.read() as session:
        return session.get(User, user_id) or abort(404)
