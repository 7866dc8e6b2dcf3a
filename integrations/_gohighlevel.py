"""The shapes of HighLevel's messages, and what its errors mean. It has no error codes: a status, and words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from integrations.core import notes
from integrations.core.base import Allowance, Item, RemoteField, record_id
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, Unknown, not_accepted
from integrations.core.http import Answer, by_status
from integrations.core.reading import as_object, objects_in, records_in, text

KEY = "contact.frontdesk_lead_id"  # HighLevel makes it of the field's name
NAME = "Frontdesk lead ID"
BY_HAND = f"In HighLevel, under Settings, Custom Fields, add a contact field “{NAME}” of type Single Line."
SETTLE = 10.0  # seconds: its search shows a contact "a few seconds" after it was written
SCOPES = ("contacts.readonly", "contacts.write", "locations/customFields.readonly", "locations/customFields.write")
OURS = {"firstName": "first_name", "lastName": "last_name", "email": "email", "phone": "phone"}
_STANDARD = OURS.keys() | {"name", "companyName", "address1", "city", "state", "postalCode", "country", "website"}
_STANDARD |= {"source", "gender", "dateOfBirth", "timezone"}
_TEXTS = {"TEXT", "LARGE_TEXT", "PHONE", "EMAIL", "NUMERICAL", "FLOAT", "MONETORY", "DATE", "TIME"}
_CHOICES = {"SINGLE_OPTIONS", "RADIO"}
# Whole sentences: others may repeat what was sent, and a visitor may have typed a part of these.
_MISSING = re.compile(r"contact\b.{0,100}\bnot found\W?", re.IGNORECASE)
_UNKNOWN = re.compile(r"property (\w{1,60}) should not exist\W?|invalid field (\w{1,60})\W?", re.IGNORECASE)
_NO_MARKUP = str.maketrans("<>", "‹›")  # whether a note is text or HTML is not documented: so it reads as both


def contact_body(record: Mapping[str, str], ids: Mapping[str, str]) -> dict[str, Any]:
    """A contact's fields as HighLevel takes them. ids: key of a custom field → its id; `contact.` begins such a key."""
    plain: dict[str, Any] = {name: value for name, value in record.items() if "." not in name}
    custom = [{"id": ids.get(name), "field_value": value} for name, value in record.items() if "." in name]
    if unknown := [name for name in record if "." in name and name not in ids]:
        sentence = f"HighLevel has no contact field {unknown[0]}. Create it there, or change the mapping."
        raise Misconfigured("unknown_field", sentence)
    return plain | ({"customFields": custom} if custom else {})


def note_body(item: Item) -> dict[str, str]:
    """One event. Its id stands in the text, by which it is found again."""
    lines = [item.title, *notes.details(item), notes.mark(item)]
    return {"body": "\n".join(lines).translate(_NO_MARKUP)}


def record_of(contact: Mapping[str, Any], names: Iterable[str], ids: Mapping[str, str]) -> dict[str, str]:
    """What a contact holds in these fields, "" where it is empty."""
    custom = {text(row.get("id")): row.get("value") for row in objects_in(contact.get("customFields"))}
    return {name: text(custom.get(ids.get(name, "")) if "." in name else contact.get(name)) for name in names}


def remote_field(row: Mapping[str, Any]) -> RemoteField | None:
    """A custom field that a text can be written to; None for lists, files and signatures."""
    kind, key = str(row.get("dataType")), str(row.get("fieldKey"))
    if kind not in _TEXTS | _CHOICES:
        return None
    options = row.get("picklistOptions") if kind in _CHOICES else None
    choices = {str(one): str(one) for one in options} if isinstance(options, list) else {}
    return RemoteField(key, str(row.get("name") or key), kind.lower(), choices)


def standard_fields() -> list[RemoteField]:
    """Those that every contact has; HighLevel lists only the custom ones."""
    return [RemoteField(name, re.sub(r"(?<!^)([A-Z0-9])", r" \1", name).capitalize()) for name in sorted(_STANDARD)]


def is_good(answer: Answer) -> bool:
    """Whether HighLevel did what it was asked, by the status and by what the body says of it."""
    return 200 <= _said(answer)[0] < 300


def part(answer: Answer, name: str) -> Any:
    """What stands under this name in a good answer. Raises what HighLevel says went wrong."""
    if not is_good(answer):
        raise verdict(answer)
    body = answer.json()
    if not isinstance(body, dict) or name not in body:
        raise answer.unreadable("HighLevel")
    return body[name]


def rows(answer: Answer, name: str) -> list[dict[str, Any]]:
    """A list in a good answer. Raises as above."""
    found = records_in(part(answer, name))
    if found is None:
        raise answer.unreadable("HighLevel")
    return found


def with_id(answer: Answer, name: str) -> dict[str, Any]:
    """One record in a good answer. Raises as above."""
    found = as_object(part(answer, name))
    if not record_id(found.get("id")):
        raise answer.nameless("HighLevel")
    return found


def duplicate(answer: Answer) -> tuple[str, str] | None:
    """(contact, field): who holds this e-mail or phone already, when that is what HighLevel says."""
    meta = as_object(as_object(answer.json_or_none()).get("meta"))
    owner = record_id(meta.get("contactId")) if answer.status == 400 else None
    return (owner, str(meta.get("matchingField"))) if owner else None


def is_missing(answer: Answer) -> bool:
    """Whether there is no such contact: said with 400, not with 404."""
    status, said = _said(answer)
    return status == 404 or (status in (400, 422) and any(map(_MISSING.fullmatch, said)))


def may_not_edit(answer: Answer) -> bool:
    """Whether this is about the one contact, and not about the token."""
    return _said(answer)[0] == 403 and verdict(answer).code == "forbidden"


def verdict(answer: Answer) -> DeliveryError:
    """What HighLevel says went wrong."""
    status, said = _said(answer)
    words = " ".join(said)
    if status == 429:
        return _throttled(answer)
    if status == 401 and "scope" in words:
        needed = f"{', '.join(SCOPES[:-1])} and {SCOPES[-1]}"
        return Misconfigured("missing_scope", f"The token lacks a scope. It needs {needed}.", status=status)
    if status == 403 and "location" in words:
        sentence = "The token belongs to another sub-account. Compare the location ID with the one in its settings."
        return Misconfigured("wrong_location", sentence, status=status)
    unknown = next((found[1] or found[2] for one in said if (found := _UNKNOWN.fullmatch(one))), None)
    if unknown and status in (400, 422):
        return Misconfigured("unknown_field", f"HighLevel does not know the contact field {unknown}.", status=status)
    if status in (400, 422):
        return _refused(status, words)
    unreadable = answer.unreadable("HighLevel")
    return by_status(replace(answer, status=status)) or unreadable


def after_new(error: DeliveryError) -> DeliveryError:
    """The same, for a contact made a moment ago: nothing is written again until the search shows that contact."""
    if isinstance(error, Throttled):
        wait = max(error.retry_after or 0, SETTLE)
        return Throttled(error.code, error.sentence, status=error.status, retry_after=wait)
    return error if isinstance(error, Refused) else Unknown(error.code, error.sentence, status=error.status)


def allowance(answer: Answer) -> Allowance | None:
    """What is left of the 10 seconds and of the day, for this app at this sub-account."""
    names = ("Remaining", "Interval-Milliseconds", "Daily-Remaining", "Limit-Daily")
    left, milliseconds, today, of_today = (answer.number(f"X-RateLimit-{name}") for name in names)
    seconds = milliseconds / 1000 if milliseconds else None
    return None if left is None else Allowance(left, seconds, today, of_today)


def _throttled(answer: Answer) -> Throttled:
    said = answer.retry_after()
    if answer.number("X-RateLimit-Daily-Remaining") == 0:
        return Throttled("daily_limit", "HighLevel's daily limit is reached.", status=429, retry_after=said or 3600.0)
    window = (answer.number("X-RateLimit-Interval-Milliseconds") or 10_000) / 1000
    return Throttled("rate_limit", "HighLevel asks us to slow down.", status=429, retry_after=said or window)


def _refused(status: int, words: str) -> Refused:
    named = re.search(rf"\b({'|'.join(OURS)})\b", words)
    return not_accepted("HighLevel", OURS[named[1]] if named else None, status=status)


def _said(answer: Answer) -> tuple[int, list[str]]:
    """The status, which an error body may tell better than the answer itself, and the words: a text or several."""
    body = as_object(answer.json_or_none())
    status, words = body.get("statusCode"), body.get("message")
    said = [str(one).strip() for one in (words if isinstance(words, list) else [words or ""])]
    return status if isinstance(status, int) and status >= 400 else answer.status, said
