"""Microsoft Dynamics 365 (Dataverse): a person is a lead and an event a task or phone call, numbered by us.

Dataverse lets whoever creates a row choose its primary key, and a PATCH to it upserts. So our own ids are the keys:
nothing has to be set up there, and nothing can be doubled.
Sources: learn.microsoft.com, Dataverse developer guide (upsert, conditional operations, duplicate detection, service
protection limits, error handling, batch), table references of lead, task and phonecall.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, ClassVar

from integrations._dynamics import (
    EMAIL,
    activity,
    contact_id,
    event_path,
    is_contact,
    lacks,
    lead_path,
    number,
    person_of,
    remote_fields,
    row_in,
    verdict,
    with_person,
    written_event,
    written_lead,
)
from integrations._dynamics_api import Api
from integrations._dynamics_people import People
from integrations._dynamics_setup import DynamicsOptions, missing_rights, rights_of, sign_in
from integrations.core.base import Allowance, Connector, Draft, Finding, Item, Pushed, RemoteField, Result, Seen
from integrations.core.errors import DeliveryError
from integrations.core.http import Answer, Http
from integrations.core.oauth import OAuth
from integrations.core.reading import objects_at, text

_LEFT, _WINDOW = "x-ms-ratelimit-burst-remaining-xrm-requests", 300.0  # seconds


class Dynamics(Connector):
    """One record per call, so that each has a verdict of its own: UpsertMultiple takes or refuses all of them."""

    kind: ClassVar[str] = "dynamics"
    label: ClassVar[str] = "Microsoft Dynamics 365"
    tier = "A"
    options = DynamicsOptions
    pace = 10.0  # of the 20 per second that one user has on each server
    fields: ClassVar[Mapping[str, str]] = {
        "first_name": "firstname",
        "last_name": "lastname",
        "email": EMAIL,
        "phone": "mobilephone",
    }
    constants: ClassVar[Mapping[str, str]] = {"subject": "Website enquiry"}
    fallbacks: ClassVar[Mapping[str, str]] = {"lastname": "Unknown"}

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self._api = Api(http, settings["address"])
        self._people = People(self._api)

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth:
        """As a program, by Microsoft Entra."""
        return sign_in(settings)

    @classmethod
    def key_ends(cls, settings: Mapping[str, Any]) -> date | None:
        """Microsoft's secrets end after two years at the latest."""
        return date.fromisoformat(settings["secret_ends"]) if settings.get("secret_ends") else None

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """Of one of its servers: a hint, no promise."""
        left = answer.number(_LEFT)
        return None if left is None else Allowance(left=left, seconds=_WINDOW)

    def check(self) -> list[Finding]:
        """Whether the app may do what it needs to."""
        path, params = rights_of(str(number(self._api.ask("WhoAmI").get("UserId"))))
        if missing := missing_rights(self._api.ask(path, params)):
            return [Finding(False, lacks(missing))]
        self._api.ask("leads", {"$select": "leadid", "$top": "1"})
        return [Finding(True, "Dynamics accepts the app and gives it all that is needed.")]

    def remote_fields(self) -> list[RemoteField]:
        """The columns of a lead that take text."""
        names = "LogicalName,AttributeType,DisplayName,IsValidForUpdate"
        described = self._api.ask(
            "EntityDefinitions(LogicalName='lead')/Attributes", {"$select": names}, describes=True
        )
        return remote_fields(objects_at(described, "value"))

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """The person first, then the event on it."""
        return [self._push(item) for item in batch]

    def draft(self, item: Item) -> list[Draft]:
        """A new lead, and the event on it."""
        steps = [(written_lead(item.lead_id), dict(item.record)), (written_event(item), activity(item, item.lead_id))]
        return [Draft("PATCH", f"{self._api.root}/{path}", body) for path, body in steps]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """What a lead holds. A contact is never written to."""
        return [self._current(item.in_full()) for item in items]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """It is a contact, or was qualified or merged; or activities stand on it: ours went on to the person."""
        return [self._people.is_worked_on(str(item.remote_id)) for item in items]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """By the event, which names the person it stands on."""
        return [self._find(item) for item in items]

    def merged_with(self, remote_ids: Sequence[str]) -> list[str]:
        """The contacts that these leads became, and all leads that became one of those."""
        places = list(dict.fromkeys(twin for one in remote_ids for twin in [*self._people.contact_of(one), one]))
        leads = [lead for one in places if is_contact(one) for lead in self._people.leads_of(one)]
        return list(dict.fromkeys([*places, *leads]))

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By their activities, whose numbers are those of our events."""
        return {event for one in remote_ids for event in self._people.events(one)}

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Dataverse deletes their activities with them."""
        for one in remote_ids:
            answer = self._api.call("DELETE", lead_path(one))
            if answer.status not in (204, 404):
                raise verdict(answer)

    def _push(self, item: Item) -> Result:
        place = self._people.place(item)
        if isinstance(place, DeliveryError):
            return place
        event = self._api.write(written_event(item), activity(item, place), "activityid")
        return event if isinstance(event, DeliveryError) else Pushed(place, self._page(place))

    def _current(self, item: Item) -> Mapping[str, str] | None:
        remote_id = item.remote_id or item.lead_id
        row = None if is_contact(remote_id) else self._people.read(remote_id, item.record)
        return row and {name: text(row.get(name)) for name in item.record}

    def _find(self, item: Item) -> Seen | None:
        answer = self._api.call("GET", event_path(item), params=with_person(item))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise verdict(answer)
        place, row = person_of(item, row_in(answer))
        if place is None:
            return None
        record = None if is_contact(place) else {name: text(row.get(name)) for name in item.record}
        return Seen(place, self._page(place), record)

    def _page(self, place: str) -> str:
        kind, key = ("contact", contact_id(place)) if is_contact(place) else ("lead", place)
        return f"{self._api.address}/main.aspx?pagetype=entityrecord&etn={kind}&id={key}"
