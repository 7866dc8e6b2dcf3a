"""Salesforce: a person is a lead, upserted by a field of our own; an event is a completed task on it, likewise.

Sources: developer.salesforce.com, REST API guide (sObject collections, upsert by external id, Sforce-Limit-Info),
Tooling API guide (CustomField), object reference (Lead, Task, Event, FieldPermissions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from integrations._salesforce import EVENT_KEY, KEYS, Row, body_of, lead_row, task_row
from integrations._salesforce_api import Api, batch_path
from integrations._salesforce_people import People, Place, is_contact, place_of
from integrations._salesforce_setup import SalesforceOptions, fields_in, flaw, home, prepare, sign_in
from integrations.core.base import Allowance, Connector, Draft, Finding, Item, Pushed, RemoteField, Result, Seen
from integrations.core.errors import DeliveryError
from integrations.core.http import Answer
from integrations.core.oauth import OAuth
from integrations.core.reading import text

_USE = re.compile(r"api-usage=(\d+)/(\d+)")


class Salesforce(Connector):
    """Leads and tasks carry our ids in unique fields, so that neither can be there twice. A lead that staff converted
    is not touched: the task goes to its contact."""

    kind: ClassVar[str] = "salesforce"
    label: ClassVar[str] = "Salesforce"
    tier = "A"
    options = SalesforceOptions
    people_sign_in: ClassVar[bool] = True
    batch_size = 25  # of the 200 that it takes: flows and triggers run for each, and a call's time has to do for all
    fields: ClassVar[Mapping[str, str]] = {
        "first_name": "FirstName",
        "last_name": "LastName",
        "email": "Email",
        "phone": "Phone",
    }
    constants: ClassVar[Mapping[str, str]] = {"Company": "Website enquiry", "LeadSource": "Web"}
    fallbacks: ClassVar[Mapping[str, str]] = {"LastName": "Unknown"}

    @cached_property
    def api(self) -> Api:
        """Made at the first call: where it goes the sign-in tells, if there is one by then."""
        return Api(self.http, home(self.settings))

    @cached_property
    def _people(self) -> People:
        return People(self.api)

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth:
        """By a person, a secret or a certificate."""
        return sign_in(settings)

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """Each answer tells how many of the day's calls all programs together have used."""
        used = _USE.search(answer.headers.get("Sforce-Limit-Info", ""))
        return Allowance(left_today=int(used[2]) - int(used[1]), of_today=int(used[2])) if used else None

    def check(self) -> list[Finding]:
        """Whether leads and tasks may be written, and have our fields."""
        flaws = [wrong for table in KEYS if (wrong := flaw(table, self.api.described(table)))]
        well = Finding(True, "Salesforce accepts the sign-in and has all that is needed.")
        return [Finding(False, sentence) for sentence in flaws] or [well]

    def prepare(self) -> list[Finding]:
        """Create our two fields, and let our user see and edit them."""
        return prepare(self.api, self.settings)

    def remote_fields(self) -> list[RemoteField]:
        """Those of a lead."""
        return fields_in(self.api.described("Lead"))

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then a task for each event."""
        places = self._people.places(batch)
        arrived = [(item, place) for item in batch if isinstance(place := places[item.lead_id], str)]
        rows = self.api.upsert("Task", [task_row(item, place) for item, place in arrived])
        tasks = {item.lead_id: place_of(row) for (item, _), row in zip(arrived, rows, strict=True)}
        return [self._result(places[item.lead_id], tasks.get(item.lead_id)) for item in batch]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one, of either kind."""
        batches = {"Lead": lead_row(item), "Task": task_row(item, "{lead}")}
        return [Draft("PATCH", self.api.home + batch_path(table), body_of([row])) for table, row in batches.items()]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """What a lead holds. A contact is never written to."""
        whole = [item.in_full() for item in items]
        rows = self._people.leads(items, [name for item in whole for name in item.record])
        found = [(item, rows.get(item.lead_id)) for item in whole]
        return [{name: text(row.get(name)) for name in item.record} if row else None for item, row in found]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """It is a contact, or was converted to one; or tasks on it are not ours; or appointments, which never are."""
        leads = self._people.leads(items, ["IsConverted"])
        ids = [str(row["Id"]) for row in leads.values()]
        tasks = self.api.query("Task", [EVENT_KEY], "WhoId", ids)
        busy = {text(task.get("WhoId")) for task in tasks if not task.get(EVENT_KEY)} | self.api.with_events(ids)
        busy |= {str(row["Id"]) for row in leads.values() if row.get("IsConverted")}
        return [is_contact(item.remote_id) or item.remote_id in busy for item in items]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """By the task, which names the person it stands on."""
        tasks = self.api.query("Task", ["WhoId"], EVENT_KEY, [item.event_id for item in items])
        whos = {str(row.get(EVENT_KEY)): text(row.get("WhoId")) for row in tasks}
        people = self._people.rows(whos.values(), [name for item in items for name in item.record])
        found = [(item, people.get(whos.get(item.event_id, ""))) for item in items]
        return [self._seen(item, row) if row else None for item, row in found]

    def merged_with(self, remote_ids: Sequence[str]) -> list[str]:
        """The contacts that these leads were converted to, and all leads that were converted to one of those."""
        contacts = {one for one in remote_ids if is_contact(one)}
        leads = self.api.query("Lead", ["ConvertedContactId"], "Id", set(remote_ids) - contacts)
        contacts |= {text(row.get("ConvertedContactId")) for row in leads} - {""}
        leads += self.api.query("Lead", (), "ConvertedContactId", sorted(contacts))
        return list(dict.fromkeys([*sorted(contacts), *(str(row["Id"]) for row in leads), *remote_ids]))

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By their tasks."""
        return {text(row.get(EVENT_KEY)) for row in self.api.query("Task", [EVENT_KEY], "WhoId", remote_ids)} - {""}

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Tasks go first, people after them."""
        tasks = self.api.query("Task", (), "WhoId", remote_ids)
        self.api.delete([*(str(row["Id"]) for row in tasks), *remote_ids])

    def _seen(self, item: Item, row: Row) -> Seen:
        record = None if is_contact(row["Id"]) else {name: text(row.get(name)) for name in item.record}
        return Seen(row["Id"], self._page(row["Id"]), record)

    def _result(self, person: Place, task: Place | None) -> Result:
        if isinstance(person, str) and isinstance(task, str):
            return Pushed(person, self._page(person))
        return next(one for one in (person, task) if isinstance(one, DeliveryError))

    def _page(self, record: str) -> str:
        return f"{self.api.home}/{record}"
