"""The shapes of Dataverse's messages, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from email.parser import BytesParser
from typing import Any
from urllib.parse import quote
from uuid import UUID

from integrations.core import notes
from integrations.core.base import Item, RemoteField
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, in_words, not_accepted
from integrations.core.http import Answer, by_status
from integrations.core.reading import as_object, objects_at, repeats, text

Row = dict[str, Any]

API = "/api/data/v9.2"
EMAIL = "emailaddress1"
OURS = {"firstname": "first_name", "lastname": "last_name", EMAIL: "email", "mobilephone": "phone"}
STANDING = ("statecode", "_parentcontactid_value", "_masterid_value")  # whether a lead is still one of its own
DUPLICATE, NO_TABLE = "0x80040333", "0x8006088a"
QUALIFIED = 1
_STRANGER = "0x80072560"
TABLES = {"consultation_request": "tasks", "call_click": "phonecalls"}
_WRITABLE = ("String", "Memo", "DateTime")  # others want numbers or links, and a mapping holds texts
_NAME = re.compile(r"[a-z]\w{0,99}")
_NO_PROPERTY = re.compile(r"property (?:named )?'(\w{1,100})'")
_TOO_LONG = re.compile(r"length of the '(\w{1,100})'")
_PRIVILEGE = re.compile(r"\bprv[A-Za-z]{1,60}\b")
_BOUNDARY = "frontdesk"
_LONGEST = 2000  # characters of an activity's description
_WAIT = 60.0  # seconds, where it asks for quiet and does not say how long
_LATER = {
    "0x80040237": ("race", "Dynamics was writing this record already."),
    "0x80060882": ("race", "Somebody changed this record in Dynamics at the same moment."),
    "0x80040217": ("gone", "The record was deleted in Dynamics meanwhile."),
}
_FOR_EVERY_RECORD = {
    _STRANGER: ("no_app_user", "Dynamics does not know the app. Add it as an application user of the environment."),
    "0x80040225": ("disabled", "The application user is disabled in Dynamics. Enable it."),
    NO_TABLE: ("no_sales", "This environment has no leads. Install Dynamics 365 Sales, or choose another one."),
}


def lead_path(remote_id: str) -> str:
    """Where a person's record is. A lead goes by its number alone, a contact as `contacts(…)`."""
    return remote_id if is_contact(remote_id) else f"leads({remote_id})"


def is_contact(remote_id: str) -> bool:
    """Whether a person's record is a contact."""
    return remote_id.startswith("contacts(")


def contact_place(number: str) -> str:
    """A contact as a person's record."""
    return f"contacts({number})"


def contact_id(place: str) -> str:
    """The inverse of `contact_place`."""
    return place[len("contacts(") : -1]


def written_lead(lead_id: str) -> str:
    """Where a lead is written, so that its number comes back."""
    return f"leads({lead_id})?$select=leadid"


def event_path(item: Item) -> str:
    """Where an event is."""
    return f"{TABLES[item.kind]}({item.event_id})"


def written_event(item: Item) -> str:
    """Where an event is written, likewise."""
    return f"{event_path(item)}?$select=activityid"


def activity(item: Item, place: str) -> Row:
    """The event, as a task or as an incoming call. place: the person's record."""
    told = notes.within("\n".join([notes.received(item), *notes.details(item)]), _LONGEST)
    row: Row = {"subject": item.title, "description": told, "scheduledstart": item.instant()}
    row |= {"directioncode": False} if item.kind == "call_click" else {}
    return row | {f"{_link(item, 'contact' if is_contact(place) else 'lead')}@odata.bind": f"/{lead_path(place)}"}


def with_person(item: Item) -> dict[str, str]:
    """The parameters that show an event together with the person it stands on."""
    lead, contact = f"$select={names_of(['leadid', *item.record])}", "$select=contactid"
    return {"$select": "activityid", "$expand": f"{_link(item, 'lead')}({lead}),{_link(item, 'contact')}({contact})"}


def person_of(item: Item, event: Row) -> tuple[str | None, Row]:
    """The place of that person and their record; None when it stands on nobody."""
    lead, contact = as_object(event.get(_link(item, "lead"))), as_object(event.get(_link(item, "contact")))
    if found := number(lead.get("leadid")):
        return found, lead
    found = number(contact.get("contactid"))
    return (contact_place(found) if found else None), contact


def _link(item: Item, whose: str) -> str:
    """The name of the way from an event to whom it is about."""
    return f"regardingobjectid_{whose}_{TABLES[item.kind].removesuffix('s')}"


def names_of(names: Iterable[str]) -> str:
    """For `$select`. Raises Misconfigured for a name that no column has."""
    wanted = list(dict.fromkeys(names))
    if wrong := next((name for name in wanted if not _NAME.fullmatch(name.removeprefix("_"))), None):
        raise unknown_column(wrong)
    return ",".join(wanted)


def number(value: object) -> str | None:
    """A record's number, if it is one."""
    try:
        return str(UUID(str(value)))
    except ValueError:
        return None


def row_in(answer: Answer) -> Row:
    """The record that was asked for. Raises what `answer.doubt` gives when there is none."""
    body = answer.json()
    if not isinstance(body, dict) or "error" in body:
        raise answer.unreadable("Dynamics")
    return body


def search(email: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a call that looks for contacts and leads with this e-mail: in the body, since addresses of
    calls are what logs are full of."""
    wanted = quote(f"{EMAIL} eq '{email.replace(chr(39), chr(39) * 2)}'")
    parts = [f"contacts?$select=contactid,statecode&$filter={wanted}", f"leads?$filter={wanted}"]
    head = f"--{_BOUNDARY}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    gets = "".join(f"{head}GET {API}/{part} HTTP/1.1\r\nAccept: application/json\r\n\r\n\r\n" for part in parts)
    return f"{gets}--{_BOUNDARY}--\r\n".encode(), {"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"}


def found_by(answer: Answer) -> tuple[list[Row], list[Row]]:
    """The contacts and the leads that the search above found. Raises what Dynamics says went wrong with it."""
    kind = answer.headers.get("Content-Type", "")
    whole = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + answer.body)
    payloads = [part.get_payload(decode=True) for part in whole.walk() if not part.is_multipart()]
    answers = [_answer_in(payload) for payload in payloads if isinstance(payload, bytes)]
    if wrong := next((one for one in answers if one.status != 200), None):
        raise verdict(wrong)
    if len(answers) != 2:
        raise answer.unreadable("Dynamics")
    return objects_at(row_in(answers[0]), "value"), objects_at(row_in(answers[1]), "value")


def _answer_in(part: bytes) -> Answer:
    """An answer within an answer: a status line, headers, an empty line and the body."""
    head, _, body = part.replace(b"\r\n", b"\n").partition(b"\n\n")
    found = re.match(rb"HTTP/1\.1 (\d{3})", head.strip())
    return Answer(int(found[1]) if found else 200, {}, body)


def code_of(answer: Answer) -> str:
    """Dataverse's code of what went wrong, "" when it says nothing."""
    return text(_error(answer).get("code")).lower()


def verdict(answer: Answer, sent: Iterable[object] = ()) -> DeliveryError:
    """What an answer means that is no success. sent: the values that were to be written; Dynamics may repeat them."""
    code, message, status = code_of(answer), text(_error(answer).get("message")), answer.status
    if status == 429:
        wait = answer.retry_after()
        return Throttled("rate_limit", "Dynamics asks us to slow down.", status=429, retry_after=wait or _WAIT)
    if code in _LATER:
        return TryLater(*_LATER[code], status=status)
    if code in _FOR_EVERY_RECORD or status == 401:
        return Misconfigured(*_FOR_EVERY_RECORD.get(code, _FOR_EVERY_RECORD[_STRANGER]), status=status)
    if status == 403:
        return _denied(code, message)
    if status == 400 and (found := _NO_PROPERTY.search(message)) and not repeats(found[1], sent):
        return unknown_column(found[1])
    if status in (200, 400, 405, 412, 413) and code:
        return _refused(code, message, status)
    return by_status(answer) or answer.doubt("no_verdict", "Dynamics sent an answer that cannot be read.")


def _denied(code: str, message: str) -> DeliveryError:
    if code == "0x80048306":  # the right is there, but not to this record
        sentence = "The application user may not change this record. Give its role the level “Organization”."
        return Refused("no_access", sentence, status=403)
    found = _PRIVILEGE.search(message)
    return Misconfigured("no_right", lacks([found[0]] if found else ["a right that it needs"]), status=403)


def lacks(privileges: Sequence[str]) -> str:
    """What to do about missing rights."""
    return f"The application user lacks {', '.join(privileges)}. Add it to its security role."


def _refused(code: str, message: str, status: int) -> Refused:
    found = _TOO_LONG.search(message)
    field = OURS.get(found[1]) if found else None
    if code == "0x80040265":
        return Refused("rule", f"A rule or plug-in in Dynamics does not accept {in_words(field)}.", status=status)
    if found and not field:
        sentence = f"What is to be written to the column {found[1]} in Dynamics is too long for it."
        return Refused("invalid", sentence, status=status)
    if status == 405:
        return Refused("in_use", "Dynamics does not delete this record, since others hang on it. Delete it there.")
    return not_accepted("Dynamics", field, status=status)


def unknown_column(name: str) -> Misconfigured:
    """A column of the mapping is not there."""
    known = name if _NAME.fullmatch(name) else "that a connection maps"
    return Misconfigured("unknown_column", f"Dynamics has no column {known} on leads. Change the mapping.")


def remote_fields(rows: Iterable[Row]) -> list[RemoteField]:
    """The columns of a lead that take text."""
    sound = [row for row in rows if row.get("AttributeType") in _WRITABLE and row.get("IsValidForUpdate")]
    named = [(text(row.get("LogicalName")), row) for row in sound]
    return [
        RemoteField(name, _label(row) or name, text(row["AttributeType"]).lower())
        for name, row in named
        if _NAME.fullmatch(name)
    ]


def _label(row: Row) -> str:
    label = as_object(as_object(row.get("DisplayName")).get("UserLocalizedLabel"))
    return text(label.get("Label"))


def _error(answer: Answer) -> Mapping[str, Any]:
    return as_object(as_object(answer.json_or_none()).get("error"))
