"""Calling Twenty's REST API: records in batches, by id, and what ties notes to people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from integrations._twenty import TARGETS
from integrations._twenty_answers import rows_in, unknown_field, verdict
from integrations.core.base import parts, record_id
from integrations.core.http import Answer, Http
from integrations.core.reading import as_object

MOST_PER_CALL = 60


class Rest:
    """One workspace. column: how this version names a note's person; found out by the first call that needs it."""

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        self._address, self._key, self._http = str(settings["url"]).rstrip("/"), settings["key"], http
        self.column = TARGETS[0]

    def address(self, path: str) -> str:
        """The whole address of a path."""
        return f"{self._address}/rest/{path}"

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """A call that may fail. more: as `Http.request` takes it."""
        headers = {"Authorization": f"Bearer {self._key}"}
        return self._http.request(method, self.address(path), json=body, headers=headers, **more)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """A call that must succeed. Raises what Twenty says went wrong."""
        answer = self.call(method, path, body, **more)
        if answer.status not in (200, 201):
            raise verdict(answer)
        return answer

    def upsert(self, path: str, rows: Sequence[Mapping[str, Any]]) -> Answer:
        """Write records by the ids in them."""
        return self.call("POST", upsert_path(path), list(rows))

    def read(self, path: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The records with these ids, but for those in Twenty's bin."""
        found: dict[str, dict[str, Any]] = {}
        for some in parts(list(dict.fromkeys(ids)), MOST_PER_CALL):
            answer = self.ask("GET", f"{path}?filter={_among('id', some)}&limit={MOST_PER_CALL}&depth=0")
            found |= {str(row.get("id")): row for row in rows_in(answer)}
        return found

    def delete(self, path: str, ids: Sequence[str]) -> None:
        """For good. One that is not there is no error."""
        for some in parts(ids, MOST_PER_CALL):
            answer = self.call("DELETE", f"{path}?filter={_among('id', some)}")
            if answer.status not in (200, 204, 404):
                raise verdict(answer)

    def tie(self, ties: Sequence[tuple[str, str, str]]) -> None:
        """Tie notes to people. ties: id of the tie, of the note, of the person."""
        rows = [tie_row(*tie, self.column) for tie in ties]
        answer = self.upsert("noteTargets", rows)
        if unknown_field(answer) != self.column or not self._try_older():
            all_there(rows, answer)
        else:
            self.tie(ties)

    def ties_of(self, people: Sequence[str]) -> list[dict[str, Any]]:
        """What ties notes to these people, page after page."""
        rows: list[dict[str, Any]] = []
        after = ""
        while True:
            answer = self._ties_page(people, after)
            rows += rows_in(answer)
            page = as_object(as_object(answer.json()).get("pageInfo"))
            if not page.get("hasNextPage") or not page.get("endCursor"):
                return rows
            after = f"&starting_after={quote(str(page['endCursor']), safe='')}"

    def _ties_page(self, people: Sequence[str], after: str) -> Answer:
        path = f"noteTargets?filter={_among(self.column, people)}&limit={MOST_PER_CALL}&depth=0{after}"
        answer = self.call("GET", path)
        if answer.status == 400 and self._try_older():
            return self._ties_page(people, after)
        if answer.status != 200:
            raise verdict(answer)
        return answer

    def _try_older(self) -> bool:
        """Whether there is an older name of the column to try."""
        newer, self.column = self.column, TARGETS[1]
        return newer != self.column


def upsert_path(path: str) -> str:
    """Where records are written by their ids."""
    return f"batch/{path}?upsert=true&depth=0"


def tie_row(tie: str, note: str, person: str, column: str) -> dict[str, str]:
    """Ties a note to a person."""
    return {"id": tie, "noteId": note, column: person}


def all_there(rows: Sequence[Mapping[str, Any]], answer: Answer) -> None:
    """Raises unless Twenty says that it has each of these records."""
    if answer.status not in (200, 201):
        raise verdict(answer)
    ids = [record_id(row.get("id")) for row in rows_in(answer)]
    if None in ids:
        raise answer.nameless("Twenty")
    if not {row["id"] for row in rows} <= set(ids):
        raise answer.doubt("no_verdict", "Twenty did not say that it took every record.")


def _among(name: str, ids: Sequence[str]) -> str:
    return quote(f"{name}[in]:{json.dumps(list(ids), separators=(',', ':'))}", safe="")
