"""What somebody can write into an address or a header: never a fault of ours, and never "the database is away"."""

from __future__ import annotations

import itertools
from unittest.mock import Mock
from urllib.parse import quote

import pytest
from flask import Flask
from sqlalchemy import exc
from werkzeug.routing import Rule

from leads.store.models import new_id
from leads.store.session import Database
from tests.conftest import only_sqlite
from tests.web.desk import Person, signed_in
from tests.web.pages import FORM

ID = new_id().hex
VALUES = [
    f"0001-01-01T00:00:00+23:59~{ID}",
    f"9999-12-31T23:59:59-23:59~{ID}",
    f"0001-01-01T00:00:00+00:00~{ID}",
    f"9999-12-31T23:59:59.999999Z~{ID}",
    f"2026-01-01~{ID}",
    "0001-01-01",
    "9999-12-31",
    "99999-12-31",
    "-1",
    str(2**64),
    "9" * 5000,
    "1e999",
    "nan",
    "\x00",
    "a\x00b",
    "AB\x00DEF",
    "\x1b[0m",
    "\u202e\ufffe",
    "😀" * 100,
    "e" + "\u0301\u0316" * 900,
    "http://[x",
    "//[x",
    "/desk/\\",
    "'; --",
    "%s%n{0}",
    "~",
    "",
]
RAW = [*map(quote, VALUES), "%ED%A0%80", "%FF%FE", "%C0%80", "%", "%zz"]
ASKED = {
    "/desk/": [],
    "/desk/leads": ["older", "newer", "state", "kind", "site", "period"],
    "/desk/actions": ["older", "who", "group"],
    "/desk/balance": ["from", "to", "site"],
    "/desk/replays": ["state", "connection", "site", "code", "period"],
    "/desk/export": ["site"],
    "/desk/sign-in": ["next"],
    "/desk/oauth/callback": ["state", "code", "error"],
    "/f/demo/thanks": ["reference", "consent"],
}
EVERY = sorted({name for names in ASKED.values() for name in names})


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


def faults(person: Person, addresses: list[str]) -> list[tuple[str, int]]:
    person.client.application.testing = False  # else a fault comes out as it is
    answers = [(address, person.client.get(address).status_code) for address in addresses]
    return [(address[:120], status) for address, status in answers if status >= 500]


def test_no_argument_of_an_address_brings_a_page_down(anna: Person) -> None:
    alone = [f"{path}?{name}={value}" for path, names in ASKED.items() for name in names for value in RAW]
    assert faults(anna, alone) == []


def test_nor_does_any_page_fall_by_all_of_them_together(app: Flask, anna: Person) -> None:
    pages = [path_of(rule, ID) for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    together = ["&".join(f"{name}={value}" for name in EVERY) for value in RAW]
    assert faults(anna, [f"{page}?{asked}" for page in pages if page != "/readyz" for asked in together[::3]]) == []


def test_nor_by_what_stands_in_its_path(app: Flask, anna: Person) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if rule.arguments and "GET" in (rule.methods or ())]
    assert faults(anna, [path_of(rule, value) for rule in rules for value in RAW if value]) == []


def path_of(rule: Rule, value: str) -> str:
    """The rule with this in each of its places."""
    return "".join(value if is_dynamic else text for is_dynamic, text in rule._trace if text != "|")


def test_nor_does_any_page_fall_by_a_header(app: Flask, anna: Person) -> None:
    app.testing = False
    asked = [("GET", "/f/demo/thanks"), ("POST", FORM), ("POST", "/desk/leads"), ("OPTIONS", "/api/v1/consultations")]
    values = ("http://[x", "//[x", "http://localhost:x/desk/", "http://\u212a[", "\x7f")
    for person in (anna, Person(app)):
        token = {"csrf_token": person.token()}
        for value, name, (method, path) in itertools.product(values, ("Referer", "Origin", "Host"), asked):
            sent = {name: value.encode().decode("latin-1")}
            answer = person.client.open(path, method=method, headers=sent, data=token)
            assert answer.status_code < 500, (name, value, path)


def test_nor_does_the_door_by_what_is_typed_there(app: Flask, anna: Person) -> None:
    app.testing = False
    for value in VALUES:
        stranger = Person(app, "192.0.2.9")
        fields = {"name": value, "password": value, "next": value}
        answer = stranger.client.post("/desk/sign-in", data={"csrf_token": stranger.token(), **fields})
        assert answer.status_code < 500, value
        assert stranger.sign_in("anna", next=value).location.startswith("/desk/")
        answer = anna.client.post("/desk/leads", data={"csrf_token": anna.token(), "q": value})
        assert answer.status_code < 500, value


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (exc.ProgrammingError("SELECT", {}, Exception("no such column")), 500),
        (exc.IntegrityError("INSERT", {}, Exception("twice")), 500),
        (exc.DataError("SELECT", {}, Exception("a NUL")), 400),
        (exc.OperationalError("SELECT", {}, Exception("gone")), 503),
        (exc.DBAPIError("SELECT", {}, Exception("cut off"), connection_invalidated=True), 503),
        (exc.TimeoutError("no connection was to be had"), 503),
        (exc.DatabaseError("SELECT", {}, Exception("malformed")), 503),
    ],
    ids=lambda value: type(value).__name__,
)
@only_sqlite
def test_only_what_means_that_the_database_is_away_says_so(
    app: Flask, anna: Person, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    monkeypatch.setattr("leads.desk.connections.connections_in_use", Mock(side_effect=error))
    app.testing = False
    page = anna.get("/desk/connections", status)
    assert ("Back in a moment" in page) == (status == 503)
