"""What Twenty answers, and what its errors mean.

It answers 400 to everything that it did not foresee, a lost race too, so only a text that tells of the record counts as
the record's fault. Source: a running server of November 2025, and twentyhq/twenty since.
"""

from __future__ import annotations

import re
from typing import Any

from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, not_accepted
from integrations.core.http import Answer, by_status
from integrations.core.reading import as_object

RIGHTS = "In Twenty, open Settings, APIs & Webhooks, the key, and give it a role that may see, edit and delete records."
TWO_OWNERS, UNCLEAR = "two_owners", "unclear"
_WINDOW = 60.0  # seconds, of the limit that Twenty comes with
_QUOTA = 3600.0
# Whole sentences: others repeat what was sent, and a visitor may have typed a part of these.
_UNKNOWN_FIELD = re.compile(
    r'Field metadata for field "([\w.]+)" is missing in object metadata(?: \w+)?|'
    r'Object \w+ doesn.t have any "([\w.]+)" field\.?'
)
_INVALID = re.compile(r"invalid|conflicting|not nullable|is required|must be", re.IGNORECASE)
_FIELD = re.compile(r'field "([\w.]{1,100})"')
_OWNED_TWICE = "Multiple records found with the same unique field values"
_LOST_RACE = "A duplicate entry was detected"


def rows_in(answer: Answer, *, bare: bool = False) -> list[dict[str, Any]]:
    """The records in an answer, whatever name stands over them. bare: `data` itself is the list. Raises what
    `answer.doubt` gives when there are none."""
    body = answer.json()
    found = body.get("data") if isinstance(body, dict) else None
    if isinstance(found, dict) and not bare:
        found = next((value for value in found.values() if isinstance(value, list)), None)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise answer.unreadable("Twenty")
    return found


def unknown_field(answer: Answer) -> str | None:
    """The field that Twenty does not know, when that is what it says."""
    told = map(_UNKNOWN_FIELD.fullmatch, _said(answer) if answer.status == 400 else ())
    return next((found[1] or found[2] for found in told if found), None)


def verdict(answer: Answer) -> DeliveryError:
    """What Twenty says went wrong."""
    if answer.status in (402, 429):
        return _throttled(answer)
    if answer.status == 403:
        return Misconfigured("no_right", f"The API key lacks a right. {RIGHTS}", status=403)
    if answer.status != 400:
        return by_status(answer) or answer.unreadable("Twenty")
    said = _said(answer)
    if any(one.startswith(_LOST_RACE) for one in said):
        return TryLater("busy", "Another program was writing the same record at the same moment.", status=400)
    if any(one.startswith(_OWNED_TWICE) for one in said):
        sentence = "Twenty has this e-mail address under another person."
        return Refused(TWO_OWNERS, sentence, status=400, field="email")
    if name := unknown_field(answer):
        return Misconfigured("unknown_field", f"Twenty does not know the field {name}. Correct the mapping.")
    if _INVALID.search(" ".join(said)):
        return _invalid(" ".join(said))
    return TryLater(UNCLEAR, "Twenty did not take this record, and does not say why.", status=400)


def _invalid(text: str) -> Refused:
    if re.search(r"phone|calling code|country code", text, re.IGNORECASE):
        return not_accepted("Twenty", "phone", status=400)
    if re.search(r"email", text, re.IGNORECASE):
        return not_accepted("Twenty", "email", status=400)
    named = _FIELD.search(text)
    what = f"what is to be written to its field {named[1]}" if named else "this record"
    return Refused("invalid", f"Twenty does not accept {what}.", status=400)


def _throttled(answer: Answer) -> Throttled:
    """The wait stands in a header, in the body, or in the text as the length of the window, by version."""
    told = as_object(answer.json_or_none()).get("retryAfterSeconds")
    window = re.search(r"per (\d{1,9}) ms", " ".join(_said(answer)))
    said = answer.retry_after() or (float(told) if isinstance(told, int | float) and told > 0 else None)
    if answer.status == 402:
        sentence = "The plan of this Twenty workspace allows no more calls for now."
        return Throttled("quota", sentence, status=402, retry_after=said or _QUOTA)
    wait = said or (int(window[1]) / 1000 if window else _WINDOW)
    return Throttled("rate_limit", "Twenty asks us to slow down.", status=429, retry_after=wait)


def _said(answer: Answer) -> list[str]:
    """`messages` is a list; `message` stands there where Twenty could not read the request."""
    body = as_object(answer.json_or_none())
    said = body.get("messages")
    return [str(one).strip() for one in said] if isinstance(said, list) else [str(body.get("message") or "").strip()]
