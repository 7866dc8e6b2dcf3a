"""Twenty: upserts by id and by e-mail address that write over what they find, batches that are taken as a whole or not
at all, 400 for everything, deleted records that come back.

Written from the observed answers of a server of November 2025, and from the public source since.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import uuid4

from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

KEY = "pretend." + base64.urlsafe_b64encode(json.dumps({"exp": 1900000000}).encode()).decode().rstrip("=") + ".key"
_NAMES = {"people": "person", "notes": "note", "noteTargets": "noteTarget"}
_PERSON = {"id", "name", "emails", "phones", "city", "jobTitle"}
_PAGE = 60
_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")


class _NotTakenError(Exception):
    """The text of a 400."""


class PretendTwenty(PretendCrm):
    """morphed: the workspace has the column names of version 1.17 and later. seen: calls in this minute, against
    `limit`. reads_only: the key's role may not write."""

    kind: ClassVar[str] = "twenty"

    def __init__(self, seed: int = 1, late: float = 1.5, *, morphed: bool = True) -> None:
        super().__init__(seed, late)
        self.column = "targetPersonId" if morphed else "personId"
        self.tables: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _NAMES}
        self.limit, self.seen, self.reads_only = 10**9, 0, False

    def settings(self) -> dict[str, Any]:
        return {"url": self.url, "key": KEY}

    def answer(self, request: Request) -> Reply:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if "authorization" not in headers:
            return _no(403, "FORBIDDEN_EXCEPTION", "Missing authentication token")
        if headers["authorization"] != f"Bearer {KEY}":
            return _no(401, "UNAUTHENTICATED", "Token invalid.")
        self.seen += 1
        if self.seen > self.limit:
            return _no(429, "HttpException", "Limit reached (100 tokens per 60000 ms)")
        parts = request.path.split("/")[2:]
        try:
            return self._route(request, parts)
        except _NotTakenError as error:
            return _no(400, "Error", str(error))

    def people(self) -> list[Person]:
        return [
            Person(number, number, str(row.get("emails", {}).get("primaryEmail") or ""), self._events_of(number))
            for number, row in self.tables["people"].items()
            if not row["deletedAt"]
        ]

    def faults(self) -> list[Fault]:
        html = {"Content-Type": "text/html"}
        return [
            lambda: _no(400, "QueryFailedError", "Connection terminated unexpectedly"),
            lambda: _no(400, "QueryFailedError", "A duplicate entry was detected"),
            lambda: Reply(502, b"<html>502 Bad Gateway</html>", html),
            lambda: _no(429, "HttpException", "Limit reached (100 tokens per 300 ms)"),
        ]

    def add(self, **values: Any) -> str:
        """A person whom staff entered themselves."""
        number = str(uuid4())
        self.tables["people"][number] = {"id": number, "deletedAt": None, **values}
        return number

    def _events_of(self, person: str) -> list[str]:
        ties = [tie for tie in self.tables["noteTargets"].values() if tie.get(self.column) == person]
        notes = [self.tables["notes"][tie["noteId"]] for tie in ties]
        return [event for one in notes for event in _MARK.findall(one["bodyV2"]["markdown"]) if not one["deletedAt"]]

    def _route(self, request: Request, parts: list[str]) -> Reply:
        table = parts[-1] if parts[-1] != "duplicates" else parts[0]
        if table not in self.tables:
            raise _NotTakenError(f"object '{table}' not found")
        if self.reads_only and (request.method == "DELETE" or "batch" in parts):
            return _no(403, "PERMISSION_DENIED", "Entity performing the request does not have permission")
        if parts[-1] == "duplicates":
            return Reply(201, {"data": [{"personDuplicates": self._same_email(row)} for row in request.body["data"]]})
        if request.method == "POST" and parts[0] == "batch":
            return Reply(201, {"data": {f"create{table[0].upper()}{table[1:]}": self._upsert(table, request.body)}})
        rows = self._filtered(table, request.query.get("filter", ""), deleted=request.method == "DELETE")
        if request.method == "DELETE":
            self._destroy(table, {row["id"] for row in rows})
            return Reply(200, {"data": {"delete": [{"id": row["id"]} for row in rows]}})
        return self._page(table, rows, request.query.get("starting_after"))

    def _page(self, table: str, rows: list[dict[str, Any]], after: str | None) -> Reply:
        start = int(after or 0)
        some = rows[start : start + _PAGE]
        page = {"hasNextPage": start + _PAGE < len(rows), "endCursor": str(start + _PAGE)}
        return Reply(200, {"data": {table: some}, "pageInfo": page, "totalCount": len(rows)})

    def _filtered(self, table: str, text: str, *, deleted: bool) -> list[dict[str, Any]]:
        rows = [row for row in self.tables[table].values() if deleted or not row["deletedAt"]]
        if not text:
            return rows
        found = re.fullmatch(r"(\w+)\[in\]:(\[.*\])", text)
        assert found, text
        if found[1] not in {"id", "noteId", self.column}:
            raise _NotTakenError(f"field '{found[1]}' does not exist in '{_NAMES[table]}' object")
        return [row for row in rows if row.get(found[1]) in json.loads(found[2])]

    def _destroy(self, table: str, ids: set[str]) -> None:
        for number in ids:
            del self.tables[table][number]
        ties = self.tables["noteTargets"]
        self.tables["noteTargets"] = {
            number: tie for number, tie in ties.items() if not {tie["noteId"], tie.get(self.column)} & ids
        }

    def _same_email(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        wanted = _email(row)
        people = self.tables["people"].values()
        return [one for one in people if wanted and _email(one) == wanted and not one["deletedAt"]]

    def _upsert(self, table: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len({row["id"] for row in rows}) < len(rows):
            raise _NotTakenError("ON CONFLICT DO UPDATE command cannot affect row a second time")
        if len(rows) > 200:
            raise _NotTakenError("Maximum number of records to upsert is 200.")
        for row in rows:
            self._check(table, row)
        homes = [self._match(table, row) for row in rows]
        addresses = {home: address for home, row in zip(homes, rows, strict=True) if (address := _email(row))}
        if table == "people" and len(set(addresses.values())) < len(addresses):
            raise _NotTakenError("A duplicate entry was detected")
        for home, row in zip(homes, rows, strict=True):
            held = self.tables[table].setdefault(home, {"id": home, "deletedAt": None})
            for name, value in row.items():
                if name != "id":
                    held[name] = {**held.get(name, {}), **value} if isinstance(value, dict) else value
            held["deletedAt"] = None
            if table == "people" and _email(held):
                held["emails"]["primaryEmail"] = _email(held)
        return [self.tables[table][home] for home in reversed(homes)]  # in no promised order

    def _check(self, table: str, row: Mapping[str, Any]) -> None:
        known = {"people": _PERSON, "notes": {"id", "title", "bodyV2"}, "noteTargets": {"id", "noteId", self.column}}
        for name in row:
            if name not in known[table]:
                raise _NotTakenError(f'Field metadata for field "{name}" is missing in object metadata {_NAMES[table]}')
        phone = row.get("phones", {}).get("primaryPhoneNumber", "1")
        if not phone.isdecimal():
            raise _NotTakenError(f"Provided phone number is invalid {phone}")

    def _match(self, table: str, row: Mapping[str, Any]) -> str:
        """The record of this id, and that of this address: they must not be two."""
        held = self.tables[table]
        found = {number for number in held if number == row["id"]}
        if table == "people" and _email(row):
            found |= {number for number, one in held.items() if _email(one) == _email(row)}
        if len(found) > 1:
            text = f"id: {row['id']}, emails.primaryEmail: {_email(row)}"
            raise _NotTakenError(
                f"Multiple records found with the same unique field values for {text}. Cannot determine which record "
                "to update."
            )
        return found.pop() if found else str(row["id"])


def _email(row: Mapping[str, Any]) -> str:
    return str(row.get("emails", {}).get("primaryEmail") or "").lower()


def _no(status: int, error: str, text: str) -> Reply:
    return Reply(status, {"statusCode": status, "error": error, "messages": [text]})
