"""A pretend HighLevel: one sub-account, whose search shows a contact only some time after it was written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from integrations.core.oauth import Token
from tests.pretend.server import Fault, Limit, Person, PretendCrm, Reply, Request

LOCATION, KEY = "ve9EPM428h8vShlRW1KT", "pit-pretend"
FIELD = "contact.frontdesk_lead_id"
_SCHEMAS = json.loads((Path(__file__).parent.parent / "data" / "gohighlevel" / "schemas.json").read_text())
_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")
_WINDOW, _DAY = 10.0, 200_000  # seconds; calls


class PretendGohighlevel(PretendCrm):
    """signs_in: by OAuth, with tokens that hold for a minute and refresh tokens that are good for one use; else by a
    Private Integration token. lag: seconds until the search shows what was written. limit: calls in 10 seconds."""

    kind = "gohighlevel"

    def __init__(
        self, seed: int = 1, late: float = 1.5, *, signs_in: bool = False, lag: float = 0.5, limit: int = 2000
    ) -> None:
        super().__init__(seed, late)
        self.lag, self.signs_in, self.takes_duplicates = lag, signs_in, False
        self.contacts: dict[str, dict[str, Any]] = {}
        self.notes: dict[str, dict[str, dict[str, Any]]] = {}
        self.shown_at: dict[str, float] = {}
        self.fields = [{"id": "fieldOfOurs", "name": "Frontdesk lead ID", "fieldKey": FIELD, "dataType": "TEXT"}]
        self.names = (f"{number:020d}" for number in range(1, 10**9))
        self.limit = Limit(limit, _WINDOW)
        self.key, self.refresh = KEY, ""
        if signs_in:
            self.key, self.refresh = "access-0", "refresh-0"
            far = datetime.now(UTC) + timedelta(minutes=1)
            self.token = Token(self.key, far, self.refresh, {"locationId": LOCATION}).dump()

    def settings(self) -> dict[str, Any]:
        if self.signs_in:
            return {"client_id": "client", "client_secret": "secret", "api": self.url}
        return {"key": KEY, "location_id": LOCATION, "api": self.url}

    def answer(self, request: Request) -> Reply:
        if request.path == "/oauth/token":
            return self._token(request.body)
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "Invalid JWT")
        if request.headers.get("Version") != "2021-07-28":
            return _error(401, "version header was not found.")
        if self.limit.is_over():
            return self._counted(_error(429, "Too Many Requests"))
        return self._counted(self._served(request))

    def people(self) -> list[Person]:
        return [
            Person(name, _lead(one), str(one.get("email") or ""), list(self._events(name)))
            for name, one in self.contacts.items()
        ]

    def faults(self) -> list[Fault]:
        over = {"X-RateLimit-Remaining": "0", "X-RateLimit-Interval-Milliseconds": "1000"}
        return [
            lambda: _error(429, "Too Many Requests", over),
            lambda: _error(503, "Service Unavailable"),
            lambda: _error(500, "Internal server error"),
            lambda: Reply(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
            *([lambda: _error(401, "Invalid JWT")] if self.signs_in else []),
        ]

    def _served(self, request: Request) -> Reply:
        for method, pattern, do in self._routes():
            found = re.fullmatch(pattern, request.path)
            if found and method == request.method:
                wrong = _unknown_in(request)
                return _error(422, [f"property {wrong} should not exist"]) if wrong else do(request, *found.groups())
        return _error(404, f"Cannot {request.method} {request.path}")

    def _routes(self) -> list[tuple[str, str, Callable[..., Reply]]]:
        one = r"/contacts/(\w+)"
        return [
            ("GET", f"/locations/{LOCATION}/customFields", lambda _: Reply(200, {"customFields": self.fields})),
            ("POST", f"/locations/{LOCATION}/customFields", self._add_field),
            ("POST", "/contacts/search", self._search),
            ("POST", "/contacts/", self._create),
            ("GET", one, lambda _, name: self._with(name, lambda contact: Reply(200, {"contact": contact}))),
            ("PUT", one, lambda request, name: self._with(name, lambda contact: self._change(request, contact))),
            ("DELETE", one, lambda _, name: self._with(name, lambda _: self._drop(name))),
            ("GET", f"{one}/notes", lambda _, name: self._with(name, lambda _: self._all_notes(name))),
            ("POST", f"{one}/notes", lambda request, name: self._with(name, lambda _: self._note(request, name))),
            ("DELETE", rf"{one}/notes/(\w+)", self._drop_note),
        ]

    def _token(self, form: Mapping[str, str]) -> Reply:
        if form.get("refresh_token") != self.refresh or form.get("client_secret") != "secret":
            return Reply(400, {"error": "invalid_grant", "error_description": "This refresh token is invalid"})
        number = int(self.refresh.partition("-")[2]) + 1
        self.key, self.refresh = f"access-{number}", f"refresh-{number}"
        body = {"access_token": self.key, "refresh_token": self.refresh, "token_type": "Bearer", "expires_in": 60}
        return Reply(200, {**body, "userType": "Location", "locationId": LOCATION, "userId": "user"})

    def _counted(self, reply: Reply) -> Reply:
        limits = {
            "X-RateLimit-Max": self.limit.calls,
            "X-RateLimit-Remaining": self.limit.left,
            "X-RateLimit-Interval-Milliseconds": int(_WINDOW * 1000),
            "X-RateLimit-Limit-Daily": _DAY,
            "X-RateLimit-Daily-Remaining": _DAY - self.limit.today,
        }
        return Reply(reply.status, reply.body, {name: str(value) for name, value in limits.items()})

    def _with(self, name: str, do: Callable[[dict[str, Any]], Reply]) -> Reply:
        contact = self.contacts.get(name)
        return _error(400, f"Contact with id {name} not found") if contact is None else do(contact)

    def _add_field(self, request: Request) -> Reply:
        key = "contact." + re.sub(r"\W+", "_", request.body["name"].lower())
        field = {"id": next(self.names), "fieldKey": key, **request.body}
        self.fields.append(field)
        return Reply(201, {"customField": field})

    def _search(self, request: Request) -> Reply:
        known = {f"customFields.{field['id']}": field["id"] for field in self.fields}
        filters = request.body["filters"]
        if wrong := [one["field"] for one in filters if one["field"] not in known]:
            return _error(400, f"Invalid field {wrong[0]}")
        shown = [one for name, one in self.contacts.items() if self.shown_at[name] <= time.monotonic()]
        for one in filters:
            shown = [contact for contact in shown if _custom(contact, known[one["field"]]) == one["value"]]
        return Reply(200, {"contacts": shown[: request.body["pageLimit"]], "total": len(shown), "traceId": "trace"})

    def _create(self, request: Request) -> Reply:
        if taken := self._taken(request.body, None):
            return taken
        name = next(self.names)
        self.contacts[name], self.notes[name] = {"id": name}, {}
        return self._write(request, self.contacts[name], 201)

    def _change(self, request: Request, contact: dict[str, Any]) -> Reply:
        return self._taken(request.body, contact["id"]) or self._write(request, contact, 200)

    def _write(self, request: Request, contact: dict[str, Any], status: int) -> Reply:
        custom = {row["id"]: row["value"] for row in contact.get("customFields", [])}
        custom |= {row["id"]: row["field_value"] for row in request.body.get("customFields", [])}
        contact |= {**request.body, "customFields": [{"id": name, "value": text} for name, text in custom.items()]}
        self.shown_at[contact["id"]] = time.monotonic() + self.lag
        return Reply(status, {"contact": contact} if status == 201 else {"succeded": True, "contact": contact})

    def _taken(self, body: Mapping[str, Any], but: str | None) -> Reply | None:
        """The sub-account allows no duplicates: e-mail first, then phone."""
        for field in () if self.takes_duplicates else ("email", "phone"):
            value = str(body.get(field) or "").lower()
            for name, contact in self.contacts.items():
                if value and name != but and str(contact.get(field) or "").lower() == value:
                    meta = {"contactId": name, "contactName": "Somebody", "matchingField": field}
                    sentence = "This location does not allow duplicated contacts."
                    return Reply(400, {"statusCode": 400, "message": sentence, "meta": meta})
        return None

    def _drop(self, name: str) -> Reply:
        del self.contacts[name], self.notes[name]
        return Reply(200, {"succeded": True})

    def _all_notes(self, name: str) -> Reply:
        return Reply(200, {"notes": list(self.notes[name].values())})

    def _note(self, request: Request, name: str) -> Reply:
        note = {"id": next(self.names), "contactId": name, **request.body}
        self.notes[name][note["id"]] = note
        return Reply(201, {"note": note})

    def _drop_note(self, _: Request, name: str, note: str) -> Reply:
        if self.notes.get(name, {}).pop(note, None) is None:
            return _error(404, "Note not found")
        return Reply(200, {"succeded": True})

    def _events(self, name: str) -> Iterator[str]:
        for note in self.notes[name].values():
            yield from _MARK.findall(note["body"])


def _custom(contact: Mapping[str, Any], field: str) -> str | None:
    return next((row["value"] for row in contact.get("customFields", []) if row["id"] == field), None)


def _lead(contact: Mapping[str, Any]) -> str | None:
    return _custom(contact, "fieldOfOurs")


def _unknown_in(request: Request) -> str | None:
    """HighLevel refuses a body with a property that its own schema does not name."""
    path = re.sub(r"^/contacts/(?!search$)\w+", "/contacts/{contactId}", request.path)
    call = _SCHEMAS["paths"].get(path, {}).get(request.method.lower())
    if not call or not call["request"] or path == "/contacts/search":
        return None
    schema = _SCHEMAS["components"]["schemas"][call["request"]["$ref"].rpartition("/")[2]]
    return next((name for name in request.body if name not in schema["properties"]), None)


def _error(status: int, message: str | list[str], headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, {"statusCode": status, "message": message}, headers or {})
