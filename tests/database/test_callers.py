"""A caller's record goes once the caller is known, unless staff of the clinic have worked on it: at every CRM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater
from leads.store.models import Connection, RemoteRecord
from tests.conftest import only_sqlite
from tests.database.loop import Loop
from tests.factory import send
from tests.pretend.server import PretendCrm

pytestmark = only_sqlite  # what differs is the CRM

JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com"}

RENAMED: dict[str, Callable[[Any, str], Any]] = {
    "dynamics": lambda crm, one: crm.tables["leads"][one].update(firstname="Jane"),
    "espocrm": lambda crm, one: crm.leads[one].update(phoneNumber="+12015550123"),
    "gohighlevel": lambda crm, one: crm.contacts[one].update(firstName="Jane"),
    "hubspot": lambda crm, one: crm.contacts[one].update(phone="+12015550123"),
    "odoo": lambda crm, one: crm.memory.tables["crm.lead"][int(one)].update(contact_name="Jane Doe"),
    "pipedrive": lambda crm, one: crm.persons[int(one)].update(name="Jane Doe"),
    "salesforce": lambda crm, one: crm.tables["Lead"][one].update(Phone="+12015550123"),
    "twenty": lambda crm, one: crm.tables["people"][one].update(name={"firstName": "Jane", "lastName": "Doe"}),
    "zoho": lambda crm, one: crm.leads[one].update(Phone="+12015550123"),
}
_TOLD = "Called back, wants an appointment on Tuesday."
NOTED: dict[str, Callable[[Any, str], Any]] = {
    "dynamics": lambda crm, one: crm.tables["tasks"].update(t={"activityid": "t", "about": one, "kind": "lead"}),
    "espocrm": lambda crm, one: crm.notes.update(n={"id": "n", "deleted": False, "post": _TOLD, "parentId": one}),
    "gohighlevel": lambda crm, one: crm.notes[one].update(n={"id": "n", "body": _TOLD}),
    "hubspot": lambda crm, one: crm.notes.update(
        n={"properties": {"hs_note_body": _TOLD}, "contacts": [one], "at": 0.0}
    ),
    "odoo": lambda crm, one: crm.memory.tables["mail.message"].update(
        {9999: {"model": "crm.lead", "res_id": int(one), "message_type": "comment", "body": _TOLD}}
    ),
    "pipedrive": lambda crm, one: crm.activities.update(
        {9999: {"id": 9999, "is_deleted": False, "note": _TOLD, "person_id": int(one)}}
    ),
    "salesforce": lambda crm, one: crm.tables["Task"].update(
        t={"Id": "t", "WhoId": one, "Description": _TOLD, "Frontdesk_Event__c": None}
    ),
    "twenty": lambda crm, one: (
        crm.tables["notes"].update(n={"id": "n", "bodyV2": {"markdown": _TOLD}, "deletedAt": None}),
        crm.tables["noteTargets"].update(t={"id": "t", "noteId": "n", crm.column: one, "deletedAt": None}),
    ),
    "zoho": lambda crm, one: crm.notes.update(
        {"9": {"id": "9", "Parent_Id": {"id": one}, "Note_Content": _TOLD}},
    ),
}
CONVERTED: dict[str, Callable[[Any, str], Any]] = {
    "dynamics": lambda crm, one: crm.tables["leads"][one].update(
        statecode=1, _parentcontactid_value=crm.contact(emailaddress1="old@clinic.example")
    ),
    "espocrm": lambda crm, one: crm.leads[one].update(status="Converted"),
    "salesforce": lambda crm, one: crm.convert(one),
    "zoho": lambda crm, one: crm.convert(one),
}

DONE: dict[str, Callable[[Any, str], Any]] = {
    "hubspot": lambda crm, one: crm.work.update(deals=[one]),
    "odoo": lambda crm, one: crm.move(int(one)),
    "pipedrive": lambda crm, one: crm.counts.update({int(one): {"notes_count": 1}}),
    "salesforce": lambda crm, one: crm.tables["Event"].update(e={"Id": "e", "WhoId": one, "Subject": "First visit"}),
}


def _settled(loop: Loop) -> None:
    for _ in range(8):
        loop.tick(seconds=15)


def _caller_of_jane(loop: Loop, crm: PretendCrm) -> str:
    """Jane is known, and taps the number on another device. Returns the record of that caller."""
    send(loop.database, loop.vault, loop.site, visitor_id="laptop", **JANE)
    _settled(loop)
    before = {person.remote_id for person in crm.people()}
    send(loop.database, loop.vault, loop.site, "call_click", visitor_id="phone")
    _settled(loop)
    (caller,) = {person.remote_id for person in crm.people()} - before
    return caller


def _becomes_known(loop: Loop) -> None:
    send(loop.database, loop.vault, loop.site, visitor_id="phone", **JANE)
    _settled(loop)


def _records(loop: Loop) -> dict[str, bool]:
    with loop.database.read() as session:
        return {row.remote_id: row.retire for row in session.scalars(select(RemoteRecord))}


def test_a_record_that_holds_only_what_we_wrote_goes(loop: Loop, crm: PretendCrm) -> None:
    caller = _caller_of_jane(loop, crm)
    _becomes_known(loop)
    (jane,) = crm.people()
    assert (jane.remote_id != caller, len(jane.events)) == (True, 3)
    assert _records(loop) == {jane.remote_id: False}


@pytest.mark.parametrize("what", ["renamed", "noted"])
def test_a_record_that_staff_have_worked_on_stays(loop: Loop, crm: PretendCrm, what: str) -> None:
    caller = _caller_of_jane(loop, crm)
    (RENAMED if what == "renamed" else NOTED)[crm.kind](crm, caller)
    _becomes_known(loop)
    assert caller in {person.remote_id for person in crm.people()}
    assert _records(loop)[caller] is False, "it is not tried for ever"


@pytest.mark.parametrize("crm", sorted(CONVERTED), indirect=True)
def test_a_record_that_became_a_patients_stays_and_so_does_the_patient(loop: Loop, crm: Any) -> None:
    caller = _caller_of_jane(loop, crm)
    CONVERTED[crm.kind](crm, caller)
    before = {one.remote_id for one in crm.people()}
    _becomes_known(loop)
    assert {one.remote_id for one in crm.people()} == before
    assert _records(loop)[caller] is False


@pytest.mark.parametrize("crm", sorted(DONE), indirect=True)
def test_a_record_with_which_staff_did_something_else_stays(loop: Loop, crm: Any) -> None:
    caller = _caller_of_jane(loop, crm)
    DONE[crm.kind](crm, caller)
    _becomes_known(loop)
    assert caller in {one.remote_id for one in crm.people()}
    assert _records(loop)[caller] is False


@pytest.mark.parametrize("crm", ["hubspot"], indirect=True)
def test_a_record_that_cannot_be_looked_at_is_left_for_later(
    loop: Loop, crm: PretendCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = _caller_of_jane(loop, crm)

    def busy(_: object) -> None:
        raise Throttled("rate_limit", "Slower.", retry_after=30)

    monkeypatch.setattr(loop.crm, "worked_on", busy)
    _becomes_known(loop)
    assert caller in {person.remote_id for person in crm.people()}
    assert _records(loop)[caller] is True
    assert loop.connection().wait_until is not None, "the CRM asked for quiet"
    monkeypatch.undo()
    with loop.database.write() as session:
        session.execute(update(Connection).values(wait_until=None))
    loop.use(loop.crm)
    loop.clock.forward(minutes=2)
    _settled(loop)
    assert caller not in {person.remote_id for person in crm.people()}


@pytest.mark.parametrize("crm", ["twenty"], indirect=True)
@pytest.mark.parametrize(
    ("error", "most"),
    [(Misconfigured("no_right", "The key may not delete."), 20), (Refused("in_use", "It is in use."), 1)],
)
def test_what_the_crm_will_not_delete_is_left_to_staff(
    loop: Loop, crm: Any, monkeypatch: pytest.MonkeyPatch, error: DeliveryError, most: int
) -> None:
    caller = _caller_of_jane(loop, crm)
    tries: list[str] = []
    monkeypatch.setattr(loop.crm, "erase", lambda ids: _fail(tries, ids, error))
    _becomes_known(loop)
    for _ in range(24 * 4):
        loop.tick(minutes=60)
    assert len(tries) == most, "it is not tried for ever"
    with loop.database.read() as session:
        row = session.scalars(select(RemoteRecord).where(RemoteRecord.remote_id == caller)).one()
        assert (row.retire, row.left_because) == (False, error.sentence)


@pytest.mark.parametrize("crm", ["twenty"], indirect=True)
def test_a_record_that_cannot_go_holds_up_none_behind_it(loop: Loop, crm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _caller_of_jane(loop, crm)
    before = {person.remote_id for person in crm.people()}
    send(loop.database, loop.vault, loop.site, "call_click", visitor_id="tablet")
    _settled(loop)
    (second,) = {person.remote_id for person in crm.people()} - before
    erase = loop.crm.erase
    monkeypatch.setattr(
        loop.crm, "erase", lambda ids: _fail([], ids, TryLater("busy", "Busy.")) if first in ids else erase(ids)
    )
    _becomes_known(loop)
    send(loop.database, loop.vault, loop.site, visitor_id="tablet", **JANE)
    _settled(loop)
    assert {first, second} & {person.remote_id for person in crm.people()} == {first}


@pytest.mark.parametrize("crm", ["twenty"], indirect=True)
def test_a_mistake_of_ours_while_removing_ends_no_lane(loop: Loop, crm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _caller_of_jane(loop, crm)
    monkeypatch.setattr(loop.crm, "erase", lambda ids: _fail([], ids, KeyError("id")))
    _becomes_known(loop)
    send(loop.database, loop.vault, loop.site, email="joe@example.com", first_name="Joe")
    _settled(loop)
    assert "joe@example.com" in {person.email for person in crm.people()}
    assert loop.connection().state == "working"


def _fail(tries: list[str], ids: list[str], error: Exception) -> None:
    tries += ids
    raise error
