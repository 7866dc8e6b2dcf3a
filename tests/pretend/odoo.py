"""Odoo: `load` by External ID that keeps all or nothing, JSON-2 since version 19 and JSON-RPC before.

Written from the observed answers of a running 19.0 and from the public source of 16 to 19.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

KEY, DATABASE, LOGIN, USER = "pretend-key", "clinic", "bot", 7
LEAD_FIELDS = {
    "id": {"type": "integer", "string": "ID", "readonly": True, "required": False},
    "name": {"type": "char", "string": "Opportunity", "readonly": False, "required": True},
    "contact_name": {"type": "char", "string": "Contact Name", "readonly": False, "required": False},
    "email_from": {"type": "char", "string": "Email", "readonly": False, "required": False},
    "phone": {"type": "char", "string": "Phone", "readonly": False, "required": False},
}
_TABLES = {
    "crm.lead": set(LEAD_FIELDS),
    "mail.activity": {"res_model_id", "res_id", "activity_type_id", "summary", "note", "date_deadline"},
    "mail.message": {"model", "res_id", "body"},
}
_TYPES = {"mail.mail_activity_data_todo": 4, "mail.mail_activity_data_call": 2}
_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")
_MADE, _LATER = "2027-01-04 09:30:00", "2027-01-04 11:02:00"
_LOST_RACE = "could not serialize access due to concurrent update"


class OdooError(Exception):
    """An exception on the server: its status by JSON-2, its name and message."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(name)
        self.status, self.body = status, {"name": name, "message": message, "arguments": [message], "debug": "…"}


@dataclass
class Memory:
    """The database. keys: External ID → model and number."""

    tables: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in _TABLES})
    keys: dict[str, tuple[str, int]] = field(default_factory=dict)


class PretendOdoo(PretendCrm):
    """refuses: what a rule of the clinic's says against a lead. rights: what the user may do with leads."""

    kind: ClassVar[str] = "odoo"

    def __init__(self, seed: int = 1, late: float = 1.5, version: int = 19) -> None:
        super().__init__(seed, late)
        self.version, self.memory, self.numbers = version, Memory(), itertools.count(1)
        self.rights = {"read", "write", "create", "unlink"}
        self.refuses: Callable[[Mapping[str, Any]], str | None] = lambda _: None

    def settings(self) -> dict[str, Any]:
        return {"url": self.url, "key": KEY, "database": DATABASE, "login": LOGIN}

    def answer(self, request: Request) -> Reply:
        if request.path == "/web/version" and self.version >= 19:
            return Reply(200, {"version_info": [self.version, 0, 0, "final", 0, ""], "version": f"{self.version}.0"})
        if request.path == "/jsonrpc":
            return self._old(request.body["params"])
        parts = request.path.split("/")
        if parts[1:3] == ["json", "2"] and len(parts) == 5 and self.version >= 19:
            return self._new(request, *parts[3:])
        return Reply(404, b"<!doctype html><title>404 Not Found</title>", {"Content-Type": "text/html"})

    def people(self) -> list[Person]:
        told = [
            (row["res_id"], str(row.get(text)))
            for table, text in (("mail.activity", "note"), ("mail.message", "body"))
            for row in self.memory.tables[table].values()
        ]
        owners = {
            number: key.partition(".lead_")[2] for key, (_, number) in self.memory.keys.items() if ".lead_" in key
        }
        return [
            Person(
                str(number),
                owners.get(number),
                str(lead.get("email_from") or ""),
                [event for where, text in told if where == number for event in _MARK.findall(text)],
            )
            for number, lead in self.memory.tables["crm.lead"].items()
        ]

    def faults(self) -> list[Fault]:
        full = OdooError(500, "psycopg2.OperationalError", "connection to server failed: too many clients already")
        race = OdooError(500, "psycopg2.errors.SerializationOdooError", _LOST_RACE)
        gateway = Reply(502, b"<html>502 Bad Gateway</html>", {"Content-Type": "text/html"})
        return [lambda: self._failed(full), lambda: self._failed(race), lambda: gateway]

    def add(self, **values: Any) -> int:
        """A lead that staff wrote themselves."""
        number = next(self.numbers)
        self.memory.tables["crm.lead"][number] = {"active": True, **values}
        return number

    def move(self, lead: int) -> None:
        """Staff drag a lead to another stage."""
        self.memory.tables["crm.lead"][lead] |= {"stage_id": [2, "Qualified"], "date_last_stage_update": _LATER}

    def mark_done(self) -> None:
        """Staff tick off every activity: it is archived since version 18, before it becomes a message."""
        activities = self.memory.tables["mail.activity"]
        for number, row in list(activities.items()):
            if self.version >= 18:
                row["active"] = False
                continue
            text = f"<p>To-Do done: {row['summary']}</p><p>Original note:</p>{row['note']}"
            message = {"model": "crm.lead", "res_id": row["res_id"], "body": text}
            self.memory.tables["mail.message"][next(self.numbers)] = message
            self._forget("mail.activity", number)

    def _new(self, request: Request, model: str, method: str) -> Reply:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            if headers.get("authorization") != f"bearer {KEY}":
                raise OdooError(401, "werkzeug.exceptions.Unauthorized", "Invalid apikey")
            if headers.get("x-odoo-database", DATABASE) != DATABASE:
                return Reply(404, b"<html>404</html>", {"Content-Type": "text/html"})
            return Reply(200, self._execute(model, method, dict(request.body)))
        except OdooError as failure:
            return self._failed(failure)

    def _old(self, call: Mapping[str, Any]) -> Reply:
        args = call["args"]
        try:
            if args[0] != DATABASE:
                raise OdooError(500, "psycopg2.OperationalError", f'FATAL: database "{args[0]}" does not exist')
            if call["service"] == "common":
                return Reply(200, {"jsonrpc": "2.0", "result": USER if args[1:3] == [LOGIN, KEY] else False})
            if args[1:3] != [USER, KEY]:
                raise OdooError(403, "odoo.exceptions.AccessDenied", "Access Denied")
            _, _, _, model, method, positional, named = args
            given = dict(named) | ({"ids": positional[0]} if positional else {})
            return Reply(200, {"jsonrpc": "2.0", "result": self._execute(model, method, given)})
        except OdooError as failure:
            return self._failed(failure, old=True)

    def _failed(self, failure: OdooError, *, old: bool | None = None) -> Reply:
        if self.version < 19 if old is None else old:
            error = {"code": 0, "message": "Odoo Server Error", "data": failure.body}
            return Reply(200, {"jsonrpc": "2.0", "error": error})
        return Reply(failure.status, failure.body)

    def _execute(self, model: str, method: str, given: dict[str, Any]) -> Any:
        context = given.pop("context", {})
        if model == "ir.model.data" and method == "check_object_reference":
            return self._reference(f"{given['module']}.{given['xml_id']}")
        if model not in _TABLES:
            raise OdooError(404, "werkzeug.exceptions.NotFound", f"the model {model!r} does not exist")
        if method == "has_access" and self.version >= 18:
            return given["operation"] in self.rights
        if method == "check_access_rights" and self.version < 19:
            return given["operation"] in self.rights
        if method == "load":
            return self._load(model, given["fields"], given["data"], context)
        if method == "search_read":
            return self._search(model, given, context)
        if method == "fields_get":
            return LEAD_FIELDS
        if method == "unlink":
            return self._unlink(model, given["ids"])
        raise OdooError(404, "builtins.AttributeError", f"The method '{model}.{method}' does not exist")

    def _reference(self, key: str) -> list[Any]:
        if key in _TYPES:
            return ["mail.activity.type", _TYPES[key]]
        if key not in self.memory.keys:
            raise OdooError(500, "builtins.ValueError", f"External ID not found in the system: {key}")
        return list(self.memory.keys[key])

    def _load(
        self, model: str, columns: list[str], data: list[list[str]], context: Mapping[str, Any]
    ) -> dict[str, Any]:
        """All rows or none. The first row is blamed along with the guilty one, as the real one does it."""
        for name in (column.partition("/")[0] for column in columns):
            if name not in _TABLES[model] | {"id"}:
                raise OdooError(500, "builtins.ValueError", f"Invalid field name {name!r}")
        if self.dice.random() < self.faults_rate / 4:
            return _nothing([{"type": "error", "record": 0, "message": _LOST_RACE}])
        rows = [dict(zip(columns, row, strict=True)) for row in data]
        errors = [error for place, row in enumerate(rows) if (error := self._wrong(model, place, row, context))]
        if errors:
            return _nothing([errors[0] | {"record": 0}, *errors] if len(rows) > 1 else errors)
        ids = [self._upsert(model, row, context) for row in rows]
        return {"ids": ids, "messages": [], "nextrow": 0}

    def _wrong(
        self, model: str, place: int, row: Mapping[str, str], context: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        error = {"type": "error", "record": place, "rows": {"from": place, "to": place}}
        there = row["id"] in self.memory.keys
        if model == "crm.lead" and ("write" if there else "create") not in self.rights:
            return error | {"message": "You are not allowed to create 'Lead' (crm.lead) records."}
        if model == "crm.lead" and not there and not (row.get("name") or context.get("default_name")):
            message = "Missing required value for the field 'Opportunity' (name)"
            return error | {"message": message, "field": "name"}
        if model == "mail.activity" and row["activity_type_id/id"] not in _TYPES:
            return error | {"message": "No matching record found for external id", "field": "activity_type_id"}
        if model == "mail.activity" and int(row["res_id"]) not in self.memory.tables["crm.lead"]:
            return error | {"message": "Record does not exist or has been deleted."}
        refusal = self.refuses(row) if model == "crm.lead" else None
        return error | {"message": refusal} if refusal else None

    def _upsert(self, model: str, row: Mapping[str, str], context: Mapping[str, Any]) -> int:
        key, values = row["id"], {name.partition("/")[0]: value for name, value in row.items() if name != "id"}
        if model == "mail.activity":
            values = {**values, "res_id": int(row["res_id"]), "res_model": "crm.lead"}  # type: ignore[dict-item]
        if key not in self.memory.keys:
            number = next(self.numbers)
            self.memory.keys[key] = (model, number)
            dates = {"create_date": _MADE} | ({"date_last_stage_update": _MADE} if model == "crm.lead" else {})
            self.memory.tables[model][number] = {"active": True, "name": context.get("default_name"), **dates}
        number = self.memory.keys[key][1]
        self.memory.tables[model][number] |= values
        return number

    def _search(self, model: str, given: Mapping[str, Any], context: Mapping[str, Any]) -> list[dict[str, Any]]:
        if model == "crm.lead" and "read" not in self.rights:
            raise OdooError(
                403, "odoo.exceptions.AccessError", "You are not allowed to access 'Lead' (crm.lead) records."
            )
        rows = [{"id": number, **row} for number, row in self.memory.tables[model].items()]
        shown = [row for row in rows if row.get("active", True) or context.get("active_test") is False]
        found = [row for row in shown if _matches(row, given["domain"])]
        return [{name: row.get(name) or False for name in {"id", *given["fields"]}} for row in found]

    def _unlink(self, model: str, ids: list[int]) -> bool:
        if "unlink" not in self.rights:
            raise OdooError(
                403, "odoo.exceptions.AccessError", "You are not allowed to delete 'Lead' (crm.lead) records."
            )
        for number in ids:
            if number not in self.memory.tables[model]:
                raise OdooError(404, "odoo.exceptions.MissingError", "Record does not exist or has been deleted.")
            for table in ("mail.activity", "mail.message"):
                for other, row in list(self.memory.tables[table].items()):
                    if row["res_id"] == number:
                        self._forget(table, other)
            self._forget(model, number)
        return True

    def _forget(self, model: str, number: int) -> None:
        del self.memory.tables[model][number]
        self.memory.keys = {key: one for key, one in self.memory.keys.items() if one != (model, number)}


def _nothing(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"ids": False, "messages": messages, "nextrow": 0}


def _matches(row: Mapping[str, Any], domain: list[Any]) -> bool:
    """As much of Odoo's domains as is needed: all terms, and after `|` any of those that follow."""
    first = domain.index("|") if "|" in domain else len(domain)
    if not all(_holds(row, term) for term in domain[:first]):
        return False
    ors = [term for term in domain[first:] if term != "|"]
    # One search term alone needs no `|`, and stands among those that must all hold.
    return not ors or any(_holds(row, term) for term in ors)


def _holds(row: Mapping[str, Any], term: list[Any]) -> bool:
    name, operator, value = term
    if operator == "in":
        return row.get(name) in value
    if operator == "ilike":
        return str(value).lower() in str(row.get(name) or "").lower()
    return bool(row.get(name) == value)
