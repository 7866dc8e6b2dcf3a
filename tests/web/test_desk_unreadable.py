"""What could not be understood, as staff read it: names and values, whatever a stranger has sent."""

from __future__ import annotations

import json

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from requests import Request

from leads.desk.unreadable import taken_apart
from leads.store.models import Site, Unreadable, new_id
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_unreadable
from tests.web.desk import Person, plain, signed_in

_FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


def _keep(database: Database, vault: Vault, site: Site, text: str, kind: str) -> Unreadable:
    id_ = new_id()
    sealed = vault.seal({"text": text, "content_type": kind}, "unreadable", "body", id_)
    return make_unreadable(database, site, id=id_, body_sealed=sealed)


def test_a_form_is_shown_as_names_and_values_and_as_it_came(
    database: Database, vault: Vault, site: Site, anna: Person
) -> None:
    sent = "vorname=J%C3%A4ne&mail=jane%40example.com&empty=&nachricht=Bitte+um+R%FCckruf%0A%3Cb%3Edanke%3C%2Fb%3E"
    _keep(database, vault, site, sent, _FORM)
    page = anna.get("/desk/unreadable")
    assert "<dt>vorname</dt><dd>Jäne</dd>" in page
    assert "<dt>mail</dt><dd>jane@example.com</dd>" in page
    assert "<dd>Bitte um Rückruf\n&lt;b&gt;danke&lt;/b&gt;</dd>" in page
    assert "<dt>empty" not in page
    assert "What was sent, as it came" in plain(page)
    assert sent.replace("&", "&amp;") in page


def _with_files() -> tuple[str, str]:
    fields = [("your-name", "Jane"), ("service", "Knee"), ("service", "Hip")]
    sent = Request("POST", "https://x.example", data=fields, files={"photo": ("knee.jpg", b"abc")}).prepare()
    assert isinstance(sent.body, bytes)
    return sent.body.decode(), "multipart/form-data"


@pytest.mark.parametrize(
    ("text", "kind", "answers"),
    [
        (
            '{"contact": {"Name": "Jane", "e-mail": null}, "ok": true, "parts": ["knee", 2]}',
            "text/plain",
            [("contact › Name", "Jane"), ("ok", "yes"), ("parts", "knee"), ("parts", "2")],
        ),
        (
            *_with_files(),
            [
                ("your-name", "Jane"),
                ("Service asked for", "Knee"),
                ("Service asked for", "Hip"),
                ("Files, not taken", "knee.jpg"),
            ],
        ),
        ("a=1&email=j%40x.example\n", "application/json", [("a", "1"), ("E-mail", "j@x.example")]),
        ("pretty=1&raw=" + '%7B"q3_name":"Jane"%7D', _FORM, [("pretty", "1"), ("raw › q3_name", "Jane")]),
        ("note={not json}", _FORM, [("note", "{not json}")]),
        ('["\\u0000", {"note": "\\u0000"}]', "application/json", []),
        ("call me back", _FORM, []),
        ("<xml>a=b</xml>", "text/xml", []),
        ("{broken", "application/json", []),
        ("[" * 20 + "1" + "]" * 20, "application/json", []),
        ("[" * 30_000 + "]" * 30_000, "application/json", []),
        ("--ü\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--ü--", "multipart/form-data", []),
    ],
)
def test_what_can_be_taken_apart(text: str, kind: str, answers: list[tuple[str, str]]) -> None:
    assert taken_apart(text, kind) == (answers, True)


def test_it_is_bounded_and_says_so(database: Database, vault: Vault, site: Site, anna: Person) -> None:
    assert taken_apart(json.dumps({"n" * 300: "v" * 3000}), "") == ([("n" * 100, "v" * 2000)], False)
    _keep(database, vault, site, "&".join(f"a{number}=b" for number in range(9000)), _FORM)
    page = anna.get("/desk/unreadable")
    assert page.count("<dt>") == 60
    assert "This is not all of it" in page


def test_half_a_character_is_no_trouble(database: Database, vault: Vault, site: Site, anna: Person) -> None:
    _keep(database, vault, site, r'{"\ud800": "\udfff\u0000"}', "application/json")
    assert "<dt>�</dt><dd>�</dd>" in anna.get("/desk/unreadable")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


_PART = st.builds(
    lambda named, body: b"--a\r\nContent-Disposition: form-data" + named + b"\r\n\r\n" + body + b"\r\n--a--",
    st.sampled_from([b"", b'; name="x"', b'; filename="f"', b'; name="x"; filename="f"', b"; name=", b'; name=""']),
    st.binary(),
)


@given(
    st.binary()
    | _PART
    | _JSON.map(json.dumps).map(str.encode)
    | st.binary().map(lambda rest: b"--a\r\n" + rest + b"\r\n--a--"),
    st.sampled_from(["", "text/plain", "application/json", _FORM, "multipart/form-data", "multipart/mixed"]),
)
def test_nothing_that_a_stranger_sends_breaks_it(body: bytes, kind: str) -> None:
    answers, _ = taken_apart(body.decode("utf-8", "backslashreplace"), kind)
    assert len(answers) <= 60
    assert all(name.encode() is not None and value.encode() for name, value in answers)
