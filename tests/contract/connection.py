"""The connection of the contract suite: a connector with the settings, and the sign-in, of its `connection.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from integrations.core import oauth
from integrations.core.base import Connector
from integrations.core.http import Http
from integrations.core.oauth import OAuth, Token
from integrations.core.registry import kinds

FIXTURES = Path(__file__).parent.parent / "fixtures"
_FAR = datetime(2100, 1, 1, tzinfo=UTC)


class SignedIn:
    """Signs calls with the token of `connection.json`. One that has run out is renewed at the CRM's own endpoint."""

    def __init__(self, http: Http, how: OAuth, settings: Mapping[str, Any], token: Token, *, renews: bool) -> None:
        """renews: whether another token can be had at all; if not, a 401 is the last word."""
        self.http, self.how, self.settings, self.token, self.renews = http, how, settings, token, renews

    def header(self) -> str:
        return f"{self.how.scheme} {self.token.access_token}"

    def renew(self, header: str) -> bool:
        if self.renews:
            self.token = oauth.renew(self.http, self.how, self.settings, self.token)
        return self.header() != header


def connection_of(kind: str) -> dict[str, Any]:
    """What `connection.json` says of this kind."""
    found: dict[str, Any] = json.loads((FIXTURES / kind / "connection.json").read_text())
    return found


def token_of(connection: Mapping[str, Any]) -> Token:
    """The sign-in of a connection."""
    given = connection["token"]
    return Token(given["access_token"], _FAR, given.get("refresh_token"), given.get("extra", {}))


def secrets_of(connection: Mapping[str, Any]) -> list[str]:
    """All texts that must never show up anywhere."""
    token = connection.get("token", {})
    return [*connection["secrets"], *(token[name] for name in ("access_token", "refresh_token") if name in token)]


def signs_in(connector: type[Connector]) -> bool:
    """Whether accounts of this kind may sign in by OAuth."""
    return connector.oauth.__func__ is not Connector.oauth.__func__  # type: ignore[attr-defined]  # they are bound


def connect(kind: str, more: Mapping[str, Any], *, renews: bool = False) -> Connector:
    """The connector of this kind. more: options beside those of `connection.json`. renews: see `SignedIn`."""
    connector, connection = kinds()[kind], connection_of(kind)
    settings: dict[str, Any] = connector.options().load(connection["settings"] | more)
    allowed = frozenset(connection.get("allowed_private_hosts", ()))
    how = connector.oauth(settings)
    if how is None:
        return connector(settings, Http(allowed_private_hosts=allowed))
    token = token_of(connection)
    signed = SignedIn(Http(allowed_private_hosts=allowed), how, settings, token, renews=renews)
    return connector({**settings, "token": dict(token.extra)}, Http(allowed_private_hosts=allowed, credentials=signed))
