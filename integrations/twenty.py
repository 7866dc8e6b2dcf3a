"""Twenty: a person is a person there, an event a note on it. Each bears an id that we make, so nothing stands twice.

Sources: docs.twenty.com, APIs; the workspace's own description at /rest/open-api/core; twentyhq/twenty for `upsert`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from marshmallow import fields

from integrations._twenty import (
    EMAIL,
    PHONE,
    note,
    note_id,
    owner_of,
    person,
    person_id,
    remote_fields_in,
    same_email,
    tie_id,
    values,
)
from integrations._twenty_answers import TWO_OWNERS, UNCLEAR, rows_in, verdict
from integrations._twenty_rest import MOST_PER_CALL, Rest, all_there, parts, tie_row, upsert_path
from integrations.core.base import (
    Connector,
    Draft,
    Finding,
    Item,
    Options,
    Pushed,
    RemoteField,
    Result,
    Seen,
    record_id,
)
from integrations.core.errors import DeliveryError, Refused
from integrations.core.http import Answer, Http

CLOUD = "https://api.twenty.com"

Verdict = str | DeliveryError  # Twenty's id of a person, or why there is none


class TwentyOptions(Options):
    url = fields.Url(
        load_default=CLOUD,
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "API address", "help": "Leave as it is for twenty.com. Your own server: its address."},
    )
    key = fields.String(
        required=True,
        metadata={"label": "API key", "help": "In Twenty: Settings, APIs & Webhooks, Create API key.", "secret": True},
    )
    page = fields.Url(
        schemes={"http", "https"},
        require_tld=False,
        metadata={
            "label": "Where you open Twenty",
            "help": "For links to its records, such as https://clinic.twenty.com. Not needed for your own server.",
        },
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
        adopted = self._adopted(batch)
        rows = [_row(item, adopted.get(item.lead_id)) for item in batch]
        people = self._upsert(rows)
        verdicts = [people[row["id"]] for row in rows]
        arrived = [(item, one) for item, one in zip(batch, verdicts, strict=True) if isinstance(one, str)]
        if arrived:
            notes = [note(item) for item, _ in arrived]
            all_there(notes, self._rest.upsert("notes", notes))
            self._rest.tie([(tie_id(item.event_id), note_id(item.event_id), one) for item, one in arrived])
        return [one if isinstance(one, DeliveryError) else Pushed(one, self._url(one)) for one in verdicts]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one. `{person}` is an older record where Twenty knows the address already."""
        tie = tie_row(tie_id(item.event_id), note_id(item.event_id), "{person}", self._rest.column)
        written = (("people", _row(item, None)), ("notes", note(item)), ("noteTargets", tie))
        return [Draft("POST", self._rest.address(upsert_path(path)), [row]) for path, row in written]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """By our notes: what ties one to a person tells which person that is, an adopted or a merged one too."""
        notes = self._rest.read("notes", [note_id(item.event_id) for item in items])
        ties = self._rest.read(
            "noteTargets", [tie_id(item.event_id) for item in items if note_id(item.event_id) in notes]
        )
        people = self._rest.read("people", [one for tie in ties.values() if (one := owner_of(tie))])
        homes = [people.get(owner_of(ties.get(tie_id(item.event_id), {}))) for item in items]
        return [self._seen(item, home) if home else None for item, home in zip(items, homes, strict=True)]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the record that we know, else by our own id."""
        ids = [item.remote_id or person_id(item.lead_id) for item in items]
        people = self._rest.read("people", ids)
        found = [people.get(one) for one in ids]
        return [one and values(one, item.in_full().record) for item, one in zip(items, found, strict=True)]

    def remote_fields(self) -> list[RemoteField]:
        """From the workspace's description of its own API."""
        return remote_fields_in(self._rest.ask("GET", "open-api/core").json())

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Delete the people for good, and before them the notes on them, which Twenty would keep."""
        for some in parts(remote_ids):
            self._rest.delete(
                "notes", sorted({str(tie["noteId"]) for tie in self._rest.ties_of(some) if tie.get("noteId")})
            )
            self._rest.delete("people", some)

    def _adopted(self, batch: Sequence[Item]) -> dict[str, Mapping[str, Any]]:
        """Lead id → the person whom Twenty has with the same address, under an id that is not ours."""
        new = [item for item in batch if not item.remote_id and item.record.get(EMAIL)]
        if not new:
            return {}
        wanted = {"data": [{"emails": {"primaryEmail": item.record[EMAIL]}} for item in new]}
        answer = self._rest.ask("POST", "people/duplicates?depth=0", wanted, reads=True)
        found = rows_in(answer, bare=True)
        if len(found) != len(new):
            raise answer.doubt("unreadable", "Twenty sent an answer that cannot be read.")
        owners = [_owner(item, row) for item, row in zip(new, found, strict=True)]
        return {item.lead_id: one for item, one in zip(new, owners, strict=True) if one}

    def _upsert(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Verdict]:
        """The id of each row → the id that Twenty has for this person. One bad row spoils a batch, so it is halved."""
        answer = self._rest.upsert("people", rows)
        if answer.status in (200, 201):
            return _places(rows, answer)
        error = verdict(answer)
        if not isinstance(error, Refused) and error.code != UNCLEAR:
            raise error
        if len(rows) == 1:
            return self._alone(rows[0], error)
        verdicts: dict[str, Verdict] = {}
        for half in parts(rows, -(-len(rows) // 2)):
            verdicts |= self._upsert(half)
            unclear = [one for one in verdicts.values() if isinstance(one, DeliveryError) and one.code == UNCLEAR]
            if len(unclear) > 1:  # so it is not the record
                raise unclear[0]
        return verdicts

    def _alone(self, row: Mapping[str, Any], error: DeliveryError) -> dict[str, Verdict]:
        """An address that belongs to another person stays there; everything else is the record's own fault."""
        if error.code == TWO_OWNERS and "emails" in row:
            return self._upsert([{name: value for name, value in row.items() if name != "emails"}])
        return {str(row["id"]): error}

    def _seen(self, item: Item, row: Mapping[str, Any]) -> Seen:
        number = str(row["id"])
        return Seen(number, self._url(number), values(row, item.record))

    def _url(self, number: str) -> str | None:
        own = self.settings["url"] if self.settings["url"] != CLOUD else None
        page = self.settings.get("page") or own
        return f"{str(page).rstrip('/')}/object/person/{number}" if page else None


def _row(item: Item, adopted: Mapping[str, Any] | None) -> dict[str, Any]:
    """The person; of one who is adopted only what is empty there."""
    if adopted is None:
        return person(item.remote_id or person_id(item.lead_id), item.record)
    held = values(adopted, item.record)
    return person(str(adopted["id"]), {name: value for name, value in item.record.items() if not held[name]})


def _owner(item: Item, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Who has this address already, unless it is our own record."""
    lists = [value for value in found.values() if isinstance(value, list)]
    rows = [row for rows in lists for row in rows if isinstance(row, dict) and record_id(row.get("id"))]
    owners = [row for row in rows if same_email(values(row, [EMAIL])[EMAIL], item.record[EMAIL])]
    ours = person_id(item.lead_id)
    return None if any(row["id"] == ours for row in owners) else next(iter(owners), None)


def _places(rows: Sequence[Mapping[str, Any]], answer: Answer) -> dict[str, Verdict]:
    """Twenty keeps the id of the person who has the address already, and keeps no order."""
    held = rows_in(answer)
    ids = {number for row in held if (number := record_id(row.get("id")))}
    by_email = {values(row, [EMAIL])[EMAIL].casefold(): record_id(row.get("id")) for row in held}
    silence = answer.doubt("no_id", "Twenty said yes, but not which record it made.")
    places: dict[str, Verdict] = {}
    for row in rows:
        email = values(row, [EMAIL])[EMAIL].casefold()
        places[row["id"]] = row["id"] if row["id"] in ids else (by_email.get(email) if email else None) or silence
    return places
