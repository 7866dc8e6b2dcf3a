"""Whose record an enquiry belongs to in Salesforce: a lead of our own, one that was there, or a contact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from integrations._salesforce import (
    LEAD_KEY,
    PHONES,
    Row,
    codes_in,
    errors_in,
    is_same_person,
    lead_row,
    matches,
    refusal,
    single_verdict,
)
from integrations._salesforce_api import API, Api
from integrations.core.base import Item, record_id
from integrations.core.errors import DeliveryError, Refused, TryLater, Unknown
from integrations.core.reading import as_object, objects_at, text

Place = str | DeliveryError  # the id of the record of a person or event, or why there is none

_OWN_RECORD = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}  # where the rule warns, and does not forbid
_MOST_ALIKE = 20  # that a push looks at: each takes calls of its own, and the lease ends
_MANY = TryLater("many_duplicates", "Salesforce knows many of these people already: one after the other.")
_ORPHAN = Refused("converted", "This lead was converted in Salesforce, and its contact is gone. Look there.")


class People:
    """The leads and contacts that we write to or read."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def places(self, batch: Sequence[Item]) -> dict[str, Place]:
        """Lead id → the record that the event goes to. Written to is only a lead that is new or has something new."""
        known, places = self._known([item for item in batch if item.remote_id])
        rest = [item for item in batch if item.lead_id not in places]
        rows = self._api.upsert("Lead", [lead_row(item) for item in rest])
        alike = [
            one
            for one in zip(rest, rows, strict=True)
            if "DUPLICATES_DETECTED" in codes_in(objects_at(one[1], "errors"))
        ]
        places |= {item.lead_id: self._written(item, row) for item, row in zip(rest, rows, strict=True)}
        places |= {item.lead_id: _MANY for item, _ in alike[_MOST_ALIKE:]}
        for item, row in alike[:_MOST_ALIKE]:
            places[item.lead_id] = self._insist(item) if item.lead_id in known else self._adopt(item, row)
        return places

    def leads(self, items: Sequence[Item], names: Iterable[str]) -> dict[str, Row]:
        """Our lead's id → its row: the one that we know, else the one with our id."""
        wanted, ids = [LEAD_KEY, *names], [item.remote_id for item in items if item.remote_id]
        by_id = {row["Id"]: row for row in self._api.query("Lead", wanted, "Id", [i for i in ids if not is_contact(i)])}
        unknown = [item.lead_id for item in items if not item.remote_id]
        by_key = {text(row.get(LEAD_KEY)): row for row in self._api.query("Lead", wanted, LEAD_KEY, unknown)}
        found = {item.lead_id: by_id.get(item.remote_id) or by_key.get(item.lead_id) for item in items}
        return {lead_id: row for lead_id, row in found.items() if row}

    def rows(self, ids: Iterable[str | None], names: Iterable[str]) -> dict[str | None, Row]:
        """Id → row, of leads and contacts alike; only a lead's has the fields of these names."""
        listed = [one for one in ids if one]
        rows = self._api.query("Lead", [LEAD_KEY, *names], "Id", [one for one in listed if not is_contact(one)])
        rows += self._api.query("Contact", ["Email", *PHONES], "Id", [one for one in listed if is_contact(one)])
        return {row["Id"]: row for row in rows}

    def _written(self, item: Item, row: Row) -> Place:
        """The lead, or the contact that somebody has converted it to."""
        if "CANNOT_UPDATE_CONVERTED_LEAD" in codes_in(objects_at(row, "errors")):
            _, places = self._known([replace(item, remote_id=None)])
            return places.get(item.lead_id) or place_of(row)
        return place_of(row)

    def _known(self, items: Sequence[Item]) -> tuple[dict[str, Row], dict[str, Place]]:
        """Lead id → its lead; and → its record, where nothing is to be written to that."""
        leads = self.leads(items, ["IsConverted", "ConvertedContactId"])
        contacts = self.rows([item.remote_id for item in items if is_contact(item.remote_id)], ())
        rows = leads | {item.lead_id: contacts[item.remote_id] for item in items if item.remote_id in contacts}
        found = [(item, rows[item.lead_id]) for item in items if item.lead_id in rows]
        left = {item.lead_id: _kept(item, row) or ("" if item.record else str(row["Id"])) for item, row in found}
        return leads, {lead_id: place for lead_id, place in left.items() if place}

    def _adopt(self, item: Item, row: Row) -> Place:
        """The record that Salesforce takes for the same person, if it is. A batch does not always say which it is."""
        ids = matches(objects_at(row, "errors"))
        if not ids:
            answer = self._api.call("PATCH", _single(item), dict(item.record))
            if answer.status < 300:
                return place_of(as_object(answer.json()))
            ids = matches(errors_in(answer))
        people = self.rows(ids, ["Email", *PHONES, "IsConverted", "ConvertedContactId", *item.record])
        owner = next((found for one in ids if (found := people.get(one)) and is_same_person(item, found)), None)
        return self._fill(item, owner) if owner else self._insist(item)

    def _fill(self, item: Item, row: Row) -> Place:
        """Write what is empty, our id too. What will not be changed can still get its task."""
        if kept := _kept(item, {**row, LEAD_KEY: row.get(LEAD_KEY) or item.lead_id}):
            return kept
        empty = {name: value for name, value in {**item.record, LEAD_KEY: item.lead_id}.items() if not row.get(name)}
        place = f"{API}/sobjects/Lead/{row['Id']}"
        answer = self._api.call("PATCH", place, empty, headers=_OWN_RECORD) if empty else None
        if answer and answer.status >= 300 and not isinstance(error := single_verdict(answer), Refused):
            return error
        return str(row["Id"])

    def _insist(self, item: Item) -> Place:
        """Somebody else's record looks like this one: it stands beside it, unless the duplicate rule forbids it."""
        answer = self._api.call("PATCH", _single(item), dict(item.record), headers=_OWN_RECORD)
        return place_of(as_object(answer.json())) if answer.status < 300 else single_verdict(answer)


def is_contact(remote_id: str | None) -> bool:
    """By the three characters that tell Salesforce's objects apart."""
    return (remote_id or "").startswith("003")


def place_of(row: Row) -> Place:
    """Where a record was written to. A yes without its id is none."""
    if row.get("success") and (written := record_id(row.get("id"))):
        return written
    errors = objects_at(row, "errors") or [row] * ("errorCode" in row)
    return refusal(errors[0]) if errors else Unknown("no_id", "Salesforce said yes, but not which record it made.")


def _kept(item: Item, row: Row) -> Place | None:
    """The record that the event goes to and that is left as it is; None when it is this person's own lead."""
    if is_contact(row["Id"]):
        return str(row["Id"])
    if row.get("IsConverted"):
        return text(row.get("ConvertedContactId")) or _ORPHAN
    return str(row["Id"]) if row.get(LEAD_KEY) != item.lead_id else None


def _single(item: Item) -> str:
    return f"{API}/sobjects/Lead/{LEAD_KEY}/{item.lead_id}"
