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
from integrations._zoho import DOMAINS, KEY, Home, changes, lead_input, note_input, of_person, values
from integrations._zoho_answers import CREDITS, OURS, Taken
from integrations._zoho_api import LEADS, NOTES, Api
from integrations.core.base import Allowance, Connector, Draft, Finding, Item, Pushed, RemoteField, Result, Seen
from integrations.core.errors import DeliveryError
from integrations.core.http import Answer, Http
from integrations.core.notes import are_ours, with_left_out
from integrations.core.oauth import OAuth

Lead = Mapping[str, Any]


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
        self.pages = f"https://crm.{domain}/crm/EntityInfo.do?module=Leads&id="  # finds the account's number by itself

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
        """People first, then a note for each event that has none yet."""
        held = self._held(batch)
        people = self._update([(item, lead) for item in batch if (lead := held.get(item.lead_id))])
        people |= self._insert([item for item in batch if item.lead_id not in held])
        arrived = [(item, home) for item in batch if isinstance(home := people[item.lead_id], Home)]
        there = {event for one in {home.id for _, home in arrived if not home.fresh} for event in self.api.events(one)}
        people |= self._note([(item, home) for item, home in arrived if item.event_id not in there])
        verdicts = [people[item.lead_id] for item in batch]
        return [Pushed(one.id, self.pages + one.id) if isinstance(one, Home) else one for one in verdicts]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one, and the note on it."""
        return [
            Draft("POST", self.api.address + LEADS, {"data": [lead_input(item)]}),
            Draft("POST", self.api.address + NOTES, {"data": [note_input(item, "{lead}")]}),
        ]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the lead that we know, else by our own id, else by the e-mail address."""
        full = [item.in_full() for item in items]
        held = self._held(full)
        found = [(item, held.get(item.lead_id)) for item in full]
        return [lead and values(lead, item) for item, lead in found]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """It was converted, or notes on it are not ours."""
        return [self._is_worked_on(str(item.remote_id)) for item in items]

    def _is_worked_on(self, lead_id: str) -> bool:
        is_contact = self.api.contact_of(lead_id) is not None
        return is_contact or not are_ours(note.get("Note_Content") for note in self.api.notes(lead_id))

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The lead with the note on it."""
        held = self._held(items)
        return [self._seen(item, held.get(item.lead_id)) for item in items]

    def _seen(self, item: Item, lead: Lead | None) -> Seen | None:
        if lead is None or item.event_id not in self.api.events(str(lead["id"])):
            return None
        return Seen(str(lead["id"]), self.pages + str(lead["id"]), values(lead, item))

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Into Zoho's recycle bin, which empties itself."""
        for one in remote_ids:
            self.api.delete(NOTES, [str(note["id"]) for note in self.api.notes(one)])
            self.api.delete(LEADS, [one])

    def _held(self, items: Sequence[Item]) -> dict[str, Lead]:
        """Our lead → Zoho's: by the id that we know, else by our own, else one of nobody's with the same e-mail."""
        columns = list(dict.fromkeys(["id", KEY, "Email", *(name for item in items for name in item.record)]))
        ids = {item.remote_id for item in items if item.remote_id}
        known = {str(lead["id"]): lead for lead in self.api.leads(ids, columns)}
        held = {item.lead_id: known[item.remote_id] for item in items if item.remote_id in known}
        rest = [item for item in items if item.lead_id not in held]
        found = self.api.leads_of(rest, columns)
        return held | {item.lead_id: lead for item in rest if (lead := of_person(item, found))}

    def _insert(self, items: Sequence[Item]) -> dict[str, Home | DeliveryError]:
        """Make new leads. One that Zoho refuses since the person is there already, is adopted."""
        outcomes = self.api.write("POST", LEADS, [lead_input(item) for item in items])
        sent = list(zip(items, outcomes, strict=True))
        taken = [(item, one.owner) for item, one in sent if isinstance(one, Taken) and one.owner]
        columns = dict.fromkeys(["id", KEY, *(name for item, _ in taken for name in item.record)])
        there = {str(lead["id"]): lead for lead in self.api.leads({owner for _, owner in taken}, columns)}
        people = {item.lead_id: Home(one, fresh=True) if isinstance(one, str) else one for item, one in sent}
        return people | self._update([(item, there[owner]) for item, owner in taken if owner in there])

    def _update(self, pairs: Sequence[tuple[Item, Lead]]) -> dict[str, Home | DeliveryError]:
        """Write what is to be written to leads that are there; most often it is nothing."""
        first = {str(lead["id"]): (item, lead) for item, lead in reversed(pairs)}  # two may adopt the same one
        found = [(item, lead, changes(item, lead)) for item, lead in first.values()]
        new = {item.lead_id: {"id": lead["id"], **values} for item, lead, values in found if values}
        return {item.lead_id: Home(str(lead["id"]), fresh=False) for item, lead in pairs} | self._put(new)

    def _put(self, rows: Mapping[str, dict[str, str]]) -> dict[str, Home | DeliveryError]:
        """Write what changed. Returns those, by our lead, of which not all was written."""
        outcomes = self.api.write("PUT", LEADS, list(rows.values()))
        found: dict[str, Home | DeliveryError] = {}
        for (lead_id, row), outcome in zip(rows.items(), outcomes, strict=True):
            if isinstance(outcome, Taken) and outcome.column in row and outcome.column != KEY:
                found[lead_id] = self._put_without(outcome.column, lead_id, row)
            elif isinstance(outcome, DeliveryError):
                found[lead_id] = outcome
        return found

    def _put_without(self, column: str, lead_id: str, row: dict[str, str]) -> Home | DeliveryError:
        """A value that another record has stays there alone, and stands in the note. That record is not taken instead:
        what came before stands on this one, and would be missed here."""
        rest = {name: value for name, value in row.items() if name != column}
        home = self._put({lead_id: rest}).get(lead_id) if len(rest) > 1 else None  # the id is always there
        if isinstance(home, DeliveryError):
            return home
        return Home(row["id"], fresh=False, left_out={column: row[column], **(home.left_out if home else {})})

    def _note(self, pairs: Sequence[tuple[Item, Home]]) -> dict[str, DeliveryError]:
        """Write a note for each. Returns those that went wrong."""
        sent = zip(pairs, self.api.write("POST", NOTES, [_note_on(home, item) for item, home in pairs]), strict=True)
        return {item.lead_id: error for (item, _), error in sent if isinstance(error, DeliveryError)}


def _note_on(home: Home, item: Item) -> dict[str, Any]:
    for column, value in home.left_out.items():
        item = with_left_out(item, OURS.get(column, column), value)
    return note_input(item, home.id)
