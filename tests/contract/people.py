"""The people of the contract suite. Their details must never show up in anything that a connector says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from integrations.core.base import Connector, Item
from leads.sync import mapping

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
_PERSONS = {
    "ann": {
        "first_name": "Annabelle",
        "last_name": "Canaryann",
        "email": "ann@canary.example",
        "phone": "+12015550111",
    },
    "bob": {"first_name": "Bobson", "last_name": "Canarybob", "email": "bob@canary.example", "phone": "+12015550122"},
    "caller": {"first_name": "Caller", "last_name": "K7Q-2MX"},
}
CANARIES = [value for person in ("ann", "bob") for value in _PERSONS[person].values()]
_ITEMS = {
    "ann": ("ann", "consultation_request", "Consultation request", 1),
    "bob": ("bob", "consultation_request", "Consultation request", 2),
    "ann_click": ("ann", "call_click", "Tapped “Call us”", 3),
    "caller_click": ("caller", "call_click", "Tapped “Call us”", 4),
}
_LEADS = {"ann": "a", "bob": "b", "caller": "c"}


def item(name: str, connector: type[Connector], remote_id: str | None = None) -> Item:
    """One of the people's events, mapped as a new connection of this kind maps it."""
    person, kind, title, number = _ITEMS[name]
    details = _PERSONS[person]
    made = Item(
        lead_id=_uuid(_LEADS[person]),
        event_id=_uuid(str(number)),
        kind=kind,  # type: ignore[arg-type]  # one of the two literals
        occurred_at=AT,
        title=title,
        record=_record(details, connector),
        activity={"preferred_time": "after 5 <pm>"} if name in ("ann", "bob") else {},
    )
    return replace(made, remote_id=remote_id)


def _record(details: Mapping[str, str], connector: type[Connector]) -> dict[str, str]:
    """The person in the CRM's fields, with its constants and fallbacks."""
    whole = f"{details['first_name']} {details['last_name']}"
    always, when_empty = mapping.apply(mapping.default_rules(connector), {**details, "full_name": whole})
    return when_empty | always


def placeholders(connector: type[Connector]) -> dict[str, Any]:
    """What `$ann.lead_id` and its like stand for in a fixture."""
    found: dict[str, Any] = {}
    for name in _ITEMS:
        one = item(name, connector)
        found |= {f"${name}.lead_id": one.lead_id, f"${name}.event_id": one.event_id, f"${name}.record": one.record}
        found |= {f"${name}.activity": one.activity, f"${name}.title": one.title}
    return found | {"$at": AT.isoformat()}


def _uuid(sign: str) -> str:
    return "-".join(sign * length for length in (8, 4, 4, 4, 12))
