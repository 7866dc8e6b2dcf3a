"""The shapes of what we write to Odoo and read from it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from integrations.core import notes
from integrations.core.base import Item, RemoteField

LEAD, ACTIVITY, MESSAGE = "crm.lead", "mail.activity", "mail.message"
# Not `frontdesk`: Odoo Enterprise has a module of that name, and an update of it deletes what bears its name.
MODULE = "__frontdesk__"
TYPES = {"consultation_request": "mail.mail_activity_data_todo", "call_click": "mail.mail_activity_data_call"}
_ACTIVITY_COLUMNS = ("id", "res_model_id/id", "res_id", "activity_type_id/id", "summary", "note", "date_deadline")
_WRITABLE = ("char", "text", "html", "selection", "date", "datetime", "integer", "float", "monetary", "boolean")

Row = tuple[tuple[str, ...], tuple[str, ...]]  # the columns, and the value of each


def lead_key(lead_id: str) -> str:
    """The name in our lead's External ID, which has at most one dot in all."""
    return f"lead_{lead_id}"


def lead_row(item: Item) -> Row:
    """The person. A record that is new gets a title, where the mapping names none: the person's name."""
    given = dict(item.record)
    if not item.remote_id and "name" not in given:
        given["name"] = given.get("contact_name") or item.title
    return ("id", *given), (f"{MODULE}.{lead_key(item.lead_id)}", *given.values())


def activity_row(item: Item, lead: str) -> Row:
    """The event, due on the day it came in. Its id stands in the note too: when staff mark the activity as done, older
    versions of Odoo delete it and keep only its text, among the messages."""
    note = "<br>".join([*map(html.escape, notes.details(item)), notes.mark(item)])
    key, day = f"{MODULE}.event_{item.event_id}", item.occurred_at.date().isoformat()
    values = (key, "crm.model_crm_lead", lead, TYPES[item.kind], item.title, f"<p>{note}</p>", day)
    return _ACTIVITY_COLUMNS, values


def base(column: str) -> str:
    """The field of a column: `user_id` of `user_id/.id`."""
    return column.partition("/")[0]


def values(row: Mapping[str, Any], mapped: Sequence[str]) -> dict[str, str]:
    """What a lead that was read holds in the columns that we write."""
    return {column: _text(row.get(base(column))) for column in mapped}


def _text(value: Any) -> str:
    """Odoo's word for empty is false; a record of another model is its number and its name."""
    if isinstance(value, list):
        return str(value[-1]) if value else ""
    return "" if value is None or value is False else str(value)


def remote_field(name: str, about: Mapping[str, Any]) -> RemoteField | None:
    """A field as `fields_get` describes it; None when we can write nothing to it. A record of another model is written
    by its name."""
    kind = about.get("type")
    if about.get("readonly") or kind not in (*_WRITABLE, "many2one"):
        return None
    options = about.get("selection")
    pairs = [one for one in options if isinstance(one, list) and len(one) == 2] if isinstance(options, list) else []
    choices = {str(value): str(label) for value, label in pairs}
    return RemoteField(name, str(about.get("string") or name), str(kind), choices, bool(about.get("required")))
