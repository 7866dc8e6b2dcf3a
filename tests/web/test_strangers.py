"""What a stranger learns who sends details that may be a patient's: nothing, whether they are known or not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from leads.intake.spam import HONEYPOT
from leads.store.models import Site, new_id
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import send
from tests.web.pages import FORM
from tests.web.stored import Stored
from tests.web.test_api import CALL_CLICKS, post

PHONE, EMAIL, OWN = "+12015550123", "jane@example.com", "+12015550177"
CODE = re.compile(r"[A-Z2-9]{3}-[A-Z2-9]{3}")
Ask = Callable[..., TestResponse]


def _by_api(client: FlaskClient, **answers: Any) -> TestResponse:
    return post(client, {"site": "demo", "id": str(new_id()), "consent": True, **answers})


def _by_form(client: FlaskClient, **answers: Any) -> TestResponse:
    return client.post(FORM, data={"id": str(new_id()), "consent": "yes", **answers})


@pytest.fixture(params=[_by_api, _by_form])
def ask(request: pytest.FixtureRequest, client: FlaskClient) -> Ask:
    """Sends an enquiry, as both ways in take it."""
    return lambda **answers: request.param(client, **answers)


@pytest.fixture(params=["known", "unknown"], autouse=True)
def patient(request: pytest.FixtureRequest, database: Database, vault: Vault, site: Site) -> str | None:
    """The code of the patient with these details; None where there is none."""
    if request.param == "unknown":
        return None
    return send(database, vault, site, first_name="Jane", email=EMAIL, phone=PHONE, visitor_id="hers").reference


def code_in(response: TestResponse) -> str:
    text = response.location or response.get_json()["reference"]
    [code] = CODE.findall(text)
    return str(code)


def _as_it_looks(response: TestResponse) -> tuple[Any, ...]:
    """All of an answer but what differs each time anyway."""
    body = re.sub(r"[0-9a-f-]{36}|\d{4}-\d\d-\d\dT[\d:.+]+", "…", response.get_data(as_text=True))
    headers = {name: CODE.sub("CODE", value) for name, value in response.headers if name != "Date"}
    return response.status_code, headers, CODE.sub("CODE", body)


@pytest.mark.parametrize("trap", [{}, {HONEYPOT: "x"}])
@pytest.mark.parametrize(
    "probe",
    [
        [{"phone": PHONE}, {"phone": PHONE, "first_name": "Zzzq"}, {"phone": PHONE, "first_name": "Jane"}],
        [{"email": EMAIL, "phone": OWN}, {"phone": OWN}, {"phone": OWN, "first_name": "Jane"}],
        [{"email": EMAIL, "visitor_id": "mine"}, {"email": EMAIL, "phone": PHONE}, {"email": "other@example.com"}],
    ],
    ids=["phone", "own phone", "own browser"],
)
def test_no_two_enquiries_get_one_code(
    ask: Ask, patient: str | None, probe: list[dict[str, str]], trap: dict[str, str]
) -> None:
    """Else two codes that are the same, or are not, tell whether a person stood between them."""
    codes = [code_in(ask(**answers, **trap)) for answers in probe]
    assert len({*codes, patient}) == len(probe) + 1


def test_nothing_else_of_an_answer_tells_either(ask: Ask, client: FlaskClient) -> None:
    of_nobody = ask(first_name="Nobody", email="nobody@example.com")
    probes = [ask(phone=PHONE), ask(email=EMAIL, phone=OWN), ask(phone=PHONE, first_name="Zzzq")]
    assert {str(_as_it_looks(answer)) for answer in probes} == {str(_as_it_looks(of_nobody))}
    if of_nobody.location:
        pages = [client.get(answer.location) for answer in (of_nobody, *probes)]
        assert len({str(_as_it_looks(page)) for page in pages}) == 1


def test_a_browsers_taps_before_and_after_tell_nothing(client: FlaskClient, ask: Ask, patient: str | None) -> None:
    """The visitor's own id joins taps to whoever filled in the form, and a repeat of a tap must not say so."""

    def tap(sent_id: str) -> TestResponse:
        return post(client, {"site": "demo", "id": sent_id, "visitor_id": "mine", "tel": PHONE}, CALL_CLICKS)

    before = [tap("tap-1"), tap("tap-2")]
    enquiry = ask(email=EMAIL, visitor_id="mine")
    after = tap("tap-3")
    assert len({patient, *map(code_in, [*before, enquiry, after])}) == 5
    assert [tap(f"tap-{number}").get_json() for number in (1, 2, 3)] == [one.get_json() for one in [*before, after]]


def test_an_enquiry_that_is_sent_again_gets_the_same_answer(client: FlaskClient, stored: Stored) -> None:
    for number, answers in enumerate([{"email": EMAIL}, {"email": EMAIL, "first_name": "Zzzq"}, {"phone": PHONE}]):
        sent = [post(client, {"site": "demo", "id": f"sent-{number}", **answers}).get_json() for _ in range(2)]
        assert sent[0] == sent[1]
    assert len({event.code for event in stored.events() if event.code}) >= 1
