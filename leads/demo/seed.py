"""What `frontdesk serve --demo` starts with: a clinic, its sandbox CRM, and someone who may sign in."""

from __future__ import annotations

from dataclasses import dataclass

from leads.demo.routes import SITE_KEY
from leads.store.queries.lists import connections_in_use
from leads.store.session import Database
from leads.store.sites import add_site, find_site
from leads.store.staff import add_user, find_user, reset_password
from leads.sync.setup import Setup

USER = "admin"
_CONNECTION = "Sandbox CRM"


@dataclass(frozen=True, slots=True)
class Login:
    """Who signs in. password: one-time, or None when they have set their own."""

    name: str
    password: str | None


def seed(setup: Setup, public_url: str, sandbox: dict[str, str]) -> Login:
    """Make what is missing; leave alone what is there. sandbox: the options of its connection."""
    _site(setup.database, public_url)
    _connection(setup, sandbox)
    return _login(setup.database)


def _connection(setup: Setup, sandbox: dict[str, str]) -> None:
    with setup.database.read() as session:
        found = connections_in_use(session)
    if not found:
        setup.create(SITE_KEY, "sandbox", _CONNECTION, sandbox)
    for connection in found:
        # The sandbox may have been started on another port this time.
        if connection.name == _CONNECTION and setup.merged(connection, {}).get("url") != sandbox["url"]:
            setup.replace(connection.id, {"url": sandbox["url"]})


def _site(database: Database, public_url: str) -> None:
    with database.write() as session:
        if find_site(session, SITE_KEY) is None:
            add_site(
                session,
                key=SITE_KEY,
                name="Sunrise Clinic",
                region="US",
                time_zone="America/New_York",
                now=database.now(session),
                origins=[public_url],
            )


def _login(database: Database) -> Login:
    with database.write() as session:
        user = find_user(session, USER)
        if user is None:
            _, password = add_user(session, USER, "admin", database.now(session))
            return Login(USER, password)
        # Not used yet: nobody may remember the one that was shown, so here is another.
        return Login(USER, reset_password(user) if user.one_time else None)
