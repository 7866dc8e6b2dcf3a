"""A pretend Dynamics 365: rows by the key that the caller chose, duplicate rules only when asked, a limit of calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

API = "/api/data/v9.2"
KEYS = {"leads": "leadid", "contacts": "contactid", "tasks": "activityid", "phonecalls": "activityid"}
COLUMNS = {
    "leads": ["subject", "firstname", "lastname", "emailaddress1", "mobilephone", "statecode"],
    "tasks": ["subject", "description", "scheduledstart"],
    "phonecalls": ["subject", "description", "scheduledstart", "directioncode"],
}
RIGHTS = ["prvCreateLead", "prvReadLead", "prvWriteLead", "prvAppendToLead", "prvCreateActivity", "prvReadActivity"]
RIGHTS += ["prvWriteActivity", "prvAppendActivity", "prvReadContact", "prvAppendToContact"]
_ROW = re.compile(rf"{API}/(\w+)\(([0-9a-f-]{{36}})\)")
_BIND = re.compile(r"regardingobjectid_(lead|contact)_(?:task|phonecall)@odata\.bind")
_EXPAND = re.compile(r"(regardingobjectid_(lead|contact)_(?:task|phonecall))\(\$select=([\w,]+)\)")
_TARGET = re.compile(r"/(leads|contacts)\(([0-9a-f-]{36})\)")
_WANTED = re.compile(r"GET \S*/(contacts|leads)\?(\S+) HTTP")
_LIFE = 150  # calls that a token holds
LONGEST = 2000  # characters of a description

Row = dict[str, Any]


class PretendDynamics(PretendCrm):
    """races: the share of writes that lose against another one, while `faults_rate` is above 0. allowed: calls until it
    asks for quiet. by_name: its duplicate rule goes by the name, so that it also reports who has another e-mail."""

    kind = "dynamics"

    def __init__(self, seed: int = 1, late: float = 1.5) -> None:
        super().__init__(seed, late)
        self.tables: dict[str, dict[str, Row]] = {table: {} for table in KEYS}
        self.rights, self.knows_app, self.by_name = list(RIGHTS), True, False
        self.races, self.allowed, self.made, self.staff = 0.02, 1_000_000, 0, 0
        self.access, self.left = "access-0", _LIFE
        ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        self.token = {"access_token": self.access, "expires_at": ends, "refresh_token": None, "extra": {}}

    def settings(self) -> dict[str, Any]:
        return {
            "address": self.url,
            "tenant_id": "tenant",
            "client_id": "app",
            "client_secret": "secret",
            "sign_in_address": self.url,
        }

    def people(self) -> list[Person]:
        rows = [(table, key, row) for table in ("leads", "contacts") for key, row in self.tables[table].items()]
        return [
            Person(key, key if table == "leads" else None, row.get("emailaddress1") or "", self._events_of(table, key))
            for table, key, row in rows
            if row.get("statecode", 0) == 0
        ]

    def faults(self) -> list[Fault]:
        return [
            lambda: _error(429, "0x80072322", "Number of requests exceeded the limit.", {"Retry-After": "1"}),
            lambda: _error(503, "0x80048d0b", "The service is unavailable."),
            lambda: _error(500, "0x80044150", "Generic SQL error."),
            lambda: _error(401, "0x80048306", "Unauthorized"),
            lambda: Reply(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        ]

    def answer(self, request: Request) -> Reply:
        if request.path == "/tenant/oauth2/v2.0/token":
            return self._sign_in(request.body or {})
        self.left -= 1
        if request.headers.get("Authorization") != f"Bearer {self.access}" or self.left < 0:
            return Reply(401)
        if not self.knows_app:
            return _error(403, "0x80072560", "The user is not a member of the organization.")
        self.allowed -= 1
        if self.allowed < 0:
            return _error(429, "0x80072322", "Number of requests exceeded the limit.", {"Retry-After": "7"})
        reply = self._routed(request)
        burst = {"x-ms-ratelimit-burst-remaining-xrm-requests": str(self.allowed)}
        return Reply(reply.status, reply.body, {**reply.headers, **burst})

    def lead(self, **columns: Any) -> str:
        """A lead that staff made."""
        return self._made_by_staff("leads", {"statecode": 0, **columns})

    def contact(self, **columns: Any) -> str:
        """A contact that staff made."""
        return self._made_by_staff("contacts", {"statecode": 0, **columns})

    def qualify(self, lead: str) -> str:
        """What staff do with a lead that becomes a patient."""
        row = self.tables["leads"][lead]
        contact = self.contact(emailaddress1=row.get("emailaddress1"))
        row |= {"statecode": 1, "_parentcontactid_value": contact}
        return contact

    def _made_by_staff(self, table: str, columns: Row) -> str:
        self.staff += 1
        key = str(UUID(int=self.staff << 64))
        self.tables[table][key] = {KEYS[table]: key, **columns}
        return key

    def _sign_in(self, form: Mapping[str, str]) -> Reply:
        sound = {"client_id": "app", "client_secret": "secret", "scope": f"{self.url}/.default"}
        if any(form.get(name) != value for name, value in sound.items()):
            return Reply(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."})
        self.made += 1
        self.access, self.left = f"access-{self.made}", _LIFE
        return Reply(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": self.access})

    def _routed(self, request: Request) -> Reply:
        if found := _ROW.fullmatch(request.path):
            return self._row(request, found[1], found[2])
        if (request.method, request.path) == ("POST", f"{API}/$batch"):
            return self._batch(request.raw)
        if request.path == f"{API}/leads":
            return self._listed(request.query.get("$filter", ""))
        if request.path == f"{API}/activitypointers":
            about = request.query["$filter"].removeprefix("_regardingobjectid_value eq ")
            events = self._events_of("leads", about)
            return Reply(200, {"value": [{"activityid": one} for one in events]})
        if request.path == f"{API}/WhoAmI":
            return Reply(200, {"UserId": str(UUID(int=7))})
        if "RetrieveUserSetOfPrivilegesByNames" in request.path:
            asked = json.loads(request.query["@p"])
            held = [{"Depth": "Global", "PrivilegeName": name} for name in asked if name in self.rights]
            return Reply(200, {"RolePrivileges": held})
        return _error(404, "0x8006088a", "Resource not found for the segment.")

    def _row(self, request: Request, table: str, key: str) -> Reply:
        row = self.tables[table].get(key)
        if request.method == "PATCH":
            return self._upsert(request, table, key, row)
        if row is None:
            return _error(404, "0x80040217", f"{table} With Id = {key} Does Not Exist")
        if request.method == "DELETE":
            return self._delete(table, key)
        shown: Row = {name: row.get(name) for name in request.query["$select"].split(",")}
        return Reply(200, {KEYS[table]: key, **shown, **self._expanded(row, request.query.get("$expand", ""))})

    def _expanded(self, row: Row, wanted: str) -> Row:
        """The person whom an activity is about, where its link is asked for."""
        found: Row = {}
        for link, whose, names in _EXPAND.findall(wanted):
            person = self.tables[f"{whose}s"].get(row["about"]) if row.get("kind") == whose else None
            found[link] = person and {name: person.get(name) for name in names.split(",")}
        return found

    def _upsert(self, request: Request, table: str, key: str, row: Row | None) -> Reply:
        if len(str(request.body.get("description", "")).encode("utf-16-le")) > 2 * LONGEST:
            told = (
                f"The length of the 'description' attribute of the '{table}' entity exceeded the maximum allowed length"
            )
            return _error(400, "0x80044331", told)
        if self.faults_rate and self.dice.random() < self.races:
            return _error(412, "0x80040237", "A record with matching key values already exists.")
        if row is None and request.headers.get("If-Match") == "*":
            return _error(404, "0x80040217", f"{table} With Id = {key} Does Not Exist")
        columns, wrong = self._columns(table, request.body)
        if wrong:
            return wrong
        detects = request.headers.get("MSCRM.SuppressDuplicateDetection") == "false"
        if detects and (self.by_name or self._alike(columns.get("emailaddress1"), key)):
            return _error(500, "0x80040333", "A duplicate of the current record already exists.")
        self.tables[table][key] = {KEYS[table]: key, "statecode": 0, **(row or {}), **columns}
        return Reply(200 if row else 201, {KEYS[table]: key})

    def _columns(self, table: str, given: Row) -> tuple[Row, Reply | None]:
        """Its columns, the link to a person resolved; or what is wrong with them."""
        columns: Row = {}
        for name, value in given.items():
            if _BIND.fullmatch(name):
                target = _TARGET.fullmatch(value)
                if not target or target[2] not in self.tables[target[1]]:
                    return {}, _error(404, "0x80040217", "Entity Does Not Exist")
                columns |= {"about": target[2], "kind": target[1].removesuffix("s")}
            elif name not in COLUMNS[table]:
                message = f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table[:-1]}'."
                return {}, _error(400, "0x80048d19", message)
            else:
                columns[name] = value
        return columns, None

    def _alike(self, email: str | None, key: str) -> bool:
        rows = {**self.tables["leads"], **self.tables["contacts"]}
        mine = (email or "").casefold()
        others = [(row.get("emailaddress1") or "").casefold() for one, row in rows.items() if one != key]
        return bool(mine) and mine in others

    def _batch(self, asked: bytes) -> Reply:
        parts = [self._part(table, unquote(query)) for table, query in _WANTED.findall(asked.decode())]
        head = "--batchresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        lines = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        whole = "".join(f"{head}{lines}{json.dumps({'value': rows})}\r\n" for rows in parts)
        return Reply(
            200,
            f"{whole}--batchresponse_1--\r\n".encode(),
            {"Content-Type": "multipart/mixed; boundary=batchresponse_1"},
        )

    def _part(self, table: str, query: str) -> list[Row]:
        email = query.partition("emailaddress1 eq '")[2].removesuffix("'").replace("''", "'").casefold()
        return [row for row in self.tables[table].values() if (row.get("emailaddress1") or "").casefold() == email]

    def _listed(self, wanted: str) -> Reply:
        found = re.fullmatch(r"_parentcontactid_value eq (\S+) and statecode eq 1", wanted)
        rows = self.tables["leads"].values()
        alike = [
            one for one in rows if found and one.get("_parentcontactid_value") == found[1] and one["statecode"] == 1
        ]
        return Reply(200, {"value": [{"leadid": one["leadid"]} for one in alike]})

    def _delete(self, table: str, key: str) -> Reply:
        del self.tables[table][key]
        for events in (self.tables["tasks"], self.tables["phonecalls"]):
            for one in [one for one, row in events.items() if row.get("about") == key]:
                del events[one]
        return Reply(204)

    def _events_of(self, table: str, key: str) -> list[str]:
        events = {**self.tables["tasks"], **self.tables["phonecalls"]}
        return [one for one, row in events.items() if row.get("about") == key]


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, {"error": {"code": code, "message": message}}, headers or {})
