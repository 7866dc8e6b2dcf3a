"""`frontdesk user`: who may sign in to the desk."""

from __future__ import annotations

import click
from sqlalchemy.orm import Session

from leads.commands.office import Office, as_rows, fail, json_option
from leads.store.models import ROLES, User
from leads.store.queries.lists import users
from leads.store.second_factor import turn_off
from leads.store.staff import StaffError, add_user, change_role, find_user, remove_user, reset_password


@click.group()
def user() -> None:
    """People who may sign in to the desk."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="staff", show_default=True)
def add(name: str, role: str) -> None:
    """Add someone and print their one-time password."""
    office = Office()
    try:
        with office.database.write() as session:
            added, password = add_user(session, name, role, office.database.now(session))
            office.record(session, "user_added", added.name)
    except StaffError as error:
        fail(str(error))
    _show(password)


@user.command("password")
@click.argument("name")
def password(name: str) -> None:
    """Give someone a new one-time password and end their sessions."""
    office = Office()
    with office.database.write() as session:
        found = _named(session, name)
        one_time = reset_password(found)
        office.record(session, "password_reset", found.name)
    _show(one_time)


@user.command("change")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True)
def change(name: str, role: str) -> None:
    """Give someone another role, at once. The last admin stays one."""
    office = Office()
    try:
        with office.database.write() as session:
            found = _named(session, name)
            if told := change_role(session, found, role):
                office.record(session, "role_changed", told)
    except StaffError as error:
        fail(str(error))
    click.echo(f"{found.name} has the role {role} now.")


@user.command("reset-second-factor")
@click.argument("name")
def reset_second_factor(name: str) -> None:
    """Take someone's second factor away and end their sessions, as when the phone is lost."""
    office = Office()
    with office.database.write() as session:
        found = _named(session, name)
        if not found.has_second_factor:
            fail(f"{found.name} has no second factor.")
        turn_off(session, found)
        office.record(session, "second_factor_reset", found.name)
    click.echo(f"{found.name} has no second factor any more. They can sign in with the password and set it up again.")


@user.command("list")
@json_option
def list_users(json_: bool) -> None:
    """Show who may sign in."""
    with Office().database.read() as session:
        rows = [
            {
                "name": row.name,
                "role": row.role,
                "last_sign_in": row.signed_in_at,
                "one_time_password": row.one_time,
                "second_factor": row.has_second_factor,
            }
            for row in users(session)
        ]
    empty = "Nobody can sign in yet. Run: frontdesk user add NAME --role admin"
    as_rows(["name", "role", "last_sign_in", "one_time_password", "second_factor"], rows, empty, json_=json_)


@user.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Let someone sign in no more, and end their sessions. The last admin stays."""
    office = Office()
    try:
        with office.database.write() as session:
            found = _named(session, name)
            remove_user(session, found)
            office.record(session, "user_removed", found.name)
    except StaffError as error:
        fail(str(error))
    click.echo(f"{found.name} can no longer sign in. What they did stays written down under their name.")


def _named(session: Session, name: str) -> User:
    """Ends the program with a sentence when there is nobody of this name."""
    return find_user(session, name) or fail(f"There is no user called {name}.")


def _show(one_time: str) -> None:
    click.echo(f"One-time password, shown only now: {one_time}")
