"""Dynamics 365 beyond its fixtures: against a pretend one with a memory, on a real socket."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from integrations.core.base import Item, Pushed, Result
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled
from integrations.core.http import Answer
from integrations.core.oauth import Token
from integrations.dynamics import Dynamics
from tests.contract.connection import build
from tests.crm.loop import deadline_for
from tests.pretend.dynamics import PretendDynamics

_HERE = frozenset({"127.0.0.1"})


@pytest.fixture
def crm() -> Iterator[PretendDynamics]:
    with PretendDynamics(late=0.8) as running:
        yield running  # type: ignore[misc]  # it is what was entered


def _connector(crm: PretendDynamics) -> Any:
    token = Token.load(crm.token or {})
    return build("dynamics", crm.settings(), token, allowed_private_hosts=_HERE, deadline=deadline_for(crm))


def _item(number: int, event: int = 0, **record: str) -> Item:
    columns = {"lastname": f"Person {number}", "emailaddress1": f"p{number}@example.org", **record}
    return Item(
        lead_id=str(UUID(int=number)),
        event_id=str(UUID(int=1000 * number + event)),
        kind="call_click" if event else "consultation_request",
        occurred_at=datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        title="Tapped “Call us”" if event else "Consultation request",
        record=columns,
        activity={"preferred_time": "mornings"},
    )


def _push(connector: Any, item: Item) -> Result:
    """As the loop does it: what went wrong with the call is the verdict."""
    try:
        (result,) = connector.push([item])
    except DeliveryError as error:
        return error
    assert isinstance(result, Pushed | DeliveryError)
    return result


def _deliver(connector: Any, items: Sequence[Item], rounds: int = 40) -> None:
    """Until all is in. What comes late has been written on arrival all the same."""
    waiting = list(items)
    for _ in range(rounds):
        results = {item.event_id: _push(connector, item) for item in waiting}
        assert not any(isinstance(result, Refused | Misconfigured) for result in results.values()), results
        waiting = [item for item in waiting if not isinstance(results[item.event_id], Pushed)]
        if not waiting:
            return
    raise AssertionError(f"{len(waiting)} never arrived")


def test_once_each_whatever_goes_wrong(crm: PretendDynamics) -> None:
    crm.faults_rate = 0.2
    items = [_item(number, event) for number in range(1, 41) for event in range(2 if number % 3 == 0 else 1)]
    _deliver(_connector(crm), items)
    time.sleep(crm.late)
    people = crm.people()
    assert sorted(str(person.lead_id) for person in people) == [str(UUID(int=number)) for number in range(1, 41)]
    assert sorted(event for person in people for event in person.events) == sorted(item.event_id for item in items)


def test_a_new_person_is_found_with_the_event(crm: PretendDynamics) -> None:
    connector, item = _connector(crm), _item(1)
    assert connector.find([item]) == [None]
    (pushed,) = connector.push([item])
    seen, other = connector.find([item, _item(1, 1)])
    assert other is None
    assert seen.remote_id == pushed.remote_id == item.lead_id
    assert seen.record == item.record
    assert pushed.url == f"{crm.url}/main.aspx?pagetype=entityrecord&etn=lead&id={item.lead_id}"


def test_a_call_becomes_an_incoming_phone_call(crm: PretendDynamics) -> None:
    connector, call = _connector(crm), _item(1, 1)
    connector.push([call])
    assert crm.tables["phonecalls"][call.event_id]["directioncode"] is False
    assert connector.find([call])[0].remote_id == call.lead_id


def test_a_repeat_enquiry_writes_an_activity_and_nothing_else(crm: PretendDynamics) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    crm.calls.clear()
    again = replace(_item(1, 1), record={}, remote_id=first.remote_id)
    assert connector.push([again]) == [first]
    assert [method for method, _, _ in crm.calls] == ["GET", "PATCH"]
    assert len(crm.people()[0].events) == 2


def test_an_adopted_lead_keeps_what_staff_wrote(crm: PretendDynamics) -> None:
    connector = _connector(crm)
    theirs = crm.lead(lastname="Typed by staff", emailaddress1="O'Neil@Example.org")
    (pushed,) = connector.push([_item(1, firstname="Ann", emailaddress1="o'neil@example.org")])
    assert pushed.remote_id == theirs
    row = crm.tables["leads"][theirs]
    assert (row["lastname"], row["firstname"]) == ("Typed by staff", "Ann")
    (again,) = connector.push([replace(_item(1, 1), remote_id=theirs)])
    assert again.remote_id == theirs
    assert row["lastname"] == "Typed by staff"
    assert [len(person.events) for person in crm.people()] == [2]


def test_the_e_mail_is_in_no_address(crm: PretendDynamics) -> None:
    crm.lead(lastname="Theirs", emailaddress1="p1@example.org")
    _connector(crm).push([_item(1)])
    assert not any("example.org" in path for _, path, _ in crm.calls)


def test_a_patient_gets_the_activity_on_the_contact(crm: PretendDynamics) -> None:
    connector, contact = _connector(crm), crm.contact(emailaddress1="p1@example.org")
    place = f"contacts({contact})"
    (pushed,) = connector.push([_item(1)])
    (again,) = connector.push([replace(_item(1, 1), remote_id=place)])
    assert (pushed.remote_id, again.remote_id) == (place, place)
    assert pushed.url == f"{crm.url}/main.aspx?pagetype=entityrecord&etn=contact&id={contact}"
    assert [len(person.events) for person in crm.people()] == [2]
    assert connector.find([_item(1)])[0].record is None
    assert connector.current([replace(_item(1), remote_id=place)]) == [None]


def test_somebody_else_of_the_same_name_is_not_adopted(crm: PretendDynamics) -> None:
    crm.lead(lastname="Person 1", emailaddress1="another@example.org")
    crm.by_name = True
    (pushed,) = _connector(crm).push([_item(1)])
    assert pushed.remote_id == _item(1).lead_id


def test_a_caller_without_an_e_mail_is_nobody_else(crm: PretendDynamics) -> None:
    crm.lead(lastname="Caller", emailaddress1="")
    crm.by_name = True
    (pushed,) = _connector(crm).push([_item(1, emailaddress1="")])
    assert pushed.remote_id == _item(1).lead_id


def test_our_own_lead_is_not_left_for_another_with_the_same_e_mail(crm: PretendDynamics) -> None:
    connector, item = _connector(crm), _item(1)
    connector.push([item])
    crm.contact(emailaddress1="p1@example.org")
    (pushed,) = connector.push([item])
    assert pushed.remote_id == item.lead_id


def test_a_qualified_lead_is_left_as_it_is(crm: PretendDynamics) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    contact = crm.qualify(first.remote_id)
    (second,) = connector.push([replace(_item(1, 1, lastname="Changed"), remote_id=first.remote_id)])
    assert second.remote_id == f"contacts({contact})"
    assert crm.tables["leads"][first.remote_id]["lastname"] == "Person 1"


def test_a_merged_lead_hands_on_to_the_one_that_stayed(crm: PretendDynamics) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    stayed = crm.lead(lastname="Stayed")
    crm.tables["leads"][first.remote_id] |= {"statecode": 2, "_masterid_value": stayed}
    (second,) = connector.push([replace(_item(1, 1), remote_id=first.remote_id)])
    assert second.remote_id == stayed


def test_what_staff_deleted_is_made_anew(crm: PretendDynamics) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    connector.erase([first.remote_id])
    (second,) = connector.push([replace(_item(1, 1), remote_id=first.remote_id)])
    assert second.remote_id in crm.tables["leads"]


@pytest.mark.parametrize("by_contact", [True, False])
def test_erase_takes_a_qualified_lead_with_its_contact(crm: PretendDynamics, by_contact: bool) -> None:
    connector = _connector(crm)
    (first,) = connector.push([_item(1)])
    connector.push([_item(2)])
    contact = crm.qualify(first.remote_id)
    target = f"contacts({contact})" if by_contact else first.remote_id
    connector.erase(connector.merged_with([target]))
    connector.erase(connector.merged_with([target]))
    assert list(crm.tables["leads"]) == [str(UUID(int=2))]
    assert crm.tables["contacts"] == {}
    assert len(crm.tables["tasks"]) == 1


def test_a_limit_is_obeyed_and_foretold(crm: PretendDynamics) -> None:
    connector, crm.allowed = _connector(crm), 2
    connector.push([_item(1)])
    result = _push(connector, _item(2))
    assert isinstance(result, Throttled)
    assert result.retry_after == 7.0
    allowance = Dynamics.allowance(Answer(200, {"x-ms-ratelimit-burst-remaining-xrm-requests": "5998"}, b""))
    assert allowance is not None
    assert (allowance.left, allowance.seconds) == (5998, 300.0)


def test_check_names_the_rights_that_are_missing(crm: PretendDynamics) -> None:
    connector = _connector(crm)
    assert [finding.ok for finding in connector.check()] == [True]
    crm.rights.remove("prvAppendToLead")
    (finding,) = connector.check()
    assert finding.sentence == "The application user lacks prvAppendToLead. Add it to its security role."


def test_an_app_that_is_no_user_there_is_named(crm: PretendDynamics) -> None:
    crm.knows_app = False
    result = _push(_connector(crm), _item(1))
    assert isinstance(result, Misconfigured)
    assert result.code == "no_app_user"


def test_the_end_of_the_secret_is_known() -> None:
    options = {
        "address": "https://clinic.crm4.dynamics.com",
        "tenant_id": "t",
        "client_id": "c",
        "client_secret": "s",
    }
    assert Dynamics.key_ends(Dynamics.options().load(options)) is None
    assert Dynamics.key_ends(Dynamics.options().load(options | {"secret_ends": "2027-10-31"})) == date(2027, 10, 31)
    assert set(Dynamics.options().validate(options | {"secret_ends": "soon"})) == {"secret_ends"}
    assert set(Dynamics.options().validate(options | {"tenant_id": "../evil"})) == {"tenant_id"}


@pytest.mark.parametrize("letter", ["x", "\N{SMILING FACE WITH SMILING EYES}"])
def test_a_long_message_goes_as_far_as_there_is_room(crm: PretendDynamics, letter: str) -> None:
    told = replace(_item(1), activity={"message": letter * 5000})
    assert isinstance(_push(_connector(crm), told), Pushed)
    (task,) = crm.tables["tasks"].values()
    assert 1990 < len(task["description"].encode("utf-16-le")) // 2 <= 2000
    assert task["description"].startswith("2026-03-02 09:30 UTC\nMessage: " + letter)
    assert task["description"].endswith(f"{letter}…\nThe rest stands in Frontdesk.")
