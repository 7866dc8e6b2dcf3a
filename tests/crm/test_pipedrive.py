"""Pipedrive against a pretend one in which nothing is unique and the search is behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from integrations.core.base import Allowance, Item, Pushed, Seen
from integrations.core.errors import Misconfigured, Refused, Throttled
from integrations.core.http import Answer
from integrations.core.oauth import authorization_url
from integrations.pipedrive import Pipedrive
from leads.sync import calls
from tests.crm.loop import DEADLINE, LATE, connected, deliver, enquiry
from tests.pretend.pipedrive import KEY, PLAN, PretendPipedrive
from tests.pretend.server import Reply


@pytest.fixture
def crm() -> PretendPipedrive:
    return PretendPipedrive(late=LATE)


@pytest.fixture
def pipedrive(crm: PretendPipedrive) -> Iterator[Pipedrive]:
    with connected(crm) as connector:
        assert isinstance(connector, Pipedrive)
        yield connector


@pytest.mark.parametrize("signs_in", [False, True])
@pytest.mark.parametrize("lag", [0.0, 60.0])
def test_all_is_there_once_whatever_goes_wrong_on_the_way(signs_in: bool, lag: float) -> None:
    crm = PretendPipedrive(late=LATE, lag=lag, signs_in=signs_in)
    with connected(crm, deadline=DEADLINE) as pipedrive:
        items = [enquiry(pipedrive, number, number % 12) for number in range(18)]
        crm.faults_rate = 0.2
        homes = deliver(pipedrive, items)
    assert {person.lead_id: person.remote_id for person in crm.people()} == homes
    assert len(crm.people()) == 12
    assert sorted(event for person in crm.people() for event in person.events) == sorted(one.event_id for one in items)
    assert {status for _, _, status in crm.calls} > {0, 429}, "nothing went wrong"


def test_a_person_whose_activity_was_not_taken_is_not_made_again(crm: PretendPipedrive, pipedrive: Pipedrive) -> None:
    honest = crm._new_activity
    crm._new_activity = _slow_down  # type: ignore[method-assign]  # until it is put back
    assert isinstance(calls.push(pipedrive, [enquiry(pipedrive, 1, 1)], ())[0], Throttled)
    crm._new_activity = honest  # type: ignore[method-assign]  # put back
    deliver(pipedrive, [enquiry(pipedrive, 1, 1)])
    assert [len(person.events) for person in crm.people()] == [1]


def _slow_down(_: Any) -> Reply:
    return Reply(429, {"success": False, "error": "Too many requests"}, {"x-ratelimit-reset": "1"})


def test_what_staff_changed_stays(crm: PretendPipedrive, pipedrive: Pipedrive) -> None:
    (home,) = deliver(pipedrive, [enquiry(pipedrive, 1, 1)]).values()
    crm.persons[int(home)] |= {"name": "Annabelle-Marie", "phones": []}
    assert isinstance(calls.push(pipedrive, [replace(enquiry(pipedrive, 2, 1), remote_id=home)], ())[0], Pushed)
    assert crm.persons[int(home)]["name"] == "Annabelle-Marie"
    assert crm.persons[int(home)]["phones"] == [{"value": "+12015550001", "primary": True}]
    assert len(crm.people()[0].events) == 2


@pytest.mark.parametrize("lag", [0.0, 60.0])
def test_a_person_of_the_clinic_is_adopted(lag: float) -> None:
    crm = PretendPipedrive(lag=lag)
    emails = [{"value": "work@clinic.example", "primary": True}, {"value": "Person1@Clinic.example", "primary": False}]
    crm._new_person({"name": "Miller", "emails": emails})
    with connected(crm) as pipedrive:
        deliver(pipedrive, [enquiry(pipedrive, 1, 1)])
    (person,) = crm.persons.values()
    assert person["name"] == "Miller"
    assert person["emails"] == emails
    assert person["phones"] == [{"value": "+12015550001", "primary": True}]
    assert person["custom_fields"][KEY] == str(UUID(int=2))


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_person_whom_our_user_may_not_edit_stops_nobody_else(
    crm: PretendPipedrive, pipedrive: Pipedrive, whose: str
) -> None:
    if whose == "ours":
        deliver(pipedrive, [enquiry(pipedrive, 1, 1, phone="")])
    else:
        crm._new_person({"name": "Miller", "emails": [{"value": "person1@clinic.example", "primary": True}]})
    denied = {"success": False, "error": "You do not have permissions to do this", "data": None}
    crm._change = lambda *_: Reply(403, denied)  # type: ignore[method-assign]
    (home,) = (person.remote_id for person in crm.people())
    for known in (None, home):
        (result,) = calls.push(pipedrive, [replace(enquiry(pipedrive, 2, 1), remote_id=known)], ())
        assert isinstance(result, Refused if whose == "ours" else Pushed), result
    assert len(crm.people()[0].events) == 1
    crm._change = lambda *_: Reply(403, {"error": "Scope and URL mismatch"})  # type: ignore[method-assign]
    assert isinstance(calls.push(pipedrive, [enquiry(pipedrive, 3, 1)], ())[0], Misconfigured)


def test_a_person_of_another_lead_is_left_alone(crm: PretendPipedrive, pipedrive: Pipedrive) -> None:
    deliver(pipedrive, [enquiry(pipedrive, 1, 1), enquiry(pipedrive, 2, 2, email="person1@clinic.example")])
    assert sorted(len(person.events) for person in crm.people()) == [1, 1]


def test_a_request_is_there_to_be_done_and_a_call_is_done(crm: PretendPipedrive, pipedrive: Pipedrive) -> None:
    request = enquiry(pipedrive, 1, 1)
    deliver(pipedrive, [request, replace(enquiry(pipedrive, 2, 1), kind="call_click")])
    assert [one["done"] for one in crm.activities.values()] == [False, True]
    assert {one["due_date"] for one in crm.activities.values()} == {"2026-03-02"}


def test_without_our_field_nothing_is_written() -> None:
    crm = PretendPipedrive(key=False)
    with connected(crm) as pipedrive:
        (result,) = calls.push(pipedrive, [enquiry(pipedrive, 1, 1)], ())
        assert isinstance(result, Misconfigured)
        assert crm.persons == {}
        assert [finding.ok for finding in pipedrive.check()] == [False]
        assert [finding.ok for finding in [*pipedrive.prepare(), *pipedrive.check()]] == [True, True]


def test_a_field_of_the_account_takes_its_options_by_number(crm: PretendPipedrive, pipedrive: Pipedrive) -> None:
    item = enquiry(pipedrive, 1, 1)
    deliver(pipedrive, [replace(item, fill={**item.fill, PLAN: "7"})])
    assert crm.persons[1]["custom_fields"] == {KEY: item.lead_id, PLAN: 7}
    odd = replace(enquiry(pipedrive, 2, 2), record={"name": "Two", "f" * 40: "x"})
    (result,) = calls.push(pipedrive, [odd], ())
    assert isinstance(result, Misconfigured)
    assert "f" * 40 in result.sentence


def test_find_sees_what_is_there_and_erase_takes_it_away(crm: PretendPipedrive, pipedrive: Pipedrive) -> None:
    ann, bob = enquiry(pipedrive, 1, 1), enquiry(pipedrive, 2, 2)
    homes = deliver(pipedrive, [ann, bob])
    held = replace(ann, remote_id=homes[ann.lead_id])
    seen = pipedrive.find([held.in_full(), bob.in_full(), enquiry(pipedrive, 3, 1).in_full()])
    assert [isinstance(one, Seen) for one in seen] == [True, True, False]
    assert seen[0] is not None
    assert seen[0].record == ann.fill
    pipedrive.erase([homes[ann.lead_id], "404"])
    assert [person.lead_id for person in crm.people()] == [bob.lead_id]
    assert [one["is_deleted"] for one in crm.activities.values()] == [True, False]


def test_a_person_who_was_deleted_is_made_anew(crm: PretendPipedrive, pipedrive: Pipedrive) -> None:
    (home,) = deliver(pipedrive, [enquiry(pipedrive, 1, 1)]).values()
    crm.persons[int(home)]["is_deleted"] = True
    (result,) = calls.push(pipedrive, [replace(enquiry(pipedrive, 2, 1), remote_id=home)], ())
    assert isinstance(result, Pushed)
    assert result.remote_id != home


def test_the_search_and_the_day_have_limits() -> None:
    crm = PretendPipedrive(searches=1)
    with connected(crm) as pipedrive:
        (result,) = calls.push(pipedrive, [enquiry(pipedrive, 1, 1)], ())
        assert isinstance(result, Throttled)
        assert result.retry_after == 2
        crm.day = 0
        (result,) = calls.push(pipedrive, [enquiry(pipedrive, 1, 1)], ())
        assert isinstance(result, Throttled)
        assert result.code == "daily_limit"
    assert crm.persons == {}


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, ["api_token"]),
        ({"sign_in": "oauth", "api_token": "x"}, ["client_id", "client_secret"]),
        ({"sign_in": "oauth", "client_id": "x", "client_secret": "y"}, []),
    ],
)
def test_it_needs_what_it_signs_in_with(given: dict[str, str], wrong: list[str]) -> None:
    errors = Pipedrive.options().validate({"address": "https://clinic.pipedrive.com", **given})
    assert sorted(errors) == wrong


def test_the_sign_in_asks_for_no_scopes() -> None:
    given = {"address": "https://clinic.pipedrive.com", "sign_in": "oauth", "client_id": "x", "client_secret": "y"}
    settings = Pipedrive.options().load(given)
    oauth = Pipedrive.oauth(settings)
    assert oauth is not None
    url = authorization_url(oauth, settings, "https://desk.example/callback", "state", "v" * 43)
    assert url.startswith("https://oauth.pipedrive.com/oauth/authorize?")
    assert "scope" not in url
    assert oauth.client_auth == "client_secret_basic"
    assert Pipedrive.oauth(Pipedrive.options().load({"address": "https://x.example", "api_token": "t"})) is None


def test_limits_are_told_where_pipedrive_tells_them() -> None:
    assert Pipedrive.allowance(Answer(200, {}, b"")) is None
    headers = {"x-ratelimit-remaining": "39", "x-ratelimit-reset": "2", "x-daily-ratelimit-token-remaining": "29000"}
    assert Pipedrive.allowance(Answer(200, headers, b"")) == Allowance(39, 2, 29000, None)


@pytest.mark.parametrize(
    "count", ["notes", "open_deals", "closed_deals", "participant_open_deals", "email_messages", "files"]
)
def test_what_staff_put_on_a_person_is_their_work(crm: PretendPipedrive, pipedrive: Pipedrive, count: str) -> None:
    callers = _callers(pipedrive)
    assert pipedrive.worked_on(callers) == [False, False]
    crm.counts[int(str(callers[1].remote_id))] = {f"{count}_count": 1}
    assert pipedrive.worked_on(callers) == [False, True]


def test_a_person_of_whom_pipedrive_tells_no_counts_may_have_been_worked_on(
    crm: PretendPipedrive, pipedrive: Pipedrive
) -> None:
    callers = _callers(pipedrive)
    crm.counts = {int(str(one.remote_id)): {"notes_count": None} for one in callers}  # type: ignore[dict-item]
    assert pipedrive.worked_on(callers) == [True, True]


def test_people_are_counted_together_and_one_who_is_gone_has_nothing(
    crm: PretendPipedrive, pipedrive: Pipedrive
) -> None:
    callers = _callers(pipedrive)
    pipedrive.erase([str(callers[0].remote_id)])
    crm.calls.clear()
    assert pipedrive.worked_on(callers) == [False, False]
    assert [path for _, path, _ in crm.calls].count("/api/v2/persons") == 1


def _callers(pipedrive: Pipedrive) -> list[Item]:
    items = [enquiry(pipedrive, number, number) for number in (1, 2)]
    homes = deliver(pipedrive, items)
    return [replace(one, remote_id=homes[one.lead_id]) for one in items]
