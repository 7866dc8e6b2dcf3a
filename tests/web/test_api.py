"""The JSON API, as programs and the website's script use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from leads.intake import receive
from leads.store.models import Site
from leads.store.sites import hook_token, remove_site
from leads.store.space import Space
from tests.conftest import only_sqlite
from tests.database.scan import found_in
from tests.factory import make_site
from tests.statements import statements
from tests.web.pages import FORM, ORIGIN, page_of
from tests.web.stored import Stored

CONSULTATIONS = "/api/v1/consultations"
CALL_CLICKS = "/api/v1/call-clicks"
JANE = {
    "site": "demo",
    "id": "browser-1",
    "visitor_id": "visitor-1",
    "first_name": "Jane",
    "email": "jane@example.com",
    "phone": "(201) 555-0123",
    "consent": True,
    "page": "https://clinic.example/implants?name=jane",
    "budget": "small",
}
CLICK = {"site": "demo", "id": "click-1", "visitor_id": "visitor-1", "tel": "+12015550100", "label": "Call Us"}
STRANGER = {"REMOTE_ADDR": "203.0.113.9"}


def post(client: FlaskClient, body: Any, path: str = CONSULTATIONS, **more: Any) -> TestResponse:
    more.setdefault("content_type", "application/json")
    return client.post(path, data=body if isinstance(body, bytes) else json.dumps(body).encode(), **more)


def problems(response: TestResponse) -> dict[str, list[str]]:
    """Field → what is said about it, of an answer that must be a problem (RFC 9457)."""
    assert response.content_type == "application/problem+json"
    body = response.get_json()
    assert body["status"] == response.status_code
    assert body["title"]
    found: dict[str, list[str]] = {}
    for error in body.get("errors", []):
        found.setdefault(error["field"], []).append(error["detail"])
    return found


def test_an_enquiry_is_stored_before_it_is_answered(client: FlaskClient, stored: Stored) -> None:
    response = post(client, JANE)
    assert response.status_code == 201
    answer = response.get_json()
    [event], [lead], [delivery] = stored.events(), stored.leads(), stored.deliveries()
    assert (UUID(answer["id"]), answer["reference"]) == (event.id, lead.code)
    assert datetime.fromisoformat(answer["received_at"]) == event.received_at
    assert abs(datetime.now(UTC) - event.received_at) < timedelta(minutes=1)
    assert (event.source, event.consent_given, event.consent_version) == ("website", True, "1")
    assert delivery.state == "waiting"
    assert stored.answers() == {
        "first_name": "Jane",
        "email": "jane@example.com",
        "phone": "+12015550123",
        "phone_typed": "(201) 555-0123",
        "page": "https://clinic.example/implants",
        "extra": {"budget": "small"},
    }


def test_the_same_id_again_is_the_same_answer_and_one_event(client: FlaskClient, stored: Stored) -> None:
    first, second = post(client, JANE), post(client, JANE)
    assert first.get_json() == second.get_json()
    assert second.status_code == 201
    assert len(stored.events()) == 1
    assert stored.resubmissions() == []


def test_the_same_id_with_other_answers_is_kept_for_staff(client: FlaskClient, stored: Stored) -> None:
    first, second = post(client, JANE), post(client, JANE | {"message": "I forgot to say"})
    assert first.get_json() == second.get_json()
    assert len(stored.events()) == len(stored.resubmissions()) == 1


def test_the_same_id_of_somebody_else_is_an_enquiry_of_its_own(client: FlaskClient, stored: Stored) -> None:
    mary = JANE | {"first_name": "Mary", "email": "mary@example.com", "phone": None}
    jane, first, second = post(client, JANE), post(client, mary), post(client, mary)
    assert first.get_json() == second.get_json() != jane.get_json()
    assert [stored.answers()["email"], len(stored.events()), stored.resubmissions()] == ["mary@example.com", 2, []]


def test_the_same_id_in_eight_requests_at_once_is_one_event(app: Flask, stored: Stored) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(app.test_client(), JANE).get_json(), range(8)))
    assert len({json.dumps(answer) for answer in answers}) == 1
    assert len(stored.events()) == 1


def test_an_id_of_an_enquiry_is_not_one_of_a_click(client: FlaskClient, stored: Stored) -> None:
    post(client, JANE)
    assert post(client, CLICK | {"id": JANE["id"]}, CALL_CLICKS).status_code == 201
    assert {(event.kind, event.source) for event in stored.events()} == {
        ("consultation_request", "website"),
        ("call_click", "call click"),
    }


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", None])
def test_json_is_taken_as_a_beacon_sends_it(client: FlaskClient, content_type: str | None) -> None:
    assert post(client, CLICK, CALL_CLICKS, content_type=content_type).status_code == 201


def test_a_click_joins_the_enquiry_of_the_same_browser(client: FlaskClient, stored: Stored) -> None:
    post(client, CLICK, CALL_CLICKS)
    post(client, JANE)
    assert [lead.known for lead in stored.leads()] == [True]
    assert {event.lead_id for event in stored.events()} == {stored.leads()[0].id}


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"email": "jane", "phone": "12"}, {"email", "phone"}),
        ({"email": None, "phone": None}, {"email"}),
        ({"id": ""}, {"id"}),
        ({"id": 7}, {"id"}),
        ({"id": "x" * 101, "first_name": "x" * 101, "message": [1]}, {"id", "first_name", "message"}),
        ({"consent": "perhaps", "attribution": "x"}, {"consent", "attribution"}),
    ],
)
def test_each_field_that_is_wrong_is_named(
    client: FlaskClient, stored: Stored, change: dict[str, Any], fields: set[str]
) -> None:
    response = post(client, JANE | change)
    assert response.status_code == 422
    assert set(problems(response)) == fields
    assert stored.events() == []


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (CALL_CLICKS, {"site": "demo"}, {"id": ["Please send a text of 1 to 100 characters."]}),
        (CONSULTATIONS, JANE | {"id": 7}, {"id": ["Please send a text of 1 to 100 characters."]}),
        (
            CONSULTATIONS,
            JANE | {"consent": "perhaps", "attribution": "x"},
            {"consent": ["Please send true or false."], "attribution": ["Please send an object of names and texts."]},
        ),
    ],
)
def test_what_is_wrong_is_told_in_words_that_say_what_to_send(
    client: FlaskClient, path: str, body: dict[str, Any], told: dict[str, list[str]]
) -> None:
    assert problems(post(client, body, path)) == told


@pytest.mark.parametrize("site", ["nobody", "", None, 7, {"a": 1}, "x" * 5000, "de\x00mo!"])
def test_an_unknown_site_is_told(client: FlaskClient, site: Any) -> None:
    response = post(client, JANE | {"site": site})
    assert response.status_code == 404
    assert list(problems(response)) == ["site"]


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data", "image/png"])
def test_json_is_understood_whatever_content_type_it_says(
    client: FlaskClient, stored: Stored, content_type: str
) -> None:
    assert post(client, JANE, content_type=content_type).status_code == 201
    assert len(stored.events()) == 1


def test_what_is_no_json_is_told_and_kept(client: FlaskClient, stored: Stored) -> None:
    response = client.post(CONSULTATIONS, data={"site": "demo", "email": "jane@example.com"})
    assert response.status_code == 415
    assert problems(response) == {}
    assert len(stored.unreadable()) == 1


def test_an_enquiry_for_an_unknown_site_is_kept(client: FlaskClient, stored: Stored) -> None:
    assert post(client, JANE | {"site": "dmeo"}).status_code == 404
    assert [row.reason for row in stored.unreadable()] == ["It names a site that is not here."]


def test_a_body_may_be_64_kilobytes(client: FlaskClient, stored: Stored) -> None:
    room = 64 * 1024 - len(json.dumps(JANE | {"note": ""}))
    assert post(client, JANE | {"note": "x" * room}).status_code == 201
    assert stored.answers()["extra"]["note"] == "x" * 5000
    response = post(client, JANE | {"note": "x" * (room + 1)})
    assert response.status_code == 413
    assert problems(response) == {}


@pytest.mark.parametrize(
    "body",
    [
        JANE | {"deep": [[[[[["x"]]]]]]},
        JANE | {str(number): number for number in range(60)},
        JANE | {"wide": list(range(61))},
        [JANE],
        b"{'first_name': 'Jane'}",
    ],
)
def test_what_cannot_be_understood_is_kept_and_told(client: FlaskClient, stored: Stored, body: Any) -> None:
    response = post(client, body)
    assert response.status_code == 400
    assert problems(response) == {}
    assert "Jane" in stored.body()["text"]
    assert post(client, body).status_code == 400
    assert len(stored.unreadable()) == 1


def test_names_that_are_not_ours_are_told_and_kept(client: FlaskClient, stored: Stored) -> None:
    for number in range(7):
        body = {"site": "demo", "id": f"1{number}", "Your Email": "jane@example.com"}
        assert set(problems(post(client, body, environ_overrides=STRANGER))) == {"email"}
    assert len(stored.unreadable()) == 5, "and not without bound from one address"
    assert "Your Email" in stored.body()["text"]
    post(client, {"site": "demo", "x": "y"}, CALL_CLICKS)
    post(client, {"site": "demo", "id": "2"})
    assert len(stored.unreadable()) == 5


def test_the_same_unreadable_body_eight_times_at_once_is_kept_once(app: Flask, stored: Stored) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: post(app.test_client(), b"{Jane").status_code, range(8)))
    assert set(statuses) == {400}
    assert len(stored.unreadable()) == 1


def test_a_stranger_cannot_fill_the_database_with_rubbish(client: FlaskClient, stored: Stored) -> None:
    for number in range(7):
        assert post(client, b"rubbish %d" % number, environ_overrides=STRANGER).status_code == 400
    assert len(stored.unreadable()) == 5


@only_sqlite
def test_rubbish_does_not_fill_the_last_of_the_disk(
    client: FlaskClient, stored: Stored, site: Site, tmp_path: Path
) -> None:
    """It is answered like an enquiry that meets an almost full disk: the sender may come again."""
    stored.database.space = Space(tmp_path, min_free=2**60)
    hook = f"/hooks/demo/{hook_token(stored.vault, site)}"
    for path in (CONSULTATIONS, FORM, hook):
        assert client.post(path, data=b"rubbish", content_type="text/plain").status_code == 503, path
    assert stored.unreadable() == []


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [(ORIGIN, ORIGIN), ("http://localhost", "http://localhost"), ("https://evil.example", None), ("null", None)],
)
def test_only_pages_of_the_site_may_read_the_answer(client: FlaskClient, origin: str, allowed: str | None) -> None:
    for body in (JANE, JANE | {"email": "x"}):
        response = post(client, body, headers={"Origin": origin})
        assert response.headers.get("Access-Control-Allow-Origin") == allowed
        assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, ORIGIN), ("https://evil.example", None), ("null", None)])
def test_a_page_of_a_site_may_read_any_error(
    client: FlaskClient, outage: Any, origin: str, allowed: str | None
) -> None:
    asked = {"Origin": origin}
    answers = [
        post(client, JANE | {"site": "nobody"}, headers=asked),
        post(client, b"rubbish", headers=asked),
        post(client, b"rubbish", headers=asked, content_type="image/png"),
        post(client, b" " * 70_000, headers=asked),
        client.get(CONSULTATIONS, headers=asked),
        client.post("/api/v1/nothing", headers=asked),
    ]
    with outage():
        answers.append(post(client, JANE, headers=asked))
    assert [answer.status_code for answer in answers] == [404, 400, 415, 413, 405, 404, 503]
    for answer in answers:
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed, answer.status
        assert "Origin" in answer.headers["Vary"]


def test_a_page_of_one_site_may_not_read_what_another_site_says_of_fields(client: FlaskClient, stored: Stored) -> None:
    make_site(stored.database, key="other", origins=["https://other.example"])
    response = post(client, JANE | {"email": "x"}, headers={"Origin": "https://other.example"})
    assert response.status_code == 422
    assert "Access-Control-Allow-Origin" not in response.headers


def test_errors_outside_the_api_are_read_by_no_other_page(client: FlaskClient) -> None:
    for path in ("/api/nothing", "/nothing"):
        assert "Access-Control-Allow-Origin" not in client.get(path, headers={"Origin": ORIGIN}).headers


def test_who_may_read_an_error_costs_no_question_to_the_database_each_time(client: FlaskClient, stored: Stored) -> None:
    with statements(stored.database) as asked:
        for _ in range(5):
            post(client, b" " * 70_000, headers={"Origin": ORIGIN})
    assert len(asked) == 1


def test_a_site_is_read_anew_for_its_form_and_counts_as_read_then(client: FlaskClient, stored: Stored) -> None:
    def questions(ask: Callable[[], object]) -> int:
        with statements(stored.database) as asked:
            ask()
        return sum("FROM site" in statement for statement in asked)

    for _ in range(2):
        assert questions(lambda: client.get(FORM)) > 0
        assert questions(lambda: post(client, {"site": "demo"})) == 0


@pytest.mark.parametrize("path", [CONSULTATIONS, CALL_CLICKS])
@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, True), ("https://evil.example", False), ("null", False)])
def test_a_preflight_is_answered_for_pages_of_a_site(
    client: FlaskClient, path: str, origin: str, allowed: bool
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    response = client.options(path, headers=asked)
    assert response.status_code == 204
    assert (response.headers.get("Access-Control-Allow-Origin") == origin) is allowed
    assert (response.headers.get("Access-Control-Allow-Headers") == "Content-Type") is allowed


def test_a_page_of_a_site_that_was_removed_may_read_nothing_any_more(
    client: FlaskClient, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "_SITE_IS_FRESH", -1.0)
    old = make_site(stored.database, key="old", origins=["https://old.example"])
    asked = {"Origin": "https://old.example"}

    def readable() -> list[bool]:
        answers = post(client, {"site": "old"}, headers=asked), client.options(CONSULTATIONS, headers=asked)
        return ["Access-Control-Allow-Origin" in answer.headers for answer in answers]

    assert readable() == [True, True]
    with stored.database.write() as session:
        remove_site(session, session.get_one(Site, old.id))
    assert readable() == [False, False]


def test_a_site_without_origins_takes_any(client: FlaskClient, stored: Stored) -> None:
    make_site(stored.database, key="open")
    elsewhere = {"Origin": "https://elsewhere.example"}
    assert (
        client.options(CONSULTATIONS, headers=elsewhere).headers["Access-Control-Allow-Origin"] == elsewhere["Origin"]
    )
    response = post(client, JANE | {"site": "open"}, headers=elsewhere)
    assert response.headers["Access-Control-Allow-Origin"] == elsewhere["Origin"]
    assert stored.events()[0].hold_code is None


@pytest.mark.parametrize(
    ("sent", "kept", "extra"),
    [
        ({}, "1", {}),
        ({"consent_version": "1"}, "1", {}),
        ({"consent_version": 99}, None, {"consent_version_as_sent": "99"}),
    ],
)
def test_a_wording_that_the_site_never_had_is_kept_as_it_was_sent(
    client: FlaskClient, stored: Stored, sent: dict[str, Any], kept: str | None, extra: dict[str, str]
) -> None:
    assert post(client, JANE | sent).status_code == 201
    assert [(event.consent_given, event.consent_version) for event in stored.events()] == [(True, kept)]
    assert stored.answers()["extra"] == {"budget": "small"} | extra


def test_an_enquiry_from_a_foreign_page_is_held_and_not_told(client: FlaskClient, stored: Stored) -> None:
    response = post(client, JANE, headers={"Origin": "https://evil.example"})
    assert response.status_code == 201
    assert set(response.get_json()) == {"id", "reference", "received_at"}
    assert stored.events()[0].hold_code == "spam"
    assert stored.deliveries()[0].state == "held"
    assert "https://evil.example, which is not among the website's addresses" in stored.answers()["suspicion"]


ACCENTED = "https://zahnärzte.example"


@pytest.mark.parametrize(
    "sent",
    [
        ACCENTED.encode(),
        ACCENTED.encode("latin-1"),
        b"https://ZAHN\xc3\x84RZTE.example",
        b"https://xn--zahnrzte-3za.example",
        b"https://xn--zahnrzte-3za.example:443",
    ],
)
def test_a_page_of_the_site_is_known_however_its_address_is_written(
    client: FlaskClient, stored: Stored, sent: bytes
) -> None:
    make_site(stored.database, key="teeth", origins=[ACCENTED])
    asked = {"Origin": sent.decode("latin-1")}  # as a web server hands it on
    response = post(client, JANE | {"site": "teeth"}, headers=asked)
    assert response.headers["Access-Control-Allow-Origin"] == asked["Origin"]
    assert [event.hold_code for event in stored.events()] == [None]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"https:/clinic.example", "no web address"),
        (b"clinic.example", "no web address"),
        (b"https://clinic.example:port", "no web address"),
        (b"https://zahn\xc3\xa4rzte..example", "no web address"),
        (b"https://clinic..example", "not among the website's addresses"),
        (b"https://zahn\xc3\xa4rzte.example", "not among the website's addresses"),
        (b"https://clinic.example.evil.example", "not among the website's addresses"),
    ],
)
def test_what_names_no_web_address_as_its_page_is_held_for_that(
    client: FlaskClient, stored: Stored, sent: bytes, reason: str
) -> None:
    response = post(client, JANE, headers={"Origin": sent.decode("latin-1")})
    assert (response.status_code, response.headers.get("Access-Control-Allow-Origin")) == (201, None)
    assert [event.hold_code for event in stored.events()] == ["spam"]
    assert reason in stored.answers()["suspicion"]


def test_without_the_token_it_is_held_where_all_forms_carry_one_and_a_tap_is_not(
    client: FlaskClient, stored: Stored
) -> None:
    make_site(stored.database, key="strict", require_token=True)
    assert post(client, JANE | {"site": "strict"}).status_code == 201
    assert post(client, CLICK | {"site": "strict"}, CALL_CLICKS).status_code == 201
    assert [event.hold_code for event in stored.events()] == ["spam", None]


def test_an_enquiry_without_consent_is_held(client: FlaskClient, stored: Stored) -> None:
    assert post(client, JANE | {"consent": False}).status_code == 201
    assert stored.events()[0].consent_given is False
    assert [(row.state, row.code) for row in stored.deliveries()] == [("held", "no_consent")]


def test_too_many_from_one_address_are_held_and_the_sender_is_not_told(client: FlaskClient, stored: Stored) -> None:
    for number in range(7):
        body = JANE | {"id": str(number), "email": f"p{number}@example.com", "phone": None}
        assert post(client, body, environ_overrides=STRANGER).status_code == 201
    assert [event.hold_code for event in stored.events()] == [None] * 5 + ["spam"] * 2
    for number in range(7):
        click = CLICK | {"id": f"click-{number}"}
        assert post(client, click, CALL_CLICKS, environ_overrides=STRANGER).status_code == 201
    assert [event.hold_code for event in stored.events()[7:]] == [None] * 5 + ["spam"] * 2, "clicks count apart"


def test_without_the_database_nothing_is_promised(client: FlaskClient, stored: Stored, outage: Any) -> None:
    with outage():
        response = post(client, JANE)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "10"
        assert problems(response) == {}
    assert post(client, JANE).status_code == 201
    assert len(stored.events()) == 1


def test_the_description_is_served_with_nothing_from_elsewhere(client: FlaskClient) -> None:
    assert client.get("/api/openapi.json").get_json()["openapi"].startswith("3.1")
    response = client.get("/api/docs")
    assert response.status_code == 200
    assert page_of(response).foreign_links == []
    page = response.get_data(as_text=True)
    assert CONSULTATIONS in page
    assert "`" not in page, "nothing on this page turns that into code"


def test_nothing_typed_stands_in_the_database_in_plain(client: FlaskClient, stored: Stored) -> None:
    marks = ["Zyxwina", "zyx.quorb", "visitor-mark-91", "browser-mark-17", "plumbus"]
    person = {"first_name": marks[0], "email": f"{marks[1]}@example.com", "visitor_id": marks[2], "id": marks[3]}
    assert post(client, JANE | person | {"insurance": marks[4]}).status_code == 201
    assert post(client, " ".join(marks).encode()).status_code == 400
    assert found_in(stored.database, marks) == []
