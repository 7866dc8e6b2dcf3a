"""The shapes of HubSpot's messages, and what its errors mean."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from integrations.core import notes
from integrations.core.base import Allowance, Item, RemoteField, record_id
from integrations.core.errors import DeliveryError, Misconfigured, Throttled, TryLater, not_accepted
from integrations.core.http import Answer, by_status
from integrations.core.reading import as_object, objects_at, objects_in, records_in, text

KEY = "frontdesk_lead_id"
MOST_PER_CALL = 100
EMAIL, MORE_EMAILS = "email", "hs_additional_emails"
OURS = {"firstname": "first_name", "lastname": "last_name", EMAIL: "email", "phone": "phone"}
SCOPES = ("crm.objects.contacts.read", "crm.objects.contacts.write", "crm.schemas.contacts.write")
_NOTE_TO_CONTACT = 202  # HubSpot's own type of association
_EXISTING = re.compile(r"Contact already exists\. Existing ID:\s*(\d+)\.?")
_NOT_VALID = "Property values were not valid: "  # what follows is JSON
_NAME = re.compile(r"[a-z0-9_]{1,100}")
_UNKNOWN = "PROPERTY_DOESNT_EXIST"
_NONE = "crm.associations.NO_ASSOCIATIONS_FOUND"
_WAITS = {"DAILY": 3600.0, "SECONDLY": 1.0}  # seconds, by the name of the limit
_ROLLING = 10.0
_REGION = re.compile(r"pat-([a-z]{2}\d)-")


def contact_input(item: Item) -> dict[str, Any]:
    """One person of a batch upsert."""
    return {
        "id": item.lead_id,
        "idProperty": KEY,
        "objectWriteTraceId": item.lead_id,
        "properties": {**item.record, KEY: item.lead_id},
    }


def note_input(item: Item, contact_id: str) -> dict[str, Any]:
    """One event of a batch create. Its id stands in the text, by which it is found again."""
    lines = [f"<strong>{html.escape(item.title)}</strong>", *map(html.escape, notes.details(item))]
    lines.append(f"<small>{notes.mark(item)}</small>")
    association = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": _NOTE_TO_CONTACT}
    return {
        "properties": {"hs_timestamp": item.instant(), "hs_note_body": "<br>".join(lines)},
        "associations": [{"to": {"id": contact_id}, "types": [association]}],
    }


def place(contact: Mapping[str, Any]) -> tuple[str, str | None]:
    """A contact's id, and the address of its page where HubSpot gives one."""
    url = contact.get("url")
    return str(contact["id"]), url if isinstance(url, str) and url.startswith("https://") else None


def note_ids(contact: Mapping[str, Any]) -> list[str]:
    """The notes on a contact that was read with its associations."""
    return [str(note["id"]) for note in objects_at(_notes_of(contact), "results")]


def has_more_notes(contact: Mapping[str, Any]) -> bool:
    """Whether the contact's answer shows only the first of its notes (100)."""
    return bool(_notes_of(contact).get("paging"))


def _notes_of(contact: Mapping[str, Any]) -> dict[str, Any]:
    return as_object(as_object(contact.get("associations")).get("notes"))


def with_notes(contact: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """The contact with all of its notes."""
    return {**contact, "associations": {"notes": {"results": [{"id": one} for one in ids]}}}


def notes_in(answer: Answer) -> tuple[list[str], str]:
    """A page of the notes of one contact, and where the next begins, "" at the end. Raises as `record_in` does."""
    rows = objects_in(record_in(answer).get("results"))
    found = [text(note.get("toObjectId")) for row in rows for note in objects_in(row.get("to"))]
    after = [text(as_object(as_object(row.get("paging")).get("next")).get("after")) for row in rows]
    return [one for one in found if one], "".join(after[:1])


def associated_in(answer: Answer, ids: Sequence[str]) -> set[str]:
    """Those of these contacts that have an associated record. HubSpot tells of each that has none as of an error; any
    other error leaves it open, and then all of them count. Raises as `record_in` does."""
    body = record_in(answer)
    if not isinstance(body.get("results"), list):
        raise answer.unreadable("HubSpot")
    if any(error.get("subCategory") != _NONE for error in objects_in(body.get("errors"))):
        return set(ids)
    return {text(as_object(row.get("from")).get("id")) for row in objects_in(body.get("results")) if row.get("to")}


def remote_field(row: Mapping[str, Any]) -> RemoteField | None:
    """A property as HubSpot describes it; None when it cannot be written, or is not shown to people there either."""
    fixed = as_object(row.get("modificationMetadata")).get("readOnlyValue")
    if fixed or row.get("hidden") or row.get("calculated") or row.get("archived") or not row.get("name"):
        return None
    shown = [one for one in objects_in(row.get("options")) if not one.get("hidden")]
    choices = {str(one.get("value")): str(one.get("label")) for one in shown}
    return RemoteField(str(row["name"]), str(row.get("label") or row["name"]), str(row.get("type")), choices)


def allowance(answer: Answer) -> Allowance | None:
    """What is left of the rolling seconds, and of the day for a key (who signed in has no daily limit of an app)."""
    names = ("Remaining", "Interval-Milliseconds", "Daily-Remaining", "Daily")
    left, milliseconds, today, of_today = (answer.number(f"X-HubSpot-RateLimit-{name}") for name in names)
    if left is None and today is None:
        return None
    return Allowance(left, milliseconds / 1000 if milliseconds else None, today, of_today)


def properties(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of a record."""
    return as_object(row.get("properties"))


def record_in(answer: Answer) -> dict[str, Any]:
    """The record that was asked for. Raises what `answer.doubt` gives when there is none in the answer."""
    body = answer.json()
    if not isinstance(body, dict) or ("status" in body and body["status"] == "error"):
        raise answer.unreadable("HubSpot")
    return body


def results(answer: Answer) -> list[dict[str, Any]]:
    """The records of a batch. Raises as above."""
    found = record_in(answer).get("results")
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise answer.unreadable("HubSpot")
    if not all(record_id(row.get("id")) for row in found):
        raise answer.nameless("HubSpot")
    return found


def contact_in(answer: Answer) -> dict[str, Any]:
    """The contact that was asked for. Raises as above."""
    contact = record_in(answer)
    if not record_id(contact.get("id")) or records_in(_notes_of(contact).get("results", [])) is None:
        raise answer.unreadable("HubSpot")
    return contact


def existing_id(answer: Answer) -> str | None:
    """The contact that has this e-mail address already, when that is what HubSpot says."""
    # By its whole sentence: other errors repeat what was sent, and a visitor may have typed a part of it.
    told = (_EXISTING.fullmatch(text(row.get("message"))) for row in _errors(answer) if _is_conflict(answer, row))
    return next((found[1] for found in told if found), None)


def _is_conflict(answer: Answer, row: Mapping[str, Any]) -> bool:
    return answer.status == 409 or row.get("category") == "CONFLICT"


def is_whom_it_says(contact: Mapping[str, Any], item: Item) -> bool:
    """Whether a contact carries this person's e-mail address, or our id of this person."""
    held = properties(contact)
    addresses = [text(held.get(EMAIL)), *text(held.get(MORE_EMAILS)).split(";")]
    asked = item.record.get(EMAIL, "").strip().casefold()
    return held.get(KEY) == item.lead_id or (asked != "" and asked in [one.strip().casefold() for one in addresses])


def verdict(answer: Answer, key: str = "") -> DeliveryError:
    """What HubSpot says went wrong: by its codes, and by the status alone where it gives none. key: the one that was
    sent, which names the region of its account."""
    errors = _errors(answer)
    codes = {code for row in errors if (code := _code(row))}
    if error := _busy(answer) or _not_let_in(answer, codes, key):
        return error
    if unknown := [row for row in errors if _code(row) == _UNKNOWN]:
        return Misconfigured("unknown_property", f"HubSpot does not know the contact property {_named(unknown)}.")
    if answer.status in (200, 207, 400, 409) and codes:
        return not_accepted("HubSpot", OURS.get(_named(errors)), status=answer.status)
    return by_status(answer) or answer.doubt("no_verdict", "HubSpot left this record out of its answer.")


def _busy(answer: Answer) -> DeliveryError | None:
    if answer.status == 429:
        told = (f"{row.get('policyName', '')} {row.get('message', '')}" for row in _errors(answer))
        return _throttled(answer, " ".join(told))
    if answer.status == 423:
        return TryLater("locked", "HubSpot has locked this record for a moment.", status=423)
    if answer.status == 477:
        sentence = "HubSpot is moving this account just now."
        return Throttled("moving", sentence, status=477, retry_after=answer.retry_after())
    return None


def _not_let_in(answer: Answer, codes: Collection[str], key: str) -> DeliveryError | None:
    if answer.status == 401 and (region := _REGION.match(key)):
        home = "app.hubspot.com" if region[1] == "na1" else f"app-{region[1]}.hubspot.com"
        sentence = f"HubSpot does not accept the key. It is for an account at {home}. Enter a new one."
        return Misconfigured("bad_key", sentence, status=401)
    if answer.status == 403 and "MISSING_SCOPES" in codes:
        sentence = f"The key lacks a scope. It needs {', '.join(SCOPES[:-1])} and {SCOPES[-1]}."
        return Misconfigured("missing_scope", sentence, status=403)
    return None


def _throttled(answer: Answer, text: str) -> Throttled:
    name = next((name for name in _WAITS if name in text.upper() and "TEN_SECONDLY" not in text.upper()), "")
    sentence = "HubSpot's daily limit is reached." if name == "DAILY" else "HubSpot asks us to slow down."
    return Throttled("rate_limit", sentence, status=429, retry_after=answer.retry_after() or _WAITS.get(name, _ROLLING))


def _errors(answer: Answer) -> list[dict[str, Any]]:
    """Everything that the answer complains of; HubSpot treats each part of it as optional, and tells some of it as JSON
    in a text."""
    rows = [as_object(answer.json_or_none())]
    for row in rows:
        rows += objects_in(row.get("errors"))
    return rows + [one for row in rows for one in _told_as_json(text(row.get("message")))]


def _told_as_json(message: str) -> list[dict[str, Any]]:
    """Read as JSON, since a visitor's words stand in it that could look like a part of it."""
    try:
        return objects_in(json.loads(message.removeprefix(_NOT_VALID))) if message.startswith(_NOT_VALID) else []
    except (ValueError, RecursionError):
        return []


def _code(row: Mapping[str, Any]) -> str:
    return next((text(row[name]) for name in ("code", "error", "category", "errorType") if row.get(name)), "")


def _named(errors: Sequence[Mapping[str, Any]]) -> str:
    """The property that these errors are about, if one tells the name of it."""
    told = (name for row in errors for name in (as_object(row.get("context")).get("propertyName"), row.get("name")))
    names = (text(name[0] if isinstance(name, list) and name else name) for name in told)
    return next((name for name in names if _NAME.fullmatch(name)), "that a connection maps")
