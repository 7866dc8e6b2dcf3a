"""The shapes of Twenty's records: what we write, and what we read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID, uuid5

import phonenumbers

from integrations.core import notes
from integrations.core.base import Item, RemoteField
from integrations.core.reading import as_object, text

EMAIL, PHONE = "emails.primaryEmail", "phones.primaryPhoneNumber"
TARGETS = ("targetPersonId", "personId")  # a note's person, since version 1.17 and before
_OURS = UUID("6f1d5a52-6f0f-4c5e-9d0e-2f2f6e2f7a11")  # the room of names that our ids are made in
_NUMBER = "primaryPhoneNumber"
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~])")  # Markdown


def person_id(lead_id: str) -> str:
    """The id that a new person gets in Twenty: the same at each try."""
    return str(uuid5(_OURS, f"lead {lead_id}"))


def note_id(event_id: str) -> str:
    """The id of the note for an event."""
    return str(uuid5(_OURS, f"event {event_id}"))


def tie_id(event_id: str) -> str:
    """The id of what ties the note to the person."""
    return str(uuid5(_OURS, f"tie of event {event_id}"))


def person(number: str, record: Mapping[str, str]) -> dict[str, Any]:
    """One person of a batch: `name.firstName` becomes a part of `name`."""
    row: dict[str, Any] = {"id": number}
    for name, value in record.items():
        head, _, part = name.partition(".")
        if not part:
            row[head] = value
        else:
            row.setdefault(head, {}).update(_phone(value) if part == _NUMBER else {part: value})
    return row


def _phone(value: str) -> dict[str, str]:
    """A number in its parts. The country goes with it only where its calling code leaves no doubt: Twenty works out
    the others, and refuses a number when its list of numbers says otherwise."""
    try:
        number = phonenumbers.parse(value)
    except phonenumbers.NumberParseException:
        return {_NUMBER: value}
    countries = phonenumbers.region_codes_for_country_code(number.country_code or 0)
    country = {"primaryPhoneCountryCode": countries[0]} if len(countries) == 1 and countries[0].isalpha() else {}
    national = phonenumbers.national_significant_number(number)
    return {_NUMBER: national, "primaryPhoneCallingCode": f"+{number.country_code}", **country}


def note(item: Item) -> dict[str, Any]:
    """The event as a note, in Markdown."""
    lines = [f"Received: {notes.received(item)}", *notes.details(item), notes.mark(item)]
    body = "\n\n".join(_SPECIAL.sub(r"\\\1", line) for line in lines)
    return {"id": note_id(item.event_id), "title": item.title, "bodyV2": {"markdown": body}}


def body_of(note: Mapping[str, Any]) -> str:
    """The text of a note that was read."""
    return text(as_object(note.get("bodyV2")).get("markdown"))


def values(row: Mapping[str, Any], mapped: Iterable[str]) -> dict[str, str]:
    """What a person who was read holds in the fields that we write."""
    return {name: _value(row, name) for name in mapped}


def _value(row: Mapping[str, Any], name: str) -> str:
    head, _, part = name.partition(".")
    held = row.get(head)
    if part:
        whole = as_object(held)
        held = whole.get(part)
        if part == _NUMBER and held and not str(held).startswith("+"):
            held = f"{whole.get('primaryPhoneCallingCode') or ''}{held}"
    return text(held)


def same_email(one: str, other: str) -> bool:
    """Twenty keeps addresses in small letters."""
    return bool(one) and one.casefold() == other.casefold()


def owner_of(tie: Mapping[str, Any]) -> str:
    """The person to whom a note is tied, by the column that this version has."""
    return str(next((tie[column] for column in TARGETS if tie.get(column)), ""))


def remote_fields_in(document: Any) -> list[RemoteField]:
    """The fields of a person, from the description of the workspace's API."""
    described = as_object(document)
    for name in ("components", "schemas", "Person", "properties"):
        described = as_object(described.get(name))
    return [field for name, about in sorted(described.items()) for field in _fields(name, as_object(about))]


def _fields(name: str, about: Mapping[str, Any]) -> Iterator[RemoteField]:
    inner = as_object(about.get("properties"))
    if name == "createdBy" or about.get("type") == "array" or (about.get("type") == "object" and not inner):
        return
    for part, more in ((part, as_object(more)) for part, more in inner.items()):
        if more.get("type") not in ("array", "object") and not re.search(r"Phone(Country|Calling)Code$", part):
            yield RemoteField(f"{name}.{part}", f"{_words(name)}: {_words(part).lower()}", str(more.get("type")))
    if not inner:
        options = about.get("enum")
        choices = {str(one): str(one) for one in options} if isinstance(options, list) else {}
        yield RemoteField(name, _words(name), str(about.get("format") or about.get("type")), choices)


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()
