"""HubSpot against a pretend one with a memory, and what its fixtures do not show."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from integrations._hubspot import KEY
from integrations.core.base import Allowance, Item, Pushed
from integrations.core.errors import Refused, TryLater, Unknown
from integrations.core.http import Answer
from integrations.core.oauth import Token
from integrations.hubspot import Hubspot
from leads.sync import calls
from tests.contract.connection import Noting, build
from tests.contract.people import item
from tests.crm.loop import PATIENT
from tests.pretend.hubspot import PretendHubspot
from tests.pretend.server import Reply


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ({}, ["token"]),
        ({"client_id": "one"}, ["token"]),
        ({"token": "pat-na1-1"}, []),
        ({"client_id": "one", "client_secret": "two"}, []),
    ],
)
def test_there_is_a_key_or_an_app_to_sign_in_with(typed: dict[str, str], wrong: list[str]) -> None:
    assert list(Hubspot.options().validate(typed)) == wrong


def test_a_connection_from_before_there_was_an_address_option_still_works() -> None:
    [contact, _] = Hubspot({"token": "pat-na1-1"}, Noting()).draft(item("ann", Hubspot))
    assert contact.url.startswith("https://api.hubapi.com/")
    signs_in = Hubspot.oauth({"client_id": "one", "client_secret": "two"})
    assert signs_in
    assert signs_in.token_url == "https://api.hubapi.com/oauth/2026-03/token"


@pytest.mark.parametrize(
    ("told", "understood"),
    [
        (
            {"Remaining": "8", "Interval-Milliseconds": "10000", "Daily": "250000", "Daily-Remaining": "7"},
            Allowance(8, 10.0, 7, 250_000),
        ),
        ({"Remaining": "8", "Interval-Milliseconds": "10000"}, Allowance(8, 10.0)),
        ({"Remaining": "many"}, None),
        ({}, None),
    ],
)
def test_the_limits_are_read_from_the_headers(told: dict[str, str], understood: Allowance | None) -> None:
    headers = {f"X-HubSpot-RateLimit-{name}": value for name, value in told.items()}
    assert Hubspot.allowance(Answer(200, headers, b"{}")) == understood


@pytest.mark.parametrize(
    ("key", "home"), [("pat-na1-1", " app.hubspot.com"), ("pat-eu1-1", " app-eu1.hubspot.com"), ("old", None)]
)
def test_a_wrong_key_is_told_with_the_region_of_its_account(key: str, home: str | None) -> None:
    with (crm := PretendHubspot()):
        settings = {"token": key, "api": crm.url}
        [error] = calls.push(_with(settings, None), [item("ann", Hubspot)], ())
    assert getattr(error, "code", None) == "bad_key"
    assert key not in str(error)
    assert (home in str(error)) if home else ("hubspot.com" not in str(error))


def test_an_adopted_contact_of_another_lead_gets_repeat_enquiries_and_no_twin() -> None:
    """Once all that is written when empty is filled, nothing of the record is left to write."""
    with (crm := PretendHubspot()):
        crm.contacts["7"] = {"email": "ann@canary.example", "frontdesk_lead_id": "another-lead"}
        connector = _connector(crm)
        [first] = calls.push(connector, [item("ann", Hubspot)], ())
        assert isinstance(first, Pushed)
        again = replace(item("ann_click", Hubspot, first.remote_id), record={})
        [second] = calls.push(connector, [again], ())
        assert isinstance(second, Pushed)
        assert [(person.remote_id, len(person.events)) for person in crm.people()] == [("7", 2)]
        assert crm.contacts["7"]["frontdesk_lead_id"] == "another-lead"


@pytest.mark.parametrize("status", ["new", "known"])
@pytest.mark.parametrize(
    "typed",
    [
        "Existing ID: 7",
        "Contact already exists. Existing ID: 7",
        '"error":"PROPERTY_DOESNT_EXIST"',
        'Property values were not valid: [{"error":"PROPERTY_DOESNT_EXIST","name":"email"}]',
    ],
)
def test_what_a_visitor_typed_is_no_word_of_hubspots(typed: str, status: str) -> None:
    """HubSpot repeats a value that a list does not have. It must lead to nobody's contact, and stop no connection."""
    with (crm := PretendHubspot()):
        jane = {"email": "jane@clinic.example", "firstname": "Jane", "treatment": "implants"}
        crm.contacts["7"] = dict(jane)
        crm.properties["treatment"] = {"name": "treatment", "options": [{"value": "implants"}]}
        connector, ann = _connector(crm), item("ann", Hubspot)
        if status == "known":
            [first] = calls.push(connector, [ann], ())
            assert isinstance(first, Pushed)
            ann = item("ann_click", Hubspot, first.remote_id)
        [result] = calls.push(connector, [replace(ann, record={**ann.record, "treatment": typed})], ())
        assert isinstance(result, Refused)
        assert typed not in result.sentence
        assert crm.contacts["7"] == jane
        assert list(crm._events("7")) == []


@pytest.mark.parametrize(
    ("held", "is_hers"),
    [
        ({"email": "Ann@Canary.example"}, True),
        ({"email": "old@clinic.example", "hs_additional_emails": "other@clinic.example;ann@canary.example"}, True),
        ({"email": "jane@clinic.example"}, False),
        ({}, False),
    ],
)
def test_only_a_contact_with_her_own_address_is_adopted(held: dict[str, str], is_hers: bool) -> None:
    with (crm := PretendHubspot()):
        crm.contacts["7"] = dict(held)
        said = {"status": "error", "category": "CONFLICT", "message": "Contact already exists. Existing ID: 7"}
        crm._upsert = lambda _: Reply(409, said)  # type: ignore[method-assign]
        [result] = calls.push(_connector(crm), [item("ann", Hubspot)], ())
        assert isinstance(result, Pushed if is_hers else Refused)
        assert crm.contacts["7"].get("firstname", "") == ("Annabelle" if is_hers else "")
        assert len(list(crm._events("7"))) == is_hers


def test_a_contact_with_more_notes_than_one_answer_shows() -> None:
    with (crm := PretendHubspot()):
        crm.contacts["7"] = {"email": "ann@canary.example"}
        crm.notes = {
            str(n): {"properties": {"hs_note_body": "By hand."}, "contacts": ["7"], "at": 0} for n in range(250)
        }
        connector, ann = _connector(crm), item("ann", Hubspot)
        for _ in range(2):
            assert [type(one) for one in calls.push(connector, [ann], ())] == [Pushed]
        assert [person.events for person in crm.people()] == [[ann.event_id]]
        assert connector.find([replace(ann, remote_id="7")])[0] is not None
        connector.erase(["7"])
        assert crm.notes == {}


def test_erase_leaves_the_contact_that_another_was_merged_into() -> None:
    with (crm := PretendHubspot()):
        connector, people = _connector(crm), [item("ann", Hubspot), item("bob", Hubspot)]
        ann, bob = (str(one.remote_id) for one in calls.push(connector, people, ()) if isinstance(one, Pushed))
        crm.merge(ann, into=bob)
        connector.erase([ann])
        assert (list(crm.contacts), len(crm.notes)) == ([bob], 2)
        both = connector.merged_with([ann])
        assert (both, connector.events_on(both)) == ([bob, ann], {one.event_id for one in people})
        connector.erase(both)
        assert (crm.contacts, crm.notes) == ({}, {})


@pytest.mark.parametrize("kind", ["calls", "tasks", "meetings", "emails", "deals", "tickets"])
def test_what_staff_put_on_a_contact_is_their_work(kind: str) -> None:
    with (crm := PretendHubspot()):
        connector, callers = _connector(crm), _callers(crm)
        assert connector.worked_on(callers) == [False, False]
        crm.work[kind] = ["8"]
        assert connector.worked_on(callers) == [False, True]


def test_where_the_key_may_not_know_of_deals_every_contact_may_have_one() -> None:
    with (crm := PretendHubspot()):
        crm.unseen = {"deals"}
        assert _connector(crm).worked_on(_callers(crm)) == [True, True]


def test_where_hubspot_does_not_tell_every_contact_may_have_been_worked_on() -> None:
    with (crm := PretendHubspot()):
        error = {"status": "error", "category": "INTERNAL_ERROR", "message": "Try again."}
        crm._on_contacts = lambda *_: Reply(207, {"results": [], "errors": [error]})  # type: ignore[method-assign]
        assert _connector(crm).worked_on(_callers(crm)) == [True, True]
        crm._on_contacts = lambda *_: Reply(200, {})  # type: ignore[method-assign]
        with pytest.raises(TryLater):
            _connector(crm).worked_on(_callers(crm))


def test_many_contacts_are_looked_at_together_and_those_that_are_gone_not_at_all() -> None:
    with (crm := PretendHubspot()):
        gone = replace(item("ann_click", Hubspot), remote_id="999")
        assert _connector(crm).worked_on([*_callers(crm), gone]) == [False, False, False]
        assert len([path for _, path, _ in crm.calls if "/associations/" in path]) == 6


def _callers(crm: PretendHubspot) -> list[Item]:
    crm.contacts |= {"7": {"lastname": "Caller K7Q-2MX"}, "8": {"lastname": "Caller P4T-9RA"}}
    return [replace(item("caller_click", Hubspot), remote_id=one) for one in crm.contacts]


@pytest.mark.parametrize("signs_in", [False, True], ids=["with a key", "signed in"])
def test_everybody_is_there_once_though_one_call_in_five_fails(signs_in: bool) -> None:
    with (crm := PretendHubspot(late=0.8, signs_in=signs_in, lag=0.05)):
        crm.contacts["7"] = {"email": "person3@canary.example", "firstname": "Old"}
        crm.faults_rate = 0.2
        items = [_numbered(number, event) for number in range(7) for event in range(2 if number % 3 == 0 else 1)]
        remote_ids = _deliver(crm, items)
        crm.faults_rate = 0
        assert len(crm.people()) == 7
        assert {person.lead_id: sorted(person.events) for person in crm.people()} == {
            f"lead{n}": sorted(one.event_id for one in items if one.lead_id == f"lead{n}") for n in range(7)
        }
        known = crm.contacts["7"]
        assert (known["firstname"], known["lastname"]) == ("Old", "Number 3"), "filled where empty, never overwritten"
        connector = _connector(crm)
        time.sleep(crm.lag)
        assert all(connector.find([replace(one, remote_id=remote_ids[one.lead_id]) for one in items]))
        connector.erase(list(remote_ids.values()))
        connector.erase(list(remote_ids.values()))
        assert crm.people() == []
        assert crm.notes == {}


def _deliver(crm: PretendHubspot, items: list[Item]) -> dict[str, str]:
    """As the outbox does: several at a time, never two of one lead; what may be there is looked up once it shows."""
    remote_ids: dict[str, str] = {}
    doubtful: set[str] = set()
    waiting = list(items)
    for _ in range(200):
        first = {one.lead_id: one for one in reversed(waiting)}
        batch = [replace(one, remote_id=remote_ids.get(one.lead_id)) for one in list(first.values())[:4]]
        for one, result in zip(batch, calls.push(_connector(crm, crm.late - 0.05), batch, doubtful), strict=True):
            if isinstance(result, Pushed):
                remote_ids[one.lead_id] = result.remote_id
                waiting = [other for other in waiting if other.event_id != one.event_id]
            elif isinstance(result, Unknown):
                doubtful.add(one.event_id)
        if not waiting:
            return remote_ids
        time.sleep(crm.lag)
    raise AssertionError(f"{len(waiting)} never arrived: {crm.calls[-5:]}")


def _connector(crm: PretendHubspot, deadline: float = PATIENT) -> Hubspot:
    token = replace(Token.load(crm.token), access_token=crm.key) if crm.token else None
    return _with(crm.settings(), token, deadline=deadline)


def _with(settings: dict[str, Any], token: Token | None, **net: Any) -> Hubspot:
    made = build("hubspot", settings, token, allowed_private_hosts=frozenset(["127.0.0.1"]), **net)
    assert isinstance(made, Hubspot)
    return made


def _numbered(number: int, event: int) -> Item:
    """Every fourth is a caller, known by a code alone."""
    record = {"firstname": "Person", "lastname": f"Number {number}"}
    known = {"email": f"person{number}@canary.example", "phone": f"+1201555{number:04d}"}
    event_id = f"{number:08d}-0000-4000-8000-{event:012d}"
    fill = record | (known if number % 4 != 1 else {})
    return replace(item("ann", Hubspot), lead_id=f"lead{number}", event_id=event_id, record={}, fill=fill)


@pytest.mark.parametrize("known_by", ["the outbox", "our own number"])
def test_an_address_that_another_contact_has_stands_in_the_note_and_all_else_is_written(known_by: str) -> None:
    """A tap on “Call us” made a contact, then the form of somebody whom HubSpot knows came from the same browser."""
    with (crm := PretendHubspot()):
        connector = _connector(crm)
        ann = item("ann", Hubspot)
        crm.contacts["900"] = {"firstname": "Annabelle", "email": ann.record["email"]}
        crm.contacts["901"] = {"firstname": "", "lastname": "", KEY: ann.lead_id}
        asked = replace(ann, remote_id="901" if known_by == "the outbox" else None)
        assert calls.push(connector, [asked], ()) == [Pushed("901", _page("901"))]
        assert crm.contacts["901"]["firstname"] == ann.record["firstname"]
        assert "email" not in crm.contacts["901"]
        (note,) = crm.notes.values()
        assert note["contacts"] == ["901"]
        assert f"{ann.record['email']} (another record has this already)" in note["properties"]["hs_note_body"]
        assert crm.contacts["900"] == {"firstname": "Annabelle", "email": ann.record["email"]}
        seen = connector.find([replace(asked, remote_id="901")])[0]
        assert seen is not None
        assert seen.whole


def _page(contact: str) -> str:
    return f"https://app-eu1.hubspot.com/contacts/1/record/0-1/{contact}"
