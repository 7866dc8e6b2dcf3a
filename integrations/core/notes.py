"""An event told in text: in a CRM that keeps no key of ours for it, its id stands in the note and is found there again.

Plain text: a CRM that reads HTML or Markdown wants each line escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC

from integrations.core.base import Item

_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")
_REST = "…\nThe rest stands in Frontdesk."


def details(item: Item) -> list[str]:
    """What is known of the event, a line for each: the name of our field, as people read it, and its value."""
    return [f"{name.replace('_', ' ').capitalize()}: {value}" for name, value in item.activity.items()]


def with_left_out(item: Item, name: str, value: str) -> Item:
    """The item, its event telling of a value that was not written to the person's record, since another record of the
    CRM's has it and no two may. name: our field, or the CRM's."""
    return replace(item, activity={**item.activity, name: f"{value} (another record has this already)"})


def within(text: str, most: int) -> str:
    """No longer than the CRM allows, counted in UTF-16 as its database does; whoever reads it is told of the rest."""
    encoded = text.encode("utf-16-le")
    if len(encoded) <= 2 * most:
        return text
    return encoded[: 2 * (most - len(_REST))].decode("utf-16-le", "ignore").rstrip() + _REST


def mark(item: Item) -> str:
    """The line that holds the event's id."""
    return f"Frontdesk event {item.event_id}"


def received(item: Item) -> str:
    """When the event came in, to the minute."""
    return f"{item.occurred_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def are_ours(texts: Iterable[object]) -> bool:
    """Whether each of these texts tells of one of our events; one that does not was written by staff."""
    return all(_MARK.search(str(text)) for text in texts)


def events_in(texts: Iterable[object]) -> set[str]:
    """The ids of our events that these texts tell of."""
    return {event for text in texts for event in _MARK.findall(str(text))}
