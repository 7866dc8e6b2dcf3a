"""Odoo's `load`: an upsert of many rows by External ID, of which it keeps all or nothing, and its verdicts.

It answers status 200 with `ids: false` also for a missing right and for a lost race, and tells which only in words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from integrations._odoo import LEAD, Row, base
from integrations._odoo_rpc import BUSY, ENGLISH, NO_CRM, SERVER_ERROR, Fault, Reply, Rpc, is_lost_race
from integrations.core.base import record_id
from integrations.core.errors import DeliveryError, Misconfigured, Refused, TryLater, not_accepted
from integrations.core.reading import as_object, objects_in, repeats

RIGHTS = "In Odoo, open Settings, Users, the user of the key, and set Sales to “User: All Documents”."
OURS = {"contact_name": "full_name", "name": "full_name", "email_from": "email", "phone": "phone"}
_FOR_NEW = {**ENGLISH, "default_name": "Website enquiry"}  # a title is required, also of one that was deleted meanwhile
_NOT_ACCEPTED = Refused(
    "not_accepted",
    "Odoo does not accept this record. If it belongs to a salesperson, the user of the key needs the right "
    "“User: All Documents”.",
)
_NO_ACTIVITY = TryLater("no_activity", "Odoo took the person but not the activity.")  # the lead was deleted meanwhile
_NO_TYPE = Misconfigured("no_activity_type", "Odoo lacks one of its own activity types. Test the connection.")

Verdict = str | DeliveryError  # Odoo's number of a record, or why it has none


def load(rpc: Rpc, model: str, rows: Mapping[str, Row]) -> dict[str, Verdict]:
    """Our id → what became of its row. Rows go together when they fill the same columns. Raises what ails them all."""
    alike: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {}
    for key, (columns, row) in rows.items():
        alike.setdefault(columns, {})[key] = row
    verdicts: dict[str, Verdict] = {}
    for columns, group in alike.items():
        verdicts |= _load(rpc, model, columns, group)
    return verdicts


def arguments(model: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> dict[str, Any]:
    """What `load` is called with."""
    context = _FOR_NEW if model == LEAD else ENGLISH
    return {"fields": list(columns), "data": [list(row) for row in rows], "context": context}


def may(rpc: Rpc, what: str) -> bool:
    """Whether the user may do this with leads: create, write, unlink. Versions before 18 have another name for it."""
    reply = rpc.ask(LEAD, "has_access", ids=[], operation=what, reads=True)
    if reply.fault and reply.fault.name == "builtins.AttributeError":
        reply = rpc.ask(LEAD, "check_access_rights", operation=what, raise_exception=False, reads=True)
    if reply.ok:
        return bool(reply.result)
    error = reply.error()
    raise NO_CRM if _is_about_one_record(error) else error


def _load(rpc: Rpc, model: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> dict[str, Verdict]:
    reply = rpc.ask(model, "load", **arguments(model, columns, rows.values()))
    if (ids := _ids(reply, len(rows))) is not None:
        return dict(zip(rows, ids, strict=True))
    error = _error(reply, model, columns, [value for row in rows.values() for value in row])
    if not _is_about_one_record(error):
        raise error
    if len(rows) == 1:
        return dict.fromkeys(rows, _unless_forbidden(rpc, error))
    verdicts: dict[str, Verdict] = {}
    for part in _parts(list(rows), _accused(reply)):
        verdicts |= _load(rpc, model, columns, {key: rows[key] for key in part})
    return verdicts


def _parts(keys: Sequence[str], accused: set[int]) -> list[Sequence[str]]:
    """Each accused alone, since Odoo names the first row also when it means another, and the rest together."""
    guilty = [[key] for place, key in enumerate(keys) if place in accused]
    if not guilty:
        middle = len(keys) // 2
        return [keys[:middle], keys[middle:]]
    rest = [key for place, key in enumerate(keys) if place not in accused]
    return [*guilty, rest] if rest else [*guilty]


def _ids(reply: Reply, rows: int) -> list[Verdict] | None:
    """The number of each record; None when Odoo kept nothing. Raises `answer.doubt` when it does not say."""
    ids = as_object(reply.result).get("ids")
    if not reply.ok or ids is False:
        return None
    if not isinstance(ids, list) or len(ids) != rows:
        raise reply.answer.doubt("no_verdict", "Odoo did not say what became of every record.")
    nameless = reply.answer.nameless("Odoo")
    return [record_id(one) or nameless for one in ids]


def _error(reply: Reply, model: str, columns: Sequence[str], sent: Collection[str]) -> DeliveryError:
    """Why nothing was kept. sent: all values, which Odoo may repeat."""
    if reply.fault and (unknown := _unknown_column(reply.fault, columns, sent)):
        sentence = f"Odoo does not know the field {unknown} of a lead. Correct the mapping."
        return Misconfigured("unknown_field", sentence, status=reply.answer.status)
    if not reply.ok:
        return reply.error()
    messages = _messages(reply)
    if any(is_lost_race(str(message.get("message")), sent) for message in messages):
        return BUSY
    name = next((name for message in messages if (name := _field(message))), "")
    return _refused(name) if model == LEAD else _NO_TYPE if name == "activity_type_id" else _NO_ACTIVITY


def _is_about_one_record(error: DeliveryError) -> bool:
    """Whether the others of a batch may well be taken without it."""
    return isinstance(error, Refused) or error.code in (SERVER_ERROR, _NO_ACTIVITY.code)


def _unless_forbidden(rpc: Rpc, error: DeliveryError) -> DeliveryError:
    """`load` tells of a missing right as if the record were bad, so we ask."""
    if isinstance(error, Refused) and not error.field and not (may(rpc, "create") and may(rpc, "write")):
        raise Misconfigured("no_right", f"The Odoo user may not write leads. {RIGHTS}")
    return error


def _refused(name: str) -> Refused:
    ours = OURS.get(name)
    if ours:
        return not_accepted("Odoo", ours, status=None)
    if name:
        return Refused("invalid", f"Odoo does not accept what is to be written to its field {name}.")
    return _NOT_ACCEPTED


def _unknown_column(fault: Fault, columns: Sequence[str], sent: Collection[str]) -> str | None:
    """A ValueError since version 19, a KeyError before."""
    if fault.name not in ("builtins.ValueError", "builtins.KeyError"):
        return None
    ours = {name for column in columns if not repeats(name := base(column), sent)}
    return next((name for name in re.findall(r"'([\w.]+)'", fault.message) if name in ours), None)


def _field(message: Mapping[str, Any]) -> str:
    name = message.get("field")
    return name if isinstance(name, str) and re.fullmatch(r"\w{1,100}", name) else ""


def _accused(reply: Reply) -> set[int]:
    places = [message.get("record") for message in _messages(reply)]
    return {place for place in places if type(place) is int}


def _messages(reply: Reply) -> list[dict[str, Any]]:
    return [one for one in objects_in(as_object(reply.result).get("messages")) if one.get("type") == "error"]
