"""`frontdesk user`: who may sign in to the desk."""

from __future__ import annotations

from collections.abc import Sequence

import click
from sqlalchemy.orm import Session

from leads.commands.office import Office, as_rows, fail, json_option, say, site_named
from leads.store.models import ROLES, Site, User
from leads.store.queries.lists import sites, users
from leads.store.second_factor import turn_off
from leads.store.staff import StaffError, add_user, change_role, change_sites, find_user, remove_user, reset_password

_ONLY = "Of this website alone; more than once for several. Left out: of all."


@click.group()
def user() -> None:
    """People who may sign in to the desk."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="staff", show_default=True)
@click.option("--site", "keys", multiple=True, metavar="KEY", help=_ONLY)
def add(name: str, role: str, keys: Sequence[str]) -> None:
    """Add someone and print their one-time password."""
    office = Office()
    try:
        with office.database.write() as session:
            now = office.database.now(session)
            added, password = add_user(session, name, role, now, _named_sites(session, keys))
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
@click.option("--role", type=click.Choice(ROLES))
@click.option("--site", "keys", multiple=True, metavar="KEY", help=_ONLY)
@click.option("--all-sites", is_flag=True, help="All websites, also those that are added later.")
def change(name: str, role: str | None, keys: Sequence[str], all_sites: bool) -> None:
    """Give someone another role or other websites, at once. The last admin stays one."""
    if (keys and all_sites) or not (role or keys or all_sites):
        raise click.UsageError("Give --role, or --site as often as needed, or --all-sites.")
    office = Office()
    try:
        with office.database.write() as session:
            found = _named(session, name)
            if role and (told := change_role(session, found, role)):
                office.record(session, "role_changed", told)
            if (keys or all_sites) and (told := change_sites(found, _named_sites(session, keys))):
                office.record(session, "user_sites_changed", told)
            theirs = _names_of(session, found)
    except StaffError as error:
        fail(str(error))
    say(f"{found.name} has the role {found.role} now. Websites: {theirs}.")


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
    say(f"{found.name} has no second factor any more. They can sign in with the password and set it up again.")


@user.command("list")
@json_option
def list_users(json_: bool) -> None:
    """Show who may sign in."""
    with Office().database.read() as session:
        rows = [
            {
                "name": row.name,
                "role": row.role,
                "sites": _names_of(session, row),
                "last_sign_in": row.signed_in_at,
                "one_time_password": row.one_time,
                "second_factor": row.has_second_factor,
            }
            for row in users(session)
        ]
    empty = "Nobody can sign in yet. Run: frontdesk user add NAME --role admin"
    as_rows(["name", "role", "sites", "last_sign_in", "one_time_password", "second_factor"], rows, empty, json_=json_)


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
    say(f"{found.name} can no longer sign in. What they did stays written down under their name.")


def _named(session: Session, name: str) -> User:
    """Ends the program with a sentence when there is nobody of this name."""
    return find_user(session, name) or fail(f"There is no user called {name}.")


def _named_sites(session: Session, keys: Sequence[str]) -> list[Site] | None:
    """None: all. Ends the program with a sentence when there is no website of one of these keys."""
    return [site_named(session, key) for key in keys] or None


def _names_of(session: Session, user: User) -> str:
    """The keys of the websites that they look after, in words."""
    if user.sites is None:
        return "all"
    return ", ".join(site.key for site in sites(session) if site.id in user.sites) or "none"


def _show(one_time: str) -> None:
    say(f"One-time password, shown only now: {one_time}")
