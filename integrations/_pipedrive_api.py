"""The calls that we make at Pipedrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from integrations._pipedrive import KEY_NAME, NO_KEY, code_of_ours, field_of
from integrations._pipedrive_answers import data, listed, may_not_edit, next_page, record
from integrations.core.base import RemoteField, parts
from integrations.core.errors import Misconfigured
from integrations.core.http import Answer, Http
from integrations.core.notes import events_in
from integrations.core.reading import as_object, objects_in

PERSONS, ACTIVITIES, FIELDS = "/api/v2/persons", "/api/v2/activities", "/api/v2/personFields"
_PAGES = 10  # of 500 records each
_MOST_BY_ID = 100  # people in a call
_WORK = (  # what Pipedrive counts of a person, and of which we write none
    "notes_count",
    "open_deals_count",
    "closed_deals_count",
    "participant_open_deals_count",
    "participant_closed_deals_count",
    "email_messages_count",
    "files_count",
)

Row = dict[str, Any]


class Api:
    """Pipedrive at one address, such as https://clinic.pipedrive.com. Every method raises what it says went wrong."""

    def __init__(self, http: Http, address: str, token: str | None) -> None:
        """token: the user's own; None where `http` signs each call."""
        self._http, self.address = http, address.rstrip("/")
        self._headers = {"x-api-token": token} if token else {}

    def fields(self) -> list[Row]:
        """How Pipedrive describes the fields of a person."""
        return [row for _, page in self._pages(FIELDS, {}, describes=True) for row in objects_in(page)]

    @cached_property
    def own(self) -> dict[str, RemoteField]:
        """The account's own fields of a person, by their code."""
        return {str(row.get("field_code")): field_of(row) for row in self.fields() if row.get("is_custom_field")}

    @property
    def own_so_far(self) -> Mapping[str, RemoteField]:
        """Likewise, where a call has read them already; else none, and nothing is asked."""
        read: Mapping[str, RemoteField] = vars(self).get("own", {})
        return read

    @cached_property
    def key(self) -> str:
        """The code of our own field, which Pipedrive made up for this account."""
        if code := code_of_ours(self.own):
            return code
        raise Misconfigured("unknown_property", NO_KEY)

    def has_key(self) -> bool:
        """Whether our field is there."""
        return any(row.get("field_name") == KEY_NAME for row in self.fields())

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
        found = as_object(data(answer)).get("items")
        if not isinstance(found, list):
            raise answer.unreadable("Pipedrive")
        ids = [str(one["id"]) for one in listed(answer, [as_object(row).get("item") for row in found])]
        return [person for one in sorted(ids, key=lambda one: (len(one), one)) if (person := self.person(one))]

    def activities(self, person_id: object) -> list[Row]:
        """The activities with a person."""
        pages = self._pages(ACTIVITIES, {"person_id": str(person_id)})
        return [row for answer, page in pages for row in listed(answer, page)]

    def with_work(self, ids: Sequence[str]) -> set[str]:
        """Those of these people who have notes, deals, e-mails or files. Pipedrive counts them itself, for whoever may
        read people: no right to deals is needed. One whose count it leaves out may have some."""
        busy: set[str] = set()
        for part in parts(ids, _MOST_BY_ID):
            params = {"ids": ",".join(part), "include_fields": ",".join(_WORK), "limit": str(_MOST_BY_ID)}
            answer = self._call("GET", PERSONS, params=params)
            found = [row for row in listed(answer, data(answer)) if not row.get("is_deleted")]
            busy |= {str(row["id"]) for row in found if any(row.get(name) != 0 for name in _WORK)}
        return busy

    def events(self, person_id: object) -> set[str]:
        """Our events that these activities tell of."""
        return events_in(activity.get("note") for activity in self.activities(person_id))

    def add(self, path: str, body: Row) -> Row:
        """Make a record. Returns it with its id."""
        return record(self._call("POST", path, body))

    def change(self, path: str, body: Row) -> bool:
        """Write some fields of a record. Returns whether our user may edit it."""
        answer = self._call("PATCH", path, body)
        if may_not_edit(answer):
            return False
        record(answer)
        return True

    def delete(self, path: str) -> None:
        """Delete a record, if it is there."""
        answer = self._call("DELETE", path)
        if answer.status != 404:
            data(answer)

    def _pages(self, path: str, params: Mapping[str, str], **how: Any) -> list[tuple[Answer, Any]]:
        pages: list[tuple[Answer, Any]] = []
        more: dict[str, str] = {}
        while len(pages) < _PAGES:
            answer = self._call("GET", path, params={**params, "limit": "500", **more}, **how)
            pages.append((answer, data(answer)))
            cursor = next_page(answer)
            if cursor is None:
                break
            more = {"cursor": cursor}
        return pages

    def _call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return self._http.request(method, self.address + path, json=body, headers=self._headers, **more)
