"""The calls that we make at HubSpot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from integrations._hubspot import (
    KEY,
    MOST_PER_CALL,
    OURS,
    associated_in,
    contact_in,
    has_more_notes,
    note_ids,
    notes_in,
    properties,
    results,
    verdict,
    with_notes,
)
from integrations.core.base import parts
from integrations.core.errors import DeliveryError
from integrations.core.http import Answer, Http
from integrations.core.notes import events_in

CONTACTS, NOTES = "/crm/objects/2026-03/contacts", "/crm/objects/2026-03/notes"
ON_CONTACTS = "/crm/associations/2026-03/contacts/{}/batch/read"
WORK = ("calls", "tasks", "meetings", "emails", "deals", "tickets")  # of which we write none

Contact = Mapping[str, Any]  # as HubSpot shows it


class Api:
    """HubSpot at one address. Every method but `call` and `change` raises what HubSpot says went wrong."""

    def __init__(self, http: Http, address: str, key: object) -> None:
        """key: the token that was entered; anything but text where `http` signs each call."""
        self._http, self.address, self._key = http, address, key
        self._headers = {"Authorization": f"Bearer {key}"} if isinstance(key, str) else {}

    def ids(self, lead_ids: Sequence[str]) -> dict[str, str]:
        """Lead id → HubSpot's id, of those that are there. The others are told as errors, with status 207."""
        if not lead_ids:
            return {}
        wanted = {"idProperty": KEY, "properties": [KEY], "inputs": [{"id": one} for one in lead_ids]}
        answer = self.call("POST", f"{CONTACTS}/batch/read", wanted, reads=True)
        if answer.status not in (200, 207):
            raise self.wrong(answer)
        return {str(properties(row).get(KEY)): str(row["id"]) for row in results(answer)}

    def contact(self, contact_id: str, *, by_key: bool = False, mapped: Sequence[str] = ()) -> Contact | None:
        """One contact with its notes. by_key: the id is our lead's. mapped: the properties that a connection writes."""
        params = {"associations": "notes", "properties": ",".join(dict.fromkeys([KEY, *OURS, *mapped]))}
        answer = self.call("GET", f"{CONTACTS}/{contact_id}", params=params | ({"idProperty": KEY} if by_key else {}))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self.wrong(answer)
        contact = contact_in(answer)
        return with_notes(contact, self._all_notes(str(contact["id"]))) if has_more_notes(contact) else contact

    def _all_notes(self, contact_id: str) -> list[str]:
        """The ids of all notes on a contact that has more than a contact's own answer shows."""
        found: list[str] = []
        place: dict[str, str] = {}
        path = ON_CONTACTS.format("notes")
        while True:
            answer = self.ask("POST", path, {"inputs": [{"id": contact_id, **place}]}, reads=True)
            notes, after = notes_in(answer)
            found += notes
            if not after or place == {"after": after}:
                return found
            place = {"after": after}

    def with_work(self, ids: Sequence[str]) -> set[str]:
        """Those of these contacts that staff have put something on, beside notes."""
        busy: set[str] = set()
        for part in parts(ids, MOST_PER_CALL):
            for kind in WORK:
                quiet = [one for one in part if one not in busy]
                busy |= self._with(kind, quiet) if quiet else set()
        return busy

    def _with(self, kind: str, ids: Sequence[str]) -> set[str]:
        """Those of these contacts that have a record of this kind; all of them where our key may not know, since it has
        no scope for deals, say."""
        answer = self.call("POST", ON_CONTACTS.format(kind), {"inputs": [{"id": one} for one in ids]}, reads=True)
        if answer.status == 403:
            return set(ids)
        if answer.status not in (200, 207):
            raise self.wrong(answer)
        return associated_in(answer, ids)

    def contacts(self, ids: Sequence[str]) -> list[Contact]:
        """Those of these contacts that are there."""
        return [contact for one in ids if (contact := self.contact(one))]

    def change(self, contact: Contact, record: Mapping[str, str]) -> Answer:
        """Write these properties. Its answer is judged elsewhere."""
        return self.call("PATCH", f"{CONTACTS}/{contact['id']}", {"properties": dict(record)})

    def events(self, contacts: Sequence[Contact]) -> set[str]:
        """Our events that the notes on these contacts tell of."""
        return events_in(self.notes(contacts))

    def notes(self, contacts: Sequence[Contact]) -> list[Any]:
        """The texts of the notes on these contacts."""
        found: list[Any] = []
        for part in parts([note for contact in contacts for note in note_ids(contact)], MOST_PER_CALL):
            wanted = {"properties": ["hs_note_body"], "inputs": [{"id": one} for one in part]}
            rows = results(self.ask("POST", f"{NOTES}/batch/read", wanted, reads=True))
            found += [properties(row).get("hs_note_body") for row in rows]
        return found

    def add_notes(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Write them all."""
        if not notes:
            return
        answer = self.ask("POST", f"{NOTES}/batch/create", {"inputs": list(notes)})
        if len(results(answer)) != len(notes):
            raise answer.doubt("no_verdict", "HubSpot did not say that it took every note.")

    def archive(self, path: str, ids: Sequence[str]) -> None:
        """Delete these records, for good after some weeks."""
        for part in parts(ids, MOST_PER_CALL):
            self.ask("POST", f"{path}/batch/archive", {"inputs": [{"id": one} for one in part]})

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """A call that must succeed as a whole. more: as `call` takes it."""
        answer = self.call(method, path, body, **more)
        if answer.status not in (200, 201, 204):
            raise self.wrong(answer)
        return answer

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """A call whose answer is judged elsewhere. more: as `Http.request` takes it."""
        return self._http.request(method, self.address + path, json=body, headers=self._headers, **more)

    def wrong(self, answer: Answer) -> DeliveryError:
        """What HubSpot says went wrong."""
        return verdict(answer, str(self._key))
