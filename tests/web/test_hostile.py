"""What a stranger can send: never a 500, what is understood is stored, what is not is kept for staff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.pages import FORM
from tests.web.stored import Stored

API = "/api/v1/consultations"
CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "hostile.json").read_text(encoding="utf-8"))
# Answers for each way a body may end; "told": the sender learns what to mend, and nothing is kept.
STATUSES = {
    (API, "event"): {201},
    (API, "unreadable"): {400, 404, 415},
    (API, "told"): {422},
    (FORM, "event"): {303},
    (FORM, "unreadable"): {400},
    (FORM, "told"): {422},
}
NAMES = [
    "site",
    "id",
    "email",
    "phone",
    "first_name",
    "consent",
    "attribution",
    "page",
    "token",
    "website",
    "next",
    "x",
]


def body_of(case: dict[str, Any]) -> bytes:
    """The bytes of a case: as they are, in Latin-1, or something repeated."""
    if "repeat" in case:
        opening, times, closing = case["repeat"]
        return (case.get("before", "") + opening * times + closing * times).encode()
    if "latin1" in case:
        return bytes(case["latin1"].encode("latin-1"))
    return bytes(case["body"].encode())


@pytest.mark.parametrize("door", [API, FORM])
def test_hostile_inputs(client: FlaskClient, stored: Stored, door: str) -> None:
    for case in CASES:
        events, unreadable = len(stored.events()), len(stored.unreadable())
        end = case["api" if door == API else "form"]
        for _ in range(2):  # the second one of the same counts for nothing
            response = client.post(door, data=body_of(case), content_type=case["type"])
            assert response.status_code in STATUSES[door, end], case["name"]
        kept = (len(stored.events()) - events, len(stored.unreadable()) - unreadable)
        assert kept == (end == "event", end == "unreadable"), case["name"]
        if end == "event":
            assert case["answers"].items() <= stored.answers().items(), case["name"]
        if end == "unreadable":
            assert stored.body()["text"] == body_of(case).decode("utf-8", "backslashreplace"), case["name"]


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
objects = st.dictionaries(st.sampled_from(NAMES) | texts, values, max_size=8).map(
    lambda given: {"site": "demo", **given}
)
bodies = st.one_of(
    objects.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(NAMES), st.text(max_size=30), max_size=8).map(
        lambda given: "&".join(f"{name}={value}" for name, value in given.items()).encode("utf-8", "replace")
    ),
    st.binary(max_size=300),
)
types = st.sampled_from(
    [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=b; charset=nonsense",
    ]
) | st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30)


@pytest.mark.parametrize("door", [API, "/api/v1/call-clicks", FORM])
@given(body=bodies, content_type=types)
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_answered_and_accounted_for(
    client: FlaskClient, stored: Stored, door: str, body: bytes, content_type: str
) -> None:
    before = len(stored.events()) + len(stored.unreadable())
    response = client.post(door, data=body, content_type=content_type)
    after = len(stored.events()) + len(stored.unreadable())
    assert response.status_code < 500
    if response.status_code in (201, 303):
        assert stored.events()
    else:
        assert response.status_code in (400, 404, 415, 422)
        assert after - before in (0, 1)


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "a b", "a:x", "[::1", "-"])
@pytest.mark.parametrize(
    "path", ["/healthz", "/desk/", "/", "/f/demo/consultation", "/api/v1/consultations", "/nowhere"]
)
def test_a_host_that_cannot_be_is_no_fault_of_ours(client: FlaskClient, host: str, path: str) -> None:
    for ask in (client.get, client.post):
        assert ask(path, headers={"Host": host}).status_code < 500
