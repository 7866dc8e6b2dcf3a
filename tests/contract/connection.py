"""The connection of the contract suite: a connector with the settings, and the sign-in, of its `connection.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from integrations.core import oauth
from integrations.core.base import Connector
from integrations.core.http import Answer, Http
from integrations.core.oauth import OAuth, Token
from integrations.core.registry import kinds

FIXTURES = Path(__file__).parent.parent / "fixtures"
_FAR = datetime(2100, 1, 1, tzinfo=UTC)


class Noting(Http):
    """Also keeps what was written: method, address and body of every call that does not only read."""

    def __init__(self, **net: Any) -> None:
        super().__init__(**net)
        self.writes: list[tuple[str, str, Any]] = []

    def request(self, method: str, url: str, *, reads: bool = False, **content: Any) -> Answer:
        if method != "GET" and not reads:
            whole = requests.Request(method, url, params=content.get("params")).prepare().url
            self.writes.append((method, str(whole), _body(content)))
        return super().request(method, url, reads=reads, **content)


def _body(content: Mapping[str, Any]) -> Any:
    data = content.get("data")
    return json.loads(data) if isinstance(data, bytes) else data or content.get("json")


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
    connection = connection_of(kind)
    token = token_of(connection) if "token" in connection else None
    hosts = frozenset(connection.get("allowed_private_hosts", ()))
    return build(kind, connection["settings"] | more, token, renews=renews, allowed_private_hosts=hosts)


def build(kind: str, options: Mapping[str, Any], token: Token | None, *, renews: bool = True, **net: Any) -> Connector:
    """A connector with these options. token: needed where they sign in by OAuth. net: for `Http`."""
    connector = kinds()[kind]
    settings: dict[str, Any] = connector.options().load(options)
    how = connector.oauth(settings)
    if how is None:
        return connector(settings, Noting(**net))
    assert token, "this kind signs in: `connection.json` needs a token"
    signed = SignedIn(Http(**net), how, settings, token, renews=renews)
    return connector({**settings, "token": dict(token.extra)}, Noting(**net, credentials=signed))
