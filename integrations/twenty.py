"""Twenty: a person is a person there, an event a note on it. Each bears an id that we make, so nothing stands twice.

Sources: docs.twenty.com, APIs; the workspace's own description at /rest/open-api/core; twentyhq/twenty for `upsert`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from integrations._twenty import (
    EMAIL,
    PHONE,
    body_of,
    note,
    note_id,
    owner_of,
    person_id,
    remote_fields_in,
    tie_id,
    values,
)
from integrations._twenty_people import one_by_one, owners, person_row, upsert
from integrations._twenty_rest import MOST_PER_CALL, Rest, all_there, tie_row, upsert_path
from integrations.core import options
from integrations.core.base import Connector, Draft, Finding, Item, Options, Pushed, RemoteField, Result, Seen, parts
from integrations.core.errors import DeliveryError
from integrations.core.http import Http
from integrations.core.notes import events_in

CLOUD = "https://api.twenty.com"


class TwentyOptions(Options):
    url = options.address(
        "API address", "Leave as it is for twenty.com. Your own server: its address.", load_default=CLOUD
    )
    key = options.secret("API key", "In Twenty: Settings, APIs & Webhooks, Create API key.", required=True)
    page = options.address(
        "Where you open Twenty",
        "For links to its records, such as https://clinic.twenty.com. Not needed for your own server.",
    )


class Twenty(Connector):
    """Upserts by id. Twenty also matches the e-mail address, and then writes over what it finds, so we look first."""

    kind: ClassVar[str] = "twenty"
    label: ClassVar[str] = "Twenty"
    tier = "A"
    options = TwentyOptions
    batch_size = MOST_PER_CALL
    pace = 1.5  # of the 100 per minute that a server allows unless told otherwise
    fields: ClassVar[Mapping[str, str]] = {
        "first_name": "name.firstName",
        "last_name": "name.lastName",
        "email": EMAIL,
        "phone": PHONE,
    }

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self._rest = Rest(settings, http)

    @classmethod
    def key_ends(cls, settings: Mapping[str, Any]) -> date | None:
        """Twenty's keys are JSON Web Tokens, which tell their end."""
        try:
            middle = settings["key"].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
            return datetime.fromtimestamp(claims["exp"], UTC).date()
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, OSError):
            return None

    def check(self) -> list[Finding]:
        """Whether the key works and sees people and notes."""
        for path in ("people", "notes", "noteTargets"):
            self._rest.ask("GET", f"{path}?limit=1&depth=0")
        return [Finding(True, "Twenty accepts the key, and shows people and notes.")]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then a note for each event, then what ties the two together."""
        results = {item.event_id: result for part in one_by_one(batch) for item, result in self._push(part)}
        return [results[item.event_id] for item in batch]

    def _push(self, batch: Sequence[Item]) -> list[tuple[Item, Result]]:
        adopted = owners(self._rest, batch)
        rows = [person_row(item, adopted.get(item.lead_id)) for item in batch]
        people = upsert(self._rest, rows)
        verdicts = [people[row["id"]] for row in rows]
        arrived = [(item, one) for item, one in zip(batch, verdicts, strict=True) if isinstance(one, str)]
        if arrived:
            notes = [note(item) for item, _ in arrived]
            all_there(notes, self._rest.upsert("notes", notes))
            self._rest.tie([(tie_id(item.event_id), note_id(item.event_id), one) for item, one in arrived])
        results = [one if isinstance(one, DeliveryError) else Pushed(one, self._url(one)) for one in verdicts]
        return list(zip(batch, results, strict=True))

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one. `{person}` is an older record where Twenty knows the address already."""
        tie = tie_row(tie_id(item.event_id), note_id(item.event_id), "{person}", self._rest.column)
        written = (("people", person_row(item, None)), ("notes", note(item)), ("noteTargets", tie))
        return [Draft("POST", self._rest.address(upsert_path(path)), [row]) for path, row in written]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """By our notes: what ties one to a person tells which person that is, an adopted or a merged one too."""
        notes = self._rest.read("notes", [note_id(item.event_id) for item in items])
        noted = [item for item in items if note_id(item.event_id) in notes]
        ties = self._rest.read("noteTargets", [tie_id(item.event_id) for item in noted])
        people = self._rest.read("people", [one for tie in ties.values() if (one := owner_of(tie))])
        homes = [people.get(owner_of(ties.get(tie_id(item.event_id), {}))) for item in items]
        return [self._seen(item, home) if home else None for item, home in zip(items, homes, strict=True)]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the record that we know, else by our own id."""
        ids = [item.remote_id or person_id(item.lead_id) for item in items]
        people = self._rest.read("people", ids)
        found = [people.get(one) for one in ids]
        return [one and values(one, item.in_full().record) for item, one in zip(items, found, strict=True)]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """Notes on them that are not ours: those of ours were tied to the person whom the caller turned out to be."""
        return [any(tie.get("noteId") for tie in self._rest.ties_of([str(item.remote_id)])) for item in items]

    def remote_fields(self) -> list[RemoteField]:
        """From the workspace's description of its own API."""
        return remote_fields_in(self._rest.ask("GET", "open-api/core", describes=True).json())

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By the notes that are tied to them."""
        ties = [tie for some in parts(remote_ids, MOST_PER_CALL) for tie in self._rest.ties_of(some)]
        notes = self._rest.read("notes", [str(tie["noteId"]) for tie in ties if tie.get("noteId")])
        return events_in(map(body_of, notes.values()))

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Delete the people for good, and before them the notes on them, which Twenty would keep."""
        for some in parts(remote_ids, MOST_PER_CALL):
            notes = {str(tie["noteId"]) for tie in self._rest.ties_of(some) if tie.get("noteId")}
            self._rest.delete("notes", sorted(notes))
            self._rest.delete("people", some)

    def _seen(self, item: Item, row: Mapping[str, Any]) -> Seen:
        number = str(row["id"])
        return Seen(number, self._url(number), values(row, item.record))

    def _url(self, number: str) -> str | None:
        """In the cloud the API has an address of its own, which shows no pages."""
        page = str(self.settings.get("page") or self.settings["url"]).rstrip("/")
        return f"{page}/object/person/{number}" if page != CLOUD else None
