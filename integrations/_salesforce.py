"""The shapes of Salesforce's messages, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from integrations.core import notes
from integrations.core.base import Item, parts
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, in_words
from integrations.core.http import Answer, by_status
from integrations.core.reading import objects_at, objects_in, text

Row = dict[str, Any]

LEAD_KEY, EVENT_KEY = "Frontdesk_Lead__c", "Frontdesk_Event__c"
KEYS = {"Lead": LEAD_KEY, "Task": EVENT_KEY}
HOMES = {"Lead": "Lead", "Task": "Activity"}  # the object that Setup shows the custom fields of each under
PHONES = ("Phone", "MobilePhone")
OURS = {"FirstName": "first_name", "LastName": "last_name", "Email": "email", "Phone": "phone"}
_WHOLE_PHONE = 8  # digits: one that is shorter may be many people's
_PER_QUERY = 100  # ids: the address of a query may be 16 thousand characters long
_NAME = re.compile(r"[A-Za-z]\w{0,80}")
_ID = re.compile(r"[A-Za-z0-9-]{1,40}")
_NO_COLUMN = re.compile(r"No such column '(\w{1,80})'")
_SEVERAL = "DUPLICATE_EXTERNAL_ID"  # only where our field is not unique, or was not
_QUOTA_WAIT, _CROWD_WAIT = 900.0, 60.0  # seconds: Salesforce names none
_OLD = "Salesforce no longer has the version of its API that this Frontdesk speaks. Upgrade Frontdesk."
_LATER = {
    "UNABLE_TO_LOCK_ROW": "Salesforce has locked this record for a moment.",
    "SERVER_UNAVAILABLE": "Salesforce is not working just now.",
    "QUERY_TIMEOUT": "Salesforce was too slow to answer.",
    "REQUEST_RUNNING_TOO_LONG": "Salesforce was too slow to answer.",
    "ENTITY_IS_DELETED": "The record was deleted in Salesforce meanwhile.",
    "INVALID_CROSS_REFERENCE_KEY": "The record was deleted in Salesforce meanwhile.",
    "CANNOT_UPDATE_CONVERTED_LEAD": "The lead was converted in Salesforce meanwhile.",
}
_FOR_EVERY_RECORD = {
    "API_DISABLED_FOR_ORG": "This edition of Salesforce has no API. Ask Salesforce for API access.",
    "API_CURRENTLY_DISABLED": "The user may not use the API. Give it the permission “API Enabled”.",
    "INVALID_TYPE": "The user may not see leads or tasks. Give it a permission set that allows it.",
    "STORAGE_LIMIT_EXCEEDED": "Salesforce's data storage is full. Make room there.",
}


def lead_row(item: Item) -> dict[str, Any]:
    """One person of a batch."""
    return {"attributes": {"type": "Lead"}, LEAD_KEY: item.lead_id, **item.record}


def task_row(item: Item, who: str) -> dict[str, Any]:
    """One event of a batch. who: the lead or contact that it stands on."""
    return {
        "attributes": {"type": "Task"},
        EVENT_KEY: item.event_id,
        "Subject": item.title,
        "Status": "Completed",
        "ActivityDate": item.occurred_at.date().isoformat(),
        "Description": "\n".join([notes.received(item), *notes.details(item)]),
        "WhoId": who,
    }


def body_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch in which each record stands or falls alone."""
    return {"allOrNone": False, "records": list(rows)}


def queries(table: str, names: Iterable[str], column: str, values: Iterable[str]) -> Iterator[str]:
    """SOQL for the rows whose column holds one of these values. Raises Misconfigured for a name that no field has."""
    wanted = list(dict.fromkeys(["Id", column, *names]))
    if wrong := next((name for name in wanted if not _NAME.fullmatch(name)), None):
        raise unknown_field(wrong)
    sound = [value for value in dict.fromkeys(values) if _ID.fullmatch(value)]
    for some in parts(sound, _PER_QUERY):
        listed = ",".join(f"'{value}'" for value in some)
        yield f"SELECT {','.join(wanted)} FROM {table} WHERE {column} IN ({listed})"  # noqa: S608 - all was checked


def rows_in(answer: Answer, name: str = "rows") -> list[dict[str, Any]]:
    """The list that was promised: the answer itself, or what it calls by this name. Raises what `answer.doubt` gives
    when there is none."""
    body = answer.json()
    found = body.get(name) if isinstance(body, dict) else body
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise answer.unreadable("Salesforce")
    return found


def is_same_person(item: Item, row: Mapping[str, Any]) -> bool:
    """Whether a record has this person's e-mail or phone: Salesforce's own rules are content with a name."""
    given = {value.strip().casefold() for value in item.record.values()}
    if (email := text(row.get("Email")).casefold()) and email in given:
        return True
    theirs = [phone for name in PHONES if (phone := text(row.get(name)))]
    return any(_is_same_phone(one, phone) for one in given for phone in theirs)


def _is_same_phone(one: str, other: str) -> bool:
    """Whether one number, without the zeros that stand for a country or an area, ends the other. Two that both name
    their country must agree from there on."""
    phones = [re.sub(r"\s|\(0\)", "", phone) for phone in (one, other)]
    if not all(re.fullmatch(r"[+(\d][\d().-]*", phone) for phone in phones):
        return False
    short, long = sorted((re.sub(r"\D", "", phone).lstrip("0") for phone in phones), key=len)
    if all(phone.startswith(("+", "00")) for phone in phones):
        return short == long
    return len(short) >= _WHOLE_PHONE and long.endswith(short)


def matches(errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """The records that Salesforce takes for the same person. In most answers it misspells the result's name."""
    found = [error.get("duplicateResult") or error.get("duplicateResut") for error in errors]
    results = [result for one in found for result in objects_at(one, "matchResults")]
    records = [match.get("record") for result in results for match in objects_at(result, "matchRecords")]
    ids = [text(record.get("Id")) for record in records if isinstance(record, dict)]
    return [one for one in dict.fromkeys(ids) if _ID.fullmatch(one)]


def errors_in(answer: Answer) -> list[dict[str, Any]]:
    """What Salesforce complains of in a whole call."""
    return objects_in(answer.json_or_none())


def code_of(error: Mapping[str, Any]) -> str:
    """Salesforce's word for it, which has another name in a batch than in a single call."""
    return text(error.get("statusCode") or error.get("errorCode"))


def codes_in(errors: Iterable[Mapping[str, Any]]) -> set[str]:
    """All its words."""
    return {code_of(error) for error in errors}


def verdict(answer: Answer) -> DeliveryError:
    """What a call that failed as a whole means: by its code, and by the status alone where there is none."""
    known = next((found for error in errors_in(answer) if (found := _meaning(error, answer.status))), None)
    if known:
        return known
    if answer.status == 401:
        return Misconfigured("signed_out", "Salesforce has ended the sign-in. Press “Sign in again”.", status=401)
    if answer.status == 404:
        return unknown_field(LEAD_KEY)
    if answer.status == 410:
        return Misconfigured("old_version", _OLD, status=410)
    if answer.status in (200, 400) and (errors := errors_in(answer)):
        return refusal(errors[0], answer.status)
    return by_status(answer) or answer.doubt("no_verdict", "Salesforce sent an answer that cannot be read.")


def single_verdict(answer: Answer) -> DeliveryError:
    """The same of a call for one record, where a missing right may be one to that record alone."""
    if answer.status == 300:  # a list of those that match, where a batch has a code
        return refusal({"errorCode": _SEVERAL}, 300)
    errors = errors_in(answer)
    return refusal(errors[0], answer.status) if errors and answer.status in (400, 403) else verdict(answer)


def refusal(error: Mapping[str, Any], status: int = 200) -> DeliveryError:
    """What an error means that Salesforce tells of one record."""
    return _meaning(error, status) or _refused(error, status)


def _meaning(error: Mapping[str, Any], status: int) -> DeliveryError | None:
    """What is no fault of the record; None for all the rest."""
    code, message = code_of(error), text(error.get("message"))
    if code == "REQUEST_LIMIT_EXCEEDED":  # its status is 403
        return _throttled(message, status)
    if code in _LATER:
        return TryLater(code.lower(), _LATER[code], status=status)
    if code == "DUPLICATE_VALUE" and any(key in message for key in KEYS.values()):
        return TryLater("race", "Salesforce was writing this record already.", status=status)
    if code in _FOR_EVERY_RECORD:
        return Misconfigured(code.lower(), _FOR_EVERY_RECORD[code], status=status)
    if code.startswith("INVALID_FIELD"):
        found = _NO_COLUMN.search(message)
        return unknown_field(found[1] if found else next(iter(_named(error)), ""))
    # Else it is a trigger's, which may repeat what was sent.
    if code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" and message.startswith("entity type cannot be"):
        return Misconfigured("forbidden", "The user may not create leads or tasks. Allow it.", status=status)
    return None


def _throttled(message: str, status: int) -> Throttled:
    if "Concurrent" in message:
        return Throttled("crowded", "Salesforce has too much to do at once.", status=status, retry_after=_CROWD_WAIT)
    return Throttled("quota", "Salesforce's daily limit is reached.", status=status, retry_after=_QUOTA_WAIT)


def _refused(error: Mapping[str, Any], status: int) -> Refused:
    code, names = code_of(error), _named(error)
    field = next((OURS[name] for name in names if name in OURS), None)
    what = in_words(field)
    word, sentence = "invalid", f"Salesforce does not accept {what}."
    if code == "DUPLICATES_DETECTED":
        word, sentence = "duplicate", "A duplicate rule of Salesforce's does not let this person in. Look there."
    elif code.startswith("INSUFFICIENT_ACCESS"):
        word, sentence = "no_access", "The user may not change this record in Salesforce. Allow it to edit all leads."
    elif code == "REQUIRED_FIELD_MISSING":
        word = "required"
        sentence = f"Salesforce needs {', '.join(names) or 'another field'}. Map it, or give it a fallback."
    elif code == "FIELD_CUSTOM_VALIDATION_EXCEPTION":
        word, sentence = "rule", f"A validation rule in Salesforce does not accept {what}."
    elif code == _SEVERAL:
        word, sentence = "several", "Salesforce has several records with one Frontdesk number. Keep one of them there."
    elif code == "DELETE_FAILED":
        word, sentence = "in_use", "Salesforce does not delete this record, since others hang on it. Delete it there."
    return Refused(word, sentence, status=status, field=field)


def _named(error: Mapping[str, Any]) -> list[str]:
    names = error.get("fields")
    sound = names if isinstance(names, list) else []
    return [name for name in sound if isinstance(name, str) and _NAME.fullmatch(name)]


def unknown_field(name: str) -> Misconfigured:
    """Salesforce does not have this field, or not for our user."""
    if table := next((table for table, key in KEYS.items() if key == name), None):
        return Misconfigured("no_key", f"Salesforce shows us no field {name}. {by_hand(table)}")
    known = name if _NAME.fullmatch(name) else "that a connection maps"
    return Misconfigured("unknown_field", f"Salesforce does not know the field {known}, or the user may not edit it.")


def by_hand(table: str) -> str:
    """How to make the field that holds our ids."""
    return (
        f"In Setup, Object Manager, {HOMES[table]}, create the text field {KEYS[table]} of length 36, unique and an "
        "external ID, and let Frontdesk's user see and edit it."
    )
