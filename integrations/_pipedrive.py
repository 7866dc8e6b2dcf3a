"""The shapes of what we send to Pipedrive, and of what it holds."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from integrations.core.base import Item, RemoteField, record_id

KEY_NAME = "Frontdesk lead ID"
STANDARD = (
    RemoteField("name", "Name", required=True),
    RemoteField("emails", "E-mail"),
    RemoteField("phones", "Phone"),
)

_LISTS = ("emails", "phones")  # of which a person may have several
_TEXTS = ("varchar", "varchar_auto", "text", "phone", "date", "enum")
_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")

Fields = Mapping[str, RemoteField]  # the field's code → what it is


def person_input(item: Item, key: str, fields: Fields) -> dict[str, Any]:
    """A new person. key: the code of our own field."""
    return _shaped({**item.record, key: item.lead_id}, fields, {})


def changes(item: Item, person: Mapping[str, Any], key: str, fields: Fields) -> dict[str, Any]:
    """What is to be written to a person who is there. One that we did not know is adopted: only what is empty is
    filled, our key too. Other e-mail addresses and numbers of that person stay, behind ours."""
    wanted = dict(item.record)
    if item.remote_id != str(person["id"]):
        wanted = {name: text for name, text in {**wanted, key: item.lead_id}.items() if not value(person, name)}
    return _shaped({name: text for name, text in wanted.items() if value(person, name) != text}, fields, person)


def activity_input(item: Item, person_id: Any, kind: str) -> dict[str, Any]:
    """One event: a request is there to be done, a call has been made. Its id stands in the note."""
    at = item.occurred_at.astimezone(UTC)
    lines = [
        f"{html.escape(name.replace('_', ' ').capitalize())}: {html.escape(text)}"
        for name, text in item.activity.items()
    ]
    return {
        "subject": item.title,
        "type": kind,
        "done": item.kind == "call_click",
        "due_date": f"{at:%Y-%m-%d}",
        "due_time": f"{at:%H:%M}",
        "participants": [{"person_id": person_id, "primary": True}],
        "note": "<br>".join([*lines, f"Frontdesk event {item.event_id}"]),
    }


def events_in(activity: Mapping[str, Any]) -> list[str]:
    """The ids of our events that an activity tells of."""
    return _MARK.findall(str(activity.get("note")))


def value(person: Mapping[str, Any], name: str) -> str:
    """A field of a person as text, of several e-mails or phones the first; "" when it is empty."""
    found = person.get(name)
    if name in _LISTS:
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        rows.sort(key=lambda row: not row.get("primary"))
        found = rows[0].get("value") if rows else None
    elif name not in person:
        custom = person.get("custom_fields")
        found = custom.get(name) if isinstance(custom, dict) else None
    return "" if found is None else str(found)


def has_email(person: Mapping[str, Any], email: str) -> bool:
    """Whether this is one of the person's addresses."""
    rows = person.get("emails")
    held = [row.get("value") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return email.casefold() in [str(one).casefold() for one in held]


def field_of(row: Mapping[str, Any]) -> RemoteField:
    """One of the account's own fields of a person."""
    options = row.get("options")
    choices = {str(one.get("id")): str(one.get("label")) for one in options} if isinstance(options, list) else {}
    return RemoteField(str(row.get("field_code")), str(row.get("field_name")), str(row.get("field_type")), choices)


def is_open(row: Mapping[str, Any]) -> bool:
    """Whether a mapping may write to this field: the account's own, and it takes text or one of its options."""
    known = bool(record_id(row.get("field_code"))) and row.get("field_name") != KEY_NAME
    return known and bool(row.get("is_custom_field")) and row.get("field_type") in _TEXTS


def _shaped(wanted: Mapping[str, str], fields: Fields, person: Mapping[str, Any]) -> dict[str, Any]:
    """Fields and texts in the shape of the API: lists of addresses, the account's own fields in a part of their own."""
    body: dict[str, Any] = {}
    for name, text in wanted.items():
        if name in _LISTS:
            others = [row for row in person.get(name) or [] if isinstance(row, dict) and row.get("value") != text]
            body[name] = [{"value": text, "primary": True}, *({**row, "primary": False} for row in others)]
        elif name == "name":
            body[name] = text
        else:
            is_option = name in fields and fields[name].type == "enum" and text.isdigit()
            body.setdefault("custom_fields", {})[name] = int(text) if is_option else text
    return body
