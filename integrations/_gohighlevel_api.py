"""The calls that we make at HighLevel."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from integrations._gohighlevel import BY_HAND, KEY, is_good, is_missing, rows, verdict, with_id
from integrations.core.errors import Misconfigured
from integrations.core.http import Answer, Http
from integrations.core.notes import events_in


class Api:
    """One sub-account of HighLevel. Every method but `call` raises what HighLevel says went wrong."""

    def __init__(self, http: Http, address: str, location: str, key: str | None) -> None:
        """location: the sub-account's id. key: its token; None where `http` signs each call."""
        self._http, self.address, self.location = http, address, location
        self._headers = {"Version": "2021-07-28"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def fields(self) -> list[dict[str, Any]]:
        """The custom fields of a contact."""
        path = f"/locations/{self.location}/customFields"
        return rows(self.call("GET", path, params={"model": "contact"}, describes=True), "customFields")

    def has_key(self) -> bool:
        """Whether our field is there."""
        return any(row.get("fieldKey") == KEY for row in self.fields())

    @cached_property
    def ids(self) -> dict[str, str]:
        """Key of a custom field → its id: contacts tell only the id."""
        ids = {str(row.get("fieldKey")): str(row["id"]) for row in self.fields()}
        if KEY not in ids:
            raise Misconfigured("no_field", f"HighLevel has no contact field {KEY}. {BY_HAND}")
        return ids

    def contact(self, contact_id: str | None) -> dict[str, Any] | None:
        """One contact; None when there is none, or it was deleted."""
        if contact_id is None:
            return None
        answer = self.call("GET", f"/contacts/{contact_id}")
        contact = None if is_missing(answer) else with_id(answer, "contact")
        return None if contact and contact.get("deleted") else contact

    def contacts_of(self, lead_id: str) -> list[str]:
        """The ids of the contacts that carry our id of this person, the oldest first."""
        mine = {"field": f"customFields.{self.ids[KEY]}", "operator": "eq", "value": lead_id}
        return [str(row["id"]) for row in self.search([mine], 20)]

    def search(self, filters: list[Any], most: int) -> list[dict[str, Any]]:
        """Contacts, the oldest first."""
        oldest = [{"field": "dateAdded", "direction": "asc"}]
        body = {"locationId": self.location, "page": 1, "pageLimit": most, "filters": filters, "sort": oldest}
        return rows(self.call("POST", "/contacts/search", body, reads=True), "contacts")

    def notes(self, contact_id: str) -> list[dict[str, Any]]:
        """The notes on a contact; none when it is gone."""
        answer = self.call("GET", f"/contacts/{contact_id}/notes")
        return [] if is_missing(answer) else rows(answer, "notes")

    def events(self, contact_id: str) -> set[str]:
        """Our events that the notes on a contact tell of."""
        return events_in(note.get("body") for note in self.notes(contact_id))

    def delete(self, path: str) -> None:
        """Delete a record, if it is there."""
        answer = self.call("DELETE", path)
        if not is_missing(answer) and not is_good(answer):
            raise verdict(answer)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """A call whose answer is judged elsewhere. more: as `Http.request` takes it."""
        return self._http.request(method, self.address + path, json=body, headers=self._headers, **more)
