"""The shapes of what we send to Pipedrive, and of what it holds."""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from integrations.core import notes
from integrations.core.base import Item, RemoteField, record_id
from integrations.core.reading import as_object, objects_in, text

KEY_NAME = "Frontdesk lead ID"
NO_KEY = (
    f"Pipedrive has no person field “{KEY_NAME}”. In Pipedrive, Company settings, Data fields, Person: add a custom "
    f"field “{KEY_NAME}” of the type Text."
)
STANDARD = (
    RemoteField("name", "Name", required=True),
    RemoteField("emails", "E-mail"),
    RemoteField("phones", "Phone"),
)

_LISTS = ("emails", "phones")  # of which a person may have several
_TEXTS = ("varchar", "varchar_auto", "text", "phone", "date", "enum")

Fields = Mapping[str, RemoteField]  # the field's code → what it is


def person_input(item: Item, key: str, fields: Fields) -> dict[str, Any]:
    """A new person. key: the code of our own field."""
    return _shaped({**item.record, key: item.lead_id}, fields, {})


def changes(item: Item, person: Mapping[str, Any], key: str, fields: Fields) -> dict[str, Any]:
    """What is to be written to a person who is there. One that we did not know is adopted: only what is empty is
    filled, our key too. Other e-mail addresses and numbers of that person stay, behind ours."""
    wanted = dict(item.record)
    if item.remote_id != str(person["id"]):
        wanted = {name: new for name, new in {**wanted, key: item.lead_id}.items() if not value(person, name)}
    return _shaped({name: new for name, new in wanted.items() if value(person, name) != new}, fields, person)


def activity_input(item: Item, person_id: Any, kind: str) -> dict[str, Any]:
    """One event: a request is there to be done, a call has been made. Its id stands in the note."""
    at = item.occurred_at.astimezone(UTC)
    return {
        "subject": item.title,
        "type": kind,
        "done": item.kind == "call_click",
        "due_date": f"{at:%Y-%m-%d}",
        "due_time": f"{at:%H:%M}",
        "participants": [{"person_id": person_id, "primary": True}],
        "note": "<br>".join([*map(html.escape, notes.details(item)), notes.mark(item)]),
    }


def value(person: Mapping[str, Any], name: str) -> str:
    """A field of a person as text, of several e-mails or phones the first; "" when it is empty."""
    if name in _LISTS:
        rows = sorted(objects_in(person.get(name)), key=lambda row: not row.get("primary"))
        return text(rows[0].get("value")) if rows else ""
    return text(person[name] if name in person else as_object(person.get("custom_fields")).get(name))


def has_email(person: Mapping[str, Any], email: str) -> bool:
    """Whether this is one of the person's addresses."""
    return email.casefold() in [text(row.get("value")).casefold() for row in objects_in(person.get("emails"))]


def field_of(row: Mapping[str, Any]) -> RemoteField:
    """One of the account's own fields of a person."""
    choices = {str(one.get("id")): str(one.get("label")) for one in objects_in(row.get("options"))}
    return RemoteField(str(row.get("field_code")), str(row.get("field_name")), str(row.get("field_type")), choices)


def code_of_ours(fields: Fields) -> str | None:
    """The code of our own field, if it is there."""
    return next((code for code, field in fields.items() if field.label == KEY_NAME), None)


def is_open(row: Mapping[str, Any]) -> bool:
    """Whether a mapping may write to this field: the account's own, and it takes text or one of its options."""
    known = bool(record_id(row.get("field_code"))) and row.get("field_name") != KEY_NAME
    return known and bool(row.get("is_custom_field")) and row.get("field_type") in _TEXTS


def _shaped(wanted: Mapping[str, str], fields: Fields, person: Mapping[str, Any]) -> dict[str, Any]:
    """Fields and texts in the shape of the API: lists of addresses, the account's own fields in a part of their own."""
    body: dict[str, Any] = {}
    for name, new in wanted.items():
        if name in _LISTS:
            others = [row for row in objects_in(person.get(name)) if row.get("value") != new]
            body[name] = [{"value": new, "primary": True}, *({**row, "primary": False} for row in others)]
        elif name == "name":
            body[name] = new
        else:
            is_option = name in fields and fields[name].type == "enum" and new.isdigit()
            body.setdefault("custom_fields", {})[name] = int(new) if is_option else new
    return body
