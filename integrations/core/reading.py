"""Reading JSON of whose shape nothing is promised: out comes what was hoped for, or nothing; never an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from integrations.core.base import record_id


def as_object(value: object) -> dict[str, Any]:
    """A JSON object; {} when it is none."""
    return value if isinstance(value, dict) else {}


def objects_in(value: object) -> list[dict[str, Any]]:
    """The objects of a list; [] when it is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def objects_at(holder: object, name: str) -> list[dict[str, Any]]:
    """The objects of the list by this name within an object; [] when there is none."""
    return objects_in(as_object(holder).get(name))


def records_in(value: object) -> list[dict[str, Any]] | None:
    """A list of objects that all have an id; None when it is anything else."""
    rows = objects_in(value)
    whole = isinstance(value, list) and len(rows) == len(value)
    return rows if whole and all(record_id(row.get("id")) for row in rows) else None


def repeats(words: str, sent: Iterable[object]) -> bool:
    """Whether these words of an answer stand in a value that was sent: a visitor may have typed them."""
    return any(words.casefold() in text(value).casefold() for value in sent)


def text(value: object) -> str:
    """A field's value as we would send it; "" when it is empty."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
