"""The plain form, as a browser without scripts uses it."""

from __future__ import annotations

import io
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from leads.intake import receive
from leads.intake.spam import HONEYPOT
from leads.store import canary
from leads.store.models import Site
from leads.store.sites import DEFAULT_CONSENT, change_site
from tests.web.pages import FORM, JANE, ORIGIN, PUBLIC, filled, opened, page_of
from tests.web.stored import Stored

STRANGER = {"REMOTE_ADDR": "203.0.113.9"}
MADE = "5b0c8a52-0f5e-4a3e-9d0b-1b6f0f6a7c11"


def set_site(stored: Stored, **values: Any) -> None:
    with stored.database.write() as session:
        session.execute(update(Site).values(**values))


def test_the_form_needs_no_script(client: FlaskClient) -> None:
    response = client.get(FORM)
    page = page_of(response)
    assert response.status_code == 200
    assert page.action == f"{FORM}?step=send"
    assert set(JANE) - {"consent"} <= set(page.values)
    assert "<script" not in page.html
    assert escape(DEFAULT_CONSENT) in page.html
    assert page.foreign_links == []
    assert "consent" not in page.values  # nobody has agreed before he has ticked it


def test_an_enquiry_is_stored_and_thanked_for(client: FlaskClient, stored: Stored) -> None:
    response = client.post(FORM, data=filled(client))
    assert response.status_code == 303
    [event], [lead], [delivery] = stored.events(), stored.leads(), stored.deliveries()
    assert (event.source, event.hold_code, delivery.state) == ("form", None, "waiting")
    assert stored.answers() == {
        **{name: value for name, value in JANE.items() if name != "consent"},
        "phone": "+12015550123",
        "phone_typed": JANE["phone"],
    }
    address = urlsplit(response.location)
    assert address.path == "/f/demo/thanks"
    assert parse_qs(address.query) == {"reference": [lead.code]}
    assert lead.code in client.get(response.location).get_data(as_text=True)


def test_the_thank_you_page_promises_nothing_that_waits_for_staff(client: FlaskClient, stored: Stored) -> None:
    consented = client.post(FORM, data=filled(client))
    thanks = client.get(consented.location).get_data(as_text=True)
    assert "We have your request." in thanks
    assert "consent" not in thanks
    assert "contact you" not in thanks

    held = client.post(FORM, data=filled(client, consent=""))
    assert {event.hold_code for event in stored.events()} == {None, "no_consent"}
    assert "it waits until one of us has looked at it" in client.get(held.location).get_data(as_text=True)


def test_the_thank_you_page_shows_nothing_but_codes(client: FlaskClient) -> None:
    response = client.get("/f/demo/thanks?reference=<script>")
    assert response.status_code == 200
    assert "script" not in response.get_data(as_text=True)


@pytest.mark.parametrize(
    ("came_from", "back"),
    [
        ("https://clinic.example/implants?name=jane", "https://clinic.example/implants"),
        ("https://other.example/", "https://other.example/"),
        ("https://evil.example/clinic.example", ORIGIN),
        ("https://clinic.example@evil.example/", ORIGIN),
        ("javascript:alert()", ORIGIN),
        ("https://[", ORIGIN),
        (None, ORIGIN),
    ],
)
def test_the_thank_you_page_leads_back_to_the_website(
    client: FlaskClient, stored: Stored, came_from: str | None, back: str
) -> None:
    set_site(stored, origins=[ORIGIN, "https://other.example"])
    page = page_of(client.get("/f/demo/thanks", headers={"Referer": came_from} if came_from else {}))
    assert [link for link in page.links if ":" in link.removeprefix("data:")] == [back]
    assert "Back to Sunrise" in page.html


@pytest.mark.parametrize("origins", [[], ["http://localhost"]])
def test_the_thank_you_page_leads_neither_to_what_is_not_listed_nor_to_the_desk(
    client: FlaskClient, stored: Stored, origins: list[str]
) -> None:
    set_site(stored, origins=origins)
    assert "Back to" not in client.get("/f/demo/thanks", headers={"Referer": ORIGIN}).get_data(as_text=True)


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("", "https://clinic.example/thanks"),
        ("https://clinic.example/danke", "https://clinic.example/danke"),
        ("https://evil.example/", "https://clinic.example/thanks"),
        ("//evil.example", "https://clinic.example/thanks"),
        ("https://clinic.example/danke?x", "https://clinic.example/thanks"),
    ],
)
def test_the_way_back_leads_to_listed_pages_only(
    client: FlaskClient, stored: Stored, wanted: str, reached: str
) -> None:
    set_site(stored, thank_you_urls=["https://clinic.example/thanks", "https://clinic.example/danke"])
    response = client.post(FORM, data=filled(client, next=wanted))
    assert (response.status_code, response.location) == (303, reached)
    assert "form-action 'self' https://clinic.example;" in client.get(FORM).headers["Content-Security-Policy"] + ";"


def test_mistakes_stand_beside_their_fields_and_nothing_typed_is_lost(client: FlaskClient, stored: Stored) -> None:
    typed = filled(client, email="jane@", phone='12"><script>', service="implants", visitor_id="v1", next="x")
    response = client.post(FORM, data=typed)
    page = page_of(response)
    assert response.status_code == 422
    assert page.invalid == {"email", "phone"}
    for name in page.invalid:
        assert f"{name}-error" in page.described_by[name]
        assert "Please check" in page.ids[f"{name}-error"]
        assert f"#{name}" in page.links
    assert page.values == typed | {HONEYPOT: ""}
    assert "<script" not in page.html
    assert "&lt;tooth&gt;" in page.html
    assert stored.events() == []


def test_the_corrected_form_goes_through_at_once(client: FlaskClient, stored: Stored) -> None:
    again = page_of(client.post(FORM, data=filled(client, email="jane@"))).values
    assert client.post(FORM, data=again | {"email": JANE["email"]}).status_code == 303
    assert stored.events()[0].hold_code is None


def test_a_way_to_be_reached_is_asked_for(client: FlaskClient) -> None:
    page = page_of(client.post(FORM, data=filled(client, email="", phone=" ")))
    assert page.invalid == {"email"}


@pytest.mark.parametrize(
    "unseen",
    [
        {"id": "x" * 101},
        {"id": ""},
        {"visitor_id": "x" * 101},
        {"page": "https://clinic.example/" + "x" * 3000},
        {"attribution": "google"},
        {"service": "x" * 300},
        {"site": "another"},
    ],
)
def test_what_the_visitor_cannot_see_never_stops_him(
    client: FlaskClient, stored: Stored, unseen: dict[str, str]
) -> None:
    assert client.post(FORM, data=filled(client, **unseen)).status_code == 303
    assert len(stored.events()) == 1
    if {"attribution", "service"} & unseen.keys():
        [(name, value)] = unseen.items()
        assert stored.answers()["extra"] == {f"{name}_as_sent": value}


def test_a_double_click_is_one_enquiry(app: Flask, client: FlaskClient, stored: Stored) -> None:
    data = filled(client)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: app.test_client().post(FORM, data=data), range(4)))
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.location for answer in answers}) == 1
    assert len(stored.events()) == 1


def test_a_form_without_an_id_counts_once_a_day(client: FlaskClient, stored: Stored) -> None:
    with time_machine.travel("2026-03-02T09:00:00Z", tick=False) as clock:
        for _ in range(2):
            assert client.post(FORM, data=JANE).status_code == 303
        assert client.post(FORM, data=JANE | {"message": "something else"}).status_code == 303
        assert len(stored.events()) == 2
        clock.shift(86400)
        assert client.post(FORM, data=JANE).status_code == 303
    assert len(stored.events()) == 3
    assert len(stored.leads()) == 1


def test_what_a_website_calls_its_form_is_no_id_of_an_enquiry(client: FlaskClient, stored: Stored) -> None:
    jane, mary = (JANE | {"id": "contact-form"} | more for more in ({}, {"first_name": "Mary"}))
    for typed in (jane, mary, jane, mary):
        assert client.post(FORM, data=typed).status_code == 303
    assert (len(stored.events()), stored.resubmissions()) == (2, [])
    assert stored.answers()["extra"] == {"id_as_sent": "contact-form"}


@pytest.mark.parametrize("made", [MADE, MADE.replace("-", ""), MADE.upper()])
def test_an_id_that_the_page_made_counts_whatever_is_sent_with_it(
    client: FlaskClient, stored: Stored, made: str
) -> None:
    for message in ("My tooth", "My teeth"):
        assert client.post(FORM, data=JANE | {"id": made, "message": message}).status_code == 303
    assert (len(stored.events()), len(stored.resubmissions())) == (1, 1)
    assert "extra" not in stored.answers()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({HONEYPOT: "https://spam.example"}, "cannot see"),
        ({"token": "made.up"}, "not ours"),
    ],
)
def test_what_looks_like_a_machine_is_held_and_not_told(
    client: FlaskClient, stored: Stored, change: dict[str, str], reason: str
) -> None:
    response = client.post(FORM, data=filled(client, **change))
    assert response.status_code == 303
    assert stored.leads()[0].code in response.location
    assert stored.events()[0].hold_code == "spam"
    assert [(row.state, row.code) for row in stored.deliveries()] == [("held", "spam")]
    assert reason in stored.answers()["suspicion"]


def test_faster_than_a_person_is_held(client: FlaskClient, stored: Stored) -> None:
    with time_machine.travel("2026-03-02T09:00:00Z", tick=False):
        assert client.post(FORM, data=opened(client, wait=0) | JANE).status_code == 303
    assert "faster" in stored.answers()["suspicion"]


def test_without_the_token_it_is_held_where_all_forms_carry_one(client: FlaskClient, stored: Stored) -> None:
    set_site(stored, require_token=True)
    assert client.post(FORM, data=filled(client)).status_code == 303
    for token in ({}, {"token": ""}):
        response = client.post(FORM, data=JANE | {"message": str(token)} | token)
        assert "/f/demo/thanks?reference=" in response.location
        assert "hidden field" in stored.answers()["suspicion"]
    assert [event.hold_code for event in stored.events()] == [None, "spam", "spam"]
    mistaken = page_of(client.post(FORM, data=JANE | {"email": "jane@"})).values
    time.sleep(0.06)
    assert client.post(FORM, data=mistaken | {"email": JANE["email"]}).status_code == 303
    assert stored.events()[-1].hold_code is None, "the page with the mistake is a form of ours"


def test_from_a_foreign_page_it_is_held(client: FlaskClient, stored: Stored) -> None:
    for number, origin in enumerate([ORIGIN, "http://localhost", "null", "https://evil.example"]):
        client.post(FORM, data=filled(client, email=f"p{number}@example.com", phone=""), headers={"Origin": origin})
    assert [event.hold_code for event in stored.events()] == [None, None, None, "spam"]


def test_behind_a_proxy_that_tells_nothing_our_own_page_is_ours(client: FlaskClient, stored: Stored) -> None:
    for number, origin in enumerate([PUBLIC, "https://frontdesk.example:8443", "https://evil.example"]):
        sent = filled(client, email=f"p{number}@example.com", phone="")
        client.post(FORM, data=sent, headers={"Origin": origin})
    assert [event.hold_code for event in stored.events()] == [None, "spam", "spam"]
    set_site(stored, origins=[PUBLIC])
    assert "Back to" not in client.get("/f/demo/thanks").get_data(as_text=True)


@pytest.mark.parametrize("kept", ["https://Zahnärzte.example", "https://xn--zahnrzte-3za.example"])
def test_a_website_with_an_accent_in_its_address_is_known_as_browsers_write_it(
    client: FlaskClient, stored: Stored, kept: str
) -> None:
    set_site(stored, origins=[kept], thank_you_urls=["https://łódź.example/thanks"])
    assert "form-action 'self' https://xn--d-uga0v4h.example" in client.get(FORM).headers["Content-Security-Policy"]
    client.post(FORM, data=filled(client), headers={"Origin": "https://xn--zahnrzte-3za.example"})
    assert [event.hold_code for event in stored.events()] == [None]


def test_too_many_from_one_address_are_held(client: FlaskClient, stored: Stored) -> None:
    for number in range(7):
        data = JANE | {"email": f"p{number}@example.com", "phone": ""}
        assert client.post(FORM, data=data, environ_overrides=STRANGER).status_code == 303
    assert [event.hold_code for event in stored.events()] == [None] * 5 + ["spam"] * 2


def test_a_test_of_our_own_is_marked_and_nobody_else_can_mark_one(
    client: FlaskClient, stored: Stored, site: Site
) -> None:
    for wrong in ("yes", "made.up", "x" * 4000):
        client.post(FORM, data=filled(client, **{canary.FIELD: wrong}, email=f"{len(wrong)}@example.com", phone=""))
    assert [(event.is_test, event.hold_code) for event in stored.events()] == [(False, None)] * 3
    assert canary.FIELD not in str(stored.answers())
    with stored.database.write() as session:
        run = canary.start(session, site, "anna", stored.database.now(session))
    marked = opened(client, wait=0) | JANE | {canary.FIELD: canary.mark(stored.vault, run)}
    assert client.post(FORM, data=marked).status_code == 303
    assert client.post(FORM, data=marked).status_code == 303
    assert [(event.is_test, event.hold_code) for event in stored.events()][3:] == [(True, None)]
    with time_machine.travel(time.time() + 3600):
        assert canary.run_of(stored.vault, site, marked[canary.FIELD]) is None, "the mark is good for ten minutes"


@pytest.mark.parametrize("twice", [["jane@example.com", "jane@example.com "], ["", "jane@example.com"]])
def test_a_field_that_is_sent_twice_with_one_value_or_an_empty_one_counts_once(
    client: FlaskClient, stored: Stored, twice: list[str]
) -> None:
    answer = client.post(FORM, data={"email": twice, "first_name": ["Jane", ""], "teeth": ["1", "2"], "consent": "yes"})
    assert answer.status_code == 303
    assert (stored.answers()["email"], stored.answers()["first_name"]) == ("jane@example.com", "Jane")
    assert stored.answers()["extra"]["teeth"] == "1, 2"


def test_without_consent_it_is_held(client: FlaskClient, stored: Stored) -> None:
    data = filled(client)
    del data["consent"]
    assert client.post(FORM, data=data).status_code == 303
    assert stored.events()[0].consent_given is False
    assert [(row.state, row.code) for row in stored.deliveries()] == [("held", "no_consent")]


@pytest.mark.parametrize(
    "sent",
    ["I agree", "accepted", "checked", "ja", "✓", "Oui", " 1 ", "true", ["0", "1"], ["no", "yes"], "notified", "00"],
)
def test_a_box_that_is_ticked_is_consent_whatever_its_value(
    client: FlaskClient, stored: Stored, sent: str | list[str]
) -> None:
    assert client.post(FORM, data=opened(client) | JANE | {"consent": sent}).status_code == 303
    assert stored.events()[0].consent_given is True
    assert stored.deliveries()[0].state == "waiting"
    as_sent = sent if isinstance(sent, str) else ", ".join(sent)
    assert stored.answers()["extra"] == {"consent_as_sent": as_sent}


@pytest.mark.parametrize(
    "sent",
    [
        *("", " ", "0", "no", "No", "off", "FALSE", "nein", "Non", "(no, thank you)", "undefined", "none", "null"),
        *("nee", "NO_THANKS", "Não", "nao", "0, 1", "Nicht einverstanden", "unchecked", "нет", "Don’t", ["1", "0"]),
    ],
)
def test_a_box_that_says_no_is_none(client: FlaskClient, stored: Stored, sent: str | list[str]) -> None:
    assert client.post(FORM, data=opened(client) | JANE | {"consent": sent}).status_code == 303
    assert stored.events()[0].consent_given is False
    assert stored.deliveries()[0].code == "no_consent"


def test_a_mistake_elsewhere_leaves_the_box_as_it_was(client: FlaskClient, stored: Stored) -> None:
    mistake = {"email": "jane@", "id": MADE}
    page = page_of(client.post(FORM, data=JANE | mistake | {"consent": "0"}))
    assert "consent" not in page.values
    page = page_of(client.post(FORM, data=JANE | mistake | {"consent": ["0", "I agree"]}))
    assert page.values["consent"] == "yes"
    assert client.post(FORM, data=page.values | {"email": JANE["email"]}).status_code == 303
    assert stored.events()[0].consent_given is True
    assert "extra" not in stored.answers()


def test_the_wording_is_shown_and_its_version_kept(client: FlaskClient, stored: Stored) -> None:
    client.post(FORM, data=filled(client))
    for wording in ("You may <call> me.", "You may <call> me."):
        with stored.database.write() as session:
            change_site(
                session, session.scalars(select(Site)).one(), {"consent": wording}, stored.database.now(session)
            )
    assert "You may &lt;call&gt; me." in client.get(FORM).get_data(as_text=True)
    client.post(FORM, data=filled(client))
    assert [event.consent_version for event in stored.events()] == ["1", "2"]


def test_the_wording_that_is_kept_is_the_one_that_was_shown(
    client: FlaskClient, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "_SITE_IS_FRESH", -1.0)
    typed, other = filled(client), filled(client)
    with stored.database.write() as session:
        site = session.scalars(select(Site)).one()
        change_site(session, site, {"consent": "You may also write to me."}, stored.database.now(session))
    again = page_of(client.post(FORM, data=other | {"email": "jane@"}))  # comes back, and shows the new wording
    client.post(FORM, data=typed)
    client.post(FORM, data=again.values | {"email": "jane.two@example.com", "consent": "yes"})
    assert [event.consent_version for event in stored.events()] == ["1", "2"]
    assert "extra" not in stored.answers()


def test_a_wording_that_the_site_never_had_is_not_said_to_be_one_of_its_own(
    client: FlaskClient, stored: Stored
) -> None:
    client.post(FORM, data=JANE | {"consent_version": "99", "budget": "small"})
    [event], [delivery] = stored.events(), stored.deliveries()
    assert (event.consent_given, event.consent_version, delivery.state) == (True, None, "waiting")
    assert stored.answers()["extra"] == {"budget": "small", "consent_version_as_sent": "99"}


def test_without_the_database_what_was_typed_is_kept_and_sent_again(
    client: FlaskClient, stored: Stored, outage: Any
) -> None:
    typed = filled(client, service="implants")
    with outage():
        response = client.post(FORM, data=typed)
        page = page_of(response)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert (page.action, page.values) == (FORM, typed)
    assert "<tooth>" not in page.html
    assert client.post(page.action, data=page.values).status_code == 303
    [event] = stored.events()
    assert (event.hold_code, event.consent_given) == (None, True)


def _framed_by(response: TestResponse) -> str:
    assert "X-Frame-Options" not in response.headers, "it knows no list"
    return response.headers["Content-Security-Policy"].partition("frame-ancestors ")[2]


@pytest.mark.parametrize("listed", [True, False])
def test_whoever_may_send_may_frame_the_form_and_all_that_follows(
    client: FlaskClient, stored: Stored, outage: Any, listed: bool
) -> None:
    set_site(stored, origins=[ORIGIN, "http://other.example:8080"] if listed else [])
    may = "'self' https://clinic.example http://other.example:8080" if listed else "*"
    typed = filled(client)
    assert _framed_by(client.get(FORM)) == may
    assert _framed_by(client.post(FORM, data=typed | {"email": "jane@"})) == may
    assert _framed_by(client.post(FORM, data=typed | {"message": "x" * 65536})) == may
    assert _framed_by(client.get(client.post(FORM, data=typed).location)) == may
    with outage():
        assert _framed_by(client.post(FORM, data=typed)) == may
        assert _framed_by(client.get(FORM)) == may


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, ORIGIN), ("https://evil.example", None), ("null", None)])
def test_a_page_of_the_site_may_read_with_a_script_what_became_of_its_form(
    client: FlaskClient, stored: Stored, outage: Any, origin: str, allowed: str | None
) -> None:
    set_site(stored, origins=[ORIGIN], thank_you_urls=["https://clinic.example/thanks"])
    asked = {"Origin": origin, "Sec-Fetch-Mode": "cors"}
    typed = filled(client)
    answers = [
        client.post(FORM, data=typed | {"email": "jane@"}, headers=asked),
        client.post(FORM, data=typed | {"message": "x" * 65536}, headers=asked),
        sent := client.post(FORM, data=typed, headers=asked),
        client.get(sent.location, headers=asked),
    ]
    with outage():
        answers.append(client.post(FORM, data=typed, headers=asked))
    assert [answer.status_code for answer in answers] == [422, 413, 303, 200, 503]
    for answer in answers:
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed, answer.status
        assert "Origin" in answer.headers["Vary"]
    assert client.post(FORM, data=typed).location == "https://clinic.example/thanks", "a visitor goes there"


def test_pages_with_an_embedder_policy_may_have_the_script(client: FlaskClient) -> None:
    policies = [
        client.get(f"/f/{path}").headers.get("Cross-Origin-Resource-Policy")
        for path in ("static/website.js", "demo/consultation")
    ]
    assert policies == ["cross-origin", None]


def test_where_nobody_knows_the_site_only_a_failure_may_be_framed(client: FlaskClient, outage: Any) -> None:
    assert _framed_by(client.get("/f/nobody/consultation")) == "'none'"
    assert _framed_by(client.get("/f/static/website.js")) == "'none'"
    with outage():
        later = client.post(FORM, data=JANE)
    assert (later.status_code, _framed_by(later)) == (503, "*")
    assert _framed_by(client.get("/desk/sign-in")) == "'none'"


def test_without_the_database_rubbish_is_told_to_come_again(client: FlaskClient, outage: Any) -> None:
    with outage():
        response = client.post(FORM, data=b"\xff", content_type="image/png")
        assert response.status_code == 503
        assert page_of(response).action == ""
        assert client.get(FORM).status_code == 503


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b'{"email": "jane@example.com"}', "application/json"),
        (b"email=jane@example.com", "text/plain"),
        (b"--x\r\nbroken, by jane@example.com", "multipart/form-data; boundary=x"),
        ("&".join(f"f{n}={n}" for n in range(80)).encode() + b"&email=jane@example.com", None),
        (
            b"jane@example.com"
            + b"".join(b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n' for _ in range(101))
            + b"--x--",
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_what_cannot_be_understood_is_kept_and_told(
    client: FlaskClient, stored: Stored, data: bytes, content_type: str | None
) -> None:
    response = client.post(FORM, data=data, content_type=content_type or "application/x-www-form-urlencoded")
    assert response.status_code == 400
    assert page_of(response).action == f"{FORM}?step=send"
    assert "jane@example.com" in stored.body()["text"]
    assert stored.events() == []


def test_a_plugin_pointed_at_the_form_is_told_and_what_it_sent_is_kept(client: FlaskClient, stored: Stored) -> None:
    for _ in range(2):
        assert client.post(FORM, data={"your-name": "Jane", "your-email": "jane@example.com"}).status_code == 422
    [row] = stored.unreadable()
    assert "none of our fields" in row.reason
    assert "your-email" in stored.body()["text"]


@pytest.mark.parametrize(
    "data",
    [{"first_name": "", "email": "", "your-name": "x"}, {"id": "1", "consent": "yes"}, {"email": "jane@", "x": "y"}],
)
def test_what_the_visitor_is_told_beside_our_own_fields_is_not_kept(
    client: FlaskClient, stored: Stored, data: dict[str, str]
) -> None:
    assert client.post(FORM, data=data).status_code == 422
    assert stored.unreadable() == []


def test_files_are_not_taken_and_staff_are_told(client: FlaskClient, stored: Stored) -> None:
    files = {"scan": [(io.BytesIO(b"x" * 1000), "scan.png"), (io.BytesIO(b"x"), "röntgen.png")]}
    data = filled(client) | files | {"more": (io.BytesIO(), "")}  # in the last one none was chosen
    assert client.post(FORM, data=data, content_type="multipart/form-data").status_code == 303
    assert stored.answers()["extra"] == {"files_left_out": "scan.png, röntgen.png"}


def test_nothing_but_a_file_is_no_enquiry(client: FlaskClient, stored: Stored) -> None:
    assert client.post(FORM, data={"scan": (io.BytesIO(b"x"), "scan.png")}).status_code == 400
    assert stored.events() == []


def test_what_is_too_large_for_its_files_is_told_so(client: FlaskClient, stored: Stored) -> None:
    response = client.post(FORM, data={**JANE, "scan": (io.BytesIO(b"x" * 65536), "scan.png")})
    assert response.status_code == 413
    assert "Photos and files cannot be taken here" in response.get_data(as_text=True)
    assert "shorten" not in response.get_data(as_text=True)


def test_a_form_in_latin_1_is_understood(client: FlaskClient, stored: Stored) -> None:
    for number, name in enumerate((b"Ren%E9", b"Ren\xe9", "René".encode())):
        body = b"first_name=%b&email=p%d@example.com" % (name, number)
        assert client.post(FORM, data=body, content_type="application/x-www-form-urlencoded").status_code == 303
        assert stored.answers()["first_name"] == "René"


def test_more_than_64_kilobytes_are_told(client: FlaskClient, stored: Stored) -> None:
    response = client.post(FORM, data=JANE | {"message": "x" * 65536})
    assert response.status_code == 413
    assert "shorten your message" in response.get_data(as_text=True)
    assert client.post(FORM, data=JANE | {"message": "x" * 5001}).status_code == 422
    assert stored.events() == []


@pytest.mark.parametrize("path", [FORM, "/f/demo/thanks"])
def test_an_unknown_site_has_no_pages(client: FlaskClient, path: str) -> None:
    assert client.get(path.replace("demo", "nobody")).status_code == 404
    assert client.post(FORM.replace("demo", "nobody"), data=JANE).status_code == 404


def test_a_form_that_is_sent_to_a_mistyped_address_is_kept_for_a_person(client: FlaskClient, stored: Stored) -> None:
    """Who made the clinic's page got its address wrong; its visitors wrote all the same."""
    assert client.post(FORM.replace("demo", "Demo"), data=JANE).status_code == 404
    assert "jane" in stored.body()["text"]
    assert stored.unreadable()[0].reason == "It names a site that is not here."
    assert client.post(f"{FORM}/", data=JANE).status_code == 303
    assert len(stored.events()) == 1


def test_a_browser_keeps_the_script_for_an_hour_and_asks_for_styles_again(client: FlaskClient) -> None:
    cached = "public, max-age=3600, stale-while-revalidate=86400, stale-if-error=86400"
    for path, kept in (("website.js", cached), ("public.css", "no-cache")):
        with client.get(f"/f/static/{path}") as first:
            assert first.headers["Cache-Control"] == kept
        with client.get(f"/f/static/{path}", headers={"If-None-Match": first.headers["ETag"]}) as again:
            assert (again.status_code, again.headers["Cache-Control"]) == (304, kept)
    assert client.get("/f/static/none/website.js").headers["Cache-Control"] == "no-store"


def test_no_address_holds_what_was_typed(client: FlaskClient) -> None:
    response = client.post(FORM, data=filled(client))
    assert re.fullmatch(r"/f/demo/thanks\?reference=[A-Z2-9]{3}-[A-Z2-9]{3}", response.location)
