"""Reading back from Odoo: by External ID, and by the text of activities and messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from integrations._odoo import ACTIVITY, LEAD, MESSAGE, MODULE, base, lead_key
from integrations._odoo_rpc import Rpc
from integrations.core.base import Item
from integrations.core.notes import events_in
from integrations.core.reading import records_in

_ACTIVITIES, _MESSAGES = (ACTIVITY, "note", "res_model"), (MESSAGE, "body", "model")  # text; model it stands on


def homes(rpc: Rpc, items: Sequence[Item]) -> list[str]:
    """The record that we know, else the one with our External ID; "" where there is none."""
    return [item.remote_id or by_key(rpc, MODULE, lead_key(item.lead_id)) for item in items]


def by_key(rpc: Rpc, module: str, name: str) -> str:
    """The record with this External ID. Only administrators may search among those (odoo/odoo#69120), but everybody may
    ask for one; Odoo answers with an error when there is none."""
    reply = rpc.ask("ir.model.data", "check_object_reference", module=module, xml_id=name, reads=True)
    if reply.fault and reply.fault.name == "builtins.ValueError" and name in reply.fault.message:
        return ""
    if not reply.ok:
        raise reply.error()
    if not isinstance(reply.result, list) or len(reply.result) != 2:
        raise reply.answer.unreadable("Odoo")
    return str(reply.result[1] or "")


def leads(rpc: Rpc, ids: Sequence[str], mapped: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The leads that are still there, archived ones as well. mapped: the columns that we write."""
    wanted = _numbers(ids)
    if not wanted:
        return {}
    names = list(dict.fromkeys(["id", *map(base, mapped)]))
    return {
        number: row for row in _search(rpc, LEAD, [["id", "in", wanted]], names) if (number := str(row["id"])) in ids
    }


def told_of(rpc: Rpc, wanted: Mapping[str, str]) -> set[str]:
    """Which of these events stand on the lead where they belong. Those that staff have dealt with may be messages."""
    there = _told_in(rpc, *_ACTIVITIES, wanted)
    rest = {event: lead for event, lead in wanted.items() if event not in there}
    return there | _told_in(rpc, *_MESSAGES, rest)


def events_on(rpc: Rpc, ids: Sequence[str]) -> set[str]:
    """Our events of which activities and messages on these leads tell."""
    numbers = _numbers(ids)
    told: list[object] = []
    for model, text, place in (_ACTIVITIES, _MESSAGES) if numbers else ():
        rows = _search(rpc, model, [[place, "=", LEAD], ["res_id", "in", numbers]], [text])
        told += [row.get(text) for row in rows]
    return events_in(told)


def commented(rpc: Rpc, ids: Sequence[str]) -> set[str]:
    """Those of these leads on which somebody wrote a message or an internal note. Odoo's own are notifications."""
    numbers = _numbers(ids)
    domain = [["model", "=", LEAD], ["res_id", "in", numbers], ["message_type", "=", "comment"]]
    return {str(row.get("res_id")) for row in _search(rpc, MESSAGE, domain, ["res_id"])} if numbers else set()


def moved(rpc: Rpc, ids: Sequence[str]) -> set[str]:
    """Those of these leads that somebody put in another stage. Odoo dates the stage of a new lead by the moment that it
    was made, and from then on only where another stage is written, not where it picks one itself
    (`_compute_date_last_stage_update` and `write` of crm.lead, 16 to 19)."""
    rows = leads(rpc, ids, ["create_date", "date_last_stage_update"])
    return {one for one, row in rows.items() if row.get("date_last_stage_update") != row.get("create_date")}


def _numbers(ids: Sequence[str]) -> list[int]:
    """Without what can be no id of Odoo's."""
    return sorted({int(one) for one in ids if one.isdecimal()})


def _told_in(rpc: Rpc, model: str, text: str, place: str, wanted: Mapping[str, str]) -> set[str]:
    if not wanted:
        return set()
    told = [[text, "ilike", event] for event in wanted]
    numbers = sorted({int(lead) for lead in wanted.values()})
    domain = [[place, "=", LEAD], ["res_id", "in", numbers], *["|"] * (len(told) - 1), *told]
    said = [(str(row.get("res_id")), str(row.get(text))) for row in _search(rpc, model, domain, ["res_id", text])]
    return {event for event, lead in wanted.items() if any(one == lead and event in what for one, what in said)}


def _search(rpc: Rpc, model: str, domain: list[Any], names: list[str]) -> list[dict[str, Any]]:
    reply = rpc.ask(model, "search_read", domain=domain, fields=names, reads=True)
    if not reply.ok:
        raise reply.error()
    found = records_in(reply.result)
    if found is None:
        raise reply.answer.unreadable("Odoo")
    return found
