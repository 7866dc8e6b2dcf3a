"""Somebody signs in at the CRM for a connection: the way there, the way back, and keeping the sign-in alive."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from integrations.core.errors import DeliveryError
from integrations.core.oauth import OAuth, authorization_url, redeem
from integrations.core.registry import connector_class, kinds
from leads.store import outbox, tasks, tokens
from leads.store.models import Connection
from leads.store.staff import record
from leads.store.vault import VaultError
from leads.sync.account import require_same_account
from leads.sync.connect import Context, build_connector, http_within, options_of, tokens_of
from leads.sync.options import SetupError
from leads.sync.setup import Setup
from leads.sync.tokens import Tokens, ends, seal

log = structlog.get_logger()

CALLBACK = "/desk/oauth/callback"  # below the public address: where the CRM sends people back to
_KEEP = timedelta(days=21)  # before its end an unused sign-in is renewed; a week later people are told
_KEEP_AGAIN = timedelta(days=1)


class Way(NamedTuple):
    """Where to send somebody, and the random texts by which we know them again when they come back."""

    address: str
    state: str
    verifier: str


def sign_in_of(setup: Setup, connection: Connection) -> OAuth | None:
    """How somebody signs in at the CRM for this connection. None: nobody has to."""
    return _sign_in(connection, setup.options(connection))


def begin(setup: Setup, connection: Connection, redirect_uri: str) -> Way:
    """The way to the CRM. Raises SetupError when nobody has to sign in there."""
    oauth, options = _required(setup, connection)
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    return Way(authorization_url(oauth, options, redirect_uri, state, verifier), state, verifier)


def complete(setup: Setup, connection_id: UUID, redirect_uri: str, code: str, verifier: str) -> None:
    """Somebody came back with this code: take what the CRM gives for it, and start the connection unless staff paused
    it. Raises SetupError, also where they signed in at another account, or DeliveryError when the CRM gives nothing."""
    with setup.database.read() as session:
        before, now = session.get_one(Connection, connection_id), setup.database.now(session)
    oauth, options = _required(setup, before)
    token = redeem(http_within(setup.limits), oauth, options, redirect_uri, code, verifier, now)
    signed = build_connector(before.kind, options, setup.limits, token)
    require_same_account(setup.database, setup.vault, before, signed)
    ends_at = ends(oauth, connector_class(before.kind).key_ends(options), now)
    with setup.database.write() as session:
        connection, now = session.get_one(Connection, connection_id, with_for_update=True), setup.database.now(session)
        if setup.options(connection) != options:  # removed, or for another app or account now
            raise SetupError("Somebody changed this connection meanwhile. Nothing was changed. Open it to begin again.")
        tokens.sign_in(connection, seal(setup.vault, connection.id, token), ends_at)
        if connection.state != "paused":
            outbox.resume(session, connection, now)
        record(session, setup.by, "connection_signed_in", now, connection_id=connection.id)
        setup.database.nudge(session)


def keep_alive(context: Context) -> None:
    """Renew sign-ins that would soon end because nothing was sent for long. Never raises for a database in trouble."""
    try:
        for connection in _unused(context):
            _renew(context, connection)
    except SQLAlchemyError as error:
        log.warning("sign-ins cannot be renewed", type=type(error).__name__)


def _unused(context: Context) -> list[Connection]:
    with context.database.write() as session:
        now = context.database.now(session)
        soon = tokens.ending(session, now + _KEEP)
        return [one for one in soon if tasks.claim(session, f"sign_in {one.id}", now, _KEEP_AGAIN)]


def _renew(context: Context, connection: Connection) -> None:
    """One that cannot be renewed must not keep the others from it: all were claimed for a day."""
    try:
        if (signed := _signed(context, connection)) and signed.oauth.refresh_days:
            signed.replace()  # where the key itself ends only a person can help
    except DeliveryError as error:
        log.warning("a sign-in was not renewed", connection=str(connection.id), code=error.code)
    except VaultError:
        log.warning("a sign-in was not renewed", connection=str(connection.id), code="unreadable")


def _signed(context: Context, connection: Connection) -> Tokens | None:
    if connection.kind not in kinds():
        return None
    options = options_of(context.vault, connection)
    return tokens_of(context.database, context.vault, context.limits, connection, options)


def _required(setup: Setup, connection: Connection) -> tuple[OAuth, dict[str, Any]]:
    options = setup.options(connection)
    oauth = _sign_in(connection, options)
    if oauth is None:
        raise SetupError("Nobody has to sign in at the CRM for this connection.")
    return oauth, options


def _sign_in(connection: Connection, options: Mapping[str, object]) -> OAuth | None:
    if not options or connection.kind not in kinds():
        return None
    oauth = connector_class(connection.kind).oauth(options)
    return oauth if oauth and oauth.by_person else None
