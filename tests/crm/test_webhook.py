"""The signature, checked by the official library of standardwebhooks.com, and what stands in a message."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import responses
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from integrations.core.errors import DeliveryError, Throttled, TryLater, Unknown
from integrations.core.http import Http
from integrations.webhook import Webhook, sign
from tests.contract.people import item

URL = "https://hooks.example/in"
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
NEW = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()


def _received(name: str, **options: str) -> tuple[dict[str, Any], dict[str, str], bytes]:
    """What a receiver gets for one of the contract suite's people: the verified document, headers and body."""
    with responses.RequestsMock() as world:
        world.post(URL)
        Webhook({"url": URL, "secret": SECRET} | options, Http()).push([item(name, Webhook)])
        request = world.calls[0].request
    headers = {key.lower(): str(value) for key, value in request.headers.items()}
    body = bytes(request.body)  # type: ignore[arg-type]  # it is bytes
    return Verifier(SECRET).verify(body, headers), headers, body


def test_the_official_library_accepts_the_signature() -> None:
    document, headers, _ = _received("ann")
    assert headers["webhook-id"] == item("ann", Webhook).event_id
    assert document["type"] == "consultation_request"
    assert document["data"]["lead"]["email"] == "ann@canary.example"
    assert document["data"]["event"]["preferred_time"] == "after 5 <pm>"


def test_while_the_secret_is_replaced_both_sign() -> None:
    _, headers, body = _received("ann", secret=NEW, previous_secret=SECRET)
    assert [len(one) for one in headers["webhook-signature"].split(" ")] == [47, 47]
    for secret in (SECRET, NEW):
        assert Verifier(secret).verify(body, headers)
    _, headers, body = _received("ann")
    with pytest.raises(WebhookVerificationError):
        Verifier(NEW).verify(body, headers)


@pytest.mark.parametrize(("status", "outcome"), [(503, TryLater), (429, Throttled)])
def test_what_passes_by_itself_is_no_finding(status: int, outcome: type[DeliveryError]) -> None:
    """Or a connection that is tried again would be taken for one that a person has to mend."""
    with responses.RequestsMock() as world:
        world.post(URL, status=status)
        with pytest.raises(outcome):
            Webhook({"url": URL, "secret": SECRET}, Http()).check()


@pytest.mark.parametrize(("status", "outcome"), [(500, TryLater), (503, TryLater), (502, Unknown), (520, Unknown)])
def test_what_the_receiver_itself_did_not_take_needs_nobody(status: int, outcome: type[DeliveryError]) -> None:
    """It could not be asked: so what a go-between may have handed on goes to a person."""
    with responses.RequestsMock() as world:
        world.post(URL, status=status)
        with pytest.raises(outcome):
            Webhook({"url": URL, "secret": SECRET}, Http()).push([item("ann", Webhook)])


def test_a_changed_body_is_noticed() -> None:
    _, headers, body = _received("ann")
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body.replace(b"Annabelle", b"Anna"), headers)


def test_a_repeat_has_the_same_id_and_a_signature_of_its_own_time() -> None:
    assert sign(SECRET, "one", 1, b"{}") != sign(SECRET, "one", 2, b"{}")
    assert _received("ann")[1]["webhook-id"] == _received("ann")[1]["webhook-id"]


def test_what_was_taken_and_is_sent_again_is_another_message_of_the_same_event() -> None:
    first = item("ann", Webhook)
    taken = [first, *(replace(first, taken_at=datetime(2026, 3, 2, 9, 0, second, tzinfo=UTC)) for second in (1, 1, 2))]
    with responses.RequestsMock() as world:
        world.post(URL)
        for one in taken:
            Webhook({"url": URL, "secret": SECRET}, Http()).push([one])
        sent = [(call.request.headers["webhook-id"], json.loads(call.request.body or "{}")) for call in world.calls]
    ids = [message_id for message_id, _ in sent]
    assert (ids[0], ids[1] == ids[2], len(set(ids))) == (first.event_id, True, 3)
    assert all("." not in one for one in ids)  # it parts what is signed
    assert {document["data"]["event"]["id"] for _, document in sent} == {first.event_id}


@pytest.mark.parametrize("secret", ["", "short", "whsec_c2hvcnQ=", "whsec_" + "*" * 40])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    errors = Webhook.options().validate({"url": URL, "secret": secret, "previous_secret": secret})
    assert list(errors) == ["secret", "previous_secret"]


def test_the_message_and_the_page_are_not_in_it() -> None:
    assert "message" not in json.dumps(_received("bob")[0])


@pytest.mark.parametrize(
    ("options", "tier"), [({}, "C"), ({"drops_repeats": "no"}, "C"), ({"drops_repeats": "yes"}, "A")]
)
def test_only_a_receiver_that_drops_repeats_is_sent_what_it_may_have(options: dict[str, str], tier: str) -> None:
    settings = Webhook.options().load({"url": URL, "secret": SECRET} | options)
    assert Webhook(settings, Http()).tier == tier
