"""What Pipedrive's answers say: `success`, `data` and where a list goes on; and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.core.base import Allowance, record_id
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, not_accepted
from integrations.core.http import Answer, by_status, parse_retry_after, utc_now
from integrations.core.reading import as_object, records_in, text

_DAILY_LEFT, _DAILY_OF = "x-daily-ratelimit-token-remaining", "x-daily-ratelimit-token-limit"
_BURST_LEFT, _BURST_ENDS = "x-ratelimit-remaining", "x-ratelimit-reset"
_OURS = {"emails": "email", "phones": "phone", "name": "full_name"}
_BURST = 2.0  # seconds: the window of its limit
_BLOCKED = 600.0  # seconds: the least that its proxy shuts us out
_DAY = 3600.0  # seconds: the tokens come back at midnight of a server whose time zone it does not tell
_RIGHTS = "It needs to see, add, edit and delete people and activities, and to add a person field."


def data(answer: Answer) -> Any:
    """What Pipedrive sends. Raises what it says went wrong."""
    body = as_object(answer.json() if answer.status < 300 else answer.json_or_none())
    if answer.status >= 300 or body.get("success") is not True:
        raise verdict(answer)
    return body.get("data")


def listed(answer: Answer, found: Any) -> list[dict[str, Any]]:
    """A list of records, each with its id. Raises what `answer.doubt` gives when it is none."""
    rows = records_in([] if found is None else found)
    if rows is None:
        raise answer.unreadable("Pipedrive")
    return rows


def record(answer: Answer) -> dict[str, Any]:
    """One record, with its id. Raises likewise."""
    found = as_object(data(answer))
    if not record_id(found.get("id")):
        raise answer.nameless("Pipedrive")
    return found


def next_page(answer: Answer) -> str | None:
    """Where a list goes on."""
    cursor = as_object(as_object(answer.json_or_none()).get("additional_data")).get("next_cursor")
    return cursor if isinstance(cursor, str) and cursor else None


def allowance(answer: Answer) -> Allowance | None:
    """What is left of the two seconds, and of the day's tokens. Pipedrive does not always tell."""
    left, today = answer.number(_BURST_LEFT), answer.number(_DAILY_LEFT)
    if left is None and today is None:
        return None
    return Allowance(left, answer.number(_BURST_ENDS), today, answer.number(_DAILY_OF))


def verdict(answer: Answer) -> DeliveryError:
    """What Pipedrive says went wrong: it has few codes, so mostly by status and limits."""
    body, status = as_object(answer.json_or_none()), answer.status
    if status == 429:
        return _throttled(answer)
    if status == 403:
        return _forbidden(body)
    if status == 402:
        return Misconfigured("not_paid", "Pipedrive has closed this account until it is paid for.", status=402)
    if status == 404 and answer.wrote:
        return TryLater("gone", "The record was deleted in Pipedrive while this was written.", status=404)
    if status in (400, 422):
        return _refused(answer, body)
    return by_status(answer) or answer.doubt("no_verdict", "Pipedrive did not say what became of this record.")


def may_not_edit(answer: Answer) -> bool:
    """Whether this is about the one record: what our user may see, it may not always edit."""
    words = text(as_object(answer.json_or_none()).get("error")).lower()
    return answer.status == 403 and verdict(answer).code == "forbidden" and "scope" not in words


def _forbidden(body: Mapping[str, Any]) -> Throttled | Misconfigured:
    """A page that is no JSON is the proxy's, which shuts out who went on calling after a 429."""
    if not body:
        sentence = "Pipedrive shuts us out for a while, since too many calls were made."
        return Throttled("blocked", sentence, status=403, retry_after=_BLOCKED)
    if str(body.get("code", "")).startswith("feature_capping"):
        return Misconfigured("plan_limit", "Your plan at Pipedrive allows no further records of this kind.", status=403)
    return Misconfigured("forbidden", f"Pipedrive does not let this user or app do this. {_RIGHTS}", status=403)


def _throttled(answer: Answer) -> Throttled:
    if answer.headers.get(_DAILY_LEFT) == "0":
        sentence = "Pipedrive's daily number of calls is used up; it starts anew at midnight there."
        return Throttled("daily_limit", sentence, status=429, retry_after=_DAY)
    said = answer.headers.get("Retry-After") or answer.headers.get(_BURST_ENDS)
    wait = parse_retry_after(said, utc_now()) or _BURST
    return Throttled("too_many_requests", "Pipedrive asks us to slow down.", status=429, retry_after=wait)


def _refused(answer: Answer, body: Mapping[str, Any]) -> Refused:
    """Which field, it says in words alone."""
    said = re.findall(r"[a-z]+", f"{body.get('error', '')} {body.get('error_info', '')}".lower())
    field = next((ours for theirs, ours in _OURS.items() if theirs in said), None)
    return not_accepted("Pipedrive", field, status=answer.status)
