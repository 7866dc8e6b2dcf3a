"""A pretend Salesforce: unique fields, duplicate rules, converted leads, a verdict per record, calls per day."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

DATA = "/services/data/v65.0"
KEYS = {"Lead": "Frontdesk_Lead__c", "Task": "Frontdesk_Event__c", "Contact": ""}
FIELDS = {
    "Lead": ["FirstName", "LastName", "Company", "Email", "Phone", "MobilePhone", "LeadSource"],
    "Task": ["Subject", "Status", "ActivityDate", "Description", "WhoId"],
    "Contact": ["FirstName", "LastName", "Email", "Phone", "MobilePhone"],
    "Event": ["Subject", "WhoId"],
}
PREFIXES = {"Lead": "00Q", "Task": "00T", "Contact": "003", "PermissionSet": "0PS"}
_SOQL = re.compile(r"SELECT ([\w,]+) FROM (\w+) WHERE (\w+) IN \(([^)]*)\)")
_LIFE = 150  # calls that a token holds

Row = dict[str, Any]


class PretendSalesforce(PretendCrm):
    """races: the share of records that another transaction holds just then, while `faults_rate` is above 0.
    quota: calls a day. rule: whether its duplicate rule `warns` or `blocks`. alike: records that it takes for anybody
    who is new, as a rule does that goes by names."""

    kind = "salesforce"

    def __init__(self, seed: int = 1, late: float = 1.5) -> None:
        super().__init__(seed, late)
        self.tables: dict[str, dict[str, Row]] = {
            "Lead": {},
            "Task": {},
            "Event": {},
            "Contact": {},
            "PermissionSet": {},
        }
        self.unseen: set[str] = set()  # objects that our user may not see
        self.custom = set(KEYS.values()) - {""}  # fields that were made
        self.visible = set(self.custom)  # and that our user may see
        self.alike: list[str] = []
        self.races, self.used, self.quota, self.rule, self.made = 0.02, 0, 1_000_000, "warns", 0
        self.access, self.left = "access-0", _LIFE
        self.token = {
            "access_token": self.access,
            "expires_at": (datetime.now(UTC) + timedelta(hours=2)).isoformat(),
            "refresh_token": "refresh-for-ever",
            "extra": {"instance_url": self.url, "id": f"{self.url}/id/00D000000000001AAA/005000000000001AAA"},
        }

    def settings(self) -> dict[str, Any]:
        return {"address": self.url, "sign_in": "browser", "client_id": "consumer", "client_secret": "secret"}

    def people(self) -> list[Person]:
        rows = [*self.tables["Lead"].values(), *self.tables["Contact"].values()]
        return [
            Person(row["Id"], row.get(KEYS["Lead"]), row.get("Email") or "", self._events_of(row["Id"]))
            for row in rows
            if not row.get("IsConverted")
        ]

    def faults(self) -> list[Fault]:
        return [
            lambda: _error(503, "SERVER_UNAVAILABLE", "Service is currently unavailable."),
            lambda: _error(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred."),
            lambda: _error(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"),
            lambda: _error(401, "INVALID_SESSION_ID", "Session expired or invalid"),
            lambda: Reply(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        ]

    def answer(self, request: Request) -> Reply:
        if request.path == "/services/oauth2/token":
            return self._sign_in(request.body or {})
        self.left -= 1
        if request.headers.get("Authorization") != f"Bearer {self.access}" or self.left < 0:
            return _error(401, "INVALID_SESSION_ID", "Session expired or invalid")
        self.used += 1
        if self.used > self.quota:
            return _error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        reply = self._routed(request)
        return Reply(reply.status, reply.body, {"Sforce-Limit-Info": f"api-usage={self.used}/{self.quota}"})

    def contact(self, **fields: str) -> str:
        """A contact that staff made."""
        return self._insert("Contact", fields)["Id"]

    def lead(self, **fields: str) -> str:
        """A lead that staff made."""
        return self._insert("Lead", {"Company": "Theirs", **fields})["Id"]

    def convert(self, lead: str) -> str:
        """What staff do with a lead that becomes a patient. Its tasks move to the contact."""
        row = self.tables["Lead"][lead]
        contact = self.contact(**{name: row.get(name) or "" for name in FIELDS["Contact"]})
        row |= {"IsConverted": True, "ConvertedContactId": contact}
        for task in self.tables["Task"].values():
            task["WhoId"] = contact if task["WhoId"] == lead else task["WhoId"]
        return contact

    def _sign_in(self, form: Mapping[str, str]) -> Reply:
        known = (form.get("client_id"), form.get("client_secret")) == ("consumer", "secret")
        by_token = form.get("grant_type") == "refresh_token" and form.get("refresh_token") == "refresh-for-ever"
        if not known or not (by_token or form.get("grant_type") == "client_credentials"):
            return Reply(400, {"error": "invalid_grant", "error_description": "expired access/refresh token"})
        self.made += 1
        self.access, self.left = f"access-{self.made}", _LIFE
        return Reply(200, {"access_token": self.access, "token_type": "Bearer", **(self.token or {})["extra"]})

    def _routed(self, request: Request) -> Reply:
        parts = request.path.removeprefix(f"{DATA}/").split("/")
        match [request.method, *parts]:
            case ["GET", "query"]:
                return self._query(request.query["q"])
            case ["PATCH", "composite", "sobjects", table, key]:
                return self._upsert_all(table, key, request.body)
            case ["PATCH", "sobjects", "Lead", key, value]:
                return _single(self._upsert("Lead", {**request.body, key: value}, _allows(request)))
            case ["PATCH", "sobjects", "Lead", remote_id]:
                return self._update(remote_id, request.body)
            case ["DELETE", "composite", "sobjects"]:
                return Reply(200, [self._delete(one) for one in request.query["ids"].split(",")])
        return self._set_up(request, parts)

    def _set_up(self, request: Request, parts: list[str]) -> Reply:
        match [request.method, *parts]:
            case ["GET", "sobjects", table, "describe"] if table in KEYS:
                return Reply(200, self._described(table))
            case ["POST", "tooling", "sobjects", "CustomField"]:
                return self._add_field(request.body)
            case ["POST", "sobjects", "PermissionSet"]:
                return Reply(201, {"id": self._insert("PermissionSet", request.body)["Id"], "success": True})
            case ["POST", "composite", "sobjects"]:
                self.visible |= {row["Field"].partition(".")[2] for row in request.body["records"] if "Field" in row}
                return Reply(200, [{"id": "0000", "success": True, "errors": []} for _ in request.body["records"]])
        return _error(404, "NOT_FOUND", "The requested resource does not exist")

    def _query(self, soql: str) -> Reply:
        found = _SOQL.fullmatch(soql)
        if not found:
            return _error(400, "MALFORMED_QUERY", "unexpected token")
        names, table, column = found[1].split(","), found[2], found[3]
        if table in self.unseen:
            return _error(400, "INVALID_TYPE", f"sObject type '{table}' is not supported.")
        if unknown := next((name for name in [*names, column] if not self._knows(table, name)), None):
            return _error(400, "INVALID_FIELD", f"No such column '{unknown}' on entity '{table}'.")
        values = set(re.findall(r"'([^']*)'", found[4]))
        rows = [row for row in self.tables[table].values() if row.get(column) in values]
        records = [{"attributes": {"type": table}, **{name: row.get(name) for name in names}} for row in rows]
        return Reply(200, {"totalSize": len(rows), "done": True, "records": records})

    def _knows(self, table: str, name: str) -> bool:
        own = {"Id", "Name", "IsConverted", "ConvertedContactId", *FIELDS.get(table, [])}
        return name in own or (name == KEYS.get(table) and name in self.visible)

    def _described(self, table: str) -> Row:
        shown = [KEYS[table]] if KEYS[table] in self.visible else []
        write = {"createable": True, "updateable": True}
        rows = [
            {"name": name, "label": name, "type": "string", "nillable": True, **write, **_our(name)}
            for name in [*FIELDS[table], *shown]
        ]
        return {"name": table, **write, "fields": rows}

    def _upsert_all(self, table: str, key: str, body: Row) -> Reply:
        if key not in self.visible:
            return _error(400, "INVALID_FIELD", f"No such column '{key}' on sobject of type {table}")
        return Reply(200, [self._upsert(table, row, allows=False, batch=True) for row in body["records"]])

    def _upsert(self, table: str, given: Row, allows: bool, *, batch: bool = False) -> Row:
        """One record. A batch does not tell which records a duplicate is of."""
        if batch and self.faults_rate and self.dice.random() < self.races:
            return _no("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")
        fields = {name: value for name, value in given.items() if name != "attributes"}
        if unknown := next((name for name in fields if not self._knows(table, name)), None):
            return _no("INVALID_FIELD", f"No such column '{unknown}' on sobject of type {table}")
        row = self._by_key(table, fields[KEYS[table]])
        if wrong := self._wrong_with(table, fields, row, allows, batch):
            return wrong
        if row:
            row |= fields
        return {"id": (row or self._insert(table, fields))["Id"], "success": True, "errors": [], "created": not row}

    def _wrong_with(self, table: str, fields: Row, row: Row | None, allows: bool, batch: bool) -> Row | None:
        if table == "Task":
            who = self.tables["Lead"].get(fields["WhoId"]) or self.tables["Contact"].get(fields["WhoId"])
            if not who:
                return _no("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
            return _no("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference it") if who.get("IsConverted") else None
        if row and row.get("IsConverted"):
            return _no("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        if not row and (lacking := [name for name in ("LastName", "Company") if not fields.get(name)]):
            return _no("REQUIRED_FIELD_MISSING", f"Required fields are missing: {lacking}", fields=lacking)
        if "@" not in (fields.get("Email") or "@"):
            return _no("INVALID_EMAIL_ADDRESS", "Email: invalid email address", fields=["Email"])
        same = self._same_email(fields, row)
        if same and not (allows and self.rule == "warns"):
            return _no("DUPLICATES_DETECTED", "Use one of these records?", **({} if batch else _result(same)))
        return None

    def _same_email(self, fields: Row, row: Row | None) -> list[str]:
        email = (fields.get("Email") or "").casefold()
        rows = [*self.tables["Contact"].values(), *self.tables["Lead"].values()]
        alike = [one for one in rows if email and (one.get("Email") or "").casefold() == email]
        found = [one["Id"] for one in alike if one is not row and not one.get("IsConverted")]
        return found + ([] if row else self.alike)

    def _update(self, remote_id: str, fields: Row) -> Reply:
        row = self.tables["Lead"].get(remote_id)
        if not row:
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        owner = self._by_key("Lead", fields.get(KEYS["Lead"], ""))
        if owner and owner is not row:
            return _error(400, "DUPLICATE_VALUE", f"duplicate value found: {KEYS['Lead']} duplicates value on record")
        row |= fields
        return Reply(204)

    def _by_key(self, table: str, value: str) -> Row | None:
        return next((row for row in self.tables[table].values() if value and row.get(KEYS[table]) == value), None)

    def _insert(self, table: str, fields: Mapping[str, Any]) -> Row:
        remote_id = f"{PREFIXES[table]}{len(self.tables[table]) + 1:012d}AAA"
        self.tables[table][remote_id] = {"Id": remote_id, **fields}
        return self.tables[table][remote_id]

    def _delete(self, remote_id: str) -> Row:
        table = next((name for name, start in PREFIXES.items() if remote_id.startswith(start)), "Lead")
        if not self.tables[table].pop(remote_id, None):
            return _no("ENTITY_IS_DELETED", "entity is deleted")
        for task in [one for one, row in self.tables["Task"].items() if row["WhoId"] == remote_id]:
            del self.tables["Task"][task]
        return {"id": remote_id, "success": True, "errors": []}

    def _add_field(self, body: Row) -> Reply:
        name = body["FullName"].partition(".")[2]
        if name in self.custom:
            return _error(400, "DUPLICATE_DEVELOPER_NAME", "There is already a field of this name")
        self.custom.add(name)
        return Reply(201, {"id": "00N000000000001AAA", "success": True, "errors": []})

    def _events_of(self, remote_id: str) -> list[str]:
        return [row[KEYS["Task"]] for row in self.tables["Task"].values() if row["WhoId"] == remote_id]


def _our(name: str) -> Row:
    return {"unique": True, "externalId": True} if name in KEYS.values() else {"unique": False, "externalId": False}


def _allows(request: Request) -> bool:
    return request.headers.get("Sforce-Duplicate-Rule-Header") == "allowSave=true"


def _no(code: str, message: str, **more: Any) -> Row:
    return {"success": False, "errors": [{"statusCode": code, "message": message, "fields": [], **more}]}


def _result(ids: Iterable[str]) -> Row:
    """With the name of the result spelled as Salesforce spells it."""
    records = [{"record": {"Id": one}} for one in ids]
    return {"duplicateResut": {"allowSave": True, "matchResults": [{"matchRecords": records}]}}


def _single(row: Row) -> Reply:
    """The same verdict as a single call gives it."""
    if row["success"]:
        return Reply(201 if row["created"] else 200, row)
    error = dict(row["errors"][0])
    return Reply(400, [{"errorCode": error.pop("statusCode"), **error}])


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, [{"message": message, "errorCode": code}])
