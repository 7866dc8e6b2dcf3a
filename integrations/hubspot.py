"""HubSpot: a person is a contact, upserted by a property of our own; an event is a note on it.

Sources: developers.hubspot.com/docs, contacts, notes, properties and OAuth guides of 2026-03, error handling, usage
guidelines; its changelog on service keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema

from integrations._hubspot import (
    KEY,
    SCOPES,
    allowance,
    contact_in,
    contact_input,
    events_in,
    existing_id,
    note_ids,
    note_input,
    parts,
    place,
    properties,
    record_in,
    remote_field,
    results,
    verdict,
)
from integrations.core.base import (
    Allowance,
    Connector,
    Draft,
    Finding,
    Item,
    Options,
    Pushed,
    RemoteField,
    Result,
    Seen,
)
from integrations.core.errors import DeliveryError, Refused
from integrations.core.http import Answer
from integrations.core.oauth import OAuth

API, SIGN_IN = "https://api.hubapi.com", "https://app.hubspot.com/oauth/authorize"
CONTACTS, NOTES = "/crm/objects/2026-03/contacts", "/crm/objects/2026-03/notes"
PROPERTIES = "/crm/properties/2026-03/contacts"
_BY_HAND = "Create it as a single-line text with unique values, or give the key the scope crm.schemas.contacts.write."

Contact = Mapping[str, Any]  # as HubSpot shows it
People = dict[str, Contact | DeliveryError]  # by our lead's id


class HubspotOptions(Options):
    token = fields.String(
        metadata={
            "label": "Service key or private-app token",
            "help": f"Begins with pat-. Scopes: {', '.join(SCOPES)}. Leave it empty to sign in instead.",
            "secret": True,
        }
    )
    client_id = fields.String(metadata={"label": "Client ID", "help": "Of your own HubSpot app, to sign in."})
    client_secret = fields.String(metadata={"label": "Client secret", "help": "Of the same app.", "secret": True})
    api = fields.Url(
        load_default=API,
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "API address", "help": "Leave as it is."},
    )

    @validates_schema
    def _has_a_way_in(self, data: Mapping[str, Any], **_: Any) -> None:
        if not data.get("token") and not (data.get("client_id") and data.get("client_secret")):
            raise ValidationError("Enter a key, or the client ID and secret of your app.", "token")


class Hubspot(Connector):
    """Contacts cannot be doubled; a note is looked for on its contact before it is written."""

    kind: ClassVar[str] = "hubspot"
    label: ClassVar[str] = "HubSpot"
    tier = "B"
    options = HubspotOptions
    batch_size = 10
    pace = 8.0  # of the 10 per second that all apps of a small account share
    settle = 10.0
    fields: ClassVar[Mapping[str, str]] = {
        "first_name": "firstname",
        "last_name": "lastname",
        "email": "email",
        "phone": "phone",
    }

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth | None:
        """With a key there is nothing to sign in to. A refresh token stays good until somebody removes the app."""
        if settings.get("token"):
            return None
        api = settings.get("api") or API
        return OAuth(f"{api}/oauth/2026-03/token", SIGN_IN, scopes=("oauth", *SCOPES))

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """Each answer tells, but for the search."""
        return allowance(answer)

    def check(self) -> list[Finding]:
        """Whether the key works and our property is there and unique."""
        answer = self._call("GET", f"{PROPERTIES}/{KEY}")
        if answer.status == 404:
            return [Finding(False, f"HubSpot has no contact property {KEY}. {_BY_HAND}")]
        if answer.status != 200:
            raise self._wrong(answer)
        if not record_in(answer).get("hasUniqueValue"):
            return [Finding(False, f"The contact property {KEY} does not require unique values. {_BY_HAND}")]
        self._ask("GET", CONTACTS)
        return [Finding(True, "HubSpot accepts the key and has all that is needed.")]

    def prepare(self) -> list[Finding]:
        """Create the unique property that holds our lead's id."""
        if self._call("GET", f"{PROPERTIES}/{KEY}").status != 404:
            return []
        wanted = {
            "name": KEY,
            "label": "Frontdesk lead",
            "description": "Set by Frontdesk so that an enquiry is never written twice.",
            "groupName": "contactinformation",
            "type": "string",
            "fieldType": "text",
            "hasUniqueValue": True,
        }
        answer = self._call("POST", PROPERTIES, wanted)
        if answer.status in (200, 201):
            return [Finding(True, f"Created the contact property {KEY} in HubSpot.")]
        return [Finding(False, self._wrong(answer).sentence)]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then a note for each event that has none yet."""
        known = self._known(batch)
        for item in batch:
            if item.lead_id in known:
                self._update(item, known[item.lead_id])
        rest = [item for item in batch if item.lead_id not in known]
        people: People = {**known, **(self._upsert(rest) if rest else {})}
        arrived = [(item, person) for item in batch if not isinstance(person := people[item.lead_id], DeliveryError)]
        there = self._events([note for contact in known.values() for note in note_ids(contact)])
        there |= self._events_on({str(person["id"]) for item, person in arrived if item.lead_id not in known})
        new = [note_input(item, str(person["id"])) for item, person in arrived if item.event_id not in there]
        if new:
            answer = self._ask("POST", f"{NOTES}/batch/create", {"inputs": new})
            if len(results(answer)) != len(new):
                raise answer.doubt("no_verdict", "HubSpot did not say that it took every note.")
        verdicts = [people[item.lead_id] for item in batch]
        return [one if isinstance(one, DeliveryError) else Pushed(*place(one)) for one in verdicts]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one, and the note on it."""
        return [
            Draft("POST", f"{self._api}{CONTACTS}/batch/upsert", {"inputs": [contact_input(item)]}),
            Draft("POST", f"{self._api}{NOTES}/batch/create", {"inputs": [note_input(item, "{contact}")]}),
        ]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the record that we know, else by our own id."""
        return [self._current(item.in_full()) for item in items]

    def _current(self, item: Item) -> Mapping[str, str] | None:
        mapped = tuple(item.record)
        contact = self._read(item.remote_id or item.lead_id, by_key=not item.remote_id, mapped=mapped)
        return contact and {name: str(properties(contact).get(name) or "") for name in mapped}

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The contact with the note on it. HubSpot itself allows no second contact with the same e-mail address."""
        return [self._seen(item) for item in items]

    def _seen(self, item: Item) -> Seen | None:
        mapped = tuple(item.record)
        contact = self._read(item.remote_id or item.lead_id, by_key=not item.remote_id, mapped=mapped)
        if contact is None or item.event_id not in self._events(note_ids(contact)):
            return None
        return Seen(*place(contact), {name: str(properties(contact).get(name) or "") for name in mapped})

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Archive the contacts, and the notes that stand on them."""
        notes = [note for one in remote_ids if (contact := self._read(one)) for note in note_ids(contact)]
        for path, ids in ((NOTES, notes), (CONTACTS, list(remote_ids))):
            for part in parts(ids):
                self._ask("POST", f"{path}/batch/archive", {"inputs": [{"id": one} for one in part]})

    def remote_fields(self) -> list[RemoteField]:
        """All properties of a contact that can be written to."""
        rows = record_in(self._ask("GET", PROPERTIES)).get("results")
        found = [remote_field(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return [one for one in found if one and one.name != KEY]

    def _known(self, batch: Sequence[Item]) -> dict[str, Contact]:
        """The contacts that are there already: an upsert would write over what staff of the clinic changed there, and
        of an adopted one, which may carry the id of another lead, it would make a second."""
        ids = {item.lead_id: item.remote_id for item in batch if item.remote_id}
        ids |= self._by_key([item.lead_id for item in batch if not item.remote_id])
        there = [(item, ids[item.lead_id]) for item in batch if item.lead_id in ids]
        read = {item.lead_id: self._read(one, mapped=tuple(item.record)) for item, one in there}
        return {lead_id: contact for lead_id, contact in read.items() if contact}

    def _by_key(self, lead_ids: Sequence[str]) -> dict[str, str]:
        """Lead id → HubSpot's id, of those that are there. The others are told as errors, with status 207."""
        if not lead_ids:
            return {}
        wanted = {"idProperty": KEY, "properties": [KEY], "inputs": [{"id": one} for one in lead_ids]}
        answer = self._call("POST", f"{CONTACTS}/batch/read", wanted, reads=True)
        if answer.status not in (200, 207):
            raise self._wrong(answer)
        return {str(properties(row).get(KEY)): str(row["id"]) for row in results(answer)}

    def _update(self, item: Item, contact: Contact) -> None:
        """Where the outbox knows the contact, it has settled what is to be written."""
        if not item.remote_id:
            self._adopt(item, contact)
        elif item.record:
            self._ask("PATCH", f"{CONTACTS}/{contact['id']}", {"properties": dict(item.record)})

    def _upsert(self, batch: Sequence[Item]) -> People:
        """What the batch did not take is sent alone, so that its error is its own."""
        answer = self._call("POST", f"{CONTACTS}/batch/upsert", {"inputs": [contact_input(item) for item in batch]})
        if answer.status >= 300 and answer.status not in (400, 409):
            raise self._wrong(answer)
        rows = results(answer) if answer.status < 300 else []
        taken = {str(properties(row).get(KEY)): row for row in rows}
        people: People = {}
        for item in batch:
            if item.lead_id in taken:
                people[item.lead_id] = taken[item.lead_id]
            elif len(batch) > 1:
                people |= self._upsert([item])
            else:
                people[item.lead_id] = self._refused(item, answer)
        return people

    def _refused(self, item: Item, answer: Answer) -> Contact | DeliveryError:
        """Adopt the contact that has this e-mail already; else tell what is wrong with this record."""
        if (owner := existing_id(answer)) and (contact := self._read(owner, mapped=tuple(item.record))):
            return self._adopt(item, contact)
        error = self._wrong(answer)
        if isinstance(error, Refused):
            return error
        raise error

    def _adopt(self, item: Item, contact: Contact) -> Contact:
        """Fill in what is empty, our key too. A contact that stands for another lead stays as it is."""
        held = properties(contact)
        empty = {name: value for name, value in {**item.record, KEY: item.lead_id}.items() if not held.get(name)}
        if empty and held.get(KEY) in (None, "", item.lead_id):
            self._ask("PATCH", f"{CONTACTS}/{contact['id']}", {"properties": empty})
        return contact

    def _read(self, contact_id: str, *, by_key: bool = False, mapped: Sequence[str] = ()) -> dict[str, Any] | None:
        """mapped: the properties that this connection writes."""
        wanted = ",".join(dict.fromkeys([KEY, *self.fields.values(), *mapped]))
        params = {"associations": "notes", "properties": wanted}
        answer = self._call("GET", f"{CONTACTS}/{contact_id}", params=params | ({"idProperty": KEY} if by_key else {}))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._wrong(answer)
        return contact_in(answer)

    def _events_on(self, contact_ids: Iterable[str]) -> set[str]:
        contacts = [contact for one in sorted(contact_ids) if (contact := self._read(one))]
        return self._events([note for contact in contacts for note in note_ids(contact)])

    def _events(self, ids: Sequence[str]) -> set[str]:
        """Our events that these notes tell of."""
        found: set[str] = set()
        for part in parts(ids):
            wanted = {"properties": ["hs_note_body"], "inputs": [{"id": one} for one in part]}
            rows = results(self._ask("POST", f"{NOTES}/batch/read", wanted, reads=True))
            found |= {event for row in rows for event in events_in(row)}
        return found

    def _ask(self, method: str, path: str, body: Any = None, *, reads: bool = False) -> Answer:
        """A call that must succeed as a whole. Raises what HubSpot says went wrong."""
        answer = self._call(method, path, body, reads=reads)
        if answer.status not in (200, 201, 204):
            raise self._wrong(answer)
        return answer

    def _wrong(self, answer: Answer) -> DeliveryError:
        return verdict(answer, str(self.settings.get("token")))

    def _call(
        self, method: str, path: str, body: Any = None, *, params: Mapping[str, str] | None = None, reads: bool = False
    ) -> Answer:
        key = self.settings.get("token")
        headers = {"Authorization": f"Bearer {key}"} if isinstance(key, str) else {}  # else it is what a sign-in kept
        return self.http.request(method, self._api + path, json=body, headers=headers, params=params, reads=reads)

    @property
    def _api(self) -> str:
        return str(self.settings.get("api") or API)
