"""The shapes of HubSpot's messages, and what its errors mean."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from integrations.core.base import Item, record_id
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater
from integrations.core.http import Answer, parse_retry_after, raise_for_status, utc_now

KEY = "frontdesk_lead_id"
MOST_PER_CALL = 100
OURS = {"firstname": "first_name", "lastname": "last_name", "email": "email", "phone": "phone"}
_NOTE_TO_CONTACT = 202  # HubSpot's own type of association
_MARK = re.compile(r"Frontdesk event ([0-9a-f-]{36})")
_EXISTING = re.compile(r"Existing ID:\s*(\d+)")
_NAME = re.compile(r"[a-z0-9_]{1,100}")
_WAITS = {"DAILY": 3600.0, "SECONDLY": 1.0}  # seconds, by the name of the limit
_ROLLING = 10.0
_SCOPES = "crm.objects.contacts.read, crm.objects.contacts.write and crm.schemas.contacts.write"


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
    lines = [f"<strong>{html.escape(item.title)}</strong>"]
    lines += [
        f"{html.escape(name.replace('_', ' ').capitalize())}: {html.escape(value)}"
        for name, value in item.activity.items()
    ]
    lines.append(f"<small>Frontdesk event {item.event_id}</small>")
    association = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": _NOTE_TO_CONTACT}
    return {
        "properties": {"hs_timestamp": item.occurred_at.isoformat(), "hs_note_body": "<br>".join(lines)},
        "associations": [{"to": {"id": contact_id}, "types": [association]}],
    }


def events_in(row: Mapping[str, Any]) -> list[str]:
    """The ids of our events that a note tells of."""
    return _MARK.findall(str(properties(row).get("hs_note_body")))


def place(contact: Mapping[str, Any]) -> tuple[str, str | None]:
    """A contact's id, and the address of its page where HubSpot gives one."""
    url = contact.get("url")
    return str(contact["id"]), url if isinstance(url, str) and url.startswith("https://") else None


def note_ids(contact: Mapping[str, Any]) -> list[str]:
    """The notes on a contact that was read with its associations."""
    notes = _dict(_dict(contact.get("associations")).get("notes")).get("results")
    return [str(note["id"]) for note in notes if isinstance(note, dict)] if isinstance(notes, list) else []


def properties(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of a record."""
    return _dict(row.get("properties"))


def parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many as one call may name."""
    for start in range(0, len(ids), MOST_PER_CALL):
        yield ids[start : start + MOST_PER_CALL]


def record_in(answer: Answer) -> dict[str, Any]:
    """The record that was asked for. Raises what `answer.doubt` gives when there is none in the answer."""
    body = answer.json()
    if not isinstance(body, dict) or ("status" in body and body["status"] == "error"):
        raise answer.doubt("unreadable", "HubSpot sent an answer that cannot be read.")
    return body


def results(answer: Answer) -> list[dict[str, Any]]:
    """The records of a batch. Raises as above."""
    found = record_in(answer).get("results")
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise answer.doubt("unreadable", "HubSpot sent an answer that cannot be read.")
    if not all(record_id(row.get("id")) for row in found):
        raise answer.doubt("no_id", "HubSpot said yes, but not which record it made.")
    return found


def contact_in(answer: Answer) -> dict[str, Any]:
    """The contact that was asked for. Raises as above."""
    contact = record_in(answer)
    if not record_id(contact.get("id")):
        raise answer.doubt("unreadable", "HubSpot sent an answer that cannot be read.")
    return contact


def existing_id(answer: Answer) -> str | None:
    """The contact that has this e-mail address already, when that is what HubSpot says."""
    found = _EXISTING.search(" ".join(text for _, text in _errors(answer)))
    return found[1] if found else None


def verdict(answer: Answer) -> DeliveryError:
    """What HubSpot says went wrong: by its codes, and by the status alone where it gives none."""
    codes = {code for code, _ in _errors(answer)}
    text = " ".join(text for _, text in _errors(answer))
    if answer.status == 429:
        return _throttled(answer, text)
    if answer.status == 423:
        return TryLater("locked", "HubSpot has locked this record for a moment.", status=423)
    if answer.status == 477:
        wait = parse_retry_after(answer.headers.get("Retry-After"), utc_now())
        return Throttled("moving", "HubSpot is moving this account just now.", status=477, retry_after=wait)
    if answer.status == 403 and "MISSING_SCOPES" in codes:
        return Misconfigured("missing_scope", f"The key lacks a scope. It needs {_SCOPES}.", status=403)
    if "PROPERTY_DOESNT_EXIST" in codes:
        return Misconfigured("unknown_property", f"HubSpot does not know the contact property {_named(answer)}.")
    if answer.status in (200, 207, 400, 409) and codes:
        field = OURS.get(_named(answer))
        what = f"this {field.replace('_', ' ')}" if field else "this record"
        return Refused("invalid", f"HubSpot does not accept {what}.", status=answer.status, field=field)
    try:
        raise_for_status(answer)
    except DeliveryError as error:
        return error
    return answer.doubt("no_verdict", "HubSpot left this record out of its answer.")


def _throttled(answer: Answer, text: str) -> Throttled:
    said = parse_retry_after(answer.headers.get("Retry-After"), utc_now())
    name = next((name for name in _WAITS if name in text.upper() and "TEN_SECONDLY" not in text.upper()), "")
    sentence = "HubSpot's daily limit is reached." if name == "DAILY" else "HubSpot asks us to slow down."
    return Throttled("rate_limit", sentence, status=429, retry_after=said or _WAITS.get(name, _ROLLING))


def _errors(answer: Answer) -> list[tuple[str, str]]:
    """(code, text) of everything that the answer complains of; HubSpot treats each part of it as optional."""
    body = _body(answer)
    rows = [body, *(row for row in body.get("errors") or [] if isinstance(row, dict))] if body else []
    return [
        (code, f"{row.get('policyName', '')} {row.get('message', '')}")
        for row in rows
        for code in (str(row.get("code") or row.get("category") or ""), *re.findall(r'"error":"(\w+)"', str(row)))
        if code
    ]


def _named(answer: Answer) -> str:
    """The property that an error is about, if it is the name of one."""
    text = str(_body(answer))
    found = re.search(r"""['"]?(?:propertyName|name)\\?['"]?:\s*\[?\\?['"]([a-z0-9_]+)""", text)
    return found[1] if found and _NAME.fullmatch(found[1]) else "that a connection maps"


def _body(answer: Answer) -> dict[str, Any]:
    try:
        return _dict(answer.json())
    except DeliveryError:
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
