"""`frontdesk user`: who may sign in to the desk."""

from __future__ import annotations

import click

from leads.commands.office import Office, fail
from leads.store.models import ROLES
from leads.store.staff import StaffError, add_user, find_user, reset_password


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
        found = find_user(session, name)
        if found is None:
            fail(f"There is no user called {name}.")
        one_time = reset_password(found)
        office.record(session, "password_reset", found.name)
    _show(one_time)


def _show(one_time: str) -> None:
    click.echo(f"One-time password, shown only now: {one_time}")
