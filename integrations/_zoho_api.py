"""The calls that we make at Zoho CRM."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from integrations._zoho import KEY, KEY_LABEL, LEADS, MOST_PER_CALL, Home, key_query
from integrations._zoho_answers import body, is_gone, records, results, rows
from integrations.core.base import Item, parts, record_id
from integrations.core.errors import DeliveryError
from integrations.core.http import Answer, Http
from integrations.core.notes import events_in
from integrations.core.reading import as_object

ROOT = "/crm/v8"
NOTES, FIELDS = f"{ROOT}/Notes", f"{ROOT}/settings/fields"
_PAGES = 10  # of 200 notes each: as far as Zoho turns them by number

Row = Mapping[str, Any]


class Api:
    """Zoho CRM at one address, such as https://www.zohoapis.eu. Every method raises what Zoho says went wrong."""

    def __init__(self, http: Http, address: str) -> None:
        self._http, self.address = http, address.rstrip("/")

    def fields(self) -> list[dict[str, Any]]:
        """How Zoho describes the fields of a lead."""
        return rows(self._call("GET", FIELDS, params={"module": LEADS}, describes=True), "fields")

    def key(self) -> dict[str, Any] | None:
        """How it describes our own."""
        return next((row for row in self.fields() if row.get("api_name") == KEY), None)

    def make_key(self) -> bool:
        """Create our unique field. Returns whether Zoho did."""
        wanted = {"field_label": KEY_LABEL, "data_type": "text", "length": 36, "unique": {"casesensitive": False}}
        answer = self._call("POST", FIELDS, {"fields": [wanted]}, {"module": LEADS})
        return answer.status < 300 and all(row.get("code") == "SUCCESS" for row in rows(answer, "fields"))

    def may_read(self) -> None:
        """Whether queries by our field, and notes, may be read at all."""
        self._query(f"select id from Leads where {KEY} = 'none' limit 1")  # noqa: S608 - a constant
        rows(self._call("GET", NOTES, params={"fields": "id", "per_page": "1"}))

    def leads(self, ids: Collection[str], columns: Iterable[str], module: str = LEADS) -> list[dict[str, Any]]:
        """Those of these leads, or contacts, that are there. Of leads that were converted Zoho shows none."""
        if not ids:
            return []
        params = {"ids": ",".join(sorted(ids)), "fields": ",".join(columns)}
        return records(self._call("GET", f"{ROOT}/{module}", params=params))

    def contact_of(self, lead_id: str) -> str | None:
        """The contact that a lead was converted to; None where it was not."""
        params = {"fields": "id,Converted_Contact", "converted": "true"}
        answer = self._call("GET", f"{ROOT}/{LEADS}/{lead_id}", params=params)
        found = [] if answer.status == 404 or is_gone(body(answer)) else rows(answer)
        contacts = [record_id(as_object(row.get("Converted_Contact")).get("id")) for row in found]
        return next(filter(None, contacts), None)

    def may_read_notes_of(self, home: Home) -> bool:
        """Whether the sign-in gives this right: one from before Frontdesk asked for contacts does not."""
        answer = self._call("GET", _notes_of(home), params={"fields": "id", "per_page": "1"})
        return body(answer).get("code") != "OAUTH_SCOPE_MISMATCH"

    def leads_of(self, items: Sequence[Item], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The leads that hold our key or the e-mail address of one of these people, oldest first. This also finds out
        whether our field and all that are mapped are there: an insert leaves out unknown ones without a word."""
        return self._query(key_query(items, columns)) if items else []

    def notes(self, home: Home) -> list[dict[str, Any]]:
        """The notes on a record; none when it is gone."""
        found: list[dict[str, Any]] = []
        for page in range(1, _PAGES + 1):
            params = {"fields": "id,Note_Content", "per_page": "200", "page": str(page)}
            answer = self._call("GET", _notes_of(home), params=params)
            if is_gone(body(answer)):
                return []
            found += records(answer)
            if not as_object(body(answer).get("info")).get("more_records"):
                break
        return found

    def events(self, home: Home) -> set[str]:
        """Our events that these notes tell of."""
        return events_in(note.get("Note_Content") for note in self.notes(home))

    def write(self, method: str, path: str, inputs: Sequence[Row]) -> list[str | DeliveryError]:
        """Insert (POST) or update (PUT) records. For each its id, or what was wrong with it."""
        if not inputs:
            return []
        return results(self._call(method, path, {"data": list(inputs)}), len(inputs))

    def delete(self, path: str, ids: Sequence[str]) -> None:
        """Delete those of these records that are there."""
        for part in parts(ids, MOST_PER_CALL):
            answer = self._call("DELETE", path, params={"ids": ",".join(part)})
            if is_gone(body(answer)):
                continue
            for outcome in results(answer, len(part)):
                if isinstance(outcome, DeliveryError) and outcome.code != "gone":
                    raise outcome

    def _query(self, query: str) -> list[dict[str, Any]]:
        return records(self._call("POST", f"{ROOT}/coql", {"select_query": query}, reads=True))

    def _call(
        self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None, **more: Any
    ) -> Answer:
        return self._http.request(method, self.address + path, json=body, params=params, **more)


def _notes_of(home: Home) -> str:
    return f"{ROOT}/{home.module}/{home.id}/Notes"
