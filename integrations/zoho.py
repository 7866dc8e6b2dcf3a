"""Zoho CRM: a person is a lead that carries our id in a unique field; an event is a note on it.

Not by Zoho's own upsert: it also takes a lead for the same that agrees in any other unique field of the account, and
then overwrites what the clinic wrote there. An insert is refused instead, and names the lead that is in the way.
Sources: zoho.com/crm/developer/docs/api/v8 (insert, update, upsert, notes, COQL, fields, limits), zoho.com/accounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from integrations import _zoho_setup as setup
from integrations._zoho import DOMAINS, LEADS, Home, home_at, is_contact, lead_input, note_input, values
from integrations._zoho_answers import CREDITS, OURS
from integrations._zoho_api import NOTES, ROOT, Api
from integrations._zoho_people import Lead, People, Place
from integrations.core.base import Allowance, Connector, Draft, Finding, Item, Pushed, RemoteField, Result, Seen
from integrations.core.errors import DeliveryError
from integrations.core.http import Answer, Http
from integrations.core.notes import are_ours, with_left_out
from integrations.core.oauth import OAuth


class Zoho(Connector):
    """Leads cannot be doubled; a note is looked for on its lead before it is written."""

    kind: ClassVar[str] = "zoho"
    label: ClassVar[str] = "Zoho CRM"
    tier = "B"
    options = setup.ZohoOptions
    people_sign_in: ClassVar[bool] = True
    batch_size = 10  # of the 100 that Zoho takes: the notes of each returning person are read one by one
    pace = 5.0  # what Zoho counts is calls at a time, and a lane makes one; this leaves the credits some room
    settle = 10.0
    fields: ClassVar[Mapping[str, str]] = {ours: theirs for theirs, ours in OURS.items()}
    fallbacks: ClassVar[Mapping[str, str]] = {"Last_Name": "Unknown"}

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        domain, self._programs = DOMAINS[settings.get("data_centre", "com")]
        self.pages = f"https://crm.{domain}/crm/EntityInfo.do"  # finds the account's number by itself

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth:
        """By a person, at the clinic's data centre."""
        return setup.sign_in(settings)

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """The credits left of the last 24 hours, which Zoho tells once half of them are used."""
        left = answer.number(CREDITS)
        return None if left is None else Allowance(left_today=left)

    @cached_property
    def api(self) -> Api:
        """Made at the first call: the sign-in names the address at which this account lives."""
        home = self.settings.get("token", {}).get("api_domain") or f"https://www.{self._programs}"
        return Api(self.http, home)

    @cached_property
    def _people(self) -> People:
        return People(self.api)

    def check(self) -> list[Finding]:
        """Whether leads, notes and queries may be used, and our field is there and unique."""
        return setup.check(self.api)

    def prepare(self) -> list[Finding]:
        """Create the unique field that holds our lead's id."""
        return setup.prepare(self.api)

    def remote_fields(self) -> list[RemoteField]:
        """Those that take text; of the others our mapping could fill none."""
        return setup.remote_fields(self.api)

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then a note for each event that has none yet: on the contact, where a lead became one."""
        people = self._people.places(batch)
        wrong = self._note(batch, people)
        # Some leads show that they were converted only when a note is put on them.
        moved = self._people.moved(
            wrong, {lead_id: home.id for lead_id, home in people.items() if isinstance(home, Home)}
        )
        people |= wrong | moved
        people |= self._note([item for item in batch if item.lead_id in moved], people)
        verdicts = [people[item.lead_id] for item in batch]
        return [Pushed(one.place, self._page(one)) if isinstance(one, Home) else one for one in verdicts]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one, and the note on it."""
        return [
            Draft("POST", f"{self.api.address}{ROOT}/{LEADS}", {"data": [lead_input(item)]}),
            Draft("POST", self.api.address + NOTES, {"data": [note_input(item, Home("{lead}"))]}),
        ]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the lead that we know, else by our own id, else by the e-mail address. A contact is never written to."""
        full = [item.in_full() for item in items]
        held = self._people.held([item for item in full if not is_contact(item.remote_id)])
        found = [(item, held.get(item.lead_id)) for item in full]
        return [lead and values(lead, item) for item, lead in found]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """It was converted, or notes on it are not ours."""
        return [self._is_worked_on(str(item.remote_id)) for item in items]

    def _is_worked_on(self, place: str) -> bool:
        became_contact = is_contact(place) or self.api.contact_of(place) is not None
        return became_contact or not are_ours(note.get("Note_Content") for note in self.api.notes(home_at(place)))

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The lead with the note on it, or the contact that it became, to which its notes went."""
        held = self._people.held([item for item in items if not is_contact(item.remote_id)])
        return [self._seen(item, held.get(item.lead_id)) for item in items]

    def _seen(self, item: Item, lead: Lead | None) -> Seen | None:
        if lead and item.event_id in self.api.events(home := Home(str(lead["id"]))):
            return Seen(home.place, self._page(home), values(lead, item))
        known = str(lead["id"]) if lead else item.remote_id
        contact = self._people.contact(known) if known else None
        if contact is None or not self.api.may_read_notes_of(contact) or item.event_id not in self.api.events(contact):
            return None
        return Seen(contact.place, self._page(contact))

    def merged_with(self, remote_ids: Sequence[str]) -> list[str]:
        """The contacts that these leads were converted to, before them."""
        contacts = [contact.place for one in remote_ids if (contact := self._people.contact(one))]
        return list(dict.fromkeys([*contacts, *remote_ids]))

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By their notes."""
        return {event for home in map(home_at, remote_ids) for event in self.api.events(home)}

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Into Zoho's recycle bin, which empties itself."""
        for home in map(home_at, remote_ids):
            self.api.delete(NOTES, [str(note["id"]) for note in self.api.notes(home)])
            self.api.delete(f"{ROOT}/{home.module}", [home.id])

    def _page(self, home: Home) -> str:
        return f"{self.pages}?module={home.module}&id={home.id}"

    def _note(self, items: Sequence[Item], people: Mapping[str, Place]) -> dict[str, DeliveryError]:
        """Write a note for each who has a record and none yet. Returns those that went wrong."""
        arrived = [(item, home) for item in items if isinstance(home := people[item.lead_id], Home)]
        older = {home.place: home for _, home in arrived if not home.fresh}
        there = {event for home in older.values() for event in self.api.events(home)}
        new = [(item, home) for item, home in arrived if item.event_id not in there]
        sent = zip(new, self.api.write("POST", NOTES, [_note_on(home, item) for item, home in new]), strict=True)
        return {item.lead_id: error for (item, _), error in sent if isinstance(error, DeliveryError)}


def _note_on(home: Home, item: Item) -> dict[str, Any]:
    for column, value in home.left_out.items():
        item = with_left_out(item, OURS.get(column, column), value)
    return note_input(item, home)
