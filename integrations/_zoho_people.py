"""Whose record an enquiry belongs to in Zoho: a lead of our own, one that was there, or the contact it became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from integrations._zoho import CONTACTS, KEY, LEADS, Home, changes, home_at, is_contact, lead_input, of_person
from integrations._zoho_answers import CONVERTED, FORBIDDEN, NO_ACCESS, UNREAD, Taken
from integrations._zoho_api import ROOT, Api
from integrations.core.base import Item
from integrations.core.errors import DeliveryError, Refused

Lead = Mapping[str, Any]
Place = Home | DeliveryError  # a person's record, or why there is none

_PATH = f"{ROOT}/{LEADS}"


class People:
    """The leads and contacts that we write to or read."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def places(self, batch: Sequence[Item]) -> dict[str, Place]:
        """Our lead → the record that the event goes to. Written to is only a lead that is new or has something new."""
        people = self._contacts([item for item in batch if is_contact(item.remote_id)])
        rest = [item for item in batch if item.lead_id not in people]
        held = self.held(rest)
        people |= self._converted([item for item in rest if item.remote_id and not _is_known(item, held)])
        rest = [item for item in rest if item.lead_id not in people]
        people |= self._update([(item, lead) for item in rest if (lead := held.get(item.lead_id))])
        people |= self._insert([item for item in rest if item.lead_id not in held])
        return people | self.moved(people, {lead_id: str(lead["id"]) for lead_id, lead in held.items()})

    def moved(self, people: Mapping[str, Place], leads: Mapping[str, str]) -> dict[str, Place]:
        """Of those whom Zoho refused: the contacts that their leads were converted to. leads: our lead → Zoho's."""
        refused = {lead_id: error for lead_id, error in people.items() if isinstance(error, Refused)}
        owners = {lead_id: error.owner for lead_id, error in refused.items() if isinstance(error, Taken)}
        owners |= {lead_id: leads.get(lead_id) for lead_id, error in refused.items() if error.code == CONVERTED}
        found = {lead_id: self.contact(one) for lead_id, one in owners.items() if one}
        return {lead_id: self._open(contact) for lead_id, contact in found.items() if contact}

    def contact(self, place: str) -> Home | None:
        """The contact itself, or the one that this lead was converted to."""
        if is_contact(place):
            return home_at(place)
        found = self._api.contact_of(place)
        return Home(found, module=CONTACTS) if found else None

    def held(self, items: Sequence[Item]) -> dict[str, Lead]:
        """Our lead → Zoho's: by the id that we know, else by our own, else one of nobody's with the same e-mail."""
        columns = list(dict.fromkeys(["id", KEY, "Email", *(name for item in items for name in item.record)]))
        ids = {item.remote_id for item in items if item.remote_id}
        known = {str(lead["id"]): lead for lead in self._api.leads(ids, columns)}
        held = {item.lead_id: known[item.remote_id] for item in items if item.remote_id in known}
        rest = [item for item in items if item.lead_id not in held]
        found = self._api.leads_of(rest, columns)
        return held | {item.lead_id: lead for item in rest if (lead := of_person(item, found))}

    def _contacts(self, items: Sequence[Item]) -> dict[str, Place]:
        """Those contacts that are still there."""
        homes = {item.lead_id: home_at(str(item.remote_id)) for item in items}
        there = {str(row["id"]) for row in self._api.leads({home.id for home in homes.values()}, ["id"], CONTACTS)}
        return {lead_id: home for lead_id, home in homes.items() if home.id in there}

    def _converted(self, items: Sequence[Item]) -> dict[str, Place]:
        """Those whose lead Zoho no longer shows since it was converted, not deleted."""
        leads = {item.lead_id: str(item.remote_id) for item in items if not is_contact(item.remote_id)}
        found = {lead_id: self.contact(one) for lead_id, one in leads.items()}
        return {lead_id: self._open(contact) for lead_id, contact in found.items() if contact}

    def _open(self, contact: Home) -> Place:
        return contact if self._api.may_read_notes_of(contact) else UNREAD

    def _insert(self, items: Sequence[Item]) -> dict[str, Place]:
        """Make new leads. One that Zoho refuses since the person is there already, is adopted."""
        outcomes = self._api.write("POST", _PATH, [lead_input(item) for item in items])
        sent = list(zip(items, outcomes, strict=True))
        taken = [(item, one.owner) for item, one in sent if isinstance(one, Taken) and one.owner]
        columns = dict.fromkeys(["id", KEY, *(name for item, _ in taken for name in item.record)])
        there = {str(lead["id"]): lead for lead in self._api.leads({owner for _, owner in taken}, columns)}
        people = {item.lead_id: Home(one, fresh=True) if isinstance(one, str) else one for item, one in sent}
        return people | self._update([(item, there[owner]) for item, owner in taken if owner in there])

    def _update(self, pairs: Sequence[tuple[Item, Lead]]) -> dict[str, Place]:
        """Write what is to be written to leads that are there; most often it is nothing. The clinic's own lead that we
        may not edit can still get the note."""
        first = {str(lead["id"]): (item, lead) for item, lead in reversed(pairs)}  # two may adopt the same one
        found = [(item, lead, changes(item, lead)) for item, lead in first.values()]
        new = {item.lead_id: {"id": lead["id"], **values} for item, lead, values in found if values}
        theirs = {item.lead_id for item, lead in pairs if lead.get(KEY) != item.lead_id}
        put = {one: place for one, place in self._put(new).items() if place is not NO_ACCESS or one not in theirs}
        return {item.lead_id: Home(str(lead["id"])) for item, lead in pairs} | put

    def _put(self, rows: Mapping[str, dict[str, str]]) -> dict[str, Place]:
        """Write what changed. Returns those, by our lead, of which not all was written."""
        outcomes = self._api.write("PUT", _PATH, list(rows.values()))
        found: dict[str, Place] = {}
        for (lead_id, row), outcome in zip(rows.items(), outcomes, strict=True):
            if isinstance(outcome, Taken) and outcome.column in row and outcome.column != KEY:
                found[lead_id] = self._put_without(outcome.column, lead_id, row)
            elif isinstance(outcome, DeliveryError):
                found[lead_id] = NO_ACCESS if outcome.code == FORBIDDEN else outcome
        return found

    def _put_without(self, column: str, lead_id: str, row: dict[str, str]) -> Place:
        """A value that another record has stays there alone, and stands in the note. That record is not taken instead:
        what came before stands on this one, and would be missed here."""
        rest = {name: value for name, value in row.items() if name != column}
        home = self._put({lead_id: rest}).get(lead_id) if len(rest) > 1 else None  # the id is always there
        if isinstance(home, DeliveryError):
            return home
        return Home(row["id"], left_out={column: row[column], **(home.left_out if home else {})})


def _is_known(item: Item, held: Mapping[str, Lead]) -> bool:
    """Whether Zoho shows the very lead that we know."""
    return str(held.get(item.lead_id, {}).get("id")) == item.remote_id
