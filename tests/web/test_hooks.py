"""What form plugins send to the address that a site has for them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from werkzeug.test import TestResponse

from leads.intake.hooks import routes
from leads.store.models import Site
from leads.store.queries.signs import signs
from leads.store.session import Database
from leads.store.sites import change_hook_token, consent_text, hook_token
from leads.store.vault import Vault
from leads.upkeep.alerts import conditions
from tests.factory import make_site
from tests.web.pages import FORM
from tests.web.stored import Stored
from tests.web.test_hostile import CASES, bodies, body_of, types

FIXTURES = Path(__file__).parents[1] / "fixtures"
SENT = json.loads((FIXTURES / "hooks.json").read_text(encoding="utf-8"))
ADA = {"name": "Ada Byron", "email": "ada@example.org", "consent": "yes"}
SERVER = {"REMOTE_ADDR": "203.0.113.9"}


@pytest.fixture
def hook(vault: Vault, site: Site) -> str:
    return f"/hooks/demo/{hook_token(vault, site)}"


def sent(client: FlaskClient, hook: str, body: Any, **more: Any) -> TestResponse:
    return client.post(hook, json=body, environ_overrides=SERVER, **more)


def bytes_of(case: dict[str, Any]) -> bytes:
    return bytes(case["body"].encode()) if "body" in case else json.dumps(case["json"]).encode()


@pytest.mark.parametrize("case", SENT, ids=lambda case: case["plugin"])
def test_each_plugin_is_understood(client: FlaskClient, stored: Stored, hook: str, case: dict[str, Any]) -> None:
    for _ in range(2):  # its own repeat counts once
        answer = client.post(hook, data=bytes_of(case), content_type=case["type"], headers=case.get("headers"))
        assert answer.status_code == 200, "some show the visitor an error for any other"
        assert answer.get_json() == {"ok": True, "reference": stored.leads()[0].code}
    [event] = stored.events()
    assert event.source == case["plugin"]
    assert event.consent_given is (case.get("consent") or None)
    assert case["answers"].items() <= stored.answers().items()
    for kept_of_nobody in ("Zz9", "192.0.2.7", "Browser", "not-to-be-kept", "cookie"):
        assert kept_of_nobody not in json.dumps(stored.answers())


def test_an_old_address_stops_at_once(client: FlaskClient, stored: Stored, site: Site, hook: str) -> None:
    assert sent(client, hook, ADA).status_code == 200
    with stored.database.write() as session:
        change_hook_token(changed := session.get_one(Site, site.id))
    assert sent(client, hook, ADA | {"message": "More"}).status_code == 404
    assert sent(client, f"/hooks/demo/{hook_token(stored.vault, changed)}", ADA | {"message": "More"}).get_json()["ok"]
    assert len(stored.events()) == 2


def test_multipart_is_understood_too(client: FlaskClient, stored: Stored, hook: str) -> None:
    data = {f"fields[f{number}][value]": str(number) for number in range(150)}
    assert client.post(hook, data=ADA | data, content_type="multipart/form-data").get_json()["ok"]
    assert (stored.answers()["email"], stored.answers()["extra"]["fields f149"]) == ("ada@example.org", "149")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "application/json"])
def test_a_field_that_is_sent_twice_with_one_value_counts_once(
    client: FlaskClient, stored: Stored, hook: str, kind: str
) -> None:
    twice = {"name": ["Ada Byron"] * 2, "email": ["ada@example.org", "ada@example.org", ""], "rating[]": ["5", "5"]}
    if kind == "application/json":
        client.post(hook, json=twice | {"name": "Ada Byron"})
    else:
        client.post(hook, data=twice, content_type=kind)
    answers = stored.answers()
    assert (answers["email"], answers["first_name"], answers["last_name"]) == ("ada@example.org", "Ada", "Byron")
    assert answers["extra"] in ({"rating": "5, 5"}, {"rating[]": "5, 5"})


def test_a_clinics_own_details_among_the_fields_make_no_two_patients_one(
    client: FlaskClient, stored: Stored, hook: str
) -> None:
    clinics = {"admin_email": "desk@clinic.example", "Clinic location phone": "(201) 555-0100", "consent": "yes"}
    sent(client, hook, {"name": "Ada Byron", "phone": "(201) 555-0177"} | clinics)
    sent(client, hook, {"name": "Grace Roe", "phone": "(201) 555-0188"} | clinics)
    sent(client, hook, {"name": "Ann Lee", "email": "ann@example.org"} | clinics)
    assert (len(stored.events()), len(stored.leads())) == (3, 3)
    assert (
        "neither an e-mail address nor a phone" in sent(client, hook, {"name": "Greg"} | clinics).get_json()["detail"]
    )


def test_what_wordpress_has_escaped_is_read_as_it_was_written(client: FlaskClient, stored: Stored, hook: str) -> None:
    told = {"message": "Tom &amp; Jerry &lt;3 &amp;lt; &quot;so&quot;", "see": "https://a.test/?x=1&copy=2"}
    sent(client, hook, ADA | {"name": "Pat O&#039;Brien"} | told)
    answers = stored.answers()
    assert (answers["last_name"], answers["message"]) == ("O'Brien", 'Tom & Jerry <3 &lt; "so"')
    assert answers["extra"]["see"] == told["see"]


def test_a_number_that_stands_alone_within_something_is_known_by_its_own_name(
    client: FlaskClient, stored: Stored, hook: str
) -> None:
    sent(client, hook, {"visitor": {"phone": "(201) 555-0177"}, "hotline of the insurance": "201 555 0188"})
    assert stored.answers()["phone"] == "+12015550177"


ANN, GREG = {"first": "Ann", "last": "Lee"}, {"first": "Greg", "last": "House"}


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ({"q2_referringDoctor": GREG, "q3_name": ANN}, "Ann"),
        ({"q2_yourName": "Ann Lee", "q3_referringDentist": GREG}, "Ann"),
        ({"q2_doctorsName": GREG, "q3_yourName": ANN}, "Ann"),
        ({"q2_studentsName": ANN, "q3_doctor": GREG}, "Ann"),
        ({"q2_doctorsName": GREG, "q3_guardiansName": ANN}, None),
    ],
)
def test_in_jotform_nobody_else_is_taken_for_the_visitor(
    client: FlaskClient, stored: Stored, hook: str, asked: dict[str, Any], first: str | None
) -> None:
    entry = {"formID": "1", "submissionID": "2", "rawRequest": json.dumps(asked | {"q9_email": "ann@example.org"})}
    client.post(hook, data=entry)
    assert stored.answers().get("first_name") == first


def test_what_has_a_first_and_a_last_is_no_name_elsewhere(client: FlaskClient, stored: Stored, hook: str) -> None:
    sent(client, hook, {"doctor": GREG, "first_name": "Ann", "last_name": "Lee", "email": "ann@example.org"})
    assert (stored.answers()["first_name"], stored.answers()["last_name"]) == ("Ann", "Lee")


@pytest.mark.parametrize("country", ["49", "+49"])
def test_a_number_in_parts_has_its_country(client: FlaskClient, stored: Stored, hook: str, country: str) -> None:
    asked = {"q3_phoneNumber": {"country": country, "area": "30", "phone": "1234567"}}
    client.post(hook, data={"formID": "1", "submissionID": "2", "rawRequest": json.dumps(asked)})
    assert stored.answers()["phone"] == "+49301234567"


def of_jotform(asked: dict[str, Any], pretty: str = "") -> dict[str, str]:
    return {"formID": "1", "submissionID": "2", "rawRequest": json.dumps(asked), "pretty": pretty}


DAY = {"month": "03", "day": "9", "year": "2026"}
SLOT = {"implementation": "new", "date": "2026-03-09 10:30", "duration": "45", "timezone": "Europe/Rome (GMT+01:00)"}


@pytest.mark.parametrize(
    ("name", "parts", "preferred"),
    [
        ("appointment", DAY, "2026-03-09"),
        ("appointmentDate", DAY | {"hour": "2", "min": "5", "ampm": "PM"}, "2026-03-09 2:05 PM"),
        ("preferredDate", DAY | {"month": "March"}, "9 March 2026"),
        ("preferredDate", DAY | {"timeInput": "", "hour": "", "min": "", "ampm": "AM"}, "2026-03-09"),
        ("preferredTime", {"timeInput": "02:05", "hourSelect": "2", "minuteSelect": "05", "ampm": "PM"}, "2:05 PM"),
        (
            "bestTime",
            {"timeInput": "14:00", "timeInputRange": "16:30", "hourSelectRange": "16", "minuteSelectRange": "30"},
            "14:00 – 16:30",
        ),
        ("appointment", SLOT, "2026-03-09 10:30, 45 min, Europe/Rome (GMT+01:00)"),
        ("cita", SLOT, "2026-03-09 10:30, 45 min, Europe/Rome (GMT+01:00)"),
        ("appointment", SLOT | {"date": ""}, None),
        ("preferredTime", {"timeInput": "", "ampm": "AM"}, None),
    ],
)
def test_a_time_in_parts_is_one_and_says_when_to_call(
    client: FlaskClient, stored: Stored, hook: str, name: str, parts: dict[str, str], preferred: str | None
) -> None:
    client.post(hook, data=of_jotform({f"q4_{name}": parts, "q9_email": "ann@example.org"}))
    answers = stored.answers()
    assert (answers.get("preferred_time"), answers.get("extra")) == (preferred, None)


def test_another_date_in_parts_is_kept_as_one(client: FlaskClient, stored: Stored, hook: str) -> None:
    asked = {
        "q4_dateOfBirth": DAY | {"year": "1980"},
        "q5_stay": {"day": "1", "nights": "2"},
        "q9_email": "a@example.org",
    }
    client.post(hook, data=of_jotform(asked))
    assert stored.answers()["extra"] == {"dateOfBirth": "1980-03-09", "stay day": "1", "stay nights": "2"}
    assert "preferred_time" not in stored.answers()


def test_where_a_name_says_nothing_the_question_is_told_by_its_label(
    client: FlaskClient, stored: Stored, hook: str
) -> None:
    asked = {
        "q3_input3": {"first": "Ada Maria", "last": "Byron"},
        "q4_email": "ada@example.org",
        "q5_input5": ["Crowns, small", "Bridges"],
        "q6_typeA6": "Yes",
        "q7_typeA": "After five, please",
        "q8_typeA8": "Acme",
        "q9_clickTo": "Acme",
        "q10_doctorsName": {"first": "Greg", "last": "House"},
    }
    pretty = (
        "Wie heißen Sie?:Ada Maria Byron, Email:ada@example.org, Gewünschte Behandlung:Crowns, small; Bridges, "
        "Any pain, now or then?:Yes, Wann sind Sie erreichbar?:After five, please, Insurance:Acme, Employer:Acme, "
        "Doctor:Greg House"
    )
    client.post(hook, data=of_jotform(asked, pretty))
    assert stored.answers() == {
        "attribution": {},
        "first_name": "Ada Maria",
        "last_name": "Byron",
        "email": "ada@example.org",
        "service": "Crowns, small, Bridges",
        "preferred_time": "After five, please",
        "extra": {
            "Any pain, now or then?": "Yes",
            "typeA8": "Acme",
            "clickTo": "Acme",
            "doctorsName first": "Greg",
            "doctorsName last": "House",
        },
    }


def test_the_name_of_a_child_under_a_name_that_says_nothing_is_not_the_visitors(
    client: FlaskClient, stored: Stored, hook: str
) -> None:
    asked = {"q3_input3": ANN, "q4_patientsName4": GREG, "q9_email": "ann@example.org"}
    client.post(hook, data=of_jotform(asked, "Name des Kindes:Ann Lee, Patient:Greg House, Email:ann@example.org"))
    assert (stored.answers()["first_name"], stored.answers()["extra"]) == ("Greg", {"Name des Kindes": "Lee, Ann"})


def test_a_form_in_an_older_charset_and_with_a_file_is_understood(
    client: FlaskClient, stored: Stored, hook: str
) -> None:
    client.post(hook, data=b"Vorname=J%F6rg&email=joerg@example.org", content_type="application/x-www-form-urlencoded")
    assert stored.answers()["first_name"] == "Jörg"
    data = ADA | {"scan": (io.BytesIO(b"x" * 1000), "scan.png")}
    client.post(hook, data=data, content_type="multipart/form-data")
    assert stored.answers()["extra"] == {"consent": "yes", "files_left_out": "scan.png"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_answers_in_the_address_are_taken_as_a_form_is(
    client: FlaskClient, stored: Stored, hook: str, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    way = f"{hook}?Vorname=J%F6rg&email=joerg%40example.org&fields%5Bnote%5D%5Bvalue%5D=a+b&consent=yes"
    for _ in range(2):
        assert client.open(way, method=method).get_json() == {"ok": True, "reference": stored.leads()[0].code}
    assert (len(stored.events()), stored.unreadable()) == (1, [])
    answers = {"first_name": "Jörg", "email": "joerg@example.org", "message": "a b", "extra": {"consent": "yes"}}
    assert answers.items() <= stored.answers().items()
    assert "joerg" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_cannot_be_understood_of_an_address_is_kept_as_well(
    client: FlaskClient, stored: Stored, hook: str, method: str
) -> None:
    for query in ("name=J%C3%B6rg", "{'name'", "%00"):
        answer = client.open(f"{hook}?{query}", method=method)
        assert (answer.status_code, answer.get_json()["ok"]) == (200, True)
        assert stored.body()["text"] == query
    fields = "&".join(f"f{number}=1" for number in range(500))
    assert "more than" in client.open(f"{hook}?{fields}", method=method).get_json()["detail"]
    assert client.open(f"{hook}?email=ada%40example.org&x={'x' * 65536}", method=method).status_code == 413
    assert (len(stored.unreadable()), stored.events()) == (5, [])


def test_a_body_counts_more_than_what_stands_in_the_address(client: FlaskClient, stored: Stored, hook: str) -> None:
    sent(client, f"{hook}?email=grace@example.org&utm_source=news", ADA)
    assert stored.answers()["email"] == "ada@example.org"


@pytest.mark.parametrize(
    ("method", "way", "status"),
    [
        ("POST", "", 400),
        ("POST", "?", 400),
        ("GET", "", 405),
        ("HEAD", "", 405),
        ("HEAD", "?email=ada@example.org", 405),
    ],
)
def test_nothing_is_not_said_to_be_kept(
    client: FlaskClient, stored: Stored, hook: str, method: str, way: str, status: int
) -> None:
    for body in (b"", b" \r\n"):
        answer = client.open(hook + way, method=method, data=body, content_type="application/json")
        assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
        if method != "HEAD":
            assert "nothing was kept" in answer.get_json()["detail"]
    assert (stored.events(), stored.unreadable()) == ([], [])


@pytest.mark.parametrize("kind", [None, "text/plain; charset=utf-8", "application/octet-stream"])
def test_a_form_that_does_not_say_what_it_is_is_known_by_its_looks(
    client: FlaskClient, stored: Stored, hook: str, kind: str | None
) -> None:
    client.post(hook, data=b"Your+Name=Ada+Byron&email=ada%40example.org&empty=&token=YQ==\r\n", content_type=kind)
    assert stored.answers()["first_name"] == "Ada"
    assert stored.answers()["extra"] == {"token": "YQ=="}
    for words in (
        b"Write to email=ada@example.org&x=1",
        b"<a href=x&email=ada@example.org>",
        b"email=ada@example.org&x",
    ):
        assert "no form fields" in client.post(hook, data=words, content_type=kind).get_json()["detail"]
    client.post(hook, data=b"email=grace@example.org", content_type="image/png")
    assert (len(stored.events()), len(stored.unreadable())) == (1, 4)


def test_without_a_consent_box_it_is_held_with_the_reason(client: FlaskClient, stored: Stored, hook: str) -> None:
    sent(client, hook, {"email": "ada@example.org"})
    [event], [delivery] = stored.events(), stored.deliveries()
    assert (event.consent_given, event.consent_version, event.hold_code) == (None, None, "no_consent")
    assert (delivery.state, delivery.code) == ("held", "no_consent")


LEAD = {"lead_id": "g2", "user_column_data": [{"column_id": "EMAIL", "string_value": "ada@example.org"}]}


@pytest.mark.parametrize(
    ("body", "headers", "is_test"),
    [
        (LEAD | {"is_test": True}, {}, True),
        (LEAD | {"is_test": False}, {}, False),
        (LEAD, {}, False),
        ([{"item_key": "k", "email": "ada@example.org"}], {"X-Hook-Test": "true"}, True),
        (ADA, {"X-Hook-Test": "True"}, True),
        (ADA, {"X-Hook-Test": "false"}, False),
        (ADA | {"is_test": "yes"}, {}, False),
    ],
)
def test_what_a_tool_calls_its_own_test_is_held_and_says_so(
    client: FlaskClient, stored: Stored, hook: str, body: Any, headers: dict[str, str], is_test: bool
) -> None:
    assert sent(client, hook, body, headers=headers).status_code == 200
    assert (stored.deliveries()[0].code == "spam") is is_test
    assert ("only a test" in stored.answers().get("suspicion", "")) is is_test


def test_a_box_that_was_ticked_goes_on_its_way(client: FlaskClient, stored: Stored, hook: str) -> None:
    sent(client, hook, ADA)
    [event], [delivery] = stored.events(), stored.deliveries()
    assert (event.consent_given, event.consent_version, delivery.state) == (True, "1", "waiting")


@pytest.mark.parametrize(("wording", "version"), [("I agree that you keep my details. " * 20, None), (None, "1")])
def test_only_the_sites_own_wording_is_kept_as_such_and_another_among_the_answers(
    client: FlaskClient, stored: Stored, site: Site, hook: str, wording: str | None, version: str | None
) -> None:
    with stored.database.read() as session:
        words = (wording or consent_text(session, site)).strip()
    sent(client, hook, {"email": "ada@example.org", words: "on"})
    [event], [delivery] = stored.events(), stored.deliveries()
    assert (event.consent_given, event.consent_version, delivery.state) == (True, version, "waiting")
    assert stored.answers()["extra"] == {words: "on"}, "to the last word"


ENTRY = {
    "id": "9",
    "form_id": "1",
    "date_created": "x",
    "source_url": "https://clinic.example/",
    "2": "ada@example.org",
}
AGREED = "I agree that my details are kept"


@pytest.mark.parametrize(
    ("field", "consent", "extra"),
    [
        ({"6.1": "1", "6.2": AGREED, "6.3": "4"}, True, {AGREED: "1", "6.3": "4"}),
        ({"6.1": "1", "6.2": AGREED}, True, {AGREED: "1"}),
        ({"6.1": "", "6.2": "", "6.3": ""}, None, None),
        ({"6.1": "", "6.2": AGREED, "6.3": ""}, None, {"6.2": AGREED}),
        ({"6.1": "1", "6.2": "I agree", "6.3": "4"}, None, {"6.1": "1", "6.2": "I agree", "6.3": "4"}),
        ({"6.1": "1", "6.2": "I agree to the terms", "6.3": "4"}, None, {"I agree to the terms": "1", "6.3": "4"}),
        ({"6.1": "1", "6.2": AGREED, "6.3": "Crowns"}, None, {"6.1": "1", "6.2": AGREED, "6.3": "Crowns"}),
        ({"6.1": "1", "6.2": AGREED, "6.4": "NJ"}, None, {"6.1": "1", "6.2": AGREED, "6.4": "NJ"}),
        ({"6.1": "1", "6.2": "E-Mail", "6.3": "4"}, None, {"6.1": "1", "6.2": "E-Mail", "6.3": "4"}),
    ],
)
def test_consent_in_gravity_forms_is_understood_where_its_text_is_certain(
    client: FlaskClient, stored: Stored, hook: str, field: dict[str, str], consent: bool | None, extra: Any
) -> None:
    sent(client, hook, ENTRY | field)
    assert [(event.consent_given, event.consent_version) for event in stored.events()] == [(consent, None)]
    assert (stored.answers()["email"], stored.answers().get("extra")) == ("ada@example.org", extra)


def test_a_box_that_was_left_is_no_consent(client: FlaskClient, stored: Stored, hook: str) -> None:
    sent(client, hook, ADA | {"consent": "no"})
    assert [(event.consent_given, event.hold_code) for event in stored.events()] == [(False, "no_consent")]


@pytest.mark.parametrize(("boxes", "consent"), [(["0", "1"], True), (["1", "0"], False), (["0"], False)])
def test_a_hidden_field_takes_a_ticked_box_back_only_after_it(
    client: FlaskClient, stored: Stored, hook: str, boxes: list[str], consent: bool
) -> None:
    client.post(hook, data=ADA | {"consent": boxes})
    assert [event.consent_given for event in stored.events()] == [consent]
    assert stored.answers()["extra"] == {"consent": ", ".join(boxes)}, "as it was sent"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[time_machine.Traveller]:
    """The time of this host, which the database goes by as well. It begins a second before new ten minutes do."""
    monkeypatch.setattr(Database, "_own_time", lambda _: datetime.now(UTC))
    with time_machine.travel("2026-03-02T09:09:59Z", tick=False) as traveller:
        yield traveller


def test_a_repeat_within_minutes_counts_once_and_a_person_who_sends_again_twice(
    client: FlaskClient, stored: Stored, hook: str, clock: time_machine.Traveller
) -> None:
    for seconds in (0, 20, 560):
        clock.shift(seconds)
        sent(client, hook, ADA)
    assert len(stored.events()) == 1
    sent(client, hook, ADA | {"message": "More"})
    assert len(stored.events()) == 2
    clock.shift(30)
    for _ in range(2):
        sent(client, hook, ADA)
    assert len(stored.events()) == 3
    assert stored.resubmissions() == []


def test_an_entry_counts_once_however_late_it_is_repeated(
    client: FlaskClient, stored: Stored, hook: str, clock: time_machine.Traveller
) -> None:
    entry = ADA | {"id": "7", "form_id": "1", "date_created": "x", "source_url": "https://clinic.example/"}
    sent(client, hook, entry)
    clock.shift(7 * 86400)
    sent(client, hook, entry | {"is_read": 1})
    assert len(stored.events()) == 1
    sent(client, hook, entry | {"email": "grace@example.org"})
    assert len(stored.events()) == 2, "another website counts its entries as this one does"


CALL = {"resource_id": "CAL1", "company_resource_id": "COM1", "customer_phone_number": "+12015550177"}


def test_one_call_counts_once_however_much_is_told_of_it(
    client: FlaskClient, stored: Stored, hook: str, clock: time_machine.Traveller
) -> None:
    told = [{}, {"customer_name": "WIRELESS CALLER", "duration": 47}, {"customer_name": "Ada Byron", "duration": 47}]
    for more in told:
        clock.shift(3600)
        sent(client, hook, CALL | more)
    assert (len(stored.events()), len(stored.leads()), len(stored.resubmissions())) == (1, 1, 2)
    assert all(row.tells_more for row in stored.resubmissions()), "it is told of three times, and nobody answered anew"
    sent(client, hook, CALL | {"resource_id": "CAL2"})
    assert (len(stored.events()), stored.events()[-1].source) == (2, "CallRail")


def test_a_call_that_is_told_in_the_address_counts_once(
    client: FlaskClient, stored: Stored, hook: str, clock: time_machine.Traveller
) -> None:
    call = "id=31&callernum=%2B12015550177&trackingnum=%2B12015550188&ip=192.0.2.7"
    for more in ("", "&callername=ADA+BYRON&landingpage=http%3A%2F%2Fclinic.example%2F&callsource=keyword&duration=47"):
        clock.shift(3600)
        assert client.post(f"{hook}?{call}{more}").status_code == 200
    [event], [again] = stored.events(), stored.resubmissions()
    assert event.source == "CallRail"
    assert stored.vault.open(again.answers_sealed, "resubmission", "answers", again.id) == {
        "first_name": "ADA",
        "last_name": "BYRON",
        "phone": "+12015550177",
        "phone_typed": "+12015550177",
        "attribution": {"landing": "http://clinic.example/"},
        "extra": {"source": "keyword", "duration": "47"},
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{'name'", "not valid JSON"),
        (b"[]", "not the answers of one form"),
        (b'[{"email": "a@b.test"}, {"email": "c@d.test"}]', "not the answers of one form"),
        (b'{"name": "Ada"}', "neither an e-mail address nor a phone number"),
        (b'{"email": "ada@", "phone": "12"}', "neither an e-mail address nor a phone number"),
        (b'{"object": "page", "entry": [{"id": "10", "changes": [{"value": {"leadgen_id": "4"}}]}]}', "neither"),
        (b"ada", "no form fields"),
    ],
)
def test_what_cannot_be_understood_is_kept_once_and_answered_as_the_rest(
    client: FlaskClient, stored: Stored, hook: str, body: bytes, reason: str
) -> None:
    for _ in range(2):
        answer = client.post(hook, data=body, content_type="application/json")
        assert (answer.status_code, answer.get_json()["ok"]) == (200, True)
    [row] = stored.unreadable()
    assert reason in row.reason
    assert stored.body()["text"] == body.decode()
    assert (row.site_id is not None, stored.events()) == (True, [])


def test_only_what_came_to_the_secret_address_is_worth_an_alert(client: FlaskClient, stored: Stored, hook: str) -> None:
    for path in ("/api/v1/consultations", FORM):
        client.post(path, data=b"rubbish", content_type="text/plain")
        client.post(path, json={"site": "demo", "id": path, "Your Email": "ada@example.org"})
    assert len(stored.unreadable()) == 4
    assert _alerts(stored) == []
    for number in range(5):  # a field was renamed
        assert sent(client, hook, {"Your Name": f"Ada {number}"}).status_code == 200
    [alert] = _alerts(stored)
    assert alert.startswith("5 messages of Sunrise could not be understood, and went to no CRM")


def _alerts(stored: Stored) -> list[str]:
    with stored.database.read() as session:
        found = conditions(signs(session, stored.database.now(session)), timedelta(1))
    return [one.sentence for one in found if one.kind == "unreadable"]


def test_what_our_rules_refuse_is_kept_beside_the_rest(client: FlaskClient, stored: Stored, hook: str) -> None:
    sent(client, hook, ADA | {"phone": "555-2671", "service": "x" * 300, "message": "y" * 6000})
    answers = stored.answers()
    assert (answers["email"], answers["message"]) == ("ada@example.org", "y" * 5000)
    assert answers["extra"] == {
        "consent": "yes",
        "phone_as_sent": "555-2671",
        "service_as_sent": "x" * 300,
        "message, whole": "y" * 6000,
    }


@pytest.mark.parametrize(
    "way", ["/hooks/demo/{}0", "/hooks/demo/0", "/hooks/nobody/{}", "/hooks/other/{}", "/hooks/demo/é"]
)
def test_what_comes_to_a_wrong_address_is_kept_for_a_person(
    client: FlaskClient, stored: Stored, vault: Vault, site: Site, way: str
) -> None:
    """Its visitor was thanked by the plugin. The plugin is told that nothing was taken."""
    make_site(stored.database, key="other")
    address = way.format(hook_token(vault, site))
    for ask in (partial(sent, client, address, ADA), partial(client.get, address, query_string=ADA)):
        answer = ask()
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert stored.events() == []
    assert all("is not, or no longer, one of ours" in one.reason for one in stored.unreadable())
    assert len(stored.unreadable()) == 2


def test_a_wrong_address_fills_no_list_without_bound(client: FlaskClient, stored: Stored, site: Site) -> None:
    for number in range(40):
        assert sent(client, "/hooks/demo/0", ADA | {"message": str(number)}).status_code == 404
    assert client.get("/hooks/demo/0").status_code == client.head("/hooks/demo/0?a=b").status_code == 404
    assert 0 < len(stored.unreadable()) < 40


def test_too_much_is_told(client: FlaskClient, stored: Stored, hook: str) -> None:
    """Its visitor was thanked by the plugin, so a person is told that somebody wrote."""
    for _ in range(2):
        assert sent(client, hook, ADA | {"message": "x" * 65536}).status_code == 413
    told = {row.reason for row in stored.unreadable()}
    assert len(told) == 1
    assert "larger than 64 KiB" in told.pop()


@pytest.mark.parametrize("body", [ADA, {"name": "Ada"}])
def test_without_the_database_it_is_to_be_sent_again(
    client: FlaskClient, stored: Stored, hook: str, outage: Any, body: dict[str, str]
) -> None:
    with outage():
        answer = sent(client, hook, body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert sent(client, hook, body).status_code == 200
    assert len(stored.events()) + len(stored.unreadable()) == 1


def test_many_visitors_from_one_web_server_are_not_held(client: FlaskClient, stored: Stored, hook: str) -> None:
    for number in range(7):  # one visitor may send five
        sent(client, hook, ADA | {"email": f"p{number}@example.org"})
        sent(client, hook, {"nobody": number})
    assert {event.hold_code for event in stored.events()} == {None}
    assert len(stored.unreadable()) == 7


def test_a_flood_is_held_and_what_cannot_be_kept_is_not_acknowledged(
    client: FlaskClient, stored: Stored, hook: str
) -> None:
    for _ in range(5 * routes.TIMES_A_VISITOR):
        client.post(hook, data=b"", environ_overrides=SERVER)
    assert sent(client, hook, {"nobody": 1}).status_code == 429
    assert sent(client, hook, ADA).status_code == 200
    assert [event.hold_code for event in stored.events()] == ["spam"]
    assert stored.unreadable() == []


def test_hostile_inputs(client: FlaskClient, stored: Stored, hook: str) -> None:
    for case in CASES:
        before = len(stored.events()) + len(stored.unreadable())
        answer = client.post(hook, data=body_of(case), content_type=case["type"])
        assert answer.status_code == 200, case["name"]
        assert len(stored.events()) + len(stored.unreadable()) == before + 1, case["name"]


@given(body=bodies, content_type=types)
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_kept_or_refused(
    client: FlaskClient, stored: Stored, hook: str, body: bytes, content_type: str
) -> None:
    exactly = {"input_stream": io.BytesIO(body), "content_length": len(body)}  # else it would end a form with files
    answer = client.post(hook, content_type=content_type, **exactly)
    assert answer.status_code in ((200, 429) if body.strip() else (400,))


def test_a_name_with_and_without_brackets_keeps_both(client: FlaskClient, stored: Stored, hook: str) -> None:
    client.post(
        hook, data="service[]=Alpha&service=Beta&email=j@example.com", content_type="application/x-www-form-urlencoded"
    )
    assert {"Alpha", "Beta"} <= {stored.answers()["service"], *stored.answers()["extra"].values()}
