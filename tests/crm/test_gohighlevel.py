"""HighLevel against its own published schemas, and against a pretend one with a memory."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator

from integrations._gohighlevel import is_missing
from integrations.core.base import Allowance, Item, Pushed
from integrations.core.errors import Refused, Throttled, Unknown
from integrations.core.http import Answer
from integrations.core.oauth import Token
from integrations.gohighlevel import Gohighlevel
from leads.sync import calls
from tests.contract.connection import FIXTURES, Noting, build
from tests.contract.people import item
from tests.crm.loop import PATIENT
from tests.pretend.gohighlevel import LOCATION, PretendGohighlevel
from tests.pretend.server import Reply

SPEC = json.loads((Path(__file__).parent.parent / "data" / "gohighlevel" / "schemas.json").read_text())
BROKEN = ("unreadable", "no_id", "error_in_200")  # their answers are wrong on purpose


def _exchanges() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((FIXTURES / "gohighlevel").glob("*.json")):
        for exchange in json.loads(path.read_text()).get("exchanges", ()):
            yield path.stem, exchange


def _call(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the specification says of this call."""
    path = re.sub(r"^https://[^/]+", "", request["url"])
    path = re.sub(r"(?<=^/contacts/)(?!search$)\w+", "{contactId}", path)
    path = re.sub(r"(?<=/notes/)\w+", "{id}", re.sub(r"(?<=/locations/)\w+", "{locationId}", path))
    found: dict[str, Any] = SPEC["paths"][path][request["method"].lower()]
    return found


def _hold(schema: Mapping[str, Any], value: Any) -> None:
    OAS30Validator({**schema, "components": SPEC["components"]}).validate(value)


def test_every_request_is_one_that_the_specification_knows() -> None:
    checked = 0
    for _, exchange in _exchanges():
        call, body = _call(exchange["request"]), exchange["request"].get("json") or exchange["request"].get("form")
        assert (call["request"] is None) == (body is None)
        if body is None:
            continue
        _hold(call["request"], body)
        known = SPEC["components"]["schemas"][call["request"]["$ref"].rpartition("/")[2]]["properties"]
        assert not known or body.keys() <= known.keys(), "HighLevel refuses a property that it does not know"
        checked += 1
    assert checked > 50


def test_every_answer_of_the_fixtures_is_one_that_the_specification_knows() -> None:
    checked = 0
    for stem, exchange in _exchanges():
        answer = exchange["answer"]
        schema = _call(exchange["request"])["answers"].get(str(answer.get("status", 200)))
        if schema and "json" in answer and not stem.startswith(BROKEN):
            _hold(schema, answer["json"])
            checked += 1
    assert checked > 100


def test_a_body_that_breaks_the_specification_is_noticed() -> None:
    schema = SPEC["paths"]["/contacts/"]["post"]["request"]
    with pytest.raises(Exception, match="locationId"):
        _hold(schema, {"firstName": "Ann"})


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ({}, "key"),
        ({"key": "pit-1"}, "location_id"),
        ({"client_id": "one"}, "key"),
        ({"key": "pit-1", "location_id": "../agency"}, "location_id"),
        ({"key": "pit-1", "location_id": LOCATION}, None),
        ({"client_id": "one", "client_secret": "two"}, None),
    ],
)
def test_there_is_a_token_or_an_app_to_sign_in_with(typed: dict[str, str], wrong: str | None) -> None:
    assert list(Gohighlevel.options().validate(typed)) == ([wrong] if wrong else [])


def test_a_sign_in_for_an_agency_is_told() -> None:
    settings = Gohighlevel.options().load({"client_id": "one", "client_secret": "two"})
    assert Gohighlevel.oauth(settings)
    connector = Gohighlevel({**settings, "token": {}}, Noting())
    assert [finding.ok for finding in connector.check()] == [False]
    assert connector.prepare() == []


def test_the_limits_are_read_from_the_headers() -> None:
    headers = {"Remaining": "99", "Interval-Milliseconds": "10000", "Limit-Daily": "200000", "Daily-Remaining": "7"}
    answer = Answer(200, {f"X-RateLimit-{name}": value for name, value in headers.items()}, b"{}")
    assert Gohighlevel.allowance(answer) == Allowance(99, 10.0, 7, 200_000)
    assert Gohighlevel.allowance(Answer(200, {"X-RateLimit-Remaining": "soon"}, b"{}")) is None


def test_custom_fields_are_written_by_their_id_and_read_by_their_key() -> None:
    with (crm := PretendGohighlevel()):
        crm.fields.append({"id": "f2", "name": "Wish", "fieldKey": "contact.wish", "dataType": "LARGE_TEXT"})
        connector, ann = _connector(crm), _mapped(item("ann", Gohighlevel))
        [pushed] = calls.push(connector, [ann], ())
        [seen] = connector.find([replace(ann, remote_id=getattr(pushed, "remote_id"))])  # noqa: B009 - any result
        assert seen
        assert seen.record == dict(ann.record)
        [error] = calls.push(connector, [replace(ann, record={"contact.gone": "x"}, lead_id="other")], ())
        assert getattr(error, "code", None) == "unknown_field"


def test_a_sub_account_that_allows_duplicates_has_each_lead_once() -> None:
    with (crm := PretendGohighlevel(lag=0)):
        crm.takes_duplicates = True
        for _ in range(3):
            calls.push(_connector(crm), [item("ann", Gohighlevel)], ())
        assert [len(person.events) for person in crm.people()] == [1]


def test_a_contact_made_a_moment_ago_is_not_made_again_before_the_search_shows_it() -> None:
    """A caller has neither e-mail nor phone, so that only the search can tell."""
    with (crm := PretendGohighlevel(lag=60)):
        honest = crm.answer
        for status, verdict in ((429, Throttled), (401, Unknown)):
            crm.answer = lambda request: (  # type: ignore[method-assign]
                replace(honest(request), status=status) if "notes" in request.path else honest(request)  # noqa: B023
            )
            [result] = calls.push(_connector(crm), [item("caller_click", Gohighlevel)], ())
            assert type(result) is verdict
            assert getattr(result, "retry_after", Gohighlevel.settle) >= Gohighlevel.settle


@pytest.mark.parametrize("ours", [True, False])
def test_a_contact_that_we_may_not_edit_stops_nobody_else(ours: bool) -> None:
    with (crm := PretendGohighlevel(lag=0)):
        ann = item("ann", Gohighlevel)
        record = {"id": "known", "email": ann.record["email"], "firstName": "Old"}
        crm.contacts["known"], crm.notes["known"], crm.shown_at["known"] = record, {}, 0
        if ours:
            record["customFields"] = [{"id": "fieldOfOurs", "value": ann.lead_id}]  # type: ignore[assignment]
        crm._change = lambda *_: Reply(403, {"message": "Forbidden resource"})  # type: ignore[method-assign]
        for known in (None, "known"):
            [result] = calls.push(_connector(crm), [replace(ann, remote_id=known)], ())
            assert isinstance(result, Refused if ours else Pushed), result
        assert len(crm.notes["known"]) == (0 if ours else 1)


@pytest.mark.parametrize("signs_in", [False, True], ids=["with a token", "signed in"])
def test_everybody_is_there_once_though_one_call_in_five_fails(signs_in: bool) -> None:
    with (crm := PretendGohighlevel(late=0.8, signs_in=signs_in, lag=0.05)):
        known = crm.contacts["known"] = {"id": "known", "email": "person3@canary.example", "firstName": "Old"}
        crm.notes["known"], crm.shown_at["known"] = {}, 0
        crm.faults_rate = 0.2
        items = [_numbered(number, event) for number in range(8) for event in range(2 if number % 3 == 0 else 1)]
        remote_ids = _deliver(crm, items)
        crm.faults_rate = 0
        people = {person.lead_id: sorted(person.events) for person in crm.people()}
        assert len(crm.people()) == 8
        assert people == {
            f"lead{n}": sorted(one.event_id for one in items if one.lead_id == f"lead{n}") for n in range(8)
        }
        assert (known["firstName"], known["lastName"]) == ("Old", "Number 3"), "filled where empty, never overwritten"
        connector = _connector(crm)
        assert all(connector.find([replace(one, remote_id=remote_ids[one.lead_id]) for one in items]))
        connector.erase(list(remote_ids.values()))
        connector.erase(list(remote_ids.values()))
        assert crm.people() == []


def _deliver(crm: PretendGohighlevel, items: list[Item]) -> dict[str, str]:
    """As the outbox does: what may have been written is looked up once the search can show it."""
    remote_ids: dict[str, str] = {}
    doubtful: set[str] = set()
    waiting = list(items)
    for _ in range(200):
        for one in list(waiting):
            whole = replace(one, remote_id=remote_ids.get(one.lead_id))
            [result] = calls.push(_connector(crm, crm.late - 0.05), [whole], doubtful)
            if remote_id := getattr(result, "remote_id", None):
                remote_ids[one.lead_id] = remote_id
                waiting.remove(one)
            elif isinstance(result, Unknown):
                doubtful.add(one.event_id)
        if not waiting:
            return remote_ids
        time.sleep(crm.lag)
    raise AssertionError(f"{len(waiting)} never arrived: {crm.calls[-5:]}")


def _connector(crm: PretendGohighlevel, deadline: float = PATIENT) -> Gohighlevel:
    """token: what the sign-in gave, kept between two calls as the store does."""
    token = Token.load(crm.token) if crm.token else None
    if token:
        token = replace(token, access_token=crm.key, refresh_token=crm.refresh)
    made = build(
        "gohighlevel", crm.settings(), token, allowed_private_hosts=frozenset(["127.0.0.1"]), deadline=deadline
    )
    assert isinstance(made, Gohighlevel)
    return made


def _mapped(one: Item) -> Item:
    return replace(one, record={**one.record, "contact.wish": "a smile"})


def _numbered(number: int, event: int) -> Item:
    """Every fourth is a caller, known by a code alone."""
    record = {"firstName": "Person", "lastName": f"Number {number}"}
    known = {"email": f"person{number}@canary.example", "phone": f"+1201555{number:04d}"}
    event_id = f"{number:08d}-0000-4000-8000-{event:012d}"
    return replace(
        item("ann", Gohighlevel),
        lead_id=f"lead{number}",
        event_id=event_id,
        record={},
        fill=record | (known if number % 4 != 1 else {}),
    )


def test_a_long_answer_is_soon_read() -> None:
    """It may quote what a visitor wrote, and an answer may have a megabyte."""
    told = json.dumps({"message": "contact " * 8000})
    began = time.process_time()
    assert not is_missing(Answer(400, {}, told.encode()))
    assert time.process_time() - began < 0.3
