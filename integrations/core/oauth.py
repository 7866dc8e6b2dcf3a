"""Signing in at a CRM by OAuth 2. The protocol is Authlib's; its messages go through our own guarded client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc7523.assertion import sign_jwt_bearer_assertion
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import RSAKey

from integrations.core.errors import Misconfigured, Refused, Throttled, TryLater
from integrations.core.http import Answer, Http, by_status, utc_now

Grant = Literal["authorization_code", "client_credentials", "jwt_bearer"]
Told = tuple[str, str]  # code and sentence

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523
# An input of one line takes the ends of the lines out of what is pasted into it.
_LINES = re.compile(r"(-----BEGIN [A-Z ]+-----)([A-Za-z0-9+/=\s]+)(-----END [A-Z ]+-----)")
_LIFE = 1800.0  # seconds, where the CRM does not say how long a token holds; if it is less, its 401 tells
_LONGEST = 30 * 86400.0
_AHEAD = 300.0  # seconds before its end that a token is renewed, but no more than a tenth of its life

_NOBODY = ("signed_out", "Nobody has signed in at the CRM yet. Press “Sign in” on the connection's page.")
_ENDED = ("signed_out", "The CRM has ended the sign-in. Press “Sign in again” on the connection's page.")
_CODE = ("signed_out", "The CRM no longer accepts this sign-in. Press “Sign in” and begin again.")
_NOT_LET_IN = (
    "not_let_in",
    "The CRM does not let the app in. See there whether the app is approved for its user, and its key still valid.",
)
_BAD_CLIENT = (
    "bad_client",
    "The CRM does not know the client ID or does not accept the client secret. Compare them with the app in the CRM.",
)
_BAD_REDIRECT = (
    "bad_redirect",
    "The CRM does not know our redirect address. Enter it there just as the connection's page shows it.",
)
_BAD_SCOPE = ("bad_scope", "The CRM does not grant all rights that are needed. Allow them for the app in the CRM.")
_PRIVATE_KEY = (
    "bad_private_key",
    "The private key cannot be read. It must be an RSA key in PEM form, without password.",
)

# RFC 6749 5.2; `invalid_code` is Zoho's, `interaction_required` Microsoft's, `BAD_REFRESH_TOKEN` HubSpot's.
_DEAD = ("invalid_grant", "invalid_code", "interaction_required", "BAD_REFRESH_TOKEN")
_ERRORS: Mapping[str, Told] = {
    "invalid_client": _BAD_CLIENT,
    "invalid_client_id": _BAD_CLIENT,  # Salesforce
    "invalid_client_secret": _BAD_CLIENT,  # Zoho
    "unauthorized_client": _BAD_CLIENT,
    "invalid_scope": _BAD_SCOPE,
    "redirect_uri_mismatch": _BAD_REDIRECT,  # Salesforce
    "invalid_redirect_uri": _BAD_REDIRECT,  # Zoho
}
# Zoho's for more than ten tokens in ten minutes, with status 400; Salesforce's.
_TOO_MANY = ("Access Denied", "rate_limit_exceeded")


@dataclass(frozen=True, slots=True)
class OAuth:
    """How one connection signs in: where, as what, and how its CRM departs from the standard.

    grant: by a person in the browser, or as a program by a secret or a key of its own. scheme: the word before the
    token in the Authorization header. extra: further parameters of the address to sign in at; token_extra: of every
    request for a token. keep: names in the token answer that calls need later, such as `instance_url`. refresh_days:
    after so many days in which it was not renewed a sign-in ends, more than three weeks; None: it does not. claims: of
    the signed assertion: iss, sub, aud.
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
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_person(self) -> bool:
        """Whether somebody has to sign in with a browser."""
        return self.grant == "authorization_code"


@dataclass(frozen=True, slots=True)
class Token:
    """What lets us in. extra: what the CRM said beside it, such as the address of the account. renew_at: when another
    one is asked for; None: at its end."""

    access_token: str = field(repr=False)
    expires_at: datetime
    refresh_token: str | None = field(default=None, repr=False)
    extra: Mapping[str, str] = field(default_factory=dict)
    renew_at: datetime | None = None

    def stale(self, now: datetime) -> bool:
        """Whether it should be renewed before the next call: ahead of its end, so that no call meets it."""
        return now >= (self.renew_at or self.expires_at)

    def over(self, now: datetime) -> bool:
        """Whether it no longer lets us in."""
        return now >= self.expires_at

    def dump(self) -> dict[str, Any]:
        """As JSON, to be sealed."""
        return {
            "access_token": self.access_token,
            "expires_at": self.expires_at.isoformat(),
            "refresh_token": self.refresh_token,
            "extra": dict(self.extra),
            "renew_at": (self.renew_at or self.expires_at).isoformat(),
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Token:
        """The inverse of `dump`."""
        expires_at = datetime.fromisoformat(stored["expires_at"])
        renew_at = datetime.fromisoformat(stored["renew_at"]) if "renew_at" in stored else None
        return cls(stored["access_token"], expires_at, stored.get("refresh_token"), stored.get("extra", {}), renew_at)


def authorization_url(oauth: OAuth, settings: Mapping[str, Any], redirect_uri: str, state: str, verifier: str) -> str:
    """Where the person is sent to sign in. state, verifier: random texts that only we know (RFC 6749 10.12, 7636)."""
    client = _client(oauth, settings, None, redirect_uri)
    secret = verifier if oauth.pkce else None
    url, _ = client.create_authorization_url(oauth.authorize_url, state=state, code_verifier=secret, **oauth.extra)
    return str(url)


def redeem(
    http: Http,
    oauth: OAuth,
    settings: Mapping[str, Any],
    redirect_uri: str,
    code: str,
    verifier: str,
    now: datetime | None = None,
) -> Token:
    """The token for the code that the CRM sent the person back with. now: this moment. Raises DeliveryError."""
    more = {"code": code, **({"code_verifier": verifier} if oauth.pkce else {}), **oauth.token_extra}
    client = _client(oauth, settings, http, redirect_uri)
    answer = client.fetch_token(oauth.token_url, grant_type="authorization_code", **more)
    return _token(oauth, _granted(answer, _CODE), None, now or utc_now())


def renew(
    http: Http, oauth: OAuth, settings: Mapping[str, Any], before: Token | None, now: datetime | None = None
) -> Token:
    """A fresh token. now: this moment. Raises DeliveryError: Misconfigured with the code `signed_out` when a person has
    to sign in again."""
    client, more = _client(oauth, settings, http), dict(oauth.token_extra)
    if oauth.grant == "client_credentials":
        answer = client.fetch_token(oauth.token_url, grant_type="client_credentials", **more)
    elif oauth.grant == "jwt_bearer":
        client.token_endpoint_auth_method = "none"  # noqa: S105 - the assertion is the proof
        more["assertion"] = _assertion(oauth, settings)
        answer = client.fetch_token(oauth.token_url, grant_type=_JWT_BEARER, **more)
    elif before and before.refresh_token:
        client.scope = None  # RFC 6749 6: left out, it is what was granted
        answer = client.refresh_token(oauth.token_url, refresh_token=before.refresh_token, **more)
    else:
        raise Misconfigured(*(_ENDED if before else _NOBODY))
    return _token(oauth, _granted(answer, _ENDED if oauth.by_person else _NOT_LET_IN), before, now or utc_now())


class _Client(OAuth2Client):  # type: ignore[misc]  # Authlib ships no types
    """Authlib's client with our own transport: guarded addresses, a deadline, no redirects. Gives the bare answer."""

    def _http_post(self, url: str, body: str | None = None, auth: Any = None, headers: Any = None, **_: Any) -> Answer:
        try:
            url, headers, body = auth.prepare("POST", url, dict(headers or {}), body or "")
        except UnicodeError:  # raised anew below: the original holds the secret
            body = None
        if body is None:
            raise Misconfigured(*_BAD_CLIENT)
        answer: Answer = self.session.request("POST", url, data=body.encode(), headers=headers, reads=True)
        return answer

    _fetch_token = _refresh_token = _http_post


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
    key, claims = _rsa_key(settings["private_key"]), oauth.claims
    if key is None:
        raise Misconfigured(*_PRIVATE_KEY)
    return str(sign_jwt_bearer_assertion(key, claims["iss"], claims["aud"], claims["sub"], expires_in=180, alg="RS256"))


def _rsa_key(pem: str) -> RSAKey | None:
    """None: it is no PEM, has a password, is no private key, or one of another kind."""
    try:
        private = load_pem_private_key(_LINES.sub(_in_lines, pem).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return RSAKey(private, private) if isinstance(private, RSAPrivateKey) else None


def _in_lines(found: re.Match[str]) -> str:
    return f"{found[1]}\n{''.join(found[2].split())}\n{found[3]}\n"


def _granted(answer: Answer, refused: Told) -> dict[str, Any]:
    """What the token endpoint gave. Raises what an error there means: some CRMs send it with status 200.

    refused: what to say when it does not accept what we came with.
    """
    body, status = _object(answer), answer.status
    token, error = body.get("access_token"), str(body.get("error") or body.get("status") or "")  # as HubSpot calls it
    if status < 300 and token and isinstance(token, str):
        return body
    if error in _DEAD:
        raise Misconfigured(*refused, status=status)
    if error in _ERRORS or status == 401:
        raise Misconfigured(*_ERRORS.get(error, _BAD_CLIENT), status=status)
    if error in _TOO_MANY:
        wait = answer.retry_after() or 600
        raise Throttled("rate_limit", "The CRM wants no further sign-in for now.", status=status, retry_after=wait)
    raise _unexplained(answer) or TryLater("no_token", "The CRM answered the sign-in without a token.", status=status)


def _unexplained(answer: Answer) -> Exception | None:
    """By the bare status. What was wrong with the request as a whole, is wrong with every one."""
    error = by_status(answer)
    if isinstance(error, Refused) or (error is None and "error" in _object(answer)):
        return Misconfigured("no_token", "The CRM does not accept the sign-in.", status=answer.status)
    return error


def _object(answer: Answer) -> dict[str, Any]:
    body = answer.json_or_none()
    return body if isinstance(body, dict) else {}


def _token(oauth: OAuth, got: Mapping[str, Any], before: Token | None, now: datetime) -> Token:
    """A CRM that sends no new refresh token, or no address of the account again, means the old one to stay."""
    life = _seconds(got.get("expires_in"))
    kept = {name: str(got[name]) for name in oauth.keep if got.get(name)}
    return Token(
        got["access_token"],
        now + timedelta(seconds=life),
        str(got.get("refresh_token") or "") or (before.refresh_token if before else None),
        {**(before.extra if before else {}), **kept},
        now + timedelta(seconds=life - min(_AHEAD, life / 10)),
    )


def _seconds(told: Any) -> float:
    """How long a token holds."""
    try:
        life = float(told)
    except (TypeError, ValueError, OverflowError):
        return _LIFE
    return min(life, _LONGEST) if life > 0 else _LIFE
