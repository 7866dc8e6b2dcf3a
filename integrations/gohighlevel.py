"""HighLevel (GoHighLevel, LeadConnector): a person is a contact of one sub-account, an event is a note on it.

It has no unique key of ours: a contact is looked for by a custom field before it is made, and where the sub-account
allows no duplicates, HighLevel itself names the one that has the e-mail or phone.
Sources: github.com/GoHighLevel/highlevel-api-docs (CC0), its issues 31, 37, 42, 64;
marketplace.gohighlevel.com/docs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from integrations import _gohighlevel as shapes
from integrations import _gohighlevel_setup as setup
from integrations._gohighlevel_api import Api
from integrations.core.base import Allowance, Connector, Draft, Finding, Item, Pushed, RemoteField, Result, Seen
from integrations.core.errors import no_access
from integrations.core.http import Answer, Http
from integrations.core.notes import are_ours
from integrations.core.oauth import OAuth


class Gohighlevel(Connector):
    """Looked for by our own field before it is made; a note is looked for on its contact."""

    kind: ClassVar[str] = "gohighlevel"
    label: ClassVar[str] = "GoHighLevel"
    tier = "B"
    options = setup.GohighlevelOptions
    people_sign_in: ClassVar[bool] = True
    pace = 8.0  # of 100 in 10 seconds, for an app at one sub-account
    settle = shapes.SETTLE
    fields: ClassVar[Mapping[str, str]] = {ours: theirs for theirs, ours in shapes.OURS.items()}

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self._api = Api(http, settings["api"], setup.location(settings), settings.get("key"))

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth | None:
        """Not with a token."""
        return setup.sign_in(settings)

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """Each answer tells."""
        return shapes.allowance(answer)

    def check(self) -> list[Finding]:
        """Whether the token works for this sub-account and our field is there."""
        return setup.check(self._api)

    def prepare(self) -> list[Finding]:
        """Create the field that holds our lead's id."""
        return setup.prepare(self._api)

    def remote_fields(self) -> list[RemoteField]:
        """The standard ones, and the sub-account's own that a text can be written to."""
        return setup.remote_fields(self._api)

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """`batch_size` is one: HighLevel takes one contact at a time. The person first, then the note."""
        return [self._push(item) for item in batch]

    def _push(self, item: Item) -> Pushed:
        contact_id, is_new = self._person(item)
        if is_new or item.event_id not in self._api.events(contact_id):
            answer = self._api.call("POST", f"/contacts/{contact_id}/notes", shapes.note_body(item))
            if not shapes.is_good(answer):
                raise shapes.after_new(shapes.verdict(answer)) if is_new else shapes.verdict(answer)
            shapes.with_id(answer, "note")
        return Pushed(contact_id, self._url(contact_id))

    def draft(self, item: Item) -> list[Draft]:
        """A new contact, and the note on it. The ids of custom fields are HighLevel's own."""
        record = {**item.record, shapes.KEY: item.lead_id}
        body = shapes.contact_body(record, {name: f"{{{name}}}" for name in record})
        return [
            Draft("POST", f"{self._api.address}/contacts/", {"locationId": self._api.location, **body}),
            Draft("POST", f"{self._api.address}/contacts/{{contact}}/notes", shapes.note_body(item)),
        ]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the contact that we know, else by our own field."""
        found = [(item, self._api.contact(item.remote_id or self._oldest(item))) for item in items]
        return [contact and self._held(contact, item.in_full().record) for item, contact in found]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """Notes that are not ours."""
        return [not are_ours(note.get("body") for note in self._api.notes(str(item.remote_id))) for item in items]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The contact with the note on it. More contacts with our id were made by a try that nobody heard of."""
        return [self._seen(item) for item in items]

    def _seen(self, item: Item) -> Seen | None:
        ours = self._api.contacts_of(item.lead_id)
        contact_id = item.remote_id or next(iter(ours), None)
        contact = self._api.contact(contact_id)
        if contact is None or contact_id is None or item.event_id not in self._api.events(contact_id):
            return None
        copies = tuple(one for one in ours if one != contact_id)
        return Seen(contact_id, self._url(contact_id), self._held(contact, item.record), copies)

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By their notes."""
        return {event for one in remote_ids for event in self._api.events(one)}

    def erase(self, remote_ids: Sequence[str]) -> None:
        """The notes first: a deleted contact can be restored in HighLevel for some weeks."""
        for contact_id in remote_ids:
            for note in self._api.notes(contact_id):
                self._api.delete(f"/contacts/{contact_id}/notes/{note['id']}")
            self._api.delete(f"/contacts/{contact_id}")

    def _person(self, item: Item) -> tuple[str, bool]:
        """The contact's id, and whether it was made just now."""
        if known := self._api.contact(item.remote_id):
            self._update(item, known, item.record)
            return known["id"], False
        if ours := self._api.contact(self._oldest(item)):
            return self._adopt(item, ours), False
        record = shapes.contact_body({**item.record, shapes.KEY: item.lead_id}, self._api.ids)
        answer = self._api.call("POST", "/contacts/", {"locationId": self._api.location, **record})
        if (taken := shapes.duplicate(answer)) and (theirs := self._api.contact(taken[0])):
            return self._adopt(item, theirs), False
        return str(shapes.with_id(answer, "contact")["id"]), True

    def _adopt(self, item: Item, contact: Mapping[str, Any]) -> str:
        """Fill in what is empty, our field too. A contact that stands for another lead stays as it is."""
        wanted = {**item.record, shapes.KEY: item.lead_id}
        held = self._held(contact, wanted)
        if held[shapes.KEY] in ("", item.lead_id):
            self._update(item, contact, {name: value for name, value in wanted.items() if not held[name]})
        return str(contact["id"])

    def _update(self, item: Item, contact: Mapping[str, Any], record: Mapping[str, str]) -> None:
        """What another contact holds already, an e-mail or phone, stays there and is left out here. The clinic's own
        contact that we may not edit can still get the note."""
        if not record:
            return
        answer = self._api.call("PUT", f"/contacts/{contact['id']}", shapes.contact_body(record, self._api.ids))
        if (taken := shapes.duplicate(answer)) and taken[1] in record:
            self._update(item, contact, {name: value for name, value in record.items() if name != taken[1]})
        elif shapes.may_not_edit(answer):
            if self._held(contact, [shapes.KEY])[shapes.KEY] == item.lead_id:
                raise no_access("HighLevel", "contacts")
        else:
            shapes.with_id(answer, "contact")

    def _oldest(self, item: Item) -> str | None:
        return next(iter(self._api.contacts_of(item.lead_id)), None)

    def _held(self, contact: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
        return shapes.record_of(contact, names, self._api.ids)

    def _url(self, contact_id: str) -> str:
        return f"{self.settings['pages']}/v2/location/{self._api.location}/contacts/detail/{contact_id}"
