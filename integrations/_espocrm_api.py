"""The calls that we make at EspoCRM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from integrations._espocrm import equals, record_in, rows, verdict
from integrations.core.http import Answer, Http
from integrations.core.notes import events_in

_PAGE = 50  # an administrator may set less than EspoCRM's own 200
_KEPT_FROM_US = (200, 204, 403, 404)  # a post older than a month is not ours to delete; it goes with its lead

Row = dict[str, Any]


class Api:
    """One EspoCRM. key: the name of our field. Every method but `call` raises what EspoCRM says went wrong."""

    def __init__(self, http: Http, settings: Mapping[str, Any]) -> None:
        self._http, self._api_key = http, settings["api_key"]
        self.key, self.home = str(settings["key_field"]), settings["url"].rstrip("/")
        self.address = f"{self.home}/api/v1"

    def search(self, lead_id: str) -> list[Row]:
        """The leads that carry our id of this person, oldest first."""
        return rows(self.ask("GET", "/Lead", params=equals(self.key, lead_id)))

    def lead(self, lead_id: str) -> Row | None:
        """One lead; None when there is none, or it was deleted."""
        answer = self.ask("GET", f"/Lead/{lead_id}", fine=(200, 404))
        lead = record_in(answer) if answer.status == 200 else {}
        return lead if lead and not lead.get("deleted") else None

    def posts(self, lead_id: str) -> list[Row]:
        """All posts in a lead's stream; none when there is no such lead."""
        found: list[Row] = []
        while True:
            params = {"maxSize": str(_PAGE), "offset": str(len(found))}
            answer = self.ask("GET", f"/Lead/{lead_id}/posts", params=params, fine=(200, 404))
            page = rows(answer) if answer.status == 200 else []
            found += page
            if len(page) < _PAGE:
                return found

    def events(self, lead_id: str) -> set[str]:
        """Our events that the posts tell of."""
        return events_in(post.get("post") for post in self.posts(lead_id))

    def erase(self, lead_id: str) -> None:
        """Delete our posts, then the lead. A lead that is not there is no error."""
        for post in self.posts(lead_id):
            if events_in([post.get("post")]):
                self.ask("DELETE", f"/Note/{post['id']}", fine=_KEPT_FROM_US)
        self.ask("DELETE", f"/Lead/{lead_id}", fine=(200, 204, 404))

    def ask(self, method: str, path: str, body: Any = None, fine: Sequence[int] = (200, 201), **more: Any) -> Answer:
        """A call that must be answered with a `fine` status."""
        answer = self.call(method, path, body, **more)
        if answer.status not in fine:
            raise verdict(answer, self.key)
        return answer

    def call(self, method: str, path: str, body: Any = None, *, unchecked: bool = False, **more: Any) -> Answer:
        """A call whose answer is judged elsewhere. unchecked: EspoCRM shall not look for duplicates. more: as `http`
        takes it."""
        headers = {"X-Api-Key": self._api_key} | ({"X-Skip-Duplicate-Check": "true"} if unchecked else {})
        return self._http.request(method, self.address + path, json=body, headers=headers, **more)
