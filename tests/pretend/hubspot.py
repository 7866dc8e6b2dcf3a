"""A pretend HubSpot: our property and the e-mail are unique, a batch is taken in part or refused as a whole."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from integrations.core.oauth import Token
from tests.pretend.server import Fault, Limit, Person, PretendCrm, Reply, Request

KEY, OURS = "pat-eu1-pretend", "frontdesk_lead_id"
_CONTACTS, _NOTES = "/crm/objects/2026-03/contacts", "/crm/objects/2026-03/notes"
_ON_CONTACTS = "/crm/associations/2026-03/contacts/(\\w+)/batch/read"
_FIRST_NOTES, _PAGE_OF_NOTES = 100, 60
_PROPERTIES = "/crm/properties/2026-03/contacts"
_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")
_WINDOW, _DAY = 10.0, 250_000  # seconds; calls
Record = dict[str, Any]


class PretendHubspot(PretendCrm):
    """signs_in: by OAuth, with tokens that hold for a minute; else by a service key. lag: seconds until a note that was
    made stands among those of its contact. limit: calls in 10 seconds. work: what staff put on contacts, by its kind.
    unseen: kinds of which the key may not know."""

    kind = "hubspot"

    def __init__(
        self, seed: int = 1, late: float = 1.5, *, signs_in: bool = False, lag: float = 0, limit: int = 2000
    ) -> None:
        super().__init__(seed, late)
        self.signs_in, self.lag = signs_in, lag
        self.contacts: dict[str, Record] = {}
        self.notes: dict[str, Record] = {}
        self.work: dict[str, list[str]] = {}  # kind → the contact of each
        self.unseen: set[str] = set()
        self.merged: dict[str, str] = {}  # a contact → the one that it was merged into
        self.properties: dict[str, Record] = {
            name: {"name": name, "label": name, "type": "string", "hasUniqueValue": name == OURS}
            for name in ("firstname", "lastname", "email", "phone", OURS)
        }
        self.ids = (str(number) for number in range(101, 10**9))
        self.limit = Limit(limit, _WINDOW)
        self.key, self.issued = KEY, 0
        if signs_in:
            self.key = "access-0"
            self.token = Token(self.key, datetime.now(UTC) + timedelta(minutes=1), "refresh").dump()

    def settings(self) -> dict[str, Any]:
        way_in = {"client_id": "client", "client_secret": "secret"} if self.signs_in else {"token": KEY}
        return {**way_in, "api": self.url}

    def answer(self, request: Request) -> Reply:
        if request.path == "/oauth/2026-03/token":
            return self._token(request.body)
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        if self.limit.is_over():
            return self._counted(_over("TEN_SECONDLY_ROLLING"))
        return self._counted(self._served(request))

    def people(self) -> list[Person]:
        return [
            Person(name, held.get(OURS), held.get("email", ""), list(self._events(name)))
            for name, held in self.contacts.items()
        ]

    def merge(self, name: str, into: str) -> None:
        """What staff do with two contacts of one person. The notes go with them, and old numbers still lead there."""
        del self.contacts[name]
        self.merged[name] = into
        for note in self.notes.values():
            note["contacts"] = [into if one == name else one for one in note["contacts"]]

    def faults(self) -> list[Fault]:
        return [
            lambda: _over("SECONDLY"),
            lambda: _error(423, "LOCKED", "The record is locked."),
            lambda: _error(500, "INTERNAL_ERROR", "internal error"),
            lambda: Reply(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
            *([lambda: _error(401, "EXPIRED_AUTHENTICATION", "expired")] if self.signs_in else []),
        ]

    def _served(self, request: Request) -> Reply:
        for method, pattern, do in self._routes():
            found = re.fullmatch(pattern, request.path)
            if found and method == request.method:
                return do(request, *found.groups())
        return _error(404, "NOT_FOUND", "resource not found")

    def _routes(self) -> list[tuple[str, str, Callable[..., Reply]]]:
        return [
            ("GET", _PROPERTIES, lambda _: Reply(200, {"results": list(self.properties.values())})),
            ("POST", _PROPERTIES, self._add_property),
            ("GET", rf"{_PROPERTIES}/(\w+)", self._property),
            ("GET", _CONTACTS, lambda _: Reply(200, {"results": []})),
            ("POST", f"{_CONTACTS}/batch/upsert", self._upsert),
            ("POST", f"{_CONTACTS}/batch/read", self._read_by_key),
            ("POST", f"{_CONTACTS}/batch/archive", lambda request: self._archive(self.contacts, request)),
            ("GET", rf"{_CONTACTS}/([\w-]+)", self._read),
            ("PATCH", rf"{_CONTACTS}/(\d+)", self._change),
            ("POST", _ON_CONTACTS, self._on_contacts),
            ("POST", f"{_NOTES}/batch/create", self._create_notes),
            ("POST", f"{_NOTES}/batch/read", self._read_notes),
            ("POST", f"{_NOTES}/batch/archive", lambda request: self._archive(self.notes, request)),
        ]

    def _token(self, form: Mapping[str, str]) -> Reply:
        if form.get("refresh_token") != "refresh" or form.get("client_secret") != "secret":
            return Reply(400, {"error": "invalid_grant", "status": "BAD_REFRESH_TOKEN"})
        self.issued += 1
        self.key = f"access-{self.issued}"
        return Reply(200, {"access_token": self.key, "refresh_token": "refresh", "expires_in": 60})

    def _counted(self, reply: Reply) -> Reply:
        limits = {
            "Max": self.limit.calls,
            "Remaining": self.limit.left,
            "Interval-Milliseconds": int(_WINDOW * 1000),
        }
        if not self.signs_in:  # an app that is signed in to has no daily limit of its own
            limits |= {"Daily": _DAY, "Daily-Remaining": _DAY - self.limit.today}
        return Reply(reply.status, reply.body, {f"X-HubSpot-RateLimit-{name}": str(n) for name, n in limits.items()})

    def _property(self, _: Request, name: str) -> Reply:
        held = self.properties.get(name)
        return Reply(200, held) if held else _error(404, "OBJECT_NOT_FOUND", "no such property")

    def _add_property(self, request: Request) -> Reply:
        self.properties[request.body["name"]] = request.body
        return Reply(201, request.body)

    def _upsert(self, request: Request) -> Reply:
        inputs = request.body["inputs"]
        wrong = [error for one in inputs if (error := self._refusal(one["properties"], self._by_key(one["id"])))]
        if wrong and (len(inputs) == 1 or self.dice.random() < 0.5):
            return wrong[0]  # nothing of the batch was written
        good = [one for one in inputs if not self._refusal(one["properties"], self._by_key(one["id"]))]
        rows = [self._write(one) for one in good]
        body = {"status": "COMPLETE", "results": rows}
        if not wrong:
            return Reply(200, body)
        return Reply(207, {**body, "numErrors": len(wrong), "errors": [error.body for error in wrong]})

    def _write(self, one: Mapping[str, Any]) -> Record:
        name = self._by_key(one["id"])
        is_new = name is None
        name = name or next(self.ids)
        self.contacts.setdefault(name, {}).update(one["properties"])
        return {**self._shown(name), "new": is_new, "objectWriteTraceId": one["objectWriteTraceId"]}

    def _by_key(self, value: str) -> str | None:
        return next((name for name, held in self.contacts.items() if held.get(OURS) == value), None)

    def _refusal(self, properties: Mapping[str, str], name: str | None) -> Reply | None:
        if unknown := [one for one in properties if one not in self.properties]:
            return _error(400, "PROPERTY_DOESNT_EXIST", f'Property "{unknown[0]}" does not exist', unknown[0])
        if wrong := next((one for one in properties.items() if self._is_no_option(*one)), None):
            return _no_option(*wrong)
        email = properties.get("email", "").lower()
        owner = next((one for one, held in self.contacts.items() if email in _addresses(held)), None)
        if email and owner not in (None, name):
            return _error(409, "CONFLICT", f"Contact already exists. Existing ID: {owner}")
        return None

    def _is_no_option(self, name: str, value: str) -> bool:
        options = self.properties[name].get("options", [])
        return bool(options) and value not in [one["value"] for one in options]

    def _read(self, request: Request, value: str) -> Reply:
        name = self._by_key(value) if request.query.get("idProperty") == OURS else self.merged.get(value, value)
        if name not in self.contacts:
            return _error(404, "OBJECT_NOT_FOUND", "Object not found.")
        notes = self._shown_notes(str(name))
        linked: Record = {"results": [{"id": one, "type": "contact_to_note"} for one in notes[:_FIRST_NOTES]]}
        if len(notes) > _FIRST_NOTES:
            linked["paging"] = {"next": {"after": "x", "link": "https://hubspot.example/more"}}
        linked = {"notes": linked} if notes else {}
        return Reply(200, {**self._shown(str(name)), "associations": linked})

    def _shown_notes(self, name: str) -> list[str]:
        now = time.monotonic()
        return [one for one, note in self.notes.items() if name in note["contacts"] and note["at"] <= now]

    def _on_contacts(self, request: Request, kind: str) -> Reply:
        """Contacts with nothing of this kind are told as errors."""
        if kind == "notes":
            return self._notes_of(request)
        if kind in self.unseen:
            return _error(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call.")
        names, told = [one["id"] for one in request.body["inputs"]], self.work.get(kind, [])
        work = [{"toObjectId": 1, "associationTypes": []}]
        rows = [{"from": {"id": one}, "to": work} for one in names if one in told]
        errors = [_nothing_on(one, kind) for one in names if one not in told]
        return Reply(207 if errors else 200, {"status": "COMPLETE", "results": rows, "errors": errors})

    def _notes_of(self, request: Request) -> Reply:
        [asked] = request.body["inputs"]
        notes, start = self._shown_notes(asked["id"]), int(asked.get("after", 0))
        page = [{"toObjectId": int(one), "associationTypes": []} for one in notes[start : start + _PAGE_OF_NOTES]]
        row: Record = {"from": {"id": asked["id"]}, "to": page}
        if start + _PAGE_OF_NOTES < len(notes):
            row["paging"] = {"next": {"after": str(start + _PAGE_OF_NOTES)}}
        return Reply(200, {"status": "COMPLETE", "results": [row]})

    def _read_by_key(self, request: Request) -> Reply:
        names = {one["id"]: self._by_key(one["id"]) for one in request.body["inputs"]}
        body = {"status": "COMPLETE", "results": [self._shown(name) for name in names.values() if name]}
        missing = [value for value, name in names.items() if name is None]
        if not missing:
            return Reply(200, body)
        error = {"status": "error", "category": "OBJECT_NOT_FOUND", "context": {"ids": missing}}
        return Reply(207, {**body, "numErrors": 1, "errors": [error]})

    def _change(self, request: Request, name: str) -> Reply:
        if name not in self.contacts:
            return _error(404, "OBJECT_NOT_FOUND", "Object not found.")
        properties = request.body["properties"]
        if wrong := self._refusal(properties, name):
            return wrong
        self.contacts[name].update(properties)
        return Reply(200, self._shown(name))

    def _create_notes(self, request: Request) -> Reply:
        names = [next(self.ids) for _ in request.body["inputs"]]
        for name, one in zip(names, request.body["inputs"], strict=True):
            contacts = [link["to"]["id"] for link in one["associations"]]
            at = time.monotonic() + self.lag
            self.notes[name] = {"properties": one["properties"], "contacts": contacts, "at": at}
        return Reply(201, {"status": "COMPLETE", "results": [{"id": name} for name in names]})

    def _read_notes(self, request: Request) -> Reply:
        names = [one["id"] for one in request.body["inputs"] if one["id"] in self.notes]
        rows = [{"id": name, "properties": self.notes[name]["properties"]} for name in names]
        return Reply(200, {"status": "COMPLETE", "results": rows})

    def _archive(self, held: dict[str, Record], request: Request) -> Reply:
        for one in request.body["inputs"]:
            held.pop(one["id"], None)
        return Reply(204)

    def _shown(self, name: str) -> Record:
        url = f"https://app-eu1.hubspot.com/contacts/1/record/0-1/{name}"
        return {"id": name, "properties": dict(self.contacts[name]), "url": url}

    def _events(self, name: str) -> Iterator[str]:
        for note in self.notes.values():
            if name in note["contacts"]:
                yield from _MARK.findall(note["properties"]["hs_note_body"])


def _over(policy: str) -> Reply:
    sentence = f"You have reached your {policy.lower()} limit."
    body = {"status": "error", "errorType": "RATE_LIMIT", "policyName": policy, "message": sentence}
    return Reply(429, {**body, "category": "RATE_LIMITS"})


def _addresses(held: Mapping[str, str]) -> list[str]:
    return [held.get("email", "").lower(), *held.get("hs_additional_emails", "").split(";")]


def _no_option(name: str, value: str) -> Reply:
    """As HubSpot does, it repeats what was sent."""
    sentence = f"{value} was not one of the allowed options: [a, b]"
    told = [{"isValid": False, "message": sentence, "error": "INVALID_OPTION", "name": name}]
    error = {"message": sentence, "code": "INVALID_OPTION", "context": {"propertyName": [name]}}
    body = {"status": "error", "category": "VALIDATION_ERROR", "errors": [error]}
    return Reply(400, body | {"message": f"Property values were not valid: {json.dumps(told)}"})


def _nothing_on(contact: str, kind: str) -> Record:
    code = "crm.associations.NO_ASSOCIATIONS_FOUND"
    sentence = f"No {kind} is associated with contact {contact}."
    return {"status": "error", "category": "OBJECT_NOT_FOUND", "subCategory": code, "message": sentence}


def _error(status: int, category: str, message: str, name: str | None = None) -> Reply:
    body = {"status": "error", "category": category, "message": message, "correlationId": "aeb5f871"}
    errors = [{"code": category, "message": message, "context": {"propertyName": [name]}}] if name else []
    return Reply(status, {**body, "errors": errors} if errors else body)
