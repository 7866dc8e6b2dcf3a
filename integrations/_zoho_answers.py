"""What Zoho CRM's answers say: records, the result for each record of a batch, and what its errors mean.

The codes stand in the body: at its top, in a row for each record, or in a list of errors within such a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations._zoho import KEY
from integrations.core.base import record_id
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, no_access, not_accepted
from integrations.core.http import Answer, by_status
from integrations.core.reading import as_object, objects_in, records_in

CONVERTED, FORBIDDEN = "converted", "forbidden"
CREDITS = "X-API-CREDITS-REMAINING"  # sent once half of the day's credits are used
OURS = {"First_Name": "first_name", "Last_Name": "last_name", "Email": "email", "Phone": "phone"}
_NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
_SIGN_IN = "Press “Sign in again” on the connection's page"
_RIGHTS = "In Zoho, Setup, Profiles, allow the profile of this user to view, create, edit and delete leads and notes."
_MISCONFIGURED = {
    "INVALID_TOKEN": ("signed_out", f"Zoho has ended the sign-in. {_SIGN_IN}."),
    "AUTHENTICATION_FAILURE": ("signed_out", f"Zoho does not accept the sign-in. {_SIGN_IN}."),
    "OAUTH_SCOPE_MISMATCH": (
        "missing_scope",
        f"The sign-in lacks a right that Frontdesk needs. {_SIGN_IN} and agree to all that Zoho asks.",
    ),
    "NO_PERMISSION": (FORBIDDEN, f"Zoho does not let the user who signed in do this. {_RIGHTS}"),
    "AUTHORIZATION_FAILED": (FORBIDDEN, f"Zoho does not let the user who signed in do this. {_RIGHTS}"),
    "INVALID_MODULE": (
        "no_module",
        "Zoho does not show leads or notes to the user who signed in. Switch them on there.",
    ),
}
_BUSY = ("RECORD_LOCKED", "ALREADY_MODIFIED", "INTERNAL_ERROR", "INTERNAL_SERVER_ERROR", "DEPENDENT_SERVICE_ERROR")
_MISSING = ("MANDATORY_NOT_FOUND", "DEPENDENT_FIELD_MISSING")
_CONVERTED = ("CONVERTED_RECORD", "ID_ALREADY_CONVERTED")
UNREAD = Refused(
    CONVERTED,
    "This lead has become a contact in Zoho, which the sign-in does not let Frontdesk write to. "
    f"{_SIGN_IN}, and send it again.",
)
NO_ACCESS = no_access("Zoho", "leads")
_FILL = "Map it, or give it a fixed value in the mapping."
_BY_HAND = "Add the enquiry there, and press “I took care of it”."


class Taken(Refused):
    """A value that may stand in Zoho only once stands there already. column: which one. owner: the lead that has it, if
    Zoho says so."""

    def __init__(self, sentence: str, column: str, owner: str | None, *, status: int) -> None:
        super().__init__("duplicate", sentence, status=status, field=OURS.get(column))
        self.column, self.owner = column, owner


def rows(answer: Answer, name: str = "data") -> list[dict[str, Any]]:
    """The records in an answer, none where it is empty. Raises what Zoho says went wrong."""
    if answer.status == 204:
        return []
    found = _listed(body(answer).get(name))
    if answer.status >= 300 or found is None:
        raise verdict(answer)
    return found


def records(answer: Answer) -> list[dict[str, Any]]:
    """Likewise, each with its id."""
    found = records_in(rows(answer))
    if found is None:
        raise answer.unreadable("Zoho")
    return found


def results(answer: Answer, number: int) -> list[str | DeliveryError]:
    """For each record that was sent, in order, its id or what was wrong. Raises what all of them share."""
    found = _listed(body(answer).get("data"))
    if found is None and number == 1:  # of a single record it may be said without a row
        found = [body(answer)]
    if found is None or len(found) != number:
        raise verdict(answer)
    return [_made(row, answer) for row in found]


def is_gone(row: Mapping[str, Any]) -> bool:
    """Whether the complaint is that there is no record with this id. One about a field names the field."""
    return row.get("code") == "INVALID_DATA" and _details(row).get("api_name", "id") == "id"


def verdict(answer: Answer) -> DeliveryError:
    """What Zoho says went wrong with the whole call."""
    found = _listed(body(answer).get("data"))
    return _judge(found[0] if found else body(answer), answer)


def body(answer: Answer) -> dict[str, Any]:
    """The JSON object in an answer; {} when there is none beside an error or an empty answer. Else raises."""
    if answer.status == 204:
        return {}
    return as_object(answer.json() if answer.status < 300 else answer.json_or_none())


def _made(row: Mapping[str, Any], answer: Answer) -> str | DeliveryError:
    if row.get("code") != "SUCCESS":
        return _judge(row, answer)
    nameless = answer.nameless("Zoho")
    return record_id(_details(row).get("id")) or nameless


def _judge(row: Mapping[str, Any], answer: Answer) -> DeliveryError:
    """What one row of an answer means, by its codes, and by the status alone where it has none that we know."""
    if answer.status == 429:
        return _throttled(answer)
    complaints = _complaints(row)
    for one in complaints:
        if found := _known(str(one.get("code")), one, answer.status):
            return found
    if error := by_status(answer):
        return error
    if complaints and row.get("status") == "error":
        return not_accepted("Zoho", OURS.get(_named(row)), status=answer.status, code="refused")
    return answer.doubt("no_verdict", "Zoho did not say what became of this record.")


def _known(code: str, row: Mapping[str, Any], status: int) -> DeliveryError | None:
    if code in _MISCONFIGURED:
        return Misconfigured(*_MISCONFIGURED[code], status=status)
    if code == "INVALID_QUERY":
        return _unknown_field(row, status)
    if code in _BUSY and status < 500:  # of a call that failed as a whole, some may have been done
        return TryLater("busy", "Zoho cannot write to this record just now.", status=status)
    if is_gone(row):
        return TryLater("gone", "The record was deleted in Zoho while this was written.", status=status)
    return _refusal(code, row, status)


def _refusal(code: str, row: Mapping[str, Any], status: int) -> Refused | None:
    field = OURS.get(_named(row))
    if code in _CONVERTED:
        return Refused(CONVERTED, f"This lead has become a contact in Zoho. {_BY_HAND}", status=status)
    if code in _MISSING:
        sentence = f"Zoho wants the field {_named(row)} filled in. {_FILL}"
        return Refused("required", sentence, status=status, field=field)
    if code == "DUPLICATE_DATA":
        sentence = f"Zoho has this person under another record already. {_BY_HAND}"
        return Taken(sentence, _named(row), _owner(row), status=status)
    if code in ("INVALID_DATA", "PATTERN_NOT_MATCHED"):
        return not_accepted("Zoho", field, status=status)
    return None


def _unknown_field(row: Mapping[str, Any], status: int) -> Misconfigured:
    name = _named(row, "column_name")
    way = "Test the connection: that creates it." if name == KEY else "Choose another one in the mapping."
    return Misconfigured("unknown_property", f"Zoho has no lead field {name}. {way}", status=status)


def _throttled(answer: Answer) -> Throttled:
    if answer.headers.get(CREDITS) == "0":  # they come back hour by hour, for the limit is on the last 24
        return Throttled("credits", "Zoho's API credits of the day are used up.", status=429, retry_after=900.0)
    return Throttled("too_many_requests", "Zoho asks us to slow down.", status=429, retry_after=2.0)


def _complaints(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row's complaint, or each of them where one record has several faults."""
    several = _listed(_details(row).get("errors"))
    return several if several is not None else [dict(row)] if row.get("code") else []


def _owner(row: Mapping[str, Any]) -> str | None:
    details = _details(row)
    record = as_object(details.get("duplicate_record")) or details  # older answers name it one step higher
    if as_object(record.get("module")).get("api_name") not in (None, "Leads"):
        return None
    return record_id(record.get("id"))


def _named(row: Mapping[str, Any], key: str = "api_name") -> str:
    """The field that a complaint is about, if it is the name of one."""
    name = str(_details(row).get(key))
    return name if _NAME.fullmatch(name) and name != "None" else "that a connection maps"


def _details(row: Mapping[str, Any]) -> dict[str, Any]:
    return as_object(row.get("details"))


def _listed(value: Any) -> list[dict[str, Any]] | None:
    """A list of objects; None when it is none."""
    rows = objects_in(value)
    return rows if isinstance(value, list) and len(rows) == len(value) else None
