"""Microsoft Dynamics 365 (Dataverse): a person is a lead and an event a task or phone call, numbered by us.

Dataverse lets whoever creates a row choose its primary key, and a PATCH to it upserts. So our own ids are the keys:
nothing has to be set up there, and nothing can be doubled.
Sources: learn.microsoft.com, Dataverse developer guide (upsert, conditional operations, duplicate detection, service
protection limits, error handling, batch), table references of lead, task and phonecall.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, ClassVar

from integrations._dynamics import (
    API,
    DUPLICATE,
    EMAIL,
    NO_TABLE,
    QUALIFIED,
    STANDING,
    TABLES,
    Row,
    activity,
    code_of,
    dicts,
    found_by,
    is_contact,
    lacks,
    lead_path,
    names_of,
    number,
    person_of,
    remote_fields,
    row_in,
    search,
    text,
    verdict,
    with_person,
)
from integrations._dynamics_setup import DynamicsOptions, missing_rights, rights_of, sign_in
from integrations.core.base import (
    Allowance,
    Connector,
    Draft,
    Finding,
    Item,
    Pushed,
    RemoteField,
    Result,
    Seen,
)
from integrations.core.errors import DeliveryError, Refused
from integrations.core.http import Answer
from integrations.core.oauth import OAuth

_ODATA = {"Accept": "application/json", "OData-Version": "4.0", "OData-MaxVersion": "4.0"}
_SHOWN = {"Prefer": "return=representation"}
_WITH_RULES = {"MSCRM.SuppressDuplicateDetection": "false"}  # otherwise the API passes the duplicate rules by
_ONLY_UPDATE = {"If-Match": "*"}
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
        left = answer.headers.get(_LEFT, "")
        return Allowance(left=int(left), seconds=_WINDOW) if left.isdecimal() else None

    def check(self) -> list[Finding]:
        """Whether the app may do what it needs to."""
        user = number(row_in(self._ask("WhoAmI")).get("UserId"))
        path, params = rights_of(str(user))
        if missing := missing_rights(row_in(self._ask(path, params))):
            return [Finding(False, lacks(missing))]
        self._ask("leads", {"$select": "leadid", "$top": "1"})
        return [Finding(True, "Dynamics accepts the app and gives it all that is needed.")]

    def remote_fields(self) -> list[RemoteField]:
        """The columns of a lead that take text."""
        names = "LogicalName,AttributeType,DisplayName,IsValidForUpdate"
        answer = self._ask("EntityDefinitions(LogicalName='lead')/Attributes", {"$select": names})
        return remote_fields(dicts(row_in(answer)))

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """The person first, then the event on it."""
        return [self._push(item) for item in batch]

    def draft(self, item: Item) -> list[Draft]:
        """A new lead, and the event on it."""
        steps = [(_written_lead(item.lead_id), dict(item.record)), (_written_event(item), activity(item, item.lead_id))]
        return [Draft("PATCH", f"{self._api()}/{path}", body) for path, body in steps]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """What a lead holds. A contact is never written to."""
        return [self._current(item.in_full()) for item in items]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """By the event, which names the person it stands on."""
        return [self._find(item) for item in items]

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Dataverse deletes their activities with them. A qualified lead and its contact are one person."""
        for path in dict.fromkeys(path for one in remote_ids for path in [*self._twins(one), lead_path(one)]):
            answer = self._call("DELETE", path)
            if answer.status not in (204, 404):
                raise verdict(answer)

    def _push(self, item: Item) -> Result:
        place = self._place(item)
        if isinstance(place, DeliveryError):
            return place
        event = _key_in(self._call("PATCH", _written_event(item), activity(item, place), _SHOWN), "activityid")
        return event if isinstance(event, DeliveryError) else Pushed(place, self._page(place))

    def _place(self, item: Item) -> str | DeliveryError:
        """The record that the event goes to. Written to is only a lead that is new or has something new."""
        row = self._read(item.remote_id, STANDING) if item.remote_id else None
        if item.remote_id and row is not None:
            return _kept(item.remote_id, row) or self._update(item)
        answer = self._call("PATCH", _written_lead(item.lead_id), dict(item.record), _SHOWN | _WITH_RULES)
        return self._adopt(item) if code_of(answer) == DUPLICATE else _key_in(answer, "leadid")

    def _update(self, item: Item) -> str | DeliveryError:
        """A lead that is ours gets what is new. One that was adopted is the clinic's."""
        remote_id = str(item.remote_id)
        if item.record and remote_id == item.lead_id:
            return self._change(remote_id, item.record)
        return remote_id

    def _change(self, lead_id: str, values: Mapping[str, str]) -> str | DeliveryError:
        answer = self._call("PATCH", _written_lead(lead_id), dict(values), _SHOWN | _ONLY_UPDATE)
        return _key_in(answer, "leadid")

    def _adopt(self, item: Item) -> str | DeliveryError:
        """A rule knows this person already: the contact or lead with the same e-mail; else it is somebody else."""
        contacts, leads = self._alike(item.record.get(EMAIL, ""))
        if any(row.get("leadid") == item.lead_id for row in leads):
            return self._change(item.lead_id, item.record)
        if contact := next((found for row in contacts if (found := number(row.get("contactid")))), None):
            return f"contacts({contact})"
        if lead := next((row for row in leads if number(row.get("leadid"))), None):
            return self._fill(item, lead)
        return _key_in(self._call("PATCH", _written_lead(item.lead_id), dict(item.record), _SHOWN), "leadid")

    def _fill(self, item: Item, row: Row) -> str | DeliveryError:
        """Write what is empty. What will not be changed can still get its event."""
        lead_id = str(row["leadid"])
        if kept := _kept(lead_id, row):
            return kept
        empty = {name: value for name, value in item.record.items() if not row.get(name)}
        changed = self._change(lead_id, empty) if empty else lead_id
        return lead_id if isinstance(changed, Refused) else changed

    def _alike(self, email: str) -> tuple[list[Row], list[Row]]:
        """Contacts and leads with this e-mail, the active ones first."""
        if not email:
            return [], []
        body, headers = search(email)
        answer = self.http.request("POST", f"{self._api()}/$batch", data=body, headers=_ODATA | headers, reads=True)
        if answer.status != 200:
            raise verdict(answer)
        contacts, leads = found_by(answer)
        return sorted(contacts, key=_standing), sorted(leads, key=_standing)

    def _current(self, item: Item) -> Mapping[str, str] | None:
        remote_id = item.remote_id or item.lead_id
        row = None if is_contact(remote_id) else self._read(remote_id, item.record)
        return row and {name: text(row.get(name)) for name in item.record}

    def _find(self, item: Item) -> Seen | None:
        answer = self._call("GET", _event_path(item), params=with_person(item))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise verdict(answer)
        place, row = person_of(item, row_in(answer))
        if place is None:
            return None
        record = None if is_contact(place) else {name: text(row.get(name)) for name in item.record}
        return Seen(place, self._page(place), record)

    def _twins(self, remote_id: str) -> list[str]:
        """The contact that a qualified lead became, or the leads that became this contact."""
        if not is_contact(remote_id):
            row = self._read(remote_id, STANDING) or {}
            kept = _kept(remote_id, {**row, "_masterid_value": None})
            return [kept] if kept else []
        wanted = f"_parentcontactid_value eq {remote_id[len('contacts(') : -1]} and statecode eq {QUALIFIED}"
        answer = self._ask("leads", {"$select": "leadid", "$filter": wanted})
        return [lead_path(found) for row in dicts(row_in(answer)) if (found := number(row.get("leadid")))]

    def _read(self, remote_id: str, names: Iterable[str]) -> Row | None:
        """A person's record with these columns; None when it is gone."""
        key = "contactid" if is_contact(remote_id) else "leadid"
        wanted = [key] if is_contact(remote_id) else [key, *names]
        answer = self._call("GET", lead_path(remote_id), params={"$select": names_of(wanted)})
        if answer.status == 404 and code_of(answer) != NO_TABLE:
            return None
        if answer.status != 200:
            raise verdict(answer)
        return row_in(answer)

    def _page(self, place: str) -> str:
        kind, key = ("contact", place[len("contacts(") : -1]) if is_contact(place) else ("lead", place)
        return f"{self.settings['address'].rstrip('/')}/main.aspx?pagetype=entityrecord&etn={kind}&id={key}"

    def _api(self) -> str:
        return str(self.settings["address"]).rstrip("/") + API

    def _ask(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """A look-up that must succeed. Raises what Dynamics says went wrong."""
        answer = self._call("GET", path, params=params)
        if answer.status != 200:
            raise verdict(answer)
        return answer

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        url, all_headers = f"{self._api()}/{path}", {**_ODATA, **(headers or {})}
        return self.http.request(method, url, json=body, headers=all_headers, params=params)


def _event_path(item: Item) -> str:
    return f"{TABLES[item.kind]}({item.event_id})"


def _written_event(item: Item) -> str:
    return f"{_event_path(item)}?$select=activityid"


def _written_lead(lead_id: str) -> str:
    return f"leads({lead_id})?$select=leadid"


def _standing(row: Row) -> int:
    """Open before qualified before disqualified."""
    state = row.get("statecode")
    return state if isinstance(state, int) else 0


def _kept(remote_id: str, row: Row) -> str | None:
    """Where a record's events go instead of to itself; None when it is still a lead of its own."""
    if is_contact(remote_id):
        return remote_id
    if master := number(row.get("_masterid_value")):  # staff merged it into another lead
        return master
    contact = number(row.get("_parentcontactid_value"))
    return f"contacts({contact})" if contact and row.get("statecode") == QUALIFIED else None


def _key_in(answer: Answer, key: str) -> str | DeliveryError:
    """The number of what was written. A yes without it is none."""
    if answer.status not in (200, 201) or code_of(answer):
        return verdict(answer)
    written = number(row_in(answer).get(key))
    return written or answer.doubt("no_id", "Dynamics said yes, but not which record it made.")
