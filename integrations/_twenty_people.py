"""Writing people to Twenty: whom to adopt, and what became of each row of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from integrations._twenty import EMAIL, person, person_id, same_email, values
from integrations._twenty_answers import TWO_OWNERS, UNCLEAR, rows_in, verdict
from integrations._twenty_rest import Rest
from integrations.core.base import Item, parts, record_id
from integrations.core.errors import DeliveryError, Refused
from integrations.core.http import Answer

Verdict = str | DeliveryError  # Twenty's id of a person, or why there is none


def one_by_one(batch: Sequence[Item]) -> Iterator[list[Item]]:
    """Those with one record or address come in a part each, so that the second finds what was written for the first:
    Twenty refuses a batch in which a record stands twice."""
    left = list(batch)
    while left:
        part: list[Item] = []
        later: list[Item] = []
        taken: set[str] = set()
        for item in left:
            mine = {item.remote_id or "", item.record.get(EMAIL, "").casefold()} - {""}
            (later if mine & taken else part).append(item)
            taken |= mine
        yield part
        left = later


def owners(rest: Rest, batch: Sequence[Item]) -> dict[str, Mapping[str, Any]]:
    """Lead id → the person whom Twenty has with the same address, under an id that is not ours."""
    new = [item for item in batch if not item.remote_id and item.record.get(EMAIL)]
    if not new:
        return {}
    wanted = {"data": [{"emails": {"primaryEmail": item.record[EMAIL]}} for item in new]}
    answer = rest.ask("POST", "people/duplicates?depth=0", wanted, reads=True)
    found = rows_in(answer, bare=True)
    if len(found) != len(new):
        raise answer.unreadable("Twenty")
    whose = [_owner(item, row) for item, row in zip(new, found, strict=True)]
    return {item.lead_id: one for item, one in zip(new, whose, strict=True) if one}


def upsert(rest: Rest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Verdict]:
    """The id of each row → the id that Twenty has for this person. One bad row spoils a batch, so it is halved."""
    answer = rest.upsert("people", rows)
    if answer.status in (200, 201):
        return _places(rows, answer)
    error = verdict(answer)
    if not isinstance(error, Refused) and error.code != UNCLEAR:
        raise error
    if len(rows) == 1:
        return _alone(rest, rows[0], error)
    verdicts: dict[str, Verdict] = {}
    for half in parts(rows, -(-len(rows) // 2)):
        verdicts |= upsert(rest, half)
        unclear = [one for one in verdicts.values() if isinstance(one, DeliveryError) and one.code == UNCLEAR]
        if len(unclear) > 1:  # so it is not the record
            raise unclear[0]
    return verdicts


def _alone(rest: Rest, row: Mapping[str, Any], error: DeliveryError) -> dict[str, Verdict]:
    """An address that belongs to another person stays there; everything else is the record's own fault."""
    if error.code == TWO_OWNERS and "emails" in row:
        return upsert(rest, [{name: value for name, value in row.items() if name != "emails"}])
    return {str(row["id"]): error}


def person_row(item: Item, adopted: Mapping[str, Any] | None) -> dict[str, Any]:
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
    silence = answer.nameless("Twenty")
    places: dict[str, Verdict] = {}
    for row in rows:
        email = values(row, [EMAIL])[EMAIL].casefold()
        places[row["id"]] = row["id"] if row["id"] in ids else (by_email.get(email) if email else None) or silence
    return places
