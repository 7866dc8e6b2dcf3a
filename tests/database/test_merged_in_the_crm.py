"""Staff of the clinic made one record of two in the CRM: whoever is erased takes nobody along, at every CRM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from leads.store import outbox
from leads.store.models import Erasure, Event
from tests.conftest import only_sqlite
from tests.database.loop import Loop
from tests.pretend.server import PretendCrm

pytestmark = only_sqlite  # what differs is the CRM


def _both_converted(crm: Any, jane: str, joe: str, leads: dict[str, Any]) -> None:
    """Into one contact, as for a couple that has one file."""
    contact = crm.convert(jane)
    other = crm.convert(joe)
    held = crm.contacts if crm.kind == "zoho" else crm.tables["Contact"]
    del held[other]
    if crm.kind == "zoho":
        leads[joe]["Converted_Contact"] = {"id": contact, "name": "A patient"}
        for note in crm._on(other):
            note["Parent_Id"] = {"id": contact}
        return
    leads[joe]["ConvertedContactId"] = contact
    for task in crm.tables["Task"].values():
        task["WhoId"] = contact if task["WhoId"] == other else task["WhoId"]


def _both_qualified(crm: Any, jane: str, joe: str) -> None:
    contact = crm.qualify(jane)
    crm.tables["leads"][joe] |= {"statecode": 1, "_parentcontactid_value": contact}


def _move(rows: dict[Any, dict[str, Any]], column: str, joe: Any, jane: Any) -> None:
    for row in rows.values():
        if row.get(column) == joe:
            row[column] = jane


# Joe's record goes into Jane's. Of some CRMs nobody learns where what stood on a record that is gone went.
MERGED: dict[str, Callable[[Any, str, str], Any]] = {
    "dynamics": _both_qualified,
    "espocrm": lambda crm, jane, joe: (_move(crm.notes, "parentId", joe, jane), crm.leads.pop(joe)),
    "gohighlevel": lambda crm, jane, joe: (crm.notes[jane].update(crm.notes.pop(joe)), crm.contacts.pop(joe)),
    "hubspot": lambda crm, jane, joe: crm.merge(joe, into=jane),
    "odoo": lambda crm, jane, joe: (
        _move(crm.memory.tables["mail.activity"], "res_id", int(joe), int(jane)),
        crm.memory.tables["crm.lead"].pop(int(joe)),
    ),
    "pipedrive": lambda crm, jane, joe: (
        _move(crm.activities, "person_id", int(joe), int(jane)),
        crm.persons.pop(int(joe)),
    ),
    "salesforce": lambda crm, jane, joe: _both_converted(crm, jane, joe, crm.tables["Lead"]),
    "twenty": lambda crm, jane, joe: (
        _move(crm.tables["noteTargets"], crm.column, joe, jane),
        crm.tables["people"].pop(joe),
    ),
    "zoho": lambda crm, jane, joe: _both_converted(crm, jane, joe, crm.leads),
}


@pytest.mark.parametrize("who", ["jane", "joe"])
def test_whoever_is_erased_takes_nobody_along(loop: Loop, crm: PretendCrm, who: str) -> None:
    events = {name: loop.send(name) for name in ("jane", "joe")}
    _settle(loop)
    homes = {event: person.remote_id for person in crm.people() for event in person.events}
    assert len(set(homes.values())) == 2
    MERGED[crm.kind](crm, homes[str(events["jane"])], homes[str(events["joe"])])
    there = sorted(event for person in crm.people() for event in person.events)
    _erase(loop, events[who])
    _settle(loop)
    lost_sight = who == "joe" and crm.kind in ("espocrm", "gohighlevel", "odoo", "pipedrive")
    assert _state(loop) == (("done", None) if lost_sight else ("needs_you", "shared"))
    assert sorted(event for person in crm.people() for event in person.events) == there, "all of it is there still"


@pytest.mark.parametrize("merged", [False, True])
def test_who_is_alone_on_a_record_is_gone(loop: Loop, crm: PretendCrm, merged: bool) -> None:
    """Also where staff merged the record into one that the clinic had already."""
    event = loop.send("jane")
    _settle(loop)
    ((home, told),) = [(person.remote_id, person.events) for person in crm.people()]
    assert told == [str(event)]
    if merged and crm.kind in ("salesforce", "zoho"):
        crm.convert(home)  # type: ignore[attr-defined]
    elif merged and crm.kind == "dynamics":
        crm.qualify(home)  # type: ignore[attr-defined]
    _erase(loop, event)
    _settle(loop)
    assert _state(loop) == ("done", None)
    assert crm.people() == []


def _settle(loop: Loop) -> None:
    for _ in range(8):
        loop.tick(seconds=15)


def _erase(loop: Loop, event_id: Any) -> None:
    with loop.database.read() as session:
        lead_id = session.get_one(Event, event_id).lead_id
    assert outbox.erase(loop.database, loop.vault, loop.erasures, lead_id, "anna")


def _state(loop: Loop) -> tuple[str, str | None]:
    with loop.database.read() as session:
        row = session.scalars(select(Erasure)).one()
        return row.state, row.code
