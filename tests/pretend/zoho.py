"""A pretend Zoho CRM: leads with unique fields, notes, queries, a result per record, and tokens that run out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

KEY = "Frontdesk_Lead_ID"
_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")
_FIELDS = ("First_Name", "Last_Name", "Email", "Phone", "Description", "Lead_Status")
_CALLS_OF_A_TOKEN = 150
Row = dict[str, Any]


class PretendZoho(PretendCrm):
    """unique: the fields that may hold no value twice, besides our own. key: whether our own field is there. shows: a
    converted lead stands among the others, and refuses what is written to it; else it stands there only on request.
    contacts: what leads were converted to."""

    kind: ClassVar[str] = "zoho"

    def __init__(
        self, seed: int = 1, late: float = 1.5, *, unique: tuple[str, ...] = ("Email",), key: bool = True
    ) -> None:
        super().__init__(seed, late)
        self.unique = (KEY, *unique) if key else unique
        self.columns = [*_FIELDS, *([KEY] if key else [])]
        self.leads: dict[str, Row] = {}
        self.notes: dict[str, Row] = {}
        self.contacts: dict[str, Row] = {}
        self.shows = False
        self.tokens = {"first-access": _CALLS_OF_A_TOKEN}
        self.credits, self.last_id = 100_000, 5_725_767_000_000_000_000
        self.token = {
            "access_token": "first-access",
            "expires_at": datetime(2100, 1, 1, tzinfo=UTC).isoformat(),
            "refresh_token": "only-refresh",
            "extra": {"api_domain": self.url},
        }

    def settings(self) -> dict[str, Any]:
        return {"client_id": "1000.PRETEND", "client_secret": "secret", "accounts": self.url}

    def people(self) -> list[Person]:
        return [
            Person(
                one,
                lead.get(KEY),
                lead.get("Email") or "",
                [event for note in self._on(one) for event in _events(note)],
            )
            for one, lead in self.leads.items()
        ]

    def faults(self) -> list[Fault]:
        return [
            lambda: Reply(429, _error("TOO_MANY_REQUESTS")),
            lambda: Reply(500, _error("INTERNAL_ERROR")),
            lambda: Reply(401, _error("INVALID_TOKEN")),
            lambda: Reply(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
        ]

    def reply(self, request: Request) -> tuple[Reply | None, float]:
        """The sign-in is another server's, and works."""
        if request.path == "/oauth/v2/token":
            with self.lock:
                return self._sign_in(request.body), 0
        return super().reply(request)

    def answer(self, request: Request) -> Reply:
        word, _, token = (request.headers.get("Authorization") or "").partition(" ")
        if word != "Zoho-oauthtoken" or self.tokens.get(token, 0) < 1:
            return Reply(401, _error("INVALID_TOKEN"))
        self.tokens[token] -= 1
        self.credits -= 1
        reply = self._route(request)
        shown = {"X-API-CREDITS-REMAINING": str(self.credits)} if self.credits < 50_000 else {}
        return Reply(reply.status, reply.body, shown)

    def _route(self, request: Request) -> Reply:
        path = request.path.removeprefix("/crm/v8/")
        if path == "settings/fields":
            return self._settings(request)
        if path == "coql":
            return self._query(request.body["select_query"])
        if found := re.fullmatch(r"(Leads|Contacts)/(\d+)(/Notes)?", path):
            lead = [self.leads[one] for one in [found[2]] if self._is_shown(one, request)]
            return _listed(self._on(found[2]) if found[3] else lead)
        if path == "Leads" and request.method in ("POST", "PUT"):
            write = self._insert if request.method == "POST" else self._update
            return _results([write(row) for row in request.body["data"]])
        if path == "Notes" and request.method == "POST":
            return _results([self._note(row) for row in request.body["data"]])
        if path in ("Leads", "Notes", "Contacts") and request.method == "DELETE":
            return _results([self._delete(path, one) for one in request.query["ids"].split(",")])
        if path in ("Leads", "Contacts"):
            held = self.contacts if path == "Contacts" else self._standing()
            return _listed([held[one] for one in request.query["ids"].split(",") if one in held])
        return _listed([]) if path == "Notes" else Reply(404, _error("INVALID_URL_PATTERN"))

    def convert(self, lead_id: str) -> str:
        """What staff do with a lead that becomes a patient. Its notes go with them."""
        one = self._new_id()
        self.contacts[one] = {"id": one, "Email": self.leads[lead_id].get("Email")}
        self.leads[lead_id] |= {"Converted_Contact": {"id": one, "name": "A patient"}}
        for note in self._on(lead_id):
            note["Parent_Id"] = {"id": one}
        return one

    def _standing(self) -> dict[str, Row]:
        """The leads that Zoho shows who does not ask for converted ones."""
        return {one: lead for one, lead in self.leads.items() if self.shows or "Converted_Contact" not in lead}

    def _is_shown(self, lead_id: str, request: Request) -> bool:
        is_converted = "Converted_Contact" in self.leads.get(lead_id, {})
        return lead_id in self.leads and is_converted == (request.query.get("converted") == "true")

    def _sign_in(self, form: Any) -> Reply:
        if form.get("refresh_token") != "only-refresh":
            return Reply(200, {"error": "invalid_code"})
        token = f"access-{len(self.tokens)}"
        self.tokens[token] = _CALLS_OF_A_TOKEN
        return Reply(200, {"access_token": token, "api_domain": self.url, "token_type": "Bearer", "expires_in": 3600})

    def _settings(self, request: Request) -> Reply:
        if request.method == "POST":
            name = request.body["fields"][0]["field_label"].replace(" ", "_")
            self.columns.append(name)
            self.unique = (*self.unique, name)
            return Reply(200, {"fields": [{"code": "SUCCESS", "status": "success", "details": {"id": self._new_id()}}]})
        return Reply(
            200,
            {
                "fields": [
                    {
                        "api_name": name,
                        "data_type": "text",
                        "unique": {"casesensitive": "false"} if name in self.unique else {},
                    }
                    for name in self.columns
                ]
            },
        )

    def _query(self, query: str) -> Reply:
        columns = query.removeprefix("select ").split(" from ")[0].split(", ")
        for name in [*columns, *re.findall(r"(\w+) (?:in|=) ", query)]:
            if name not in ("id", *self.columns):
                return Reply(400, _error("INVALID_QUERY", column_name=name, reason="column given seems to be invalid"))
        wanted = [
            (name, {value.casefold() for value in re.findall(r"'([^']*)'", values)})
            for name, values in re.findall(r"(\w+) (?:in \(|= )((?:'[^']*'(?:, )?)+)", query)
        ]
        found = [
            lead
            for lead in self._standing().values()
            if any((lead.get(name) or "").casefold() in values for name, values in wanted)
        ]
        return _listed([{name: lead.get(name) for name in columns} for lead in found])

    def _insert(self, row: Row) -> Row:
        if not row.get("Last_Name"):
            return _error("MANDATORY_NOT_FOUND", api_name="Last_Name")
        if taken := self._taken(row, None):
            return taken
        one = self._new_id()
        self.leads[one] = {"id": one} | {name: value for name, value in row.items() if name in self.columns}
        return _done(one, "record added")

    def _update(self, row: Row) -> Row:
        one = row["id"]
        if one not in self.leads:
            return _error("INVALID_DATA", api_name="id")
        if "Converted_Contact" in self.leads[one]:
            return _error("CONVERTED_RECORD")
        if taken := self._taken(row, one):
            return taken
        self.leads[one] |= {name: value for name, value in row.items() if name in self.columns}
        return _done(one, "record updated")

    def _taken(self, row: Row, own: str | None) -> Row | None:
        for name in self.unique:
            for one, lead in self.leads.items():
                if one != own and row.get(name) and (lead.get(name) or "").casefold() == row[name].casefold():
                    owner = {"id": one, "module": {"api_name": "Leads"}}
                    return _error("DUPLICATE_DATA", api_name=name, duplicate_record=owner)
        return None

    def _note(self, row: Row) -> Row:
        module, parent = row["Parent_Id"]["module"]["api_name"], row["Parent_Id"]["id"]
        if parent not in (self.leads if module == "Leads" else self.contacts):
            return _error("INVALID_DATA", api_name="Parent_Id")
        if "Converted_Contact" in self.leads.get(parent, {}):
            return _error("ID_ALREADY_CONVERTED")
        one = self._new_id()
        self.notes[one] = {"id": one, **row}
        return _done(one, "record added")

    def _delete(self, module: str, one: str) -> Row:
        held = {"Leads": self.leads, "Notes": self.notes, "Contacts": self.contacts}[module]
        if held.pop(one, None) is None:
            return _error("INVALID_DATA", api_name="id")
        return _done(one, "record deleted")

    def _on(self, lead_id: str) -> list[Row]:
        return [note for note in self.notes.values() if note["Parent_Id"]["id"] == lead_id]

    def _new_id(self) -> str:
        self.last_id += 1
        return str(self.last_id)


def _events(note: Mapping[str, Any]) -> list[str]:
    return _MARK.findall(note["Note_Content"])


def _listed(rows: list[Row]) -> Reply:
    info = {"per_page": 200, "count": len(rows), "more_records": False}
    return Reply(200, {"data": rows, "info": info}) if rows else Reply(204)


def _results(rows: list[Row]) -> Reply:
    good = sum(row["code"] == "SUCCESS" for row in rows)
    return Reply(201 if good == len(rows) else 207 if good else 400, {"data": rows})


def _done(one: str, message: str) -> Row:
    return {"code": "SUCCESS", "details": {"id": one}, "message": message, "status": "success"}


def _error(code: str, **details: Any) -> Row:
    return {"code": code, "details": details, "message": code.lower(), "status": "error"}
