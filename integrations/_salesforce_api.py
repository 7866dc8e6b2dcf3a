"""The calls to Salesforce's REST API that a connection makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from integrations._salesforce import KEYS, Row, body_of, codes_in, queries, refusal, rows_in, verdict
from integrations.core.base import parts, record_id
from integrations.core.errors import Misconfigured, TryLater
from integrations.core.http import Answer, Http
from integrations.core.reading import objects_at, text

API = "/services/data/v65.0"
_MOST = 200  # records per call
_UNSEEN = ("invalid_type", "forbidden")  # our codes for what the user may not see
_GONE = {"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"}


def batch_path(table: str) -> str:
    """Where many records are upserted by our own field."""
    return f"{API}/composite/sobjects/{table}/{KEYS[table]}"


class Api:
    """home: the address of the clinic's own server at Salesforce. Every call raises what Salesforce says is wrong."""

    def __init__(self, http: Http, home: str) -> None:
        self._http, self.home = http, home

    def upsert(self, table: str, rows: Sequence[Row]) -> list[Row]:
        """What Salesforce says of each record, in order. Raises what it says of all of them."""
        answer = self.call("PATCH", batch_path(table), body_of(rows)) if rows else None
        if answer is None:
            return []
        if answer.status != 200:
            raise verdict(answer)
        if len(found := rows_in(answer)) != len(rows):
            raise answer.doubt("no_verdict", "Salesforce did not say what became of every record.")
        return found

    def query(self, table: str, names: Iterable[str], column: str, values: Iterable[str]) -> list[Row]:
        """The rows whose column holds one of these values."""
        found: list[Row] = []
        for soql in queries(table, names, column, values):
            answer = self.call("GET", f"{API}/query", params={"q": soql})
            if answer.status != 200:
                raise verdict(answer)
            found += rows_in(answer, "records")
        if not all(isinstance(row.get("Id"), str) and record_id(row["Id"]) for row in found):
            raise TryLater("unreadable", "Salesforce sent an answer that cannot be read.")
        return found

    def with_events(self, people: Sequence[str]) -> set[str]:
        """Those of these people with whom an appointment stands in the calendar; all of them where our user may not see
        appointments."""
        try:
            return {text(row.get("WhoId")) for row in self.query("Event", (), "WhoId", people)}
        except Misconfigured as error:
            if error.code in _UNSEEN:
                return set(people)
            raise

    def described(self, table: str) -> Row:
        """What Salesforce tells of an object; nothing when our user may not see it."""
        answer = self.call("GET", f"{API}/sobjects/{table}/describe", describes=True)
        if answer.status == 404:
            return {}
        if answer.status != 200:
            raise verdict(answer)
        described = answer.json()
        return described if isinstance(described, dict) else {}

    def delete(self, ids: Sequence[str]) -> None:
        """What is gone already is no error."""
        for some in parts(ids, _MOST):
            params = {"ids": ",".join(some), "allOrNone": "false"}
            answer = self.call("DELETE", f"{API}/composite/sobjects", params=params)
            if answer.status != 200:
                raise verdict(answer)
            errors = [error for row in rows_in(answer) for error in objects_at(row, "errors")]
            if wrong := next((one for one in errors if not codes_in([one]) & _GONE), None):
                raise refusal(wrong)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """One request, signed by `http`. more: as it takes it."""
        return self._http.request(method, self.home + path, json=body, **more)
