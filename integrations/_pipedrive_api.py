"""The calls that we make at Pipedrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations._pipedrive import KEY_NAME
from integrations._pipedrive_answers import data, listed, next_page, record
from integrations.core.http import Answer, Http

PERSONS, ACTIVITIES, FIELDS = "/api/v2/persons", "/api/v2/activities", "/api/v2/personFields"
_PAGES = 10  # of 500 records each

Row = dict[str, Any]


class Api:
    """Pipedrive at one address, such as https://clinic.pipedrive.com. Every method raises what it says went wrong."""

    def __init__(self, http: Http, address: str, token: str | None) -> None:
        """token: the user's own; None where `http` signs each call."""
        self._http, self.address = http, address.rstrip("/")
        self._headers = {"x-api-token": token} if token else {}

    def fields(self) -> list[Row]:
        """How Pipedrive describes the fields of a person."""
        return [row for _, page in self._pages(FIELDS, {}) for row in page or [] if isinstance(row, dict)]

    def make_key(self) -> None:
        """Create our field."""
        data(self._call("POST", FIELDS, {"field_name": KEY_NAME, "field_type": "varchar"}))

    def newest(self) -> list[Row]:
        """The people who were added last, oldest first. Unlike the search, this list is never behind."""
        params = {"sort_by": "id", "sort_direction": "desc", "limit": "100"}
        answer = self._call("GET", PERSONS, params=params)
        return [row for row in reversed(listed(answer, data(answer))) if not row.get("is_deleted")]

    def kinds_of_activity(self) -> set[str]:
        """The keys of those in use."""
        answer = self._call("GET", "/api/v1/activityTypes")
        return {str(row.get("key_string")) for row in listed(answer, data(answer)) if row.get("active_flag")}

    def person(self, person_id: str) -> Row | None:
        """One person; None when there is none, or it was deleted."""
        answer = self._call("GET", f"{PERSONS}/{person_id}")
        if answer.status == 404:
            return None
        found = record(answer)
        return None if found.get("is_deleted") else found

    def search(self, term: str, where: str) -> list[Row]:
        """People in whom this text stands in full, oldest first. The search tells ids; what they hold is read.

        Its index lags behind what was written, and nobody says by how much.
        """
        params = {"term": term, "fields": where, "exact_match": "true", "limit": "10"}
        answer = self._call("GET", f"{PERSONS}/search", params=params)
        found = data(answer)
        rows = found.get("items") if isinstance(found, dict) else None
        items = [row.get("item") if isinstance(row, dict) else None for row in rows or []]
        ids = sorted(int(one["id"]) for one in listed(answer, items))
        return [person for one in ids if (person := self.person(str(one)))]

    def activities(self, person_id: object) -> list[Row]:
        """The activities with a person."""
        pages = self._pages(ACTIVITIES, {"person_id": str(person_id)})
        return [row for answer, page in pages for row in listed(answer, page)]

    def add(self, path: str, body: Row) -> Row:
        """Make a record. Returns it with its id."""
        return record(self._call("POST", path, body))

    def change(self, path: str, body: Row) -> None:
        """Write some fields of a record."""
        record(self._call("PATCH", path, body))

    def delete(self, path: str) -> None:
        """Delete a record, if it is there."""
        answer = self._call("DELETE", path)
        if answer.status != 404:
            data(answer)

    def _pages(self, path: str, params: Mapping[str, str]) -> list[tuple[Answer, Any]]:
        pages: list[tuple[Answer, Any]] = []
        more: dict[str, str] = {}
        while len(pages) < _PAGES:
            answer = self._call("GET", path, params={**params, "limit": "500", **more})
            pages.append((answer, data(answer)))
            cursor = next_page(answer)
            if cursor is None:
                break
            more = {"cursor": cursor}
        return pages

    def _call(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Answer:
        return self._http.request(method, self.address + path, json=body, params=params, headers=self._headers)
