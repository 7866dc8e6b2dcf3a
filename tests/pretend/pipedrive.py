"""A pretend Pipedrive: nothing is unique, and its search finds a new person only after a while."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

KEY, KEY_NAME = "8f3c1d5a9b7e4f60c2d4a6b8e0f1325476980abc", "Frontdesk lead ID"
PLAN = "0123456789abcdef0123456789abcdef01234567"  # another field of this account, with options
_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")
_WINDOW = 2.0  # seconds
Row = dict[str, Any]


class PretendPipedrive(PretendCrm):
    """lag: seconds until the search finds a person. burst, searches: calls allowed in two seconds. key: whether our
    field is there. signs_in: by an app of the clinic's, not by a user's token."""

    kind: ClassVar[str] = "pipedrive"

    def __init__(
        self,
        seed: int = 1,
        late: float = 1.5,
        *,
        lag: float = 5.0,
        burst: int = 10_000,
        searches: int = 10_000,
        key: bool = True,
        signs_in: bool = False,
    ) -> None:
        super().__init__(seed, late)
        self.lag, self.burst, self.searches, self.signs_in = lag, burst, searches, signs_in
        self.custom = {PLAN: "Plan"} | ({KEY: KEY_NAME} if key else {})
        self.persons: dict[int, Row] = {}
        self.activities: dict[int, Row] = {}
        self.counts: dict[int, dict[str, int]] = {}  # what else staff put on a person: the name of the count → how many
        self.indexed: dict[int, float] = {}  # person → when the search finds it
        self.recent: deque[float] = deque()
        self.recent_searches: deque[float] = deque()
        self.day, self.last_id = 300_000, 0
        self.access, self.refresh = "first-access", "first-refresh"
        self.token = self._dump() if signs_in else None

    def settings(self) -> dict[str, Any]:
        own = {"sign_in": "oauth", "client_id": "app", "client_secret": "secret"}
        token = {"sign_in": "token", "api_token": "users-own-token"}
        more = own if self.signs_in else token
        return {"address": self.url, "accounts": self.url, **more}

    def people(self) -> list[Person]:
        return [
            Person(
                str(one),
                person["custom_fields"].get(KEY),
                person["emails"][0]["value"] if person.get("emails") else "",
                [event for activity in self._with(one) for event in _MARK.findall(activity["note"])],
            )
            for one, person in self.persons.items()
            if not person["is_deleted"]
        ]

    def faults(self) -> list[Fault]:
        return [
            lambda: Reply(429, _error("Too many requests"), {"x-ratelimit-reset": "1", "x-ratelimit-remaining": "0"}),
            lambda: Reply(403, b"<html>Cloudflare: you have been blocked</html>", {"Content-Type": "text/html"}),
            lambda: Reply(500, _error("Server error")),
            lambda: Reply(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
        ]

    def reply(self, request: Request) -> tuple[Reply | None, float]:
        """The sign-in is another server's, and works."""
        if request.path == "/oauth/token":
            with self.lock:
                return self._sign_in(request), 0
        return super().reply(request)

    def answer(self, request: Request) -> Reply:
        if not self._knows(request):
            return Reply(401, {"success": False, "error": "unauthorized access", "errorCode": 401})
        self.day -= 20 if request.path.endswith("/search") else 5
        if self.day < 0:
            return Reply(429, _error("Daily limit"), {"x-daily-ratelimit-token-remaining": "0"})
        if self._is_too_much(request):
            return Reply(429, _error("Too many requests"), {"x-ratelimit-reset": "2", "x-ratelimit-remaining": "0"})
        reply = self._route(request)
        left = {"x-ratelimit-remaining": str(self.burst - len(self.recent)), "x-ratelimit-reset": "2"}
        return Reply(reply.status, reply.body, left | {"x-daily-ratelimit-token-remaining": str(self.day)})

    def _knows(self, request: Request) -> bool:
        if self.signs_in:
            return request.headers.get("Authorization") == f"Bearer {self.access}"
        return request.headers.get("x-api-token") == "users-own-token"

    def _is_too_much(self, request: Request) -> bool:
        now = time.monotonic()
        limits = [(self.recent, self.burst)]
        limits += [(self.recent_searches, self.searches)] if request.path.endswith("/search") else []
        for recent, most in limits:
            while recent and recent[0] < now - _WINDOW:
                recent.popleft()
            if len(recent) >= most:
                return True
            recent.append(now)
        return False

    def _sign_in(self, request: Request) -> Reply:
        """Each refresh token is good once, and so for two months at a time."""
        basic = request.headers.get("Authorization") or ""
        if not basic.startswith("Basic ") or request.body.get("refresh_token") != self.refresh:
            return Reply(400, {"success": False, "error": "invalid_grant"})
        self.last_id += 1
        self.access, self.refresh = f"access-{self.last_id}", f"refresh-{self.last_id}"
        return Reply(
            200,
            {
                "access_token": self.access,
                "refresh_token": self.refresh,
                "token_type": "Bearer",
                "expires_in": 3600,
                "api_domain": self.url,
            },
        )

    def _dump(self) -> dict[str, Any]:
        return {
            "access_token": self.access,
            "expires_at": datetime(2100, 1, 1, tzinfo=UTC).isoformat(),
            "refresh_token": self.refresh,
            "extra": {"api_domain": self.url},
        }

    def _route(self, request: Request) -> Reply:
        method, path, body = request.method, request.path, request.body
        if path == "/api/v2/personFields":
            return self._fields(method, body)
        if path == "/api/v1/activityTypes":
            return _ok([{"id": 1, "key_string": "call", "active_flag": True}])
        if path == "/api/v2/persons/search":
            return self._search(request.query)
        if path == "/api/v2/persons":
            return self._new_person(body) if method == "POST" else self._people(request.query)
        if path == "/api/v2/activities":
            return self._new_activity(body) if method == "POST" else _ok(self._with(int(request.query["person_id"])))
        found = re.fullmatch(r"/api/v2/(persons|activities)/(\d+)", path)
        held = {"persons": self.persons, "activities": self.activities}[found[1]] if found else {}
        one = held.get(int(found[2])) if found else None
        if one is None or one["is_deleted"]:
            return Reply(404, _error("Not found"))
        if method == "DELETE":
            one["is_deleted"] = True
            return _ok({"id": one["id"]})
        return self._change(one, body) if method == "PATCH" else _ok(one)

    def _fields(self, method: str, body: Any) -> Reply:
        if method == "POST":
            self.custom[KEY] = body["field_name"]
            return _ok({"field_code": KEY, "field_name": body["field_name"], "field_type": "varchar"})
        rows = [{"field_code": "name", "field_name": "Name", "field_type": "varchar", "is_custom_field": False}]
        for code, name in self.custom.items():
            kind = {"field_type": "enum", "options": [{"id": 7, "label": "Gold"}]} if code == PLAN else {}
            rows.append(
                {"field_code": code, "field_name": name, "field_type": "varchar", "is_custom_field": True} | kind
            )
        return _ok(rows)

    def _people(self, query: Mapping[str, str]) -> Reply:
        if "ids" not in query:
            return _ok([*reversed(self.persons.values())][:100])
        there = [self.persons[int(one)] for one in query["ids"].split(",") if int(one) in self.persons]
        names = query["include_fields"].split(",")
        counts = {one["id"]: dict.fromkeys(names, 0) | self.counts.get(one["id"], {}) for one in there}
        return _ok([{**one, **counts[one["id"]]} for one in there if not one["is_deleted"]])

    def _search(self, query: Mapping[str, str]) -> Reply:
        now, term = time.monotonic(), query["term"].casefold()
        items = []
        for one, person in self.persons.items():
            if self.indexed[one] > now or person["is_deleted"]:
                continue
            emails = [row["value"] for row in person["emails"]]
            held = emails if query["fields"] == "email" else [str(text) for text in person["custom_fields"].values()]
            if term in [text.casefold() for text in held]:
                items.append({"result_score": 0.5, "item": {"id": one, "type": "person", "emails": emails}})
        return _ok({"items": items})

    def _new_person(self, body: Row) -> Reply:
        if not body.get("name"):
            return Reply(400, _error("Validation failed: name is required"))
        self.last_id += 1
        one = {"id": self.last_id, "is_deleted": False, "emails": [], "phones": [], "custom_fields": {}}
        self.persons[self.last_id] = one
        self.indexed[self.last_id] = time.monotonic() + self.lag
        return self._change(one, body)

    def _change(self, one: Row, body: Row) -> Reply:
        if unknown := body.get("custom_fields", {}).keys() - self.custom.keys():
            return Reply(400, _error(f"Validation failed: custom_fields: unknown {sorted(unknown)}"))
        custom = one["custom_fields"] | body.get("custom_fields", {})
        one |= {**body, "custom_fields": custom}
        return _ok(one)

    def _new_activity(self, body: Row) -> Reply:
        (who,) = body["participants"]
        if "person_id" in body or who["person_id"] not in self.persons:
            return Reply(400, _error("Validation failed: participants"))
        self.last_id += 1
        self.activities[self.last_id] = {"id": self.last_id, "is_deleted": False, **body, "person_id": who["person_id"]}
        return _ok(self.activities[self.last_id])

    def _with(self, person_id: int) -> list[Row]:
        held = self.activities.values()
        return [one for one in held if one["person_id"] == person_id and not one["is_deleted"]]


def _ok(data: Any) -> Reply:
    return Reply(200, {"success": True, "data": data, "additional_data": {"next_cursor": None}})


def _error(text: str) -> Row:
    return {"success": False, "error": text, "error_info": "Please check developers.pipedrive.com", "data": None}
