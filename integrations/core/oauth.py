"""Signing in at a CRM by OAuth 2. The protocol is Authlib's; its messages go through our own guarded client."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc7523.assertion import sign_jwt_bearer_assertion

from integrations.core.errors import Misconfigured, Refused, Throttled, TryLater
from integrations.core.http import Answer, Http, parse_retry_after, raise_for_status, utc_now

Grant = Literal["authorization_code", "client_credentials", "jwt_bearer"]

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523
_LIFE = 1800  # seconds, where the CRM does not say how long a token holds: no CRM's is known to be shorter
_SIGN_IN_AGAIN = "The CRM has ended the sign-in. Press “Sign in again” on the connection's page."
_BAD_CLIENT = "The CRM does not know the client ID or does not accept the client secret. Compare them with its page."


@dataclass(frozen=True, slots=True)
class OAuth:
    """How one connection signs in: where, as what, and how its CRM departs from the standard.

    grant: by a person in the browser, or as a program by a secret or a key of its own. scheme: the word before the
    token in the Authorization header. extra: further parameters of the address to sign in at. keep: names in the token
    answer that calls need later, such as `instance_url`. refresh_days: after how many days without use, or at all, the
    sign-in ends; None when it does not. account_url: what the callback names as the token's true address, if it does.
    """

    token_url: str
    authorize_url: str = ""
    grant: Grant = "authorization_code"
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    client_auth: Literal["client_secret_basic", "client_secret_post"] = "client_secret_post"
    pkce: bool = True
    scheme: str = "Bearer"
    extra: Mapping[str, str] = field(default_factory=dict)
    token_extra: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    refresh_days: int | None = None
    claims: Mapping[str, str] = field(default_factory=dict)  # of the signed assertion: iss, sub, aud


@dataclass(frozen=True, slots=True)
class Token:
    """What lets us in. extra: what the CRM said beside it, such as the address of the account."""

    access_token: str = field(repr=False)
    expires_at: datetime
    refresh_token: str | None = field(default=None, repr=False)
    extra: Mapping[str, str] = field(default_factory=dict)

    def stale(self, now: datetime) -> bool:
        """Whether it should be renewed before the next call: ahead of its end, so that no call meets it."""
        return now >= self.expires_at - timedelta(minutes=5)

    def dump(self) -> dict[str, Any]:
        """As JSON, to be sealed."""
        return {
            "access_token": self.access_token,
            "expires_at": self.expires_at.isoformat(),
            "refresh_token": self.refresh_token,
            "extra": dict(self.extra),
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Token:
        """The inverse of `dump`."""
        expires_at = datetime.fromisoformat(stored["expires_at"])
        return cls(stored["access_token"], expires_at, stored["refresh_token"], stored["extra"])


def authorization_url(oauth: OAuth, settings: Mapping[str, Any], redirect_uri: str, state: str, verifier: str) -> str:
    """Where the person is sent to sign in. state, verifier: random texts that only we know (RFC 6749 10.12, 7636)."""
    client = _client(oauth, settings, None, redirect_uri)
    secret = verifier if oauth.pkce else None
    url, _ = client.create_authorization_url(oauth.authorize_url, state=state, code_verifier=secret, **oauth.extra)
    return str(url)


def redeem(http: Http, oauth: OAuth, settings: Mapping[str, Any], redirect_uri: str, code: str, verifier: str) -> Token:
    """The token for the code that the CRM sent the person back with. Raises DeliveryError."""
    more = {"code_verifier": verifier} if oauth.pkce else {}
    client = _client(oauth, settings, http, redirect_uri)
    return _token(oauth, client.fetch_token(oauth.token_url, grant_type="authorization_code", code=code, **more), None)


def renew(http: Http, oauth: OAuth, settings: Mapping[str, Any], before: Token | None) -> Token:
    """A fresh token. Raises Misconfigured (code `signed_out`) when a person has to sign in again."""
    client = _client(oauth, settings, http)
    if oauth.grant == "client_credentials":
        more = {"scope": client.scope} if client.scope else {}
        got = client.fetch_token(oauth.token_url, grant_type="client_credentials", **more, **oauth.token_extra)
    elif oauth.grant == "jwt_bearer":
        client.token_endpoint_auth_method = "none"  # noqa: S105 - the assertion is the proof
        assertion = _assertion(oauth, settings)
        got = client.fetch_token(oauth.token_url, grant_type=_JWT_BEARER, assertion=assertion)
    elif before and before.refresh_token:
        client.scope = None  # RFC 6749 6: left out, it is what was granted
        got = client.refresh_token(oauth.token_url, refresh_token=before.refresh_token, **oauth.token_extra)
    else:
        raise Misconfigured("signed_out", "Nobody has signed in at the CRM yet. Press “Sign in”.")
    return _token(oauth, got, before)


class _Client(OAuth2Client):  # type: ignore[misc]  # Authlib ships no types
    """Authlib's client with our own transport: guarded addresses, a deadline, no redirects."""

    def _http_post(self, url: str, body: str | None = None, auth: Any = None, headers: Any = None, **_: Any) -> Any:
        url, headers, body = auth.prepare("POST", url, dict(headers or {}), body or "")
        answer = self.session.request("POST", url, data=body.encode(), headers=headers, reads=True)
        return _answered(answer)

    def _fetch_token(self, url: str, body: str = "", auth: Any = None, headers: Any = None, **_: Any) -> Any:
        return self._http_post(url, body, auth, headers)

    def _refresh_token(self, url: str, body: str = "", auth: Any = None, headers: Any = None, **_: Any) -> Any:
        return self._http_post(url, body, auth, headers)


def _client(oauth: OAuth, settings: Mapping[str, Any], http: Http | None, redirect_uri: str | None = None) -> Any:
    return _Client(
        session=http,
        client_id=settings["client_id"],
        client_secret=settings.get("client_secret"),
        token_endpoint_auth_method=oauth.client_auth,
        scope=oauth.scope_separator.join(oauth.scopes) or None,
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
    )


def _assertion(oauth: OAuth, settings: Mapping[str, Any]) -> str:
    claims = oauth.claims
    try:
        return str(
            sign_jwt_bearer_assertion(
                settings["private_key"], claims["iss"], claims["aud"], claims["sub"], expires_in=180, alg="RS256"
            )
        )
    except ValueError:
        raise Misconfigured("bad_private_key", "The private key cannot be read. It must be in PEM form.") from None


def _answered(answer: Answer) -> dict[str, Any]:
    """The token endpoint's words. Raises what an error there means: some CRMs send it with status 200."""
    body = _object(answer)
    if answer.status < 300 and isinstance(body.get("access_token"), str):
        return body
    error = str(body.get("error", ""))
    if error in ("invalid_grant", "invalid_code", "BAD_REFRESH_TOKEN"):
        raise Misconfigured("signed_out", _SIGN_IN_AGAIN, status=answer.status)
    if error in ("invalid_client", "invalid_client_id", "invalid_client_secret", "unauthorized_client"):
        raise Misconfigured("bad_client", _BAD_CLIENT, status=answer.status)
    if answer.status == 429 or "Access Denied" in error:  # the latter is Zoho's: too many tokens in ten minutes
        wait = parse_retry_after(answer.headers.get("Retry-After"), utc_now()) or 600
        raise Throttled("rate_limit", "The CRM wants no further sign-in for now.", retry_after=wait)
    try:
        raise_for_status(answer)
    except Refused:
        raise Misconfigured("no_token", "The CRM does not accept the sign-in.", status=answer.status) from None
    raise TryLater("no_token", "The CRM answered the sign-in without a token.", status=answer.status)


def _object(answer: Answer) -> dict[str, Any]:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _token(oauth: OAuth, got: Mapping[str, Any], before: Token | None) -> Token:
    """A CRM that sends no new refresh token, or no address of the account again, means the old one to stay."""
    life = got.get("expires_in")
    seconds = float(life) if isinstance(life, int | float | str) and str(life).isdigit() else _LIFE
    kept = {name: str(got[name]) for name in oauth.keep if got.get(name)}
    return Token(
        str(got["access_token"]),
        datetime.fromtimestamp(time.time() + seconds, UTC),
        str(got.get("refresh_token") or "") or (before.refresh_token if before else None),
        {**(before.extra if before else {}), **kept},
    )
