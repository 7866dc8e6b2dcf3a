"""The shapes of EspoCRM's messages, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.core import notes
from integrations.core.base import Item, RemoteField, record_id
from integrations.core.errors import DeliveryError, Misconfigured, Refused, TryLater, not_accepted
from integrations.core.http import Answer, by_status
from integrations.core.reading import as_object, objects_in, records_in, text

CONVERTED = "Converted"  # the status of a lead that became a contact, an account or an opportunity
FIELDS_PATH = "entityDefs.Lead.fields"
OURS = {"firstName": "first_name", "lastName": "last_name", "emailAddress": "email", "phoneNumber": "phone"}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~@])")  # @: a visitor shall notify nobody by name
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]{0,99}")
_WRITABLE = {"varchar", "text", "wysiwyg", "enum", "bool", "int", "float", "date", "url", "email", "phone"}
ROLE = "Its role needs, for Lead: create yes; read, edit, delete and stream all."


def note_input(item: Item, lead_id: str) -> dict[str, str]:
    """One event, as a post in Markdown. Its id stands in the text, by which it is found again."""
    lines = [f"**{_plain(item.title)}**, {notes.received(item)}", *map(_plain, notes.details(item)), notes.mark(item)]
    return {"type": "Post", "post": "\n\n".join(lines), "parentType": "Lead", "parentId": lead_id}


def equals(attribute: str, value: str) -> dict[str, str]:
    """The query for the leads whose attribute has this value, oldest first."""
    asked = {"type": "equals", "attribute": attribute, "value": value}
    where = {f"where[0][{name}]": text for name, text in asked.items()}
    return where | {"orderBy": "createdAt", "order": "asc", "maxSize": "5"}


def _plain(value: str) -> str:
    """What a visitor typed is text, and no link or heading."""
    return _MARKDOWN.sub(r"\\\1", value)


def values(lead: Mapping[str, Any], item: Item) -> dict[str, str]:
    """What a lead holds in the fields that the item maps."""
    return {name: text(lead.get(name)) for name in item.in_full().record}


def is_same_person(item: Item, lead: Mapping[str, Any]) -> bool:
    """Whether a lead that EspoCRM calls a duplicate is this person: the name alone, which it also goes by, is not
    enough. Only a caller of whom nothing else is known is told by the name, which holds our code."""
    mine, theirs = _ways_to(item.record), _ways_to(lead)
    if not mine:
        named = ("firstName", "lastName")
        return not theirs and [text(lead.get(one)) for one in named] == [item.record.get(one, "") for one in named]
    return not mine.isdisjoint(theirs)


def _ways_to(record: Mapping[str, Any]) -> set[str]:
    """E-mail addresses and phone numbers; a lead may have several of each."""
    emails = [record.get("emailAddress"), *_column(record, "emailAddressData", "emailAddress")]
    phones = [record.get("phoneNumber"), *_column(record, "phoneNumberData", "phoneNumber")]
    found = {text(one).strip().casefold() for one in emails} | {re.sub(r"\D", "", text(one)) for one in phones}
    return found - {""}


def _column(record: Mapping[str, Any], name: str, column: str) -> list[Any]:
    return [row.get(column) for row in objects_in(record.get(name))]


def record_in(answer: Answer) -> dict[str, Any]:
    """The record in an answer. Raises what `answer.doubt` gives when there is none."""
    body = answer.json()
    if not isinstance(body, dict):
        raise answer.unreadable("EspoCRM")
    if not (found := record_id(body.get("id"))):
        raise answer.nameless("EspoCRM")
    return body | {"id": found}


def rows(answer: Answer) -> list[dict[str, Any]]:
    """The records of a list. Raises as above."""
    found = records_in(as_object(answer.json()).get("list"))
    if found is None:
        raise answer.unreadable("EspoCRM")
    return [row | {"id": record_id(row["id"])} for row in found]


def duplicates_in(answer: Answer) -> list[str]:
    """The ids of the records that EspoCRM says stand in the way."""
    found = [record_id(row.get("id")) for row in objects_in(answer.json_or_none())]
    return [one for one in found if one]


def fields_in(answer: Answer) -> list[RemoteField]:
    """The fields of leads that may be written, by name."""
    found = as_object(answer.json_or_none())
    for name in FIELDS_PATH.split("."):  # a version that knows no key sends everything
        found = as_object(found.get(name, found))
    known = [(name, as_object(about)) for name, about in sorted(found.items())]
    return [_field(name, about) for name, about in known if _is_writable(about)]


def _is_writable(about: Mapping[str, Any]) -> bool:
    return text(about.get("type")) in _WRITABLE and not any(
        about.get(no) for no in ("readOnly", "notStorable", "disabled")
    )


def _field(name: str, about: Mapping[str, Any]) -> RemoteField:
    label = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).capitalize()
    options = about.get("options")
    choices = {str(one): str(one) for one in options if one} if isinstance(options, list) else {}
    return RemoteField(name, label, str(about["type"]), choices, required=bool(about.get("required")))


def lacks_field(answer: Answer) -> bool:
    """Whether the search was refused for a field that leads do not have or that is not to be seen."""
    asked = answer.status in (400, 403) and not answer.wrote  # else a visitor's words may stand in the reason
    return asked and " attribute '" in answer.headers.get("X-Status-Reason", "")


def without_field(key: str) -> str:
    """What to do about it."""
    return (
        f"Leads have no field {key} that the API user may see and write. In EspoCRM, as administrator: Entity Manager, "
        f"Lead, Fields, Add Field, Varchar, Name externalId. If EspoCRM calls it cExternalId, enter that here."
    )


def verdict(answer: Answer, key: str) -> DeliveryError:
    """What EspoCRM says went wrong; by the status alone where it says nothing more. key: our field's name."""
    if lacks_field(answer):
        return Misconfigured("missing_field", without_field(key), status=answer.status)
    if answer.status == 401:
        sentence = "EspoCRM does not accept the API key. Copy it again from Administration, API Users."
        return Misconfigured("bad_key", sentence, status=401)
    if answer.status == 403:
        return Misconfigured("forbidden", f"EspoCRM does not let the API user do this. {ROLE}", status=403)
    if answer.status == 409:
        return TryLater("conflict", "EspoCRM was changing this record just then.", status=409)
    if answer.status == 400:
        return _invalid(answer)
    return by_status(answer) or answer.doubt("no_verdict", "EspoCRM sent an answer that cannot be understood.")


def _invalid(answer: Answer) -> Refused:
    translation = as_object(as_object(answer.json_or_none()).get("messageTranslation"))
    name = as_object(translation.get("data")).get("field")
    told = re.search(r"field: ([a-zA-Z0-9]+)", answer.headers.get("X-Status-Reason", ""))
    name = name if isinstance(name, str) else told[1] if told else ""
    field = OURS.get(name)
    if field or not _NAME.fullmatch(name):
        return not_accepted("EspoCRM", field, status=400)
    return Refused("invalid", f"EspoCRM does not accept what is written to its field {name}.", status=400)
