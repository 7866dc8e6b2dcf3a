"""Odoo, against a pretend server of either generation: exactly once through faults, and what its words mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from marshmallow import ValidationError

from integrations.core.base import Item, Pushed, Seen
from integrations.core.errors import Misconfigured, Refused, Throttled, TryLater, Unknown
from integrations.core.http import Http
from integrations.odoo import Odoo
from tests.contract.people import item
from tests.crm.loop import PATIENT
from tests.pretend.odoo import PretendOdoo


@pytest.fixture(params=[16, 19])
def crm(request: pytest.FixtureRequest) -> Iterator[PretendOdoo]:
    with PretendOdoo(late=1.3, version=request.param) as server:
        assert isinstance(server, PretendOdoo)
        yield server


def _odoo(crm: PretendOdoo, deadline: float = PATIENT, **options: Any) -> Odoo:
    settings = Odoo.options().load(crm.settings() | options)
    return Odoo(settings, Http(allowed_private_hosts=frozenset({"127.0.0.1"}), deadline=deadline))


def _person(number: int, event: int = 0) -> Item:
    """One of many people, and one of her events."""
    ann = item("ann", Odoo)
    record = {**ann.record, "contact_name": f"Person {number}", "email_from": f"p{number}@canary.example"}
    ids = (f"00000000-0000-4000-8000-{one:012}" for one in (number, 1000 * number + event))
    return replace(ann, lead_id=next(ids), event_id=next(ids), record=record)


def _until_all_is_in(crm: PretendOdoo, items: Sequence[Item]) -> dict[str, str]:
    """Push with new connectors until each is in. Returns lead id → Odoo's number."""
    left, numbers = list(items), {}
    for _ in range(200):
        try:
            batch = left[:7]
            answers = _odoo(crm, deadline=1).push(batch)
        except (TryLater, Throttled, Unknown):
            continue
        numbers |= {one.lead_id: got.remote_id for one, got in zip(batch, answers, strict=True) if _in(got)}
        left = [one for one, got in zip(batch, answers, strict=True) if not _in(got)] + left[7:]
        if not left:
            return numbers
    raise AssertionError(f"{len(left)} never arrived")


def _in(answer: object) -> bool:
    return isinstance(answer, Pushed)


def _held(crm: PretendOdoo) -> dict[str | None, list[str]]:
    people = crm.people()
    assert len({one.lead_id for one in people}) == len(people), "a person stands there twice"
    return {one.lead_id: sorted(one.events) for one in people}


def test_each_person_and_event_is_there_once_through_faults(crm: PretendOdoo) -> None:
    first, again = [_person(number) for number in range(20)], [_person(number, 1) for number in range(0, 20, 3)]
    crm.faults_rate = 0.2
    numbers = _until_all_is_in(crm, first)
    _until_all_is_in(crm, [replace(one, remote_id=numbers[one.lead_id]) for one in again])
    wanted = {
        one.lead_id: sorted(other.event_id for other in first + again if other.lead_id == one.lead_id) for one in first
    }
    assert _held(crm) == wanted


def test_what_was_written_is_found_and_can_be_erased(crm: PretendOdoo) -> None:
    one, other = _person(1), _person(2)
    odoo = _odoo(crm)
    (pushed,) = odoo.push([one])
    assert isinstance(pushed, Pushed)
    seen, nothing = odoo.find([one, other])
    assert seen == Seen(pushed.remote_id, pushed.url, {**one.record})
    assert nothing is None
    assert odoo.find([replace(one, remote_id=pushed.remote_id, event_id=other.event_id)]) == [None], "not this event"
    odoo.erase([pushed.remote_id, "999"])
    assert crm.people() == []
    assert odoo.find([replace(one, remote_id=pushed.remote_id), one]) == [None, None]


def test_an_activity_that_staff_ticked_off_is_still_found(crm: PretendOdoo) -> None:
    odoo = _odoo(crm)
    odoo.push([_person(1)])
    crm.mark_done()
    (seen,) = odoo.find([_person(1)])
    assert isinstance(seen, Seen)


def test_a_lead_of_the_clinics_own_stays_as_it_is(crm: PretendOdoo) -> None:
    own = crm.add(name="Old deal", email_from="p1@canary.example")
    (pushed,) = _odoo(crm).push([_person(1)])
    assert isinstance(pushed, Pushed)
    assert pushed.remote_id != str(own)
    assert crm.memory.tables["crm.lead"][own]["name"] == "Old deal"


def test_a_new_lead_is_titled_by_name_and_a_known_one_keeps_its_title(crm: PretendOdoo) -> None:
    odoo = _odoo(crm)
    (pushed,) = odoo.push([_person(1)])
    assert isinstance(pushed, Pushed)
    lead = crm.memory.tables["crm.lead"][int(pushed.remote_id)]
    assert lead["name"] == "Person 1"
    lead["name"] = "Implants, very keen"
    odoo.push([replace(_person(1, 1), remote_id=pushed.remote_id)])
    assert lead["name"] == "Implants, very keen"


def test_a_lead_that_was_deleted_is_made_anew(crm: PretendOdoo) -> None:
    odoo = _odoo(crm)
    (first,) = odoo.push([_person(1)])
    assert isinstance(first, Pushed)
    odoo.erase([first.remote_id])
    assert odoo.current([replace(_person(1), remote_id=first.remote_id)]) == [None]
    (second,) = odoo.push([replace(_person(1, 1), remote_id=first.remote_id)])
    assert isinstance(second, Pushed)
    assert second.remote_id != first.remote_id
    assert crm.memory.tables["crm.lead"][int(second.remote_id)]["name"] == "Website enquiry"


def test_a_bad_record_is_told_from_its_neighbours(crm: PretendOdoo) -> None:
    """Odoo blames the first row as well, which is innocent."""
    crm.refuses = lambda row: "No." if row.get("email_from") == "p2@canary.example" else None
    answers = _odoo(crm).push([_person(number) for number in range(4)])
    assert [isinstance(one, Pushed) for one in answers] == [True, True, False, True]
    assert isinstance(answers[2], Refused)
    assert len(crm.people()) == 3


def test_a_missing_right_is_not_taken_for_a_bad_record(crm: PretendOdoo) -> None:
    crm.rights = {"read"}
    with pytest.raises(Misconfigured) as caught:
        _odoo(crm).push([_person(number) for number in range(3)])
    assert caught.value.code == "no_right"
    assert [one.ok for one in _odoo(crm).check()] == [False]


def test_a_lead_that_goes_between_the_two_calls_is_tried_again(crm: PretendOdoo) -> None:
    odoo = _odoo(crm)
    load: Callable[..., Any] = crm._load

    def vanishing(model: str, columns: list[str], data: list[list[str]], context: Mapping[str, Any]) -> Any:
        if model == "mail.activity":
            crm.memory.tables["crm.lead"].clear()
        return load(model, columns, data, context)

    crm._load = vanishing  # type: ignore[method-assign]
    (answer,) = odoo.push([_person(1)])
    assert isinstance(answer, TryLater)
    assert answer.code == "no_activity"


def test_a_lead_that_was_moved_to_another_stage_is_the_work_of_staff(crm: PretendOdoo) -> None:
    odoo = _odoo(crm)
    numbers = _until_all_is_in(crm, [_person(1), _person(2)])
    callers = [replace(_person(number), remote_id=numbers[_person(number).lead_id]) for number in (1, 2)]
    odoo.push([replace(one, event_id=_person(number, 1).event_id) for number, one in enumerate(callers, 1)])
    assert odoo.worked_on(callers) == [False, False], "a repeat enquiry moves none"
    crm.move(int(str(callers[1].remote_id)))
    assert odoo.worked_on(callers) == [False, True]
    odoo.erase([str(callers[1].remote_id)])
    assert odoo.worked_on(callers) == [False, False], "one that is gone is nobody's work"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"key": "wrong"}, "bad_key"),
        ({"database": "nowhere"}, None),
        ({"login": "nobody", "api": "jsonrpc"}, "bad_key"),
    ],
)
def test_wrong_settings_are_named(crm: PretendOdoo, options: dict[str, str], code: str | None) -> None:
    with pytest.raises(Misconfigured) as caught:
        _odoo(crm, **options).check()
    assert caught.value.code == code or (code is None and caught.value.code in ("no_such_database", "not_found"))


def test_the_older_api_can_be_forced_and_needs_a_login() -> None:
    with PretendOdoo(version=19) as crm:
        assert isinstance(crm, PretendOdoo)
        assert isinstance(_odoo(crm, api="jsonrpc").push([_person(1)])[0], Pushed)
        assert {path for _, path, _ in crm.calls} == {"/jsonrpc"}
        settings = Odoo.options().load({"url": crm.url, "key": "k", "api": "jsonrpc"})
        with pytest.raises(Misconfigured, match="login"):
            Odoo(settings, Http(allowed_private_hosts=frozenset({"127.0.0.1"}))).check()


def test_what_is_well_is_said_and_what_cannot_be_erased(crm: PretendOdoo) -> None:
    assert [(one.ok, "by hand" in one.sentence) for one in _odoo(crm).check()] == [(True, False)]
    crm.rights.remove("unlink")
    assert [(one.ok, "by hand" in one.sentence) for one in _odoo(crm).check()] == [(True, True)]


def test_the_key_has_an_end() -> None:
    assert Odoo.key_ends({"key_ends": "2027-01-31"}) == date(2027, 1, 31)
    assert Odoo.key_ends({}) is None
    with pytest.raises(ValidationError):
        Odoo.options().load({"url": "https://o.example", "key": "k", "key_ends": "soon"})


def test_a_dry_run_by_the_older_api_does_not_show_the_key() -> None:
    settings = Odoo.options().load(
        {"url": "https://o.example", "key": "secret", "api": "jsonrpc", "database": "d", "login": "l"}
    )
    drafts = Odoo(settings, Http()).draft(item("ann", Odoo))
    assert "secret" not in str(drafts)
    assert [draft.url for draft in drafts] == ["https://o.example/jsonrpc"] * 2
