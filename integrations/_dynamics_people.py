"""Whose record an enquiry belongs to in Dynamics: a lead of our own, one that was there, or a contact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from integrations._dynamics import (
    DUPLICATE,
    EMAIL,
    NO_TABLE,
    QUALIFIED,
    STANDING,
    Row,
    code_of,
    contact_id,
    contact_place,
    is_contact,
    lead_path,
    names_of,
    number,
    row_in,
    verdict,
    written_lead,
)
from integrations._dynamics_api import ONLY_UPDATE, SHOWN, WITH_RULES, Api, key_in
from integrations.core.base import Item
from integrations.core.errors import DeliveryError, Refused
from integrations.core.reading import objects_at

Place = str | DeliveryError  # the record that events go to, or why there is none


class People:
    """The leads and contacts that we write to or read."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def place(self, item: Item) -> Place:
        """The record that the event goes to. Written to is only a lead that is new or has something new."""
        row = self.read(item.remote_id, STANDING) if item.remote_id else None
        if item.remote_id and row is not None:
            return _kept(item.remote_id, row) or self._update(item, item.remote_id)
        answer = self._api.call("PATCH", written_lead(item.lead_id), dict(item.record), SHOWN | WITH_RULES)
        return self._adopt(item) if code_of(answer) == DUPLICATE else key_in(answer, "leadid", item.record.values())

    def read(self, remote_id: str, names: Iterable[str]) -> Row | None:
        """A person's record with these columns, of which a contact has none; None when it is gone."""
        wanted = ["contactid"] if is_contact(remote_id) else ["leadid", *names]
        answer = self._api.call("GET", lead_path(remote_id), params={"$select": names_of(wanted)})
        if answer.status == 404 and code_of(answer) != NO_TABLE:
            return None
        if answer.status != 200:
            raise verdict(answer)
        return row_in(answer)

    def is_worked_on(self, remote_id: str) -> bool:
        """Whether staff made something of this record: another one, or activities on it."""
        row = self.read(remote_id, STANDING)
        if row is None or _kept(remote_id, row):
            return row is not None
        return bool(self._activities(remote_id, most=1))

    def events(self, place: str) -> set[str]:
        """The activities on this person's record, of which ours have the numbers of our events."""
        return {found for row in self._activities(place) if (found := number(row.get("activityid")))}

    def _activities(self, place: str, most: int = 500) -> list[Row]:
        key = contact_id(place) if is_contact(place) else place
        wanted = {"$select": "activityid", "$filter": f"_regardingobjectid_value eq {key}", "$top": str(most)}
        return objects_at(self._api.ask("activitypointers", wanted), "value")

    def contact_of(self, remote_id: str) -> list[str]:
        """The contact that a qualified lead became, if it is one."""
        row = None if is_contact(remote_id) else self.read(remote_id, STANDING)
        kept = _kept(remote_id, {**row, "_masterid_value": None}) if row else None
        return [kept] if kept else []

    def leads_of(self, contact: str) -> list[str]:
        """The leads that became this contact."""
        wanted = f"_parentcontactid_value eq {contact_id(contact)} and statecode eq {QUALIFIED}"
        rows = objects_at(self._api.ask("leads", {"$select": "leadid", "$filter": wanted}), "value")
        return [found for row in rows if (found := number(row.get("leadid")))]

    def _update(self, item: Item, remote_id: str) -> Place:
        """A lead that is ours gets what is new. One that was adopted is the clinic's."""
        is_ours = remote_id == item.lead_id
        return self._change(remote_id, item.record) if item.record and is_ours else remote_id

    def _change(self, lead_id: str, values: Mapping[str, str]) -> Place:
        return self._api.write(written_lead(lead_id), values, "leadid", ONLY_UPDATE)

    def _adopt(self, item: Item) -> Place:
        """A rule knows this person already: the contact or lead with the same e-mail; else it is somebody else."""
        contacts, leads = self._alike(item.record.get(EMAIL, ""))
        if any(row.get("leadid") == item.lead_id for row in leads):
            return self._change(item.lead_id, item.record)
        if contact := next((found for row in contacts if (found := number(row.get("contactid")))), None):
            return contact_place(contact)
        if lead := next((row for row in leads if number(row.get("leadid"))), None):
            return self._fill(item, lead)
        return self._api.write(written_lead(item.lead_id), item.record, "leadid")

    def _fill(self, item: Item, row: Row) -> Place:
        """Write what is empty. What will not be changed can still get its event."""
        lead_id = str(row["leadid"])
        if kept := _kept(lead_id, row):
            return kept
        empty = {name: value for name, value in item.record.items() if not row.get(name)}
        changed = self._change(lead_id, empty) if empty else lead_id
        return lead_id if isinstance(changed, Refused) else changed

    def _alike(self, email: str) -> tuple[list[Row], list[Row]]:
        """Contacts and leads with this e-mail, the active ones first."""
        contacts, leads = self._api.alike(email) if email else ([], [])
        return sorted(contacts, key=_standing), sorted(leads, key=_standing)


def _standing(row: Row) -> int:
    """Open before qualified before disqualified."""
    state = row.get("statecode")
    return state if isinstance(state, int) else 0


def _kept(remote_id: str, row: Row) -> str | None:
    """Where a record's events go instead of to itself; None when it is still a lead of its own."""
    if is_contact(remote_id):
        return remote_id
    if master := number(row.get("_masterid_value")):  # staff merged it into another lead
        return master
    contact = number(row.get("_parentcontactid_value"))
    return contact_place(contact) if contact and row.get("statecode") == QUALIFIED else None
