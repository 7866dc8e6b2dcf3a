"""Salesforce beyond its fixtures: against a pretend one with a memory, on a real socket."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from integrations._salesforce import is_same_person
from integrations.core.base import Item, Pushed, Result
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled
from integrations.core.http import Answer, Http
from integrations.core.oauth import Token
from integrations.salesforce import Salesforce
from tests.contract.connection import build
from tests.crm.loop import connected, deadline_for, deliver
from tests.pretend.salesforce import PretendSalesforce

_HERE = frozenset({"127.0.0.1"})


@pytest.fixture
def crm() -> Iterator[PretendSalesforce]:
    with PretendSalesforce(late=0.8) as running:
        yield running  # type: ignore[misc]  # it is what was entered


def _connector(crm: PretendSalesforce) -> Any:
    token = Token.load(crm.token or {})
    return build("salesforce", crm.settings(), token, allowed_private_hosts=_HERE, deadline=deadline_for(crm))


def _item(number: int, event: int = 0, **record: str) -> Item:
    fields = {"LastName": f"Person {number}", "Company": "-", "Email": f"p{number}@example.org", **record}
    return Item(
        lead_id=str(UUID(int=number)),
        event_id=str(UUID(int=1000 * number + event)),
        kind="consultation_request",
        occurred_at=datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        title="Consultation request",
        record=fields,
        activity={"preferred_time": "mornings"},
    )


def _push(connector: Any, items: Sequence[Item]) -> list[Result]:
    """As the loop does it: what went wrong as a whole is the verdict of each."""
    try:
        return list(connector.push(items))
    except DeliveryError as error:
        return [error] * len(items)


def _deliver(connector: Any, items: Sequence[Item], rounds: int = 60) -> None:
    """Until all is in. What comes late has been written on arrival all the same."""
    waiting = list(items)
    for _ in range(rounds):
        batch = list({item.lead_id: item for item in reversed(waiting)}.values())[:20]
        results = dict(zip((item.event_id for item in batch), _push(connector, batch), strict=True))
        assert not any(isinstance(result, Refused) for result in results.values())
        waiting = [item for item in waiting if not isinstance(results.get(item.event_id), Pushed)]
        if not waiting:
            return
    raise AssertionError(f"{len(waiting)} never arrived")


def test_once_each_whatever_goes_wrong(crm: PretendSalesforce) -> None:
    crm.faults_rate = 0.2
    items = [_item(number, event) for number in range(1, 101) for event in range(2 if number % 3 == 0 else 1)]
    _deliver(_connector(crm), items)
    time.sleep(crm.late)
    people = crm.people()
    assert sorted(str(person.lead_id) for person in people) == [str(UUID(int=number)) for number in range(1, 101)]
    assert sorted(event for person in people for event in person.events) == sorted(item.event_id for item in items)


def test_a_new_person_is_found_with_the_event(crm: PretendSalesforce) -> None:
    connector, item = _connector(crm), _item(1)
    assert connector.find([item]) == [None]
    (pushed,) = connector.push([item])
    (seen,) = connector.find([item, _item(1, 1)])[:1]
    assert seen.remote_id == pushed.remote_id
    assert seen.record == item.record
    assert pushed.url == f"{crm.url}/{pushed.remote_id}"


def test_a_repeat_enquiry_writes_a_task_and_nothing_else(crm: PretendSalesforce) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    crm.calls.clear()
    again = replace(_item(1, 1), record={}, remote_id=first.remote_id)
    assert connector.push([again]) == [first]
    assert [method for method, _, _ in crm.calls] == ["GET", "PATCH"]
    assert len(crm.people()[0].events) == 2


def test_somebody_else_of_the_same_name_is_not_adopted(crm: PretendSalesforce) -> None:
    """Salesforce's rules match names, too. Whose enquiry it is must not be guessed."""
    theirs = crm.lead(LastName="Person 1", Email="another@example.org")
    crm.alike = [theirs]
    (pushed,) = _connector(crm).push([_item(1)])
    assert pushed.remote_id != theirs
    assert "Frontdesk_Lead__c" not in crm.tables["Lead"][theirs]


def test_where_the_rule_forbids_a_second_record_a_person_looks(crm: PretendSalesforce) -> None:
    theirs = crm.lead(LastName="Person 1", Email="another@example.org")
    crm.alike = [theirs]
    crm.rule = "blocks"
    (refused,) = _connector(crm).push([_item(1)])
    assert (type(refused), refused.code) == (Refused, "duplicate")


@pytest.mark.parametrize(
    ("theirs", "is_same"),
    [
        ("+1 201 555 0111", True),
        ("001 201-555-0111", True),
        ("1 (201) 555-0111", True),
        ("201.555.0111", True),
        ("0201 5550111", True),
        ("+1 612 555 0111", False),
        ("612 555 0111", False),
        ("+44 201 555 0111", False),
        ("555 0111", False),
        ("ext. 2015550111", False),
    ],
)
def test_a_phone_is_compared_as_far_as_both_tell_it(theirs: str, is_same: bool) -> None:
    assert is_same_person(_item(1, Phone="+12015550111"), {"Phone": theirs}) is is_same


def test_a_number_may_be_written_with_the_zero_that_its_country_drops() -> None:
    item = _item(1, Phone="+442079460000")
    assert is_same_person(item, {"MobilePhone": "+44 (0)20 7946 0000"})
    assert is_same_person(item, {"MobilePhone": "020 7946 0000"})


def test_the_same_phone_is_the_same_person_however_it_is_written(crm: PretendSalesforce) -> None:
    theirs = crm.lead(LastName="Person 1", MobilePhone="(201) 555-0111")
    crm.alike = [theirs]
    (pushed,) = _connector(crm).push([_item(1, Phone="+12015550111")])
    assert pushed.remote_id == theirs


def test_many_known_people_at_once_come_in_parts(crm: PretendSalesforce) -> None:
    """Each takes calls of its own: all in one go, and the lease would end before the last."""
    for number in range(1, 31):
        crm.contact(LastName=f"Person {number}", Email=f"p{number}@example.org")
    results = _connector(crm).push([_item(number) for number in range(1, 31)])
    assert [isinstance(result, Pushed) for result in results] == [True] * 20 + [False] * 10
    assert {result.code for result in results[20:]} == {"many_duplicates"}


def test_an_adopted_lead_keeps_what_staff_wrote(crm: PretendSalesforce) -> None:
    connector, item = _connector(crm), _item(1, FirstName="Ann")
    theirs = crm.lead(LastName="Typed by staff", Email="P1@example.org")
    (pushed,) = connector.push([item])
    assert pushed.remote_id == theirs
    row = crm.tables["Lead"][theirs]
    assert (row["LastName"], row["FirstName"], row["Company"]) == ("Typed by staff", "Ann", "Theirs")
    assert row["Frontdesk_Lead__c"] == item.lead_id
    assert len(crm.people()) == 1


def test_a_lead_of_another_person_of_ours_keeps_its_id(crm: PretendSalesforce) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    other = _item(2, Email="p1@example.org")
    (second,) = connector.push([other])
    assert second.remote_id == first.remote_id
    (person,) = crm.people()
    assert person.lead_id == str(UUID(int=1))
    (again,) = connector.push([replace(_item(2, 1, Email="p1@example.org"), remote_id=first.remote_id)])
    assert again.remote_id == first.remote_id
    assert len(crm.people()[0].events) == 3


def test_a_patient_gets_the_task_on_the_contact(crm: PretendSalesforce) -> None:
    connector, contact = _connector(crm), crm.contact(LastName="Person 1", Email="p1@example.org")
    (pushed,) = connector.push([_item(1)])
    (again,) = connector.push([replace(_item(1, 1), remote_id=contact)])
    assert (pushed.remote_id, again.remote_id) == (contact, contact)
    assert len(crm.people()[0].events) == 2
    assert connector.find([_item(1)])[0].record is None
    assert connector.current([replace(_item(1), remote_id=contact)]) == [None]


@pytest.mark.parametrize("known", [True, False])
def test_a_converted_lead_is_left_as_it_is(crm: PretendSalesforce, known: bool) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    contact = crm.convert(first.remote_id)
    (second,) = connector.push([replace(_item(1, 1), remote_id=first.remote_id if known else None)])
    assert second.remote_id == contact
    assert len(crm.people()[0].events) == 2


def test_a_converted_lead_without_its_contact_needs_a_person(crm: PretendSalesforce) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    crm.convert(first.remote_id)
    crm.tables["Lead"][first.remote_id]["ConvertedContactId"] = None
    (second,) = connector.push([replace(_item(1, 1), remote_id=first.remote_id)])
    assert isinstance(second, Refused)


def test_what_staff_deleted_is_made_anew(crm: PretendSalesforce) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    del crm.tables["Lead"][first.remote_id]
    crm.tables["Lead"]["00Q000000000099AAA"] = {"Id": "00Q000000000099AAA", "LastName": "Another"}
    (second,) = connector.push([replace(_item(1, 1), remote_id=first.remote_id)])
    assert second.remote_id in crm.tables["Lead"]


def test_erase_takes_the_contact_of_a_converted_lead_too(crm: PretendSalesforce) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    connector.push([_item(2)])
    crm.convert(first.remote_id)
    connector.erase(connector.merged_with([first.remote_id]))
    connector.erase(connector.merged_with([first.remote_id]))
    assert [person.lead_id for person in crm.people()] == [str(UUID(int=2))]
    assert len(crm.tables["Task"]) == 1


def test_erase_alone_leaves_what_staff_made_of_a_lead(crm: PretendSalesforce) -> None:
    """The contact may stand for somebody else too: whoever wants it gone asks what is one with the lead."""
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    crm.convert(first.remote_id)
    connector.erase([first.remote_id])
    assert len(crm.tables["Contact"]) == 1


def test_the_daily_limit_is_throttled_and_foretold(crm: PretendSalesforce) -> None:
    connector, crm.quota = _connector(crm), 2
    connector.push([_item(1)])
    with pytest.raises(Throttled) as caught:
        connector.push([_item(2)])
    assert (caught.value.code, caught.value.retry_after) == ("quota", 900.0)
    answer = Answer(200, {"Sforce-Limit-Info": "api-usage=18/15000; per-app-api-usage=17/250(appName=x)"}, b"")
    allowance = Salesforce.allowance(answer)
    assert allowance is not None
    assert (allowance.left_today, allowance.of_today) == (14982, 15000)


def test_prepare_makes_what_is_missing_and_only_that(crm: PretendSalesforce) -> None:
    connector = _connector(crm)
    crm.custom.clear()
    crm.visible.clear()
    assert [finding.ok for finding in connector.check()] == [False, False]
    assert [finding.ok for finding in connector.prepare()] == [True, True]
    assert [finding.ok for finding in connector.check()] == [True]
    assert connector.prepare() == []


def test_a_field_that_is_hidden_from_us_is_shown(crm: PretendSalesforce) -> None:
    crm.visible.clear()
    _connector(crm).prepare()
    assert crm.visible == crm.custom


def test_a_mapped_field_that_is_no_name_is_not_asked_for(crm: PretendSalesforce) -> None:
    with pytest.raises(Misconfigured) as caught:
        _connector(crm).current([_item(1, **{"Id FROM User WHERE Name": "x"})])
    assert caught.value.code == "unknown_field"


def test_calls_go_only_where_salesforce_is() -> None:
    options = {"address": "https://clinic.my.salesforce.com/", "client_id": "a", "client_secret": "b"}
    settings = Salesforce.options().load(options)
    for named, home in [
        ("https://clinic.my.salesforce.com", "https://clinic.my.salesforce.com"),
        ("https://eu9.salesforce.com", "https://eu9.salesforce.com"),
        ("https://evil.example/.salesforce.com", "https://clinic.my.salesforce.com"),
        ("http://eu9.salesforce.com", "https://clinic.my.salesforce.com"),
        ("https://notsalesforce.com", "https://clinic.my.salesforce.com"),
    ]:
        assert Salesforce(settings | {"token": {"instance_url": named}}, Http()).api.home == home


def test_the_address_of_its_pages_is_not_taken() -> None:
    options = {"address": "https://clinic.lightning.force.com/lightning", "client_id": "a", "client_secret": "b"}
    assert set(Salesforce.options().validate(options)) == {"address"}


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"sign_in": "browser"}, {"client_secret"}),
        ({"sign_in": "secret"}, {"client_secret"}),
        ({"sign_in": "certificate"}, {"username", "private_key"}),
        ({"sign_in": "certificate", "username": "a@b.example", "private_key": "PEM"}, set()),
    ],
)
def test_each_way_to_sign_in_needs_its_own(options: dict[str, str], missing: set[str]) -> None:
    whole = {"address": "https://clinic.my.salesforce.com", "client_id": "consumer"} | options
    assert set(Salesforce.options().validate(whole)) == missing


@pytest.mark.parametrize(
    ("address", "audience"),
    [
        ("https://clinic.my.salesforce.com", "https://login.salesforce.com"),
        ("https://clinic--dev.sandbox.my.salesforce.com", "https://test.salesforce.com"),
    ],
)
def test_a_sandbox_signs_for_another_audience(address: str, audience: str) -> None:
    settings = {"address": address, "sign_in": "certificate", "client_id": "consumer", "username": "a@b.example"}
    how = Salesforce.oauth(settings)
    assert how.claims == {"iss": "consumer", "sub": "a@b.example", "aud": audience}
    assert how.token_url == f"{address}/services/oauth2/token"


def test_a_backlog_gets_in_though_flows_take_their_time_for_each_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for all of them would end long after the deadline, and so would the next one: it would be the same."""
    crm, upsert = PretendSalesforce(), PretendSalesforce._upsert_all

    def slow(crm: PretendSalesforce, table: str, key: str, body: dict[str, Any]) -> Any:
        time.sleep(len(body["records"]) * 0.045)
        return upsert(crm, table, key, body)

    monkeypatch.setattr(PretendSalesforce, "_upsert_all", slow)
    with connected(crm, deadline=2.5) as connector:
        deliver(connector, [_item(number) for number in range(1, 101)], tries=5)
    assert len(crm.people()) == 100


def test_an_appointment_with_a_lead_is_the_work_of_staff(crm: PretendSalesforce) -> None:
    callers = [replace(_item(number), remote_id=crm.lead(LastName=f"Caller {number}")) for number in (1, 2)]
    assert _connector(crm).worked_on(callers) == [False, False]
    crm.tables["Event"]["e"] = {"Id": "e", "WhoId": callers[1].remote_id, "Subject": "First visit"}
    assert _connector(crm).worked_on(callers) == [False, True]


def test_with_whom_we_may_not_see_appointments_there_may_be_some(crm: PretendSalesforce) -> None:
    caller = replace(_item(1), remote_id=crm.lead(LastName="Caller 1"))
    crm.unseen = {"Event"}
    assert _connector(crm).worked_on([caller]) == [True]
    crm.quota = 0
    with pytest.raises(Throttled):
        _connector(crm).worked_on([caller])
