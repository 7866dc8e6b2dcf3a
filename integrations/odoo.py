"""Odoo CRM, versions 16 and later: a person is a lead, an event an activity on it. Both have an External ID of ours.

Sources: odoo.com/documentation, External API; addons/crm and odoo/orm of the public source, for `load`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, ClassVar

from marshmallow import validate

from integrations._odoo import ACTIVITY, LEAD, TYPES, activity_row, lead_row, remote_field, values
from integrations._odoo_load import RIGHTS, Verdict, arguments, load, may
from integrations._odoo_read import by_key, commented, events_on, homes, leads, moved, told_of
from integrations._odoo_rpc import NO_CRM, SERVER_ERROR, Rpc
from integrations.core import options
from integrations.core.base import Connector, Draft, Finding, Item, Options, Pushed, RemoteField, Result, Seen
from integrations.core.errors import DeliveryError, Refused
from integrations.core.http import Http
from integrations.core.reading import as_object

_WELL = "Odoo accepts the key and has all that is needed."
_NO_DELETING = (
    "The Odoo user may not delete leads, so an erasure has to be finished by hand. "
    "Setting Sales to “Administrator” for this user would change that."
)


class OdooOptions(Options):
    url = options.address("Address", "Where you open Odoo, such as https://clinic.odoo.com", required=True)
    key = options.secret("API key", "In Odoo: the user's preferences, Account Security, New API Key.", required=True)
    key_ends = options.day("Key ends on", "The day until which Odoo accepts the key, such as 2027-01-31.")
    database = options.line("Database", "Needed before Odoo 19, or when the server has several.")
    login = options.line("Login of the user", "Needed before Odoo 19.")
    api = options.line(
        "API",
        "Leave as it is: found out by the version of Odoo.",
        load_default="auto",
        validate=validate.OneOf(["auto", "json2", "jsonrpc"], ["found out", "JSON-2, as of Odoo 19", "JSON-RPC"]),
    )


class Odoo(Connector):
    """External IDs make every write an upsert. Odoo keeps all of a batch or nothing of it."""

    kind: ClassVar[str] = "odoo"
    label: ClassVar[str] = "Odoo"
    tier = "A"
    options = OdooOptions
    batch_size = 50
    fields: ClassVar[Mapping[str, str]] = {"full_name": "contact_name", "email": "email_from", "phone": "phone"}

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self._rpc = Rpc(settings, http)

    @classmethod
    def key_ends(cls, settings: Mapping[str, Any]) -> date | None:
        """Odoo gives keys for three months at most, and its API does not tell until when."""
        return date.fromisoformat(settings["key_ends"]) if settings.get("key_ends") else None

    def check(self) -> list[Finding]:
        """Whether the key works, the app is there, and the user may write leads and activities."""
        reply = self._rpc.ask(LEAD, "search_read", domain=[], fields=["id"], limit=1, reads=True)
        error = None if reply.ok else reply.error()
        if error and (isinstance(error, Refused) or error.code in (NO_CRM.code, SERVER_ERROR)):
            return [Finding(False, NO_CRM.sentence)]
        if error and error.code != "no_right":
            raise error
        lacking = ["read"] if error else [what for what in ("create", "write") if not may(self._rpc, what)]
        if lacking:
            return [Finding(False, f"The Odoo user may not {' or '.join(lacking)} leads. {RIGHTS}")]
        return self._types() or [Finding(True, _WELL if may(self._rpc, "unlink") else f"{_WELL} {_NO_DELETING}")]

    def _types(self) -> list[Finding]:
        missing = [name for name in sorted(TYPES.values()) if not by_key(self._rpc, *name.split("."))]
        hint = "An administrator can bring it back: Apps, Discuss, Upgrade."
        return [Finding(False, f"Odoo lacks its own activity type {name}. {hint}") for name in missing]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """People first, then an activity for each event."""
        people = load(self._rpc, LEAD, {item.lead_id: lead_row(item) for item in batch})
        arrived = [(item, lead) for item in batch if isinstance(lead := people[item.lead_id], str)]
        events = load(self._rpc, ACTIVITY, {item.event_id: activity_row(item, lead) for item, lead in arrived})
        return [self._result(people[item.lead_id], events.get(item.event_id)) for item in batch]

    def draft(self, item: Item) -> list[Draft]:
        """A batch of one, and the activity on it."""
        written = ((LEAD, lead_row(item)), (ACTIVITY, activity_row(item, "{lead}")))
        return [self._rpc.draft(model, "load", **arguments(model, columns, [row])) for model, (columns, row) in written]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """A lead counts only with the event on it, be it still to do or done."""
        ids = homes(self._rpc, items)
        held = leads(self._rpc, ids, [name for item in items for name in item.record])
        wanted = {item.event_id: one for item, one in zip(items, ids, strict=True) if one in held}
        there = told_of(self._rpc, wanted)
        return [self._seen(item, held[wanted[item.event_id]]) if item.event_id in there else None for item in items]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """What the leads hold now."""
        ids, mapped = homes(self._rpc, items), [list(item.in_full().record) for item in items]
        held = leads(self._rpc, ids, [name for names in mapped for name in names])
        return [values(held[one], names) if one in held else None for one, names in zip(ids, mapped, strict=True)]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """Staff wrote a message on it, or moved it to another stage."""
        ids = [str(item.remote_id) for item in items]
        busy = commented(self._rpc, ids) | moved(self._rpc, ids)
        return [item.remote_id in busy for item in items]

    def remote_fields(self) -> list[RemoteField]:
        """What a lead has and may be written."""
        attributes = ["string", "type", "selection", "required", "readonly"]
        described = self._rpc.call(LEAD, "fields_get", attributes=attributes, reads=True, describes=True)
        found = [remote_field(name, as_object(about)) for name, about in sorted(as_object(described).items())]
        return [one for one in found if one]

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By their activities and messages."""
        return events_on(self._rpc, remote_ids)

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Odoo deletes a lead's activities and messages with it."""
        there = [int(one) for one in leads(self._rpc, remote_ids, [])]
        if there:
            self._rpc.call(LEAD, "unlink", ids=there)

    def _result(self, lead: Verdict, event: Verdict | None) -> Result:
        if not isinstance(lead, str):
            return lead
        return event if isinstance(event, DeliveryError) else Pushed(lead, self._url(lead))

    def _seen(self, item: Item, lead: Mapping[str, Any]) -> Seen:
        number = str(lead["id"])
        return Seen(number, self._url(number), values(lead, list(item.record)))

    def _url(self, lead: str) -> str:
        """An address that leads to the record in every version."""
        return f"{self._rpc.address}/mail/view?model={LEAD}&res_id={lead}"
