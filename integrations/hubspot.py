"""HubSpot: a person is a contact, upserted by a property of our own; an event is a note on it.

Sources: developers.hubspot.com/docs, contacts, notes, associations, properties and OAuth guides of 2026-03, error
handling, usage guidelines; its changelog on service keys and on the limit of the associations' batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from integrations import _hubspot as shapes
from integrations import _hubspot_setup as setup
from integrations._hubspot_api import CONTACTS, NOTES, Api, Contact
from integrations.core.base import Allowance, Connector, Draft, Finding, Item, Pushed, RemoteField, Result, Seen
from integrations.core.errors import DeliveryError, Refused
from integrations.core.http import Answer, Http
from integrations.core.notes import are_ours, with_left_out
from integrations.core.oauth import OAuth

People = dict[str, Contact | DeliveryError]  # by our lead's id


class Hubspot(Connector):
    """Contacts cannot be doubled; a note is looked for on its contact before it is written."""

    kind: ClassVar[str] = "hubspot"
    label: ClassVar[str] = "HubSpot"
    tier = "B"
    options = setup.HubspotOptions
    people_sign_in: ClassVar[bool] = True
    batch_size = 10
    pace = 8.0  # of the 10 per second that all apps of a small account share
    settle = 10.0
    fields: ClassVar[Mapping[str, str]] = {ours: theirs for theirs, ours in shapes.OURS.items()}

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self._api = Api(http, setup.address(settings), settings.get("token"))  # or what a sign-in kept

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth | None:
        """Not with a key."""
        return setup.sign_in(settings)

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """Each answer tells, but for the search."""
        return shapes.allowance(answer)

    def check(self) -> list[Finding]:
        """Whether the key works and our property is there and unique."""
        return setup.check(self._api)

    def prepare(self) -> list[Finding]:
        """Create the unique property that holds our lead's id."""
        return setup.prepare(self._api)

    def remote_fields(self) -> list[RemoteField]:
        """All properties of a contact that can be written to."""
        return setup.remote_fields(self._api)

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then a note for each event that has none yet."""
        known = self._known(batch)
        batch = [self._update(item, known[item.lead_id]) if item.lead_id in known else item for item in batch]
        rest = [item for item in batch if item.lead_id not in known]
        people: People = {**known, **(self._upsert(rest) if rest else {})}
        arrived = [(item, person) for item in batch if not isinstance(person := people[item.lead_id], DeliveryError)]
        there = self._api.events(list(known.values()))
        others = sorted({str(person["id"]) for item, person in arrived if item.lead_id not in known})
        there |= self._api.events(self._api.contacts(others))
        new = [shapes.note_input(item, str(person["id"])) for item, person in arrived if item.event_id not in there]
        self._api.add_notes(new)
        verdicts = [people[item.lead_id] for item in batch]
        return [one if isinstance(one, DeliveryError) else Pushed(*shapes.place(one)) for one in verdicts]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one, and the note on it."""
        person, note = shapes.contact_input(item), shapes.note_input(item, "{contact}")
        return [
            Draft("POST", f"{self._api.address}{CONTACTS}/batch/upsert", {"inputs": [person]}),
            Draft("POST", f"{self._api.address}{NOTES}/batch/create", {"inputs": [note]}),
        ]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the record that we know, else by our own id."""
        full = [item.in_full() for item in items]
        return [_held(contact, item) if (contact := self._read(item)) else None for item in full]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """Notes that are not ours; or calls, tasks, meetings, e-mails, deals or tickets, which never are; or it was
        merged, and HubSpot shows the contact that it was merged into."""
        there = [(item, contact) for item in items if (contact := self._read(item))]
        busy = {item.remote_id for item, contact in there if self._is_noted_or_merged(item, contact)}
        busy |= self._api.with_work([str(item.remote_id) for item, _ in there if item.remote_id not in busy])
        return [item.remote_id in busy for item in items]

    def _is_noted_or_merged(self, item: Item, contact: Contact) -> bool:
        return contact["id"] != item.remote_id or not are_ours(self._api.notes([contact]))

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The contact with the note on it. HubSpot itself allows no second contact with the same e-mail address."""
        return [self._seen(item) for item in items]

    def _seen(self, item: Item) -> Seen | None:
        contact = self._read(item)
        if contact is None or item.event_id not in self._api.events([contact]):
            return None
        return Seen(*shapes.place(contact), _held(contact, item))

    def merged_with(self, remote_ids: Sequence[str]) -> list[str]:
        """HubSpot shows a contact that was merged as the one that stayed."""
        return list(dict.fromkeys([*(str(one["id"]) for one in self._api.contacts(remote_ids)), *remote_ids]))

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By their notes."""
        return self._api.events(self._api.contacts(remote_ids))

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Archive the contacts, and the notes that stand on them."""
        contacts = [contact for contact in self._api.contacts(remote_ids) if str(contact["id"]) in remote_ids]
        notes = [note for contact in contacts for note in shapes.note_ids(contact)]
        self._api.archive(NOTES, list(dict.fromkeys(notes)))
        self._api.archive(CONTACTS, list(dict.fromkeys(str(contact["id"]) for contact in contacts)))

    def _known(self, batch: Sequence[Item]) -> dict[str, Contact]:
        """The contacts that are there already: an upsert would write over what staff of the clinic changed there, and
        of an adopted one, which may carry the id of another lead, it would make a second."""
        ids = {item.lead_id: item.remote_id for item in batch if item.remote_id}
        ids |= self._api.ids([item.lead_id for item in batch if not item.remote_id])
        there = [(item, ids[item.lead_id]) for item in batch if item.lead_id in ids]
        read = {item.lead_id: self._api.contact(one, mapped=tuple(item.record)) for item, one in there}
        return {lead_id: contact for lead_id, contact in read.items() if contact}

    def _update(self, item: Item, contact: Contact) -> Item:
        """Where the outbox knows the contact, it has settled what is to be written. Returns what the note tells."""
        return self._write(item, contact, item.record if item.remote_id else _empty(item, contact))

    def _write(self, item: Item, contact: Contact, record: Mapping[str, str]) -> Item:
        """An e-mail address that another contact has stays there alone, and stands in the note. That contact is not
        taken instead: what came before stands on this one, and would be missed here."""
        answer = self._api.change(contact, record) if record else None
        if answer is None or answer.status < 300:
            return item
        if shapes.existing_id(answer) is None or shapes.EMAIL not in record:
            raise self._api.wrong(answer)
        rest = {name: value for name, value in record.items() if name != shapes.EMAIL}
        return self._write(with_left_out(item, "email", record[shapes.EMAIL]), contact, rest)

    def _upsert(self, batch: Sequence[Item]) -> People:
        """What the batch did not take is sent alone, so that its error is its own."""
        inputs = [shapes.contact_input(item) for item in batch]
        answer = self._api.call("POST", f"{CONTACTS}/batch/upsert", {"inputs": inputs})
        if answer.status >= 300 and answer.status not in (400, 409):
            raise self._api.wrong(answer)
        rows = shapes.results(answer) if answer.status < 300 else []
        taken = {str(shapes.properties(row).get(shapes.KEY)): row for row in rows}
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
        if (contact := self._owner(item, answer)) and shapes.is_whom_it_says(contact, item):
            return self._adopt(item, contact)
        error = self._api.wrong(answer)
        if isinstance(error, Refused):
            return error
        raise error

    def _owner(self, item: Item, answer: Answer) -> Contact | None:
        """The contact that HubSpot names as the one with this e-mail."""
        owner = shapes.existing_id(answer)
        return self._api.contact(owner, mapped=(*item.record, shapes.MORE_EMAILS)) if owner else None

    def _adopt(self, item: Item, contact: Contact) -> Contact:
        """Fill in what is empty, our key too."""
        self._write(item, contact, _empty(item, contact))
        return contact

    def _read(self, item: Item) -> Contact | None:
        """The contact that we know, else the one with our own id."""
        mapped = tuple(item.record)
        return self._api.contact(item.remote_id or item.lead_id, by_key=not item.remote_id, mapped=mapped)


def _empty(item: Item, contact: Contact) -> dict[str, str]:
    """What the contact lacks. One that stands for another lead stays as it is."""
    held = shapes.properties(contact)
    if held.get(shapes.KEY) not in (None, "", item.lead_id):
        return {}
    return {name: value for name, value in {**item.record, shapes.KEY: item.lead_id}.items() if not held.get(name)}


def _held(contact: Contact, item: Item) -> dict[str, str]:
    return {name: str(shapes.properties(contact).get(name) or "") for name in item.record}
