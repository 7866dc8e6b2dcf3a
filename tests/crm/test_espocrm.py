"""The connector for EspoCRM against an EspoCRM with a memory: once each, whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from integrations.core.base import Item, Pushed
from integrations.core.errors import Misconfigured, Refused, Throttled, TryLater, Unknown
from integrations.core.http import Http
from integrations.espocrm import Espocrm
from tests.crm.loop import deadline_for
from tests.pretend.espocrm import PretendEspocrm
from tests.pretend.server import Reply

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def crm() -> Iterator[PretendEspocrm]:
    with PretendEspocrm(late=0.8) as crm:
        yield crm


def connector(crm: PretendEspocrm, **options: Any) -> Espocrm:
    http = Http(allowed_private_hosts=frozenset({"127.0.0.1"}), deadline=deadline_for(crm))
    return Espocrm(Espocrm.options().load(crm.settings() | options), http)


def item(person: int, event: int, **record: str) -> Item:
    named = {"firstName": f"First{person}", "lastName": f"Last{person}", "emailAddress": f"p{person}@example.com"}
    lead_id, event_id = str(UUID(int=person)), str(UUID(int=1000 + event))
    return Item(lead_id, event_id, "consultation_request", AT, "Consultation request", named | record)


def push_until_in(espo: Espocrm, one: Item) -> Pushed:
    """As the outbox does: tried again, and looked up first when it may have been written."""
    for _ in range(50):
        try:
            seen = espo.find([one])[0]
            [result] = [seen] if seen else espo.push([one])
        except (TryLater, Throttled, Unknown):
            continue
        assert isinstance(result, Pushed)
        return result
    raise AssertionError("it never got in")


def held(crm: PretendEspocrm) -> list[tuple[str | None, Sequence[str]]]:
    return [(person.lead_id, sorted(person.events)) for person in crm.people()]


@pytest.mark.parametrize("unique", [False, True])
def test_everybody_is_there_once_though_a_fifth_of_the_calls_fails(unique: bool) -> None:
    with PretendEspocrm(late=0.8, unique=unique) as crm:
        crm.faults_rate = 0.2
        espo, known = connector(crm), {}
        for event in range(30):
            one = item(event % 20 + 1, event)
            known[one.lead_id] = push_until_in(espo, replace(one, remote_id=known.get(one.lead_id))).remote_id
    wanted = [[str(UUID(int=1000 + event)) for event in range(30) if event % 20 == person] for person in range(20)]
    assert held(crm) == [(str(UUID(int=person + 1)), wanted[person]) for person in range(20)]


@pytest.mark.parametrize("ours", [True, False])
def test_a_lead_that_our_user_may_not_edit_stops_nobody_else(crm: PretendEspocrm, ours: bool) -> None:
    espo = connector(crm)
    if ours:
        [first] = espo.push([item(1, 1)])
        assert isinstance(first, Pushed)
        one = replace(item(1, 2, lastName="Other"), remote_id=first.remote_id)
    else:
        crm.leads["abc"] = dict.fromkeys(crm.fields) | {"id": "abc", "deleted": False, "emailAddress": "p1@example.com"}
        one = item(1, 2)
    honest = crm._one
    crm._one = lambda method, *rest: Reply(403) if method == "PUT" else honest(method, *rest)  # type: ignore[method-assign]
    if ours:
        with pytest.raises(Refused, match="no_access"):
            espo.push([one])
    else:
        assert isinstance(espo.push([one])[0], Pushed)
        assert isinstance(espo.push([replace(item(1, 3), remote_id="abc")])[0], Pushed)
        assert len(crm._events("abc")) == 2


def test_a_lead_of_the_clinic_with_the_same_address_is_adopted_and_nothing_of_it_changed(crm: PretendEspocrm) -> None:
    crm.leads["abc"] = dict.fromkeys(crm.fields) | {"id": "abc", "deleted": False, "lastName": "Maiden"}
    crm.leads["abc"]["emailAddress"] = "P1@example.com"
    [pushed] = connector(crm).push([item(1, 1, phoneNumber="+12015550111")])
    assert isinstance(pushed, Pushed)
    assert pushed.url == f"{crm.url}/#Lead/view/abc"
    assert [crm.leads["abc"][name] for name in ("firstName", "lastName", "emailAddress", "phoneNumber")] == [
        "First1",
        "Maiden",
        "P1@example.com",
        "+12015550111",
    ]
    assert held(crm) == [(str(UUID(int=1)), [str(UUID(int=1001))])]


def test_a_namesake_is_another_person(crm: PretendEspocrm) -> None:
    first = item(1, 1)
    namesake = item(2, 2, firstName="First1", lastName="Last1")
    connector(crm).push([first])
    connector(crm).push([namesake])
    assert held(crm) == [(one.lead_id, [one.event_id]) for one in (first, namesake)]


def test_a_caller_known_only_by_a_code_is_not_made_twice_when_our_number_was_lost(crm: PretendEspocrm) -> None:
    caller = replace(item(1, 1), record={"firstName": "Caller", "lastName": "K7Q-2MX"})
    connector(crm).push([caller])
    next(iter(crm.leads.values()))["externalId"] = None
    connector(crm).push([caller])
    assert held(crm) == [(caller.lead_id, [caller.event_id])]


def test_without_our_field_nothing_is_written_and_the_check_says_so() -> None:
    with PretendEspocrm(fields=("firstName", "lastName", "emailAddress", "phoneNumber")) as crm:
        # What people() reads would not be there either, so the leads themselves are looked at.
        with pytest.raises(Misconfigured, match="missing_field"):
            connector(crm).push([item(1, 1)])
        assert crm.leads == {}
        [finding] = connector(crm).check()
    assert not finding.ok


def test_what_is_found_shows_what_the_record_holds_and_erasing_it_leaves_nothing(crm: PretendEspocrm) -> None:
    espo, one = connector(crm), item(1, 1)
    [pushed] = espo.push([one])
    assert isinstance(pushed, Pushed)
    crm.leads[pushed.remote_id]["lastName"] = "Married"
    assert espo.current([one, item(2, 2)]) == [{**one.record, "lastName": "Married"}, None]
    [seen] = espo.find([replace(one, remote_id=pushed.remote_id)])
    assert seen
    assert seen.record == {**one.record, "lastName": "Married"}
    espo.erase([pushed.remote_id])
    assert (crm.people(), [note["deleted"] for note in crm.notes.values()]) == ([], [True])
    assert espo.find([replace(one, remote_id=pushed.remote_id)]) == [None]
    espo.erase([pushed.remote_id])


def test_a_lead_that_was_deleted_there_is_made_anew(crm: PretendEspocrm) -> None:
    espo = connector(crm)
    [pushed] = espo.push([item(1, 1)])
    assert isinstance(pushed, Pushed)
    crm.leads[pushed.remote_id]["deleted"] = True
    espo.push([replace(item(1, 2), remote_id=pushed.remote_id)])
    assert held(crm) == [(str(UUID(int=1)), [str(UUID(int=1002))])]


def test_a_deleted_lead_whose_number_is_still_taken_needs_a_person() -> None:
    with PretendEspocrm(late=0.8, unique=True) as crm:
        espo = connector(crm)
        [pushed] = espo.push([item(1, 1)])
        assert isinstance(pushed, Pushed)
        crm.leads[pushed.remote_id]["deleted"] = True
        again = replace(item(1, 2), remote_id=pushed.remote_id)
        with pytest.raises(Refused, match="number_taken"):
            espo.push([again])
        crm.leads[pushed.remote_id]["deleted"] = False
        assert espo.push([again]) == [pushed]


def test_what_a_visitor_typed_is_text_and_no_markdown(crm: PretendEspocrm) -> None:
    connector(crm).push([replace(item(1, 1), activity={"message": "[free](https://evil.example) @admin *now*"})])
    [note] = crm.notes.values()
    assert r"Message: \[free\](https://evil.example) \@admin \*now\*" in note["post"]
