"""Salesforce: a person is a lead, upserted by a field of our own; an event is a completed task on it, likewise.

Sources: developer.salesforce.com, REST API guide (sObject collections, upsert by external id, Sforce-Limit-Info),
Tooling API guide (CustomField), object reference (Lead, Task, FieldPermissions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from integrations._salesforce import (
    EVENT_KEY,
    KEYS,
    LEAD_KEY,
    PHONES,
    Row,
    body_of,
    codes_in,
    dicts,
    errors_in,
    is_same_person,
    lead_row,
    matches,
    refusal,
    single_verdict,
    task_row,
    text,
)
from integrations._salesforce_api import API, Api, batch_path
from integrations._salesforce_setup import SalesforceOptions, fields_in, flaw, home, prepare, said, sign_in
from integrations.core.base import (
    Allowance,
    Connector,
    Draft,
    Finding,
    Item,
    Pushed,
    RemoteField,
    Result,
    Seen,
    record_id,
)
from integrations.core.errors import DeliveryError, Refused, TryLater, Unknown
from integrations.core.http import Answer
from integrations.core.oauth import OAuth

Place = str | DeliveryError  # the id of the record of a person or event, or why there is none

_USE = re.compile(r"api-usage=(\d+)/(\d+)")
_OWN_RECORD = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}  # where the rule warns, and does not forbid
_MOST_ALIKE = 20  # that a push looks at: each takes calls of its own, and the lease ends
_MANY = TryLater("many_duplicates", "Salesforce knows many of these people already: one after the other.")
_ORPHAN = Refused("converted", "This lead was converted in Salesforce, and its contact is gone. Look there.")


class Salesforce(Connector):
    """Leads and tasks carry our ids in unique fields, so that neither can be there twice. A lead that staff converted
    is not touched: the task goes to its contact."""

    kind: ClassVar[str] = "salesforce"
    label: ClassVar[str] = "Salesforce"
    tier = "A"
    options = SalesforceOptions
    batch_size = 200
    fields: ClassVar[Mapping[str, str]] = {
        "first_name": "FirstName",
        "last_name": "LastName",
        "email": "Email",
        "phone": "Phone",
    }
    constants: ClassVar[Mapping[str, str]] = {"Company": "Website enquiry", "LeadSource": "Web"}
    fallbacks: ClassVar[Mapping[str, str]] = {"LastName": "Unknown"}

    @cached_property
    def api(self) -> Api:
        """Made at the first call: where it goes the token tells, and getting that may fail."""
        return Api(self.http, home(self.settings))

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth:
        """By a person, a secret or a certificate."""
        return sign_in(settings)

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """Each answer tells how many of the day's calls all programs together have used."""
        used = _USE.search(answer.headers.get("Sforce-Limit-Info", ""))
        return Allowance(left_today=int(used[2]) - int(used[1]), of_today=int(used[2])) if used else None

    def check(self) -> list[Finding]:
        """Whether leads and tasks may be written, and have our fields."""
        flaws = [wrong for table in KEYS if (wrong := flaw(table, self.api.described(table)))]
        well = Finding(True, "Salesforce accepts the sign-in and has all that is needed.")
        return [Finding(False, sentence) for sentence in flaws] or [well]

    def prepare(self) -> list[Finding]:
        """Create our two fields, and let our user see and edit them."""
        return prepare(self.api, said(self.settings, "id").rpartition("/")[2])

    def remote_fields(self) -> list[RemoteField]:
        """Those of a lead."""
        return fields_in(self.api.described("Lead"))

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then a task for each event."""
        places = self._places(batch)
        arrived = [(item, place) for item in batch if isinstance(place := places[item.lead_id], str)]
        rows = self.api.upsert("Task", [task_row(item, place) for item, place in arrived])
        tasks = {item.lead_id: _place_of(row) for (item, _), row in zip(arrived, rows, strict=True)}
        return [self._result(places[item.lead_id], tasks.get(item.lead_id)) for item in batch]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one, of either kind."""
        batches = {"Lead": lead_row(item), "Task": task_row(item, "{lead}")}
        return [Draft("PATCH", self.api.home + batch_path(table), body_of([row])) for table, row in batches.items()]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """What a lead holds. A contact is never written to."""
        whole = [item.in_full() for item in items]
        rows = self._leads(items, [name for item in whole for name in item.record])
        found = [(item, rows.get(item.lead_id)) for item in whole]
        return [{name: text(row.get(name)) for name in item.record} if row else None for item, row in found]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """By the task, which names the person it stands on."""
        tasks = self.api.query("Task", ["WhoId"], EVENT_KEY, [item.event_id for item in items])
        whos = {str(row.get(EVENT_KEY)): text(row.get("WhoId")) for row in tasks}
        people = self._people(whos.values(), [name for item in items for name in item.record])
        found = [(item, people.get(whos.get(item.event_id, ""))) for item in items]
        return [self._seen(item, row) if row else None for item, row in found]

    def erase(self, remote_ids: Sequence[str]) -> None:
        """A lead and the contact that it was converted to are one person. Tasks go first, people after them."""
        contacts = {one for one in remote_ids if _is_contact(one)}
        leads = self.api.query("Lead", ["ConvertedContactId"], "Id", set(remote_ids) - contacts)
        contacts |= {text(row.get("ConvertedContactId")) for row in leads} - {""}
        leads += self.api.query("Lead", (), "ConvertedContactId", sorted(contacts))
        people = [*sorted(contacts), *dict.fromkeys(str(row["Id"]) for row in leads)]
        tasks = self.api.query("Task", (), "WhoId", people)
        self.api.delete([*(str(row["Id"]) for row in tasks), *people])

    def _places(self, batch: Sequence[Item]) -> dict[str, Place]:
        """Lead id → the record that the event goes to. Written to is only a lead that is new or has something new."""
        known, places = self._known([item for item in batch if item.remote_id])
        rest = [item for item in batch if item.lead_id not in places]
        rows = self.api.upsert("Lead", [lead_row(item) for item in rest])
        alike = [
            one for one in zip(rest, rows, strict=True) if "DUPLICATES_DETECTED" in codes_in(dicts(one[1], "errors"))
        ]
        places |= {item.lead_id: self._written(item, row) for item, row in zip(rest, rows, strict=True)}
        places |= {item.lead_id: _MANY for item, _ in alike[_MOST_ALIKE:]}
        for item, row in alike[:_MOST_ALIKE]:
            places[item.lead_id] = self._insist(item) if item.lead_id in known else self._adopt(item, row)
        return places

    def _written(self, item: Item, row: Row) -> Place:
        """The lead, or the contact that somebody has converted it to."""
        if "CANNOT_UPDATE_CONVERTED_LEAD" in codes_in(dicts(row, "errors")):
            _, places = self._known([replace(item, remote_id=None)])
            return places.get(item.lead_id) or _place_of(row)
        return _place_of(row)

    def _known(self, items: Sequence[Item]) -> tuple[dict[str, Row], dict[str, Place]]:
        """Lead id → its lead; and → its record, where nothing is to be written to that."""
        leads = self._leads(items, ["IsConverted", "ConvertedContactId"])
        contacts = self._people([item.remote_id for item in items if _is_contact(item.remote_id)], ())
        rows = leads | {item.lead_id: contacts[item.remote_id] for item in items if item.remote_id in contacts}
        found = [(item, rows[item.lead_id]) for item in items if item.lead_id in rows]
        left = {item.lead_id: _kept(item, row) or ("" if item.record else str(row["Id"])) for item, row in found}
        return leads, {lead_id: place for lead_id, place in left.items() if place}

    def _adopt(self, item: Item, row: Row) -> Place:
        """The record that Salesforce takes for the same person, if it is. A batch does not always say which it is."""
        ids = matches(dicts(row, "errors"))
        if not ids:
            answer = self.api.call("PATCH", _single(item), dict(item.record))
            if answer.status < 300:
                return _place_of(answer.json())
            ids = matches(errors_in(answer))
        people = self._people(ids, ["Email", *PHONES, "IsConverted", "ConvertedContactId", *item.record])
        owner = next((found for one in ids if (found := people.get(one)) and is_same_person(item, found)), None)
        return self._fill(item, owner) if owner else self._insist(item)

    def _fill(self, item: Item, row: Row) -> Place:
        """Write what is empty, our id too. What will not be changed can still get its task."""
        if kept := _kept(item, {**row, LEAD_KEY: row.get(LEAD_KEY) or item.lead_id}):
            return kept
        empty = {name: value for name, value in {**item.record, LEAD_KEY: item.lead_id}.items() if not row.get(name)}
        answer = self.api.call("PATCH", f"{API}/sobjects/Lead/{row['Id']}", empty, _OWN_RECORD) if empty else None
        if answer and answer.status >= 300 and not isinstance(error := single_verdict(answer), Refused):
            return error
        return str(row["Id"])

    def _insist(self, item: Item) -> Place:
        """Somebody else's record looks like this one: it stands beside it, unless the duplicate rule forbids it."""
        answer = self.api.call("PATCH", _single(item), dict(item.record), _OWN_RECORD)
        return _place_of(answer.json()) if answer.status < 300 else single_verdict(answer)

    def _leads(self, items: Sequence[Item], names: Iterable[str]) -> dict[str, Row]:
        """Our lead's id → its row: the one that we know, else the one with our id."""
        wanted, ids = [LEAD_KEY, *names], [item.remote_id for item in items if item.remote_id]
        by_id = {row["Id"]: row for row in self.api.query("Lead", wanted, "Id", [i for i in ids if not _is_contact(i)])}
        unknown = [item.lead_id for item in items if not item.remote_id]
        by_key = {row.get(LEAD_KEY): row for row in self.api.query("Lead", wanted, LEAD_KEY, unknown)}
        found = {item.lead_id: by_id.get(item.remote_id) or by_key.get(item.lead_id) for item in items}
        return {lead_id: row for lead_id, row in found.items() if row}

    def _people(self, ids: Iterable[str | None], names: Iterable[str]) -> dict[str | None, Row]:
        """Id → row, of leads and contacts alike; only a lead's has the fields of these names."""
        listed = [one for one in ids if one]
        rows = self.api.query("Lead", [LEAD_KEY, *names], "Id", [one for one in listed if not _is_contact(one)])
        rows += self.api.query("Contact", ["Email", *PHONES], "Id", [one for one in listed if _is_contact(one)])
        return {row["Id"]: row for row in rows}

    def _seen(self, item: Item, row: Row) -> Seen:
        record = None if _is_contact(row["Id"]) else {name: text(row.get(name)) for name in item.record}
        return Seen(row["Id"], self._page(row["Id"]), record)

    def _result(self, person: Place, task: Place | None) -> Result:
        if isinstance(person, str) and isinstance(task, str):
            return Pushed(person, self._page(person))
        return next(one for one in (person, task) if isinstance(one, DeliveryError))

    def _page(self, record: str) -> str:
        return f"{self.api.home}/{record}"


def _single(item: Item) -> str:
    return f"{API}/sobjects/Lead/{LEAD_KEY}/{item.lead_id}"


def _is_contact(remote_id: str | None) -> bool:
    """By the three characters that tell Salesforce's objects apart."""
    return (remote_id or "").startswith("003")


def _kept(item: Item, row: Row) -> Place | None:
    """The record that the event goes to and that is left as it is; None when it is this person's own lead."""
    if _is_contact(row["Id"]):
        return str(row["Id"])
    if row.get("IsConverted"):
        return text(row.get("ConvertedContactId")) or _ORPHAN
    return str(row["Id"]) if row.get(LEAD_KEY) != item.lead_id else None


def _place_of(row: Row) -> Place:
    """Where a record was written to. A yes without its id is none."""
    if row.get("success") and (written := record_id(row.get("id"))):
        return written
    errors = dicts(row, "errors") or [row] * ("errorCode" in row)
    return refusal(errors[0]) if errors else Unknown("no_id", "Salesforce said yes, but not which record it made.")
