"""The fields that a contact of the sandbox CRM has by its own account. It takes others too."""

from __future__ import annotations

from typing import Any

_TEXTS = {
    "first_name": "First name",
    "last_name": "Last name",
    "phone": "Phone",
    "reference": "Reference",
    "preferred_time": "Best time to call",
    "treatment": "Treatment of interest",
    "notes": "Notes",
}
_SOURCES = {"website": "Website", "phone": "Phone call", "event": "Open day", "other": "Other"}


def describe() -> list[dict[str, Any]]:
    """As `GET /v1/fields` tells it."""
    texts = [_field(name, label, "text") for name, label in _TEXTS.items()]
    choices = [{"value": value, "label": label} for value, label in _SOURCES.items()]
    return [
        *texts,
        _field("email", "E-mail", "email"),
        _field("lead_source", "Lead source", "choice", choices),
        _field("newsletter", "Wants the newsletter", "yes/no"),
    ]


def _field(name: str, label: str, kind: str, choices: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"name": name, "label": label, "type": kind, "required": False, "choices": choices or []}
