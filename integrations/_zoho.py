"""The shapes of what we send to Zoho CRM, and of what it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.core import notes
from integrations.core.base import Item, RemoteField, record_id
from integrations.core.reading import objects_in, text

KEY, KEY_LABEL = "Frontdesk_Lead_ID", "Frontdesk Lead ID"
LEADS, CONTACTS = "Leads", "Contacts"
MOST_PER_CALL = 100
DOMAINS = {  # data centre → the domain that people use, and the one that programs use until a sign-in names another
    "com": ("zoho.com", "zohoapis.com"),
    "eu": ("zoho.eu", "zohoapis.eu"),
    "in": ("zoho.in", "zohoapis.in"),
    "com.au": ("zoho.com.au", "zohoapis.com.au"),
    "jp": ("zoho.jp", "zohoapis.jp"),
    "ca": ("zohocloud.ca", "zohoapis.ca"),
    "uk": ("zoho.uk", "zohoapis.uk"),
    "sa": ("zoho.sa", "zohoapis.sa"),
    "ae": ("zoho.ae", "zohoapis.ae"),
    "com.cn": ("zoho.com.cn", "zohoapis.com.cn"),
}

_TEXTS = ("text", "textarea", "email", "phone", "website", "picklist", "date", "datetime")


@dataclass(frozen=True, slots=True)
class Home:
    """Zoho's record for a person: a lead, or the contact that staff made of it. fresh: we have just made it, so that no
    note can stand on it yet. left_out: column → value of what was not written to it, since another record has it and no
    two may."""

    id: str
    fresh: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    module: str = LEADS

    @property
    def place(self) -> str:
        """What we know the record by: a lead goes by its id alone, a contact as `Contacts/…`."""
        return self.id if self.module == LEADS else f"{self.module}/{self.id}"


def home_at(place: str) -> Home:
    """The inverse of `Home.place`."""
    module, _, one = place.rpartition("/")
    return Home(one, module=module or LEADS)


def is_contact(place: str | None) -> bool:
    """Whether a person's record is a contact."""
    return (place or "").startswith(f"{CONTACTS}/")


def lead_input(item: Item) -> dict[str, Any]:
    """A new lead."""
    return {**item.record, KEY: item.lead_id}


def note_input(item: Item, home: Home) -> dict[str, Any]:
    """A note of the event. Its id stands in the text, by which it is found again."""
    lines = [f"Received: {notes.received(item)}", *notes.details(item), notes.mark(item)]
    return {
        "Parent_Id": {"module": {"api_name": home.module}, "id": home.id},
        "Note_Title": item.title,
        "Note_Content": "\n".join(lines),
    }


def changes(item: Item, lead: Mapping[str, Any]) -> dict[str, str]:
    """What is to be written to a lead that exists. One that we did not know is adopted: only what is empty is filled,
    our key too, and nothing at all where it stands for another of our leads."""
    if item.remote_id == str(lead["id"]):
        return dict(item.record)
    if text(lead.get(KEY)) not in ("", item.lead_id):
        return {}
    return {name: value for name, value in lead_input(item).items() if not text(lead.get(name))}


def values(lead: Mapping[str, Any], item: Item) -> dict[str, str]:
    """What a lead holds in the fields that the item maps."""
    return {name: text(lead.get(name)) for name in item.record}


def key_query(items: Sequence[Item], columns: Sequence[str]) -> str:
    """COQL: the leads that hold our key, or the e-mail address of one of these people."""
    criteria = f"{KEY} in ({_listed([item.lead_id for item in items])})"
    if emails := [email for item in items if (email := item.record.get("Email")) and not re.search(r"['\\]", email)]:
        criteria = f"({criteria} or Email in ({_listed(emails)}))"
    return f"select {', '.join(columns)} from Leads where {criteria} order by id asc limit 200"  # noqa: S608 - quoted


def of_person(item: Item, leads: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The lead that holds our key, else the oldest with the same e-mail address that stands for none of our leads."""
    for lead in leads:
        if text(lead.get(KEY)) == item.lead_id:
            return lead
    email = item.record.get("Email", "").casefold()
    free = (lead for lead in leads if not text(lead.get(KEY)))
    return next((lead for lead in free if email and text(lead.get("Email")).casefold() == email), None)


def field_of(row: Mapping[str, Any]) -> RemoteField:
    """A field of the lead, from Zoho's own description."""
    choices = objects_in(row.get("pick_list_values")) if row.get("data_type") == "picklist" else []
    return RemoteField(
        str(row["api_name"]),
        str(row.get("field_label") or row["api_name"]),
        str(row.get("data_type")),
        {str(one.get("actual_value")): str(one.get("display_value")) for one in choices},
        required=bool(row.get("system_mandatory")),
    )


def is_open(row: Mapping[str, Any]) -> bool:
    """Whether a mapping may write to this field: it takes text, and is not kept by Zoho or by us."""
    kept = row.get("read_only") or row.get("field_read_only") or row.get("api_name") == KEY
    return not kept and row.get("data_type") in _TEXTS and bool(record_id(row.get("api_name")))


def _listed(values: Sequence[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
