"""Twenty, against a pretend workspace of either generation: exactly once through faults, and whom it adopts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from integrations.core.base import Item, Pushed, Seen
from integrations.core.errors import Misconfigured, Refused, Throttled, TryLater, Unknown
from integrations.core.http import Http
from integrations.twenty import Twenty
from tests.contract.people import item
from tests.crm.loop import PATIENT
from tests.pretend.twenty import PretendTwenty


@pytest.fixture(params=[True, False], ids=["since 1.17", "before"])
def crm(request: pytest.FixtureRequest) -> Iterator[PretendTwenty]:
    with PretendTwenty(late=1.3, morphed=request.param) as server:
        assert isinstance(server, PretendTwenty)
        yield server


def _twenty(crm: PretendTwenty, deadline: float = PATIENT, **options: Any) -> Twenty:
    settings = Twenty.options().load(crm.settings() | options)
    return Twenty(settings, Http(allowed_private_hosts=frozenset({"127.0.0.1"}), deadline=deadline))


def _person(number: int, event: int = 0) -> Item:
    """One of many people, and one of her events."""
    ann = item("ann", Twenty)
    record = {**ann.record, "name.firstName": f"Person {number}", "emails.primaryEmail": f"P{number}@canary.example"}
    ids = (f"00000000-0000-4000-8000-{one:012}" for one in (number, 1000 * number + event))
    return replace(ann, lead_id=next(ids), event_id=next(ids), record=record)


def _until_all_is_in(crm: PretendTwenty, items: Sequence[Item]) -> dict[str, str]:
    """Push with new connectors until each is in. Returns lead id → Twenty's id."""
    left, numbers = list(items), {}
    for _ in range(300):
        batch = left[:7]
        try:
            answers = _twenty(crm, deadline=1).push(batch)
        except (TryLater, Throttled, Unknown):
            continue
        pairs = list(zip(batch, answers, strict=True))
        numbers |= {one.lead_id: got.remote_id for one, got in pairs if isinstance(got, Pushed)}
        left = [one for one, got in pairs if not isinstance(got, Pushed)] + left[7:]
        if not left:
            return numbers
    raise AssertionError(f"{len(left)} never arrived")


def test_each_person_and_event_is_there_once_through_faults(crm: PretendTwenty) -> None:
    own = crm.add(name={"firstName": "Peter"}, emails={"primaryEmail": "p3@canary.example"})
    first, again = [_person(number) for number in range(20)], [_person(number, 1) for number in range(0, 20, 3)]
    crm.faults_rate = 0.2
    numbers = _until_all_is_in(crm, first)
    _until_all_is_in(crm, [replace(one, remote_id=numbers[one.lead_id]) for one in again])
    held = {person.remote_id: sorted(person.events) for person in crm.people()}
    wanted = {
        numbers[one.lead_id]: sorted(other.event_id for other in first + again if other.lead_id == one.lead_id)
        for one in first
    }
    assert held == wanted
    assert numbers[_person(3).lead_id] == own


def test_a_person_of_the_clinics_own_is_adopted_and_nothing_is_overwritten(crm: PretendTwenty) -> None:
    own = crm.add(name={"firstName": "Dr. Anna", "lastName": ""}, emails={"primaryEmail": "p1@canary.example"})
    (pushed,) = _twenty(crm).push([_person(1)])
    assert pushed == Pushed(own, f"{crm.url}/object/person/{own}")
    (row,) = crm.tables["people"].values()
    assert row["name"] == {"firstName": "Dr. Anna", "lastName": "Canaryann"}
    assert row["phones"] == {"primaryPhoneNumber": "2015550111", "primaryPhoneCallingCode": "+1"}


def test_two_of_a_batch_with_one_address_share_a_record_and_hold_up_nobody(crm: PretendTwenty) -> None:
    """As when somebody's enquiries came in by two websites: Twenty keeps no address twice."""
    one, two, other = _person(1), _person(2), _person(3)
    two = replace(two, record={**two.record, "emails.primaryEmail": "p1@CANARY.example"})
    first, second, third = _twenty(crm).push([one, two, other])
    assert first == second
    assert isinstance(first, Pushed)
    assert isinstance(third, Pushed)
    assert crm.tables["people"][first.remote_id]["name"]["firstName"] == "Person 1", "who came first"
    assert [len(person.events) for person in crm.people()] == [2, 1]
    crm.calls.clear()
    again = [replace(one, event_id=_person(1, 1).event_id), replace(two, event_id=_person(2, 1).event_id)]
    results = _twenty(crm).push([replace(each, remote_id=first.remote_id, record={"city": "Rome"}) for each in again])
    assert results == [first, first]
    assert [status for _, path, status in crm.calls if path == "/rest/batch/people"] == [201, 201]


def test_a_number_of_a_country_with_its_own_code_names_the_country(crm: PretendTwenty) -> None:
    ann = _person(1)
    _twenty(crm).push([replace(ann, record={**ann.record, "phones.primaryPhoneNumber": "+4930123456"})])
    (row,) = crm.tables["people"].values()
    phones = {"primaryPhoneNumber": "30123456", "primaryPhoneCallingCode": "+49", "primaryPhoneCountryCode": "DE"}
    assert row["phones"] == phones
    (seen,) = _twenty(crm).find([ann])
    assert isinstance(seen, Seen)
    assert seen.record is not None
    assert seen.record["phones.primaryPhoneNumber"] == "+4930123456"


def test_what_was_written_is_found_and_can_be_erased(crm: PretendTwenty) -> None:
    one, other = _person(1), _person(2)
    twenty = _twenty(crm)
    (pushed,) = twenty.push([one])
    assert isinstance(pushed, Pushed)
    seen, nothing = twenty.find([one, other])
    assert isinstance(seen, Seen)
    assert (seen.remote_id, nothing) == (pushed.remote_id, None)
    assert twenty.find([replace(other, lead_id=one.lead_id, remote_id=pushed.remote_id)]) == [None], "not this event"
    twenty.push([_person(1, event) for event in range(1, 2)])
    twenty.erase([pushed.remote_id, "00000000-0000-4000-8000-000000000000"])
    assert {name: len(rows) for name, rows in crm.tables.items()} == {"people": 0, "notes": 0, "noteTargets": 0}
    assert twenty.find([one]) == [None]


def test_all_notes_are_erased_also_when_they_fill_many_pages(crm: PretendTwenty) -> None:
    twenty = _twenty(crm)
    (pushed,) = twenty.push([_person(1)])
    assert isinstance(pushed, Pushed)
    for event in range(1, 130):
        twenty.push([replace(_person(1, event), remote_id=pushed.remote_id, record={})])
    twenty.erase([pushed.remote_id])
    assert crm.tables["notes"] == {}


def test_people_whom_staff_merged_are_found_where_their_notes_went(crm: PretendTwenty) -> None:
    twenty = _twenty(crm)
    (pushed,) = twenty.push([_person(1)])
    assert isinstance(pushed, Pushed)
    other = crm.add(name={"firstName": "Anna"})
    for tie in crm.tables["noteTargets"].values():
        tie[crm.column] = other
    crm.tables["people"][pushed.remote_id]["deletedAt"] = "2026-03-03T00:00:00Z"
    (seen,) = twenty.find([replace(_person(1), remote_id=pushed.remote_id)])
    assert isinstance(seen, Seen)
    assert seen.remote_id == other


def test_a_person_in_the_bin_comes_back_with_the_next_enquiry(crm: PretendTwenty) -> None:
    twenty = _twenty(crm)
    (pushed,) = twenty.push([_person(1)])
    assert isinstance(pushed, Pushed)
    crm.tables["people"][pushed.remote_id]["deletedAt"] = "2026-03-03T00:00:00Z"
    known = replace(_person(1, 1), remote_id=pushed.remote_id)
    assert twenty.find([known]) == [None]
    assert twenty.current([known]) == [None]
    (again,) = twenty.push([known])
    assert again == pushed
    assert len(crm.people()) == 1


def test_a_person_of_the_clinics_own_comes_back_from_the_bin(crm: PretendTwenty) -> None:
    """Twenty's search for duplicates shows nobody in the bin, but what is written by the same address restores them."""
    own = crm.add(name={"firstName": "Anna"}, emails={"primaryEmail": "p1@canary.example"}, city="Bath")
    crm.tables["people"][own]["deletedAt"] = "2026-03-03T00:00:00Z"
    (pushed,) = _twenty(crm).push([_person(1)])
    assert isinstance(pushed, Pushed)
    assert pushed.remote_id == own
    (seen,) = _twenty(crm).find([replace(_person(1), remote_id=own)])
    assert isinstance(seen, Seen)
    assert crm.tables["people"][own]["city"] == "Bath"


def test_an_address_that_belongs_to_another_person_stays_there(crm: PretendTwenty) -> None:
    twenty = _twenty(crm)
    caller = replace(_person(1), record={"name.firstName": "Caller"})
    (pushed,) = twenty.push([caller])
    assert isinstance(pushed, Pushed)
    crm.add(emails={"primaryEmail": "p1@canary.example"})
    assert twenty.push([replace(_person(1, 1), remote_id=pushed.remote_id)]) == [pushed]
    assert "emails" not in crm.tables["people"][pushed.remote_id]
    assert crm.tables["people"][pushed.remote_id]["name"]["firstName"] == "Person 1"


def test_a_bad_record_is_told_from_its_neighbours(crm: PretendTwenty) -> None:
    people = [_person(number) for number in range(5)]
    people[2] = replace(people[2], record={**people[2].record, "phones.primaryPhoneNumber": "abc"})
    answers = _twenty(crm).push(people)
    assert [isinstance(one, Pushed) for one in answers] == [True, True, False, True, True]
    assert isinstance(answers[2], Refused)
    assert answers[2].field == "phone"
    assert len(crm.people()) == 4


def test_what_ails_twenty_is_not_asked_about_person_by_person(crm: PretendTwenty) -> None:
    honest, (broken, *_) = crm._route, crm.faults()
    crm._route = lambda *asked: broken() if "batch" in asked[1] else honest(*asked)  # type: ignore[method-assign]
    with pytest.raises(TryLater) as caught:
        _twenty(crm).push([_person(number) for number in range(40)])
    assert caught.value.code == "unclear"
    assert len(crm.calls) < 12


def test_the_limit_of_calls_tells_its_window(crm: PretendTwenty) -> None:
    crm.limit = 0
    with pytest.raises(Throttled) as caught:
        _twenty(crm).push([_person(1)])
    assert caught.value.retry_after == 60


def test_a_key_that_may_only_read_is_named(crm: PretendTwenty) -> None:
    crm.reads_only = True
    with pytest.raises(Misconfigured, match="role"):
        _twenty(crm).push([_person(1)])
    with pytest.raises(Misconfigured) as caught:
        _twenty(crm, key="wrong").check()
    assert caught.value.code == "bad_key"


def test_a_link_leads_to_where_people_open_twenty(crm: PretendTwenty) -> None:
    (pushed,) = _twenty(crm, page="https://clinic.twenty.example/").push([_person(1)])
    assert isinstance(pushed, Pushed)
    assert pushed.url == f"https://clinic.twenty.example/object/person/{pushed.remote_id}"


def test_the_key_tells_when_it_ends(crm: PretendTwenty) -> None:
    assert Twenty.key_ends(crm.settings()) == date(2030, 3, 17)
    for key in ("", "a.b.c", "a.e30.c", "a.bnVsbA.c", "no token"):
        assert Twenty.key_ends({"key": key}) is None


def test_what_a_visitor_typed_is_no_markup_in_the_note(crm: PretendTwenty) -> None:
    _twenty(crm).push([_person(1)])
    (row,) = crm.tables["notes"].values()
    assert r"Preferred time: after 5 \<pm\>" in row["bodyV2"]["markdown"]
