"""OAuth's messages as recorded shapes: what we send, what we make of each answer, and that no secret is ever told."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from integrations.core.errors import DeliveryError, Misconfigured, Throttled, TryLater
from integrations.core.http import Http
from integrations.core.oauth import OAuth, Token, authorization_url, redeem, renew

URL = "https://accounts.crm.example/oauth/token"
BACK = "https://frontdesk.example/desk/oauth/callback"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SETTINGS = {"client_id": "canary-client", "client_secret": "canary-secret"}
SECRETS = ("canary-secret", "canary-code", "canary-verifier", "canary-access", "canary-refresh", "canary-newer")
PERSON = OAuth(URL, "https://accounts.crm.example/oauth/authorize?tenant=1", scopes=("read", "write"))
PROGRAM = OAuth(URL, grant="client_credentials", scopes=("all",))
BEFORE = Token("canary-access", NOW, "canary-refresh", {"api": "https://eu.crm.example"})
GIVEN = {"access_token": "canary-newer-access", "expires_in": 3600}


@pytest.fixture
def crm() -> Any:
    with responses.RequestsMock() as mock:
        yield mock


def _sent(crm: Any) -> dict[str, str]:
    """The form of the only request."""
    assert len(crm.calls) == 1
    return {name: values[0] for name, values in parse_qs(str(_text(crm.calls[0].request.body))).items()}


def _text(body: Any) -> str:
    return body.decode() if isinstance(body, bytes) else body


def _refresh(**more: Any) -> Token:
    return renew(Http(), OAuth(**{"token_url": URL} | more), SETTINGS, BEFORE, NOW)


def test_the_address_to_sign_in_at_carries_state_and_challenge_and_no_secret() -> None:
    address = authorization_url(PERSON, SETTINGS, BACK, "state-1", "canary-verifier" * 4)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"canary-verifier" * 4).digest()).rstrip(b"=").decode()
    assert {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()} == {
        "tenant": "1",
        "response_type": "code",
        "client_id": "canary-client",
        "redirect_uri": BACK,
        "scope": "read write",
        "state": "state-1",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert "canary-verifier" not in address
    plain = OAuth(URL, "https://crm.example/a", scopes=("a", "b"), scope_separator=",", pkce=False, extra={"x": "y"})
    query = parse_qs(urlsplit(authorization_url(plain, SETTINGS, BACK, "s", "v")).query)
    assert (query["scope"], query["x"]) == (["a,b"], ["y"])
    assert "code_challenge" not in query


def test_a_code_becomes_a_token(crm: Any) -> None:
    oauth = OAuth(URL, keep=("api", "missing"), token_extra={"user_type": "Location"})
    crm.post(URL, json=GIVEN | {"refresh_token": "canary-refresh", "api": "https://eu.crm.example", "noise": 1})
    token = redeem(Http(), oauth, SETTINGS, BACK, "canary-code", "canary-verifier", NOW)
    assert _sent(crm) == {
        "grant_type": "authorization_code",
        "code": "canary-code",
        "code_verifier": "canary-verifier",
        "redirect_uri": BACK,
        "user_type": "Location",
        "client_id": "canary-client",
        "client_secret": "canary-secret",
    }
    assert token == Token(
        "canary-newer-access",
        NOW + timedelta(hours=1),
        "canary-refresh",
        {"api": "https://eu.crm.example"},
        NOW + timedelta(minutes=55),
    )
    assert Token.load(json.loads(json.dumps(token.dump()))) == token


def test_the_client_may_show_itself_in_the_header(crm: Any) -> None:
    crm.post(URL, json=GIVEN)
    _refresh(client_auth="client_secret_basic")
    assert (
        crm.calls[0].request.headers["Authorization"]
        == "Basic " + base64.b64encode(b"canary-client:canary-secret").decode()
    )
    assert "client_secret" not in _sent(crm)


@pytest.mark.parametrize(
    ("answered", "kept"), [({}, "canary-refresh"), ({"refresh_token": "canary-newer"}, "canary-newer")]
)
def test_a_refresh_token_is_replaced_where_the_crm_sends_another(crm: Any, answered: dict[str, str], kept: str) -> None:
    crm.post(URL, json=GIVEN | answered)
    token = _refresh(scopes=("read",))
    assert (token.refresh_token, token.access_token) == (kept, "canary-newer-access")
    assert token.extra == {"api": "https://eu.crm.example"}, "what the CRM does not repeat stays"
    assert _sent(crm) == {"grant_type": "refresh_token", "refresh_token": "canary-refresh"} | SETTINGS


def test_a_program_signs_in_by_its_secret(crm: Any) -> None:
    crm.post(URL, json=GIVEN)
    assert renew(Http(), PROGRAM, SETTINGS, None, NOW).refresh_token is None
    assert _sent(crm) == {"grant_type": "client_credentials", "scope": "all"} | SETTINGS


def _pem(key: Any, lock: Any = None) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption()).decode())


RSA = rsa.generate_private_key(65537, 2048)
SIGNED = OAuth(
    URL, grant="jwt_bearer", claims={"iss": "canary-client", "sub": "bot@clinic.example", "aud": "https://a"}
)


def test_a_program_signs_in_by_its_key(crm: Any) -> None:
    crm.post(URL, json=GIVEN)
    renew(Http(), SIGNED, {"client_id": "canary-client", "private_key": _pem(RSA)}, None, NOW)
    sent = _sent(crm)
    assert sent["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert "client_secret" not in sent
    head, claims, _ = (base64.urlsafe_b64decode(part + "==") for part in sent["assertion"].split("."))
    assert json.loads(head)["alg"] == "RS256"
    told = json.loads(claims)
    assert (told["iss"], told["sub"], told["aud"]) == ("canary-client", "bot@clinic.example", "https://a")
    assert 0 < told["exp"] - told["iat"] <= 180


def test_a_private_key_may_have_been_pasted_into_one_line(crm: Any) -> None:
    crm.post(URL, json=GIVEN)
    for between in ("", " "):
        renew(Http(), SIGNED, {"client_id": "c", "private_key": _pem(RSA).replace("\n", between)}, None, NOW)


@pytest.mark.parametrize(
    "key",
    [
        "canary-secret, not a key",
        _pem(ec.generate_private_key(ec.SECP256R1())),
        _pem(RSA, BestAvailableEncryption(b"canary-secret")),
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    ],
    ids=["garbage", "other kind", "locked", "public"],
)
def test_a_private_key_that_cannot_be_used_is_told(key: str) -> None:
    error = _failure(lambda: renew(Http(), SIGNED, {"client_id": "c", "private_key": key}, None, NOW))
    assert (type(error), error.code) == (Misconfigured, "bad_private_key")


def _failure(call: Callable[[], object]) -> DeliveryError:
    """What it raises, once it is sure that nobody reading it learns a secret."""
    with pytest.raises(DeliveryError) as caught:
        call()
    error: BaseException | None = caught.value
    while error is not None:
        assert not [secret for secret in SECRETS if secret in f"{error} {error!r} {vars(error)}"]
        error = error.__cause__ or error.__context__
    return caught.value


OLD_HABITS = "You have made too many requests continuously. Please try again after some time. canary-refresh"


@pytest.mark.parametrize(
    ("status", "body", "verdict", "code"),
    [
        (400, {"error": "invalid_grant", "error_description": "canary-refresh is dead"}, Misconfigured, "signed_out"),
        (200, {"error": "invalid_code"}, Misconfigured, "signed_out"),  # Zoho
        (400, {"error": "interaction_required"}, Misconfigured, "signed_out"),  # Microsoft
        (400, {"status": "BAD_REFRESH_TOKEN", "message": "canary-refresh"}, Misconfigured, "signed_out"),  # HubSpot
        (401, {"error": "invalid_client"}, Misconfigured, "bad_client"),
        (400, {"error": "invalid_client"}, Misconfigured, "bad_client"),
        (200, {"error": "invalid_client_secret"}, Misconfigured, "bad_client"),  # Zoho
        (400, {"error": "invalid_client_id"}, Misconfigured, "bad_client"),  # Salesforce
        (400, {"error": "unauthorized_client"}, Misconfigured, "bad_client"),
        (401, "canary-refresh", Misconfigured, "bad_client"),
        (400, {"error": "invalid_scope"}, Misconfigured, "bad_scope"),
        (400, {"error": "redirect_uri_mismatch"}, Misconfigured, "bad_redirect"),  # Salesforce
        (200, {"error": "invalid_redirect_uri"}, Misconfigured, "bad_redirect"),  # Zoho
        (400, {"error": "unsupported_grant_type"}, Misconfigured, "no_token"),
        (200, {"error": "something new"}, Misconfigured, "no_token"),
        (400, ["canary-refresh"], Misconfigured, "no_token"),
        (403, "<html>", Misconfigured, "forbidden"),
        (404, "<html>", Misconfigured, "not_found"),
        (400, {"error": "Access Denied", "error_description": OLD_HABITS}, Throttled, "rate_limit"),  # Zoho
        (400, {"error": "rate_limit_exceeded"}, Throttled, "rate_limit"),  # Salesforce
        (429, {"error": "too_many"}, Throttled, "too_many_requests"),
        (500, {"error": "server_error"}, TryLater, "unavailable"),
        (502, "<html>", TryLater, "gateway"),
        (200, "<html>canary-refresh", TryLater, "no_token"),
        (200, {"access_token": ""}, TryLater, "no_token"),
        (200, {"access_token": {"canary-newer": 1}}, TryLater, "no_token"),
    ],
)
def test_what_an_answer_without_a_token_means(
    crm: Any, caplog: pytest.LogCaptureFixture, status: int, body: Any, verdict: type, code: str
) -> None:
    caplog.set_level(logging.DEBUG)
    crm.post(URL, status=status, body=body if isinstance(body, str) else json.dumps(body))
    error = _failure(_refresh)
    assert (type(error), error.code) == (verdict, code)
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_the_crm_says_how_long_it_wants_quiet(crm: Any) -> None:
    crm.post(URL, status=429, headers={"Retry-After": "7"})
    crm.post(URL, status=400, json={"error": "Access Denied"})
    waits = [error.retry_after for error in (_failure(_refresh), _failure(_refresh)) if isinstance(error, Throttled)]
    assert waits == [7, 600]


def test_nobody_is_told_to_sign_in_again_where_nobody_signed_in(crm: Any) -> None:
    crm.post(URL, status=400, json={"error": "invalid_grant"})
    assert _failure(lambda: renew(Http(), PROGRAM, SETTINGS, None, NOW)).code == "not_let_in"
    never = _failure(lambda: renew(Http(), PERSON, SETTINGS, None, NOW))
    assert never.code == "signed_out"
    assert "Nobody has signed in" in never.sentence
    assert "ended" in _failure(lambda: renew(Http(), PERSON, SETTINGS, Token("canary-access", NOW), NOW)).sentence


def test_a_code_that_is_not_accepted(crm: Any) -> None:
    crm.post(URL, status=400, json={"error": "invalid_grant"})
    error = _failure(lambda: redeem(Http(), PERSON, SETTINGS, BACK, "canary-code", "canary-verifier", NOW))
    assert "begin again" in error.sentence


def test_a_client_id_that_no_header_can_hold_is_told_without_the_secret() -> None:
    oauth = OAuth(URL, client_auth="client_secret_basic")
    settings = {"client_id": "客户", "client_secret": "canary-secret"}
    assert _failure(lambda: renew(Http(), oauth, settings, BEFORE, NOW)).code == "bad_client"


@pytest.mark.parametrize(
    ("told", "seconds", "ahead"),
    [
        (3600, 3600, 300),
        ("3600", 3600, 300),
        (3599.5, 3599.5, 300),
        (60, 60, 6),
        (None, 1800, 180),
        ("soon", 1800, 180),
        (0, 1800, 180),
        ("²", 1800, 180),
        (float("nan"), 1800, 180),
        (10**400, 1800, 180),
        (1e300, 30 * 86400, 300),
    ],
)
def test_how_long_a_token_holds(crm: Any, told: Any, seconds: float, ahead: float) -> None:
    crm.post(URL, body=json.dumps({"access_token": "a", "expires_in": told}))
    token = _refresh()
    assert token.expires_at == NOW + timedelta(seconds=seconds)
    assert token.renew_at == token.expires_at - timedelta(seconds=ahead)
    assert not token.stale(token.renew_at - timedelta(seconds=1))
    assert token.stale(token.renew_at)
    assert not token.over(token.renew_at)
    assert token.over(token.expires_at)


def test_nothing_secret_is_shown() -> None:
    assert not [secret for secret in SECRETS if secret in repr(BEFORE)]
