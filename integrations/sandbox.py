"""The sandbox CRM that comes with Frontdesk: for demos, tests and trying things out. It holds nothing real."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, cast

from marshmallow import fields, validate

from integrations.core import options
from integrations.core.base import (
    Connector,
    Draft,
    Finding,
    Item,
    Options,
    Pushed,
    RemoteField,
    Result,
    Seen,
    Tier,
    record_id,
)
from integrations.core.errors import DeliveryError, Refused, TryLater, not_accepted
from integrations.core.http import Answer, Http, by_its_word
from integrations.core.reading import objects_in, text

Verdict = str | DeliveryError  # the CRM's id of a record, or why it has none
_SHAPES: Mapping[str, type | tuple[type, ...]] = {
    "id": (str, int),
    "external_id": (str, type(None)),
    "properties": dict,
    "activities": list,
    **dict.fromkeys(("name", "label", "type"), str),
    "required": bool,
    "choices": list,
}
_NO_ACTIVITY = TryLater("no_activity", "The CRM took the person but not the activity.")


class SandboxOptions(Options):
    url = options.address("Address", "Where the sandbox CRM answers, such as http://127.0.0.1:8001", required=True)
    key = options.secret("Key", "The key it was started with.", required=True)
    tier = options.line(
        "What keeps people from being there twice",
        "Choose B for a sandbox that was started with --no-unique.",
        load_default="A",
        validate=validate.OneOf(["A", "B"], ["A: it keeps our own numbers", "B: we look before we send again"]),
    )
    settle = fields.Float(
        load_default=0,
        validate=validate.Range(0, 600),
        metadata={
            "label": "Seconds until it shows what it was sent",
            "help": "So many seconds after a write we look for it, no earlier. More than 0 if it writes late.",
        },
    )


class Sandbox(Connector):
    """Contacts and activities are both upserted by our external ids. As tier B they are looked for first instead."""

    kind: ClassVar[str] = "sandbox"
    label: ClassVar[str] = "Sandbox CRM"
    for_trying_out: ClassVar[bool] = True
    tier: Tier = "A"
    options = SandboxOptions
    batch_size = 50
    at_once = 4
    fields: ClassVar[Mapping[str, str]] = {
        "first_name": "first_name",
        "last_name": "last_name",
        "email": "email",
        "phone": "phone",
        "reference": "reference",
    }

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self.tier = cast(Tier, settings.get("tier", "A"))
        self.settle = float(settings.get("settle", 0))

    def check(self) -> list[Finding]:
        """Ask who we are."""
        self._call("GET", "/v1/me")
        return [Finding(True, "The sandbox CRM answers and accepts the key.")]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then what they did, as activities on them."""
        held = self._held(batch) if self.tier == "B" else []
        people = self._upsert("contacts", [_contact(item, item.remote_id or _home_in(held, item)) for item in batch])
        people |= self._upsert("contacts", [again for item in batch if (again := _another_way(item, people))])
        arrived = [(item, verdict) for item in batch if isinstance(verdict := people[item.lead_id], str)]
        events: dict[str, Verdict] = dict(_events_on(held))
        new = [_activity(item, contact_id) for item, contact_id in arrived if item.event_id not in events]
        events |= self._upsert("activities", new)
        return [self._result(people[item.lead_id], events.get(item.event_id)) for item in batch]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """A record counts only with the event on it, and as whole only with every field that was sent: one write may
        have kept its promise and the other not."""
        held = self._held(items)
        by_id, holders = {str(contact["id"]): contact for contact in held}, _events_on(held)
        here = [holders.get(item.event_id) for item in items]
        return [self._seen(item, by_id[one], held) if one else None for item, one in zip(items, here, strict=True)]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the record that we know, else by our own id."""
        held = self._held(items)
        homes = {str(row["id"]): row for row in held} | {str(row["external_id"]): row for row in held}
        found = [homes.get(item.remote_id or "") or homes.get(item.lead_id) for item in items]
        return [row and {name: text(value) for name, value in row["properties"].items()} for row in found]

    def remote_fields(self) -> list[RemoteField]:
        """Of a contact."""
        answer = self._call("GET", "/v1/fields", describes=True)
        return [_field(row) for row in _rows(answer, "fields", "name", "label", "type", "required", "choices")]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one, of either kind."""
        return [
            Draft("POST", f"{self._address()}/v1/contacts/batch/upsert", {"inputs": [_contact(item, None)]}),
            Draft("POST", f"{self._address()}/v1/activities/batch/upsert", {"inputs": [_activity(item, "{contact}")]}),
        ]

    def _held(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """The contacts that may be these people, oldest first."""
        return self._search(
            external_ids=[item.lead_id for item in items],
            ids=[item.remote_id for item in items if item.remote_id],
            emails=[email for item in items if (email := item.record.get("email"))],
        )

    def _search(self, **wanted: list[str]) -> list[dict[str, Any]]:
        """The contacts with one of these ids, external ids or e-mail addresses."""
        answer = self._call("POST", "/v1/search", wanted, reads=True)
        return _rows(answer, "contacts", "id", "external_id", "properties", "activities")

    def _seen(self, item: Item, contact: Mapping[str, Any], held: Sequence[Mapping[str, Any]]) -> Seen:
        properties, pushed = contact["properties"], self._pushed(str(contact["id"]))
        record = {name: text(properties.get(name)) for name in item.record}
        copies = [str(other["id"]) for other in held if other["id"] != contact["id"] and _is_copy(item, other)]
        return Seen(pushed.remote_id, pushed.url, record, tuple(copies), whole=record.keys() <= properties.keys())

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By their activities."""
        return set(_events_on(self._search(ids=list(remote_ids))))

    def erase(self, remote_ids: Sequence[str]) -> None:
        """The sandbox deletes a contact's activities with it."""
        self._call("POST", "/v1/contacts/batch/archive", {"ids": list(remote_ids)})

    def _upsert(self, what: str, inputs: list[dict[str, Any]]) -> dict[str, Verdict]:
        """External id → the CRM's id, or what was wrong with the record."""
        if not inputs:
            return {}
        answer = self._call("POST", f"/v1/{what}/batch/upsert", {"inputs": inputs})
        silence = answer.doubt("no_verdict", "The CRM left this record out of its answer.")
        verdicts: dict[str, Verdict] = {one["external_id"]: silence for one in inputs}
        nameless = answer.nameless()
        verdicts |= {
            row["external_id"]: record_id(row.get("id")) or nameless for row in _rows(answer, "results", "external_id")
        }
        return verdicts | {row["external_id"]: _error(row) for row in _rows(answer, "errors", "external_id")}

    def _call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """Raises what a bare status means."""
        headers = {"Authorization": f"Bearer {self.settings['key']}"}
        answer = self.http.request(method, self._address() + path, json=body, headers=headers, **more)
        if error := by_its_word(answer):
            raise error
        return answer

    def _address(self) -> str:
        return str(self.settings["url"]).rstrip("/")

    def _result(self, contact: Verdict, event: Verdict | None) -> Result:
        if not isinstance(contact, str):
            return contact
        return self._pushed(contact) if isinstance(event, str) else event or _NO_ACTIVITY

    def _pushed(self, contact_id: str) -> Pushed:
        return Pushed(contact_id, f"{self._address()}/contacts/{contact_id}")


class _InTheWay(Refused):
    """The CRM has this person under another record, or not under the one that we knew. owner: the one it has."""

    def __init__(self, code: str, owner: str | None) -> None:
        super().__init__(code, "The CRM has this person under another record.")
        self.owner = owner


def _another_way(item: Item, people: Mapping[str, Verdict]) -> dict[str, Any] | None:
    """The record that has the e-mail already is adopted; one that is gone is made anew."""
    verdict = people[item.lead_id]
    return _contact(item, verdict.owner) if isinstance(verdict, _InTheWay) else None


def _contact(item: Item, remote_id: str | None) -> dict[str, Any]:
    contact: dict[str, Any] = {"external_id": item.lead_id, "properties": dict(item.record)}
    return contact | {"id": remote_id} if remote_id else contact


def _events_on(contacts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Our events → the contact that holds each."""
    told = [(one, contact) for contact in contacts for one in objects_in(contact["activities"])]
    return {text(one.get("external_id")): str(contact["id"]) for one, contact in told}


def _home_in(held: Sequence[Mapping[str, Any]], item: Item) -> str | None:
    """The contact that this person is to be written to: our own, else one of nobody's with the same e-mail address."""
    ours = [contact for contact in held if _is_copy(item, contact)]
    ours.sort(key=lambda contact: contact["external_id"] != item.lead_id)
    return str(ours[0]["id"]) if ours else None


def _is_copy(item: Item, contact: Mapping[str, Any]) -> bool:
    """Whether a contact is this person too. One that stands for another of our leads is somebody else."""
    email = text(contact["properties"].get("email"))
    same_email = bool(email) and email.casefold() == item.record.get("email", "").casefold()
    owner = contact["external_id"]
    return bool(owner == item.lead_id or (same_email and not owner))


def _field(row: Mapping[str, Any]) -> RemoteField:
    choices = {str(one.get("value")): str(one.get("label")) for one in objects_in(row["choices"])}
    return RemoteField(row["name"], row["label"], row["type"], choices, row["required"])


def _activity(item: Item, contact_id: str) -> dict[str, Any]:
    return {
        "external_id": item.event_id,
        "contact_id": contact_id,
        "kind": item.kind,
        "occurred_at": item.instant(),
        "title": item.title,
        "properties": dict(item.activity),
    }


def _error(row: Mapping[str, Any]) -> DeliveryError:
    code = str(row.get("code"))
    if code == "duplicate" and record_id(row.get("id")):
        return _InTheWay(code, record_id(row.get("id")))
    if code == "not_found":
        return _InTheWay(code, None)
    if code == "contact_not_found":  # deleted between our two calls: the next try makes it anew
        return TryLater(code, "The record was deleted while the activity was written.")
    if code == "invalid_phone":
        return not_accepted("The CRM", "phone", status=None, code=code)
    field = row.get("field")
    return Refused("refused", "The CRM does not accept this record.", field=field if isinstance(field, str) else None)


def _rows(answer: Answer, name: str, *needed: str) -> list[dict[str, Any]]:
    """The list of this name in the answer, each row with what is `needed`. Raises what `answer.doubt` gives when it is
    not what the API promises."""
    body = answer.json()
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, list) or not all(isinstance(row, dict) and _is_whole(row, needed) for row in found):
        raise answer.unreadable()
    return found


def _is_whole(row: Mapping[str, Any], needed: Collection[str]) -> bool:
    return all(name in row and isinstance(row[name], _SHAPES[name]) for name in needed)
