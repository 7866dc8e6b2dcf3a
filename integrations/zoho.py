"""Zoho CRM: a person is a lead that carries our id in a unique field; an event is a note on it.

Not by Zoho's own upsert: it also takes a lead for the same that agrees in any other unique field of the account, and
then overwrites what the clinic wrote there. An insert is refused instead, and names the lead that is in the way.
Sources: zoho.com/crm/developer/docs/api/v8 (insert, update, upsert, notes, COQL, fields, limits), zoho.com/accounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from marshmallow import fields, validate

from integrations._zoho import (
    DOMAINS,
    KEY,
    KEY_LABEL,
    Home,
    changes,
    events_in,
    field_of,
    is_open,
    lead_input,
    note_input,
    of_person,
    text,
)
from integrations._zoho_answers import CREDITS, Taken
from integrations._zoho_api import LEADS, NOTES, Api
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
from integrations.core.errors import DeliveryError
from integrations.core.http import Answer, Http
from integrations.core.oauth import OAuth

SCOPES = ("ZohoCRM.modules.leads.ALL", "ZohoCRM.modules.notes.ALL", "ZohoCRM.settings.fields.ALL", "ZohoCRM.coql.READ")
_BY_HAND = (
    f"In Zoho, Setup, Modules and Fields, Leads: add a single-line field “{KEY_LABEL}” with “Do not allow duplicate "
    f"values”. Its API name must be {KEY}."
)

Lead = Mapping[str, Any]


class ZohoOptions(Options):
    client_id = fields.String(
        required=True, metadata={"label": "Client ID", "help": "Of a server-based application in Zoho's API console."}
    )
    client_secret = fields.String(
        required=True, metadata={"label": "Client secret", "help": "From the same page.", "secret": True}
    )
    data_centre = fields.String(
        load_default="com",
        validate=validate.OneOf(list(DOMAINS)),
        metadata={
            "label": "Data centre",
            "help": "How the address of your CRM ends: eu for crm.zoho.eu, ca for Canada.",
        },
    )
    accounts = fields.Url(
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "Sign-in address", "help": "Leave it empty: the data centre says it."},
    )


class Zoho(Connector):
    """Leads cannot be doubled; a note is looked for on its lead before it is written."""

    kind: ClassVar[str] = "zoho"
    label: ClassVar[str] = "Zoho CRM"
    tier = "B"
    options = ZohoOptions
    batch_size = 10  # of the 100 that Zoho takes: the notes of each returning person are read one by one
    pace = 5.0  # what Zoho counts is calls at a time, and a lane makes one; this leaves the credits some room
    settle = 10.0
    fields: ClassVar[Mapping[str, str]] = {
        "first_name": "First_Name",
        "last_name": "Last_Name",
        "email": "Email",
        "phone": "Phone",
    }
    fallbacks: ClassVar[Mapping[str, str]] = {"Last_Name": "Unknown"}

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth:
        """Without `prompt=consent` a second sign-in brings no refresh token. The one there is, stays the same."""
        usual = f"https://accounts.{DOMAINS[settings.get('data_centre', 'com')][0]}"
        home = str(settings.get("accounts") or usual).rstrip("/")
        return OAuth(
            token_url=f"{home}/oauth/v2/token",
            authorize_url=f"{home}/oauth/v2/auth",
            scopes=SCOPES,
            scope_separator=",",
            scheme="Zoho-oauthtoken",
            extra={"access_type": "offline", "prompt": "consent"},
            keep=("api_domain",),
        )

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """The credits left of the last 24 hours, which Zoho tells once half of them are used."""
        left = answer.headers.get(CREDITS, "")
        return Allowance(left_today=int(left)) if left.isdigit() else None

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        domain, self._programs = DOMAINS[settings.get("data_centre", "com")]
        self.pages = f"https://crm.{domain}/crm/EntityInfo.do?module=Leads&id="  # finds the account's number by itself

    @cached_property
    def api(self) -> Api:
        """Made at the first call: the sign-in names the address at which this account lives, and may fail."""
        home = self.settings.get("token", {}).get("api_domain") or f"https://www.{self._programs}"
        return Api(self.http, home)

    def check(self) -> list[Finding]:
        """Whether leads, notes and queries may be used, and our field is there and unique."""
        field = next((row for row in self.api.fields() if row.get("api_name") == KEY), None)
        if field is None:
            return [Finding(False, f"Zoho has no lead field {KEY}. {_BY_HAND}")]
        if not field.get("unique"):
            return [Finding(False, f"The lead field {KEY} allows duplicate values. {_BY_HAND}")]
        self.api.may_read()
        return [Finding(True, "Zoho accepts the sign-in and has all that is needed.")]

    def prepare(self) -> list[Finding]:
        """Create the unique field that holds our lead's id."""
        if any(row.get("api_name") == KEY for row in self.api.fields()):
            return []
        if self.api.make_key():
            return [Finding(True, f"Created the lead field {KEY_LABEL} in Zoho.")]
        return [Finding(False, f"Zoho did not create the lead field {KEY_LABEL}. {_BY_HAND}")]

    def remote_fields(self) -> list[RemoteField]:
        """Those that take text; of the others our mapping could fill none."""
        return [field_of(row) for row in self.api.fields() if is_open(row)]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then a note for each event that has none yet."""
        held = self._held(batch)
        people = self._update([(item, lead) for item in batch if (lead := held.get(item.lead_id))])
        people |= self._insert([item for item in batch if item.lead_id not in held])
        arrived = [(item, home) for item in batch if isinstance(home := people[item.lead_id], Home)]
        there = {event for one in {home.id for _, home in arrived if not home.fresh} for event in self._events(one)}
        people |= self._note([(item, home.id) for item, home in arrived if item.event_id not in there])
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
        return [lead and {name: text(lead.get(name)) for name in item.record} for item, lead in found]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The lead with the note on it."""
        held = self._held(items)
        return [self._seen(item, held.get(item.lead_id)) for item in items]

    def _seen(self, item: Item, lead: Lead | None) -> Seen | None:
        if lead is None or item.event_id not in self._events(str(lead["id"])):
            return None
        record = {name: text(lead.get(name)) for name in item.record}
        return Seen(str(lead["id"]), self.pages + str(lead["id"]), record)

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
        written = zip(new, self.api.write("PUT", LEADS, list(new.values())), strict=True)
        wrong = {lead_id: error for lead_id, error in written if isinstance(error, DeliveryError)}
        return {item.lead_id: Home(str(lead["id"]), fresh=False) for item, lead in pairs} | wrong

    def _note(self, pairs: Sequence[tuple[Item, str]]) -> dict[str, DeliveryError]:
        """Write a note for each. Returns those that went wrong."""
        sent = zip(pairs, self.api.write("POST", NOTES, [note_input(item, lead) for item, lead in pairs]), strict=True)
        return {item.lead_id: error for (item, _), error in sent if isinstance(error, DeliveryError)}

    def _events(self, lead_id: str) -> set[str]:
        """Our events that the notes on a lead tell of."""
        return {event for note in self.api.notes(lead_id) for event in events_in(note)}
