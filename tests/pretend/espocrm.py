"""EspoCRM as it behaves: no upsert, a duplicate check by name or e-mail address, unknown fields dropped in silence,
deleted records hidden but kept, its reasons in a header and its server errors without a word."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

_KNOWN = ("firstName", "lastName", "emailAddress", "phoneNumber", "description", "source", "doNotCall", "externalId")
_NO_RECORD = Reply(404, b"", {"X-Status-Reason": "Record not found."})
_EVENT = re.compile(r"Frontdesk event ([0-9a-f-]{36})")


class PretendEspocrm(PretendCrm):
    """One entity with a stream. unique: whether the administrator gave `externalId` a unique index."""

    kind: ClassVar[str] = "espocrm"

    def __init__(
        self, seed: int = 1, late: float = 1.5, *, unique: bool = False, fields: tuple[str, ...] = _KNOWN
    ) -> None:
        super().__init__(seed, late)
        self.unique, self.fields = unique, fields
        self.leads: dict[str, dict[str, Any]] = {}
        self.notes: dict[str, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    def settings(self) -> dict[str, Any]:
        return {"url": self.url, "api_key": "espo-key"}

    def people(self) -> list[Person]:
        return [
            Person(one["id"], one["externalId"], one["emailAddress"] or "", self._events(one["id"]))
            for one in self._alive(self.leads)
        ]

    def faults(self) -> list[Fault]:
        return [
            lambda: Reply(500, b""),
            lambda: Reply(503, b"", {"X-Status-Reason": "Application is in maintenance mode."}),
            lambda: Reply(429, b"<h1>Too Many Requests</h1>", {"Retry-After": "1"}),  # a proxy's: EspoCRM has no limit
        ]

    def answer(self, request: Request) -> Reply:
        if request.headers.get("X-Api-Key") != "espo-key":
            return Reply(401, b"")
        if request.method in ("POST", "PUT") and not isinstance(request.body, dict):
            return Reply(500, b"")
        parts = request.path.removeprefix("/api/v1/").split("/")
        made = self._leads(request, parts[1:]) if parts[0] == "Lead" else self._other(request, *parts)
        return made or Reply(404, b"")

    def _leads(self, request: Request, rest: list[str]) -> Reply | None:
        if not rest:
            return self._list(request.query) if request.method == "GET" else self._create(request)
        if len(rest) > 1:
            return self._posts(rest[0], request.query)
        return self._one(request.method, rest[0], request.body)

    def _other(self, request: Request, *path: str) -> Reply | None:
        match (request.method, *path):
            case ("GET", "App", "user"):
                rights = {"create": "yes"} | dict.fromkeys(("read", "edit", "delete", "stream"), "all")
                return Reply(body={"user": {}, "acl": {"table": {"Lead": rights}}})
            case ("GET", "Metadata"):
                return Reply(body={name: {"type": "varchar"} for name in self.fields})
            case ("POST", "Note"):
                return self._post(request.body)
            case ("DELETE", "Note", note_id):
                return self._delete(self.notes, note_id)
        return None

    def _list(self, query: Mapping[str, str]) -> Reply:
        attribute, value = query["where[0][attribute]"], query["where[0][value]"]
        if attribute not in self.fields:
            return Reply(400, b"", {"X-Status-Reason": f"Not existing attribute '{attribute}' in where."})
        found = [lead for lead in self._alive(self.leads) if lead[attribute] == value]
        return Reply(body={"total": len(found), "list": found[: int(query["maxSize"])]})

    def _create(self, request: Request) -> Reply:
        if wrong := _invalid(request.body):
            return wrong
        lead = {"id": self._new_id(), "deleted": False} | {name: request.body.get(name) for name in self.fields}
        same = [other for other in self._alive(self.leads) if _is_alike(lead, other)]
        if same and request.headers.get("X-Skip-Duplicate-Check") != "true":
            return Reply(409, same[:5], {"X-Status-Reason": "duplicate"})
        if self.unique and any(one["externalId"] == lead["externalId"] for one in self.leads.values()):
            return Reply(500, b"")  # also for one that is deleted
        self.leads[lead["id"]] = lead
        return Reply(body=lead)

    def _one(self, method: str, lead_id: str, body: Any) -> Reply:
        lead = self.leads.get(lead_id)
        if lead is None or lead["deleted"]:
            return _NO_RECORD
        if method == "DELETE":
            return self._delete(self.leads, lead_id)
        if method == "PUT":
            if wrong := _invalid(body, whole=False):
                return wrong
            lead |= {name: value for name, value in body.items() if name in self.fields}
        return Reply(body=lead)

    def _posts(self, lead_id: str, query: Mapping[str, str]) -> Reply:
        if lead_id not in self.leads or self.leads[lead_id]["deleted"]:
            return _NO_RECORD
        found = [note for note in self._alive(self.notes) if note["parentId"] == lead_id][::-1]
        start = int(query["offset"])
        return Reply(body={"total": len(found), "list": found[start : start + int(query["maxSize"])]})

    def _post(self, body: Mapping[str, Any]) -> Reply:
        if body["parentId"] not in self.leads:
            return Reply(403, b"")
        note = {"id": self._new_id(), "deleted": False, **body}
        self.notes[note["id"]] = note
        return Reply(body=note)

    def _delete(self, held: dict[str, dict[str, Any]], record_id: str) -> Reply:
        if record_id not in held or held[record_id]["deleted"]:
            return _NO_RECORD
        held[record_id]["deleted"] = True
        return Reply(body=True)

    def _events(self, lead_id: str) -> list[str]:
        posts = [note["post"] for note in self._alive(self.notes) if note["parentId"] == lead_id]
        return [event for post in posts for event in _EVENT.findall(post)]

    def _alive(self, held: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in held.values() if not one["deleted"]]

    def _new_id(self) -> str:
        return f"{next(self._ids):017x}"


def _is_alike(lead: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """EspoCRM's own check of leads: the same e-mail address, or just the same name."""
    named = [(one["firstName"], one["lastName"]) for one in (lead, other)]
    email = str(lead["emailAddress"] or "").casefold()
    return named[0] == named[1] or (email != "" and email == str(other["emailAddress"] or "").casefold())


def _invalid(body: Mapping[str, Any], *, whole: bool = True) -> Reply | None:
    if whole and not body.get("lastName"):
        return _failure("lastName", "required")
    if (phone := body.get("phoneNumber")) and not re.fullmatch(r"\+?[0-9 ()-]{4,}", str(phone)):
        return _failure("phoneNumber", "valid")
    return None


def _failure(field: str, rule: str) -> Reply:
    told = {"messageTranslation": {"label": "validationFailure", "data": {"field": field, "type": rule}}}
    reason = f"Field validation failure; entityType: Lead, field: {field}, type: {rule}."
    return Reply(400, told, {"X-Status-Reason": reason})
