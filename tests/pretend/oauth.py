"""A pretend CRM that people sign in to by OAuth 2, strict where real ones are: codes and refresh tokens work once, PKCE
is verified, access tokens end. And a tiny connector for it, which only tests know."""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from marshmallow import fields, validate

from integrations.core.base import Connector, Draft, Finding, Item, Options, Pushed, Result, Seen
from integrations.core.errors import Misconfigured
from integrations.core.http import raise_for_status
from integrations.core.oauth import OAuth
from integrations.core.registry import kinds
from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

CLIENT_ID, CLIENT_SECRET = "canary-client-id", "canary-client-secret-81c2"


class PretendSignIn(PretendCrm):
    """life: seconds that an access token holds, by `clock`. redirect_uri: the one that was entered for the app.

    rotate: each refresh token works once. slow: seconds a token request takes. told_wrong: what the token endpoint
    answers instead, each once. grants: the grant type of every token that was given.
    """

    kind = "tiny"

    def __init__(self, redirect_uri: str = "", clock: Callable[[], datetime] | None = None) -> None:
        super().__init__()
        self.redirect_uri, self._clock = redirect_uri, clock
        self.life, self.rotate, self.slow, self.secret = 3600.0, True, 0.0, CLIENT_SECRET
        self.codes: dict[str, Mapping[str, str]] = {}
        self.access: dict[str, float] = {}  # token → when it ends
        self.refresh: set[str] = set()
        self.given: list[str] = []  # every token, secret and code there ever was
        self.grants: list[str] = []
        self.told_wrong: list[Reply] = []
        self.refused = 0  # calls with a token that is not good
        self.held: dict[str, set[str]] = {}  # lead → events

    def settings(self) -> dict[str, Any]:
        return {"url": self.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    def people(self) -> list[Person]:
        return [Person(lead, lead, "", sorted(events)) for lead, events in self.held.items()]

    def faults(self) -> list[Fault]:
        return [lambda: Reply(401, {"error": "expired"})]

    def reply(self, request: Request) -> tuple[Reply | None, float]:
        reply, wait = super().reply(request)
        return reply, self.slow if request.path == "/token" else wait

    def answer(self, request: Request) -> Reply:
        if request.path == "/authorize":
            return self._authorize(request)
        if request.path == "/favicon.ico":
            return Reply(204)
        if request.path == "/decide":
            return Reply(302, headers={"Location": self._decided(request.query)})
        if request.path == "/token":
            return self.told_wrong.pop(0) if self.told_wrong else self._token(request)
        return self._crm(request)

    # Signing in

    def allow(self, address: str) -> str:
        """What a browser does whose user signs in and presses “Allow”. Returns where it is sent back to."""
        return self._decided(self._asked(address) | {"allow": "yes"})

    def deny(self, address: str) -> str:
        """The same with “Deny”."""
        return self._decided(self._asked(address))

    def _asked(self, address: str) -> dict[str, str]:
        assert address.startswith(f"{self.url}/authorize?")
        asked = dict(parse_qsl(urlsplit(address).query))
        assert self._wrong(asked) is None
        return asked

    def _wrong(self, asked: Mapping[str, str]) -> str | None:
        wanted = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": self.redirect_uri}
        wanted |= {"code_challenge_method": "S256", "scope": "people:write offline"}
        return next((name for name, value in wanted.items() if asked.get(name) != value), None)

    def _authorize(self, request: Request) -> Reply:
        if wrong := self._wrong(request.query):
            return Reply(400, {"error": wrong})
        links = [("Allow", {"allow": "yes"}), ("Deny", {})]
        page = "".join(
            f'<p><a href="/decide?{html.escape(urlencode({**request.query, **more}))}">{text}</a></p>'
            for text, more in links
        )
        head = "<!doctype html><title>Tiny CRM</title><h1>Let Frontdesk in?</h1>"
        return Reply(200, (head + page).encode(), {"Content-Type": "text/html"})

    def _decided(self, asked: Mapping[str, str]) -> str:
        answer = {"error": "access_denied"} if "allow" not in asked else {"code": self._new("code")}
        if "code" in answer:
            self.codes[answer["code"]] = asked
        return f"{asked['redirect_uri']}?{urlencode({**answer, 'state': asked['state']})}"

    def _new(self, what: str) -> str:
        made = f"canary-{what}-{secrets.token_hex(8)}"
        self.given.append(made)
        return made

    def _token(self, request: Request) -> Reply:
        form, grant = request.body, request.body.get("grant_type")
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, self.secret):
            return Reply(401, {"error": "invalid_client"})
        if grant == "authorization_code" and not self._code_is_good(form):
            return Reply(400, {"error": "invalid_grant"})
        if grant == "refresh_token" and form.get("refresh_token") not in self.refresh:
            return Reply(400, {"error": "invalid_grant"})
        if grant not in ("authorization_code", "refresh_token", "client_credentials"):
            return Reply(400, {"error": "unsupported_grant_type"})
        return self._granted(grant, form)

    def _code_is_good(self, form: Mapping[str, str]) -> bool:
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return (
            asked is not None
            and form.get("redirect_uri") == asked["redirect_uri"]
            and secrets.compare_digest(challenge, asked["code_challenge"])
        )

    def _granted(self, grant: str, form: Mapping[str, str]) -> Reply:
        self.grants.append(grant)
        token = self._new("access")
        self.access[token] = self._now() + self.life
        body = {"access_token": token, "token_type": "Bearer", "expires_in": int(self.life), "account": "tiny-7"}
        if grant == "authorization_code" or (grant == "refresh_token" and self.rotate):
            self.refresh.discard(form.get("refresh_token", ""))
            body["refresh_token"] = self._new("refresh")
            self.refresh.add(str(body["refresh_token"]))
        return Reply(200, body)

    def end_tokens(self) -> None:
        """Every access token ends before its time."""
        self.access.clear()

    def end_sign_in(self) -> None:
        """Somebody took the app's access away."""
        self.access.clear()
        self.refresh.clear()

    def _now(self) -> float:
        return self._clock().timestamp() if self._clock else time.time()

    # Being a CRM

    def _crm(self, request: Request) -> Reply:
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.access.get(token, 0) <= self._now():
            self.refused += 1
            return Reply(401, {"error": "expired"})
        if request.path == "/tiny-7/me":
            return Reply(200, {"ok": True})
        lead = request.path.removeprefix("/tiny-7/people/")
        if request.method == "PUT":
            self.held.setdefault(lead, set()).add(request.body["event"])
        return Reply(200, {"id": lead, "events": sorted(self.held[lead])}) if lead in self.held else Reply(404)


class TinyOptions(Options):
    url = fields.String(required=True, metadata={"label": "API address", "help": "Leave as it is."})
    client_id = fields.String(required=True, metadata={"label": "Client ID"})
    client_secret = fields.String(required=True, metadata={"label": "Client secret", "secret": True})
    way = fields.String(
        load_default="person", validate=validate.OneOf(["person", "program"]), metadata={"label": "Who signs in"}
    )


class Tiny(Connector):
    """One call per item."""

    kind: ClassVar[str] = "tiny"
    label: ClassVar[str] = "Tiny CRM"
    tier = "A"
    options = TinyOptions
    people_sign_in = True
    fields: ClassVar[Mapping[str, str]] = {"email": "email"}

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth:
        return OAuth(
            token_url=f"{settings['url']}/token",
            authorize_url=f"{settings['url']}/authorize",
            grant="authorization_code" if settings["way"] == "person" else "client_credentials",
            scopes=("people:write", "offline"),
            keep=("account",),
            refresh_days=60 if settings["way"] == "person" else None,
        )

    def _ask(self, method: str, path: str, json: Any = None) -> Any:
        answer = self.http.request(
            method, f"{self.settings['url']}/{self.settings['token']['account']}{path}", json=json
        )
        if answer.status == 404:
            return None
        raise_for_status(answer)
        return answer.json()

    def check(self) -> list[Finding]:
        try:
            self._ask("GET", "/me")
        except Misconfigured as error:
            return [Finding(False, error.sentence)]
        return [Finding(True, "Tiny CRM lets us in.")]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        return [Pushed(self._ask("PUT", f"/people/{one.lead_id}", {"event": one.event_id})["id"]) for one in batch]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        there = [self._ask("GET", f"/people/{item.lead_id}") for item in items]
        return [
            Seen(found["id"]) if found and item.event_id in found["events"] else None
            for item, found in zip(items, there, strict=True)
        ]

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Nothing here asks for it."""

    def draft(self, item: Item) -> list[Draft]:
        return [Draft("PUT", f"{self.settings['url']}/people/{item.lead_id}", {"event": item.event_id})]


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program know the tiny kind."""
    monkeypatch.setitem(kinds(), "tiny", Tiny)
