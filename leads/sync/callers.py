"""The records of callers who became known. Their calls stand on the person's own record now, so these are taken out of
the CRM: but for those on which staff of the clinic have worked, for what they wrote there may stand nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

from integrations.core.base import Connector, Item
from integrations.core.errors import Refused, Throttled
from leads.store import outbox
from leads.store.failpoint import reach
from leads.store.models import Connection, Event, Lead, Site
from leads.store.outbox import Lane, Retiring
from leads.store.vault import Vault
from leads.sync import calls, retry
from leads.sync.connect import Context
from leads.sync.item import TITLES, build
from leads.sync.plan import Plan, plan_of
from leads.sync.removal import heed, remove

Standing = Literal["ours", "theirs", "gone"]


class _Call(NamedTuple):
    """A tap on “Call us”, as it was told to the CRM while nobody knew whose it was."""

    event: Event
    lead: Lead
    site: Site
    remote_id: str | None
    consent: None = None


def retire_callers(context: Context, connection: Connection, lane: Lane, connector: Connector) -> None:
    """Remove the records that hold nothing but what we wrote. One that cannot be looked at is left for later."""
    callers = outbox.to_retire(context.database, lane)
    if not callers:
        return
    standings = _standings(context.vault, plan_of(connection), connector, callers)
    later: dict[UUID, str] = {}
    stays: dict[UUID, str | None] = {}
    gone: list[UUID] = []
    for caller, standing in zip(callers, standings, strict=True):
        error = _take_out(context, lane, connector, caller, standing)
        if isinstance(error, Throttled):
            break
        if error:
            where = stays if isinstance(error, Refused) else later
            where[caller.lead.id] = retry.describe(error)[1]
        elif standing == "theirs":
            stays[caller.lead.id] = None
        else:
            gone.append(caller.lead.id)
    if later:
        outbox.not_retired(context.database, lane, later)
    if stays:
        outbox.left_to_staff(context.database, lane, stays)
    if gone:
        reach("retire.erased")
        outbox.retired(context.database, lane, gone)


def _take_out(
    context: Context, lane: Lane, connector: Connector, caller: Retiring, standing: Standing | Exception
) -> Exception | None:
    """Remove the record if it is ours alone. Returns what went wrong, also when it was looked at."""
    if standing == "ours":
        return remove(context, lane, connector, [caller.remote_id])
    if isinstance(standing, Exception):
        heed(context, lane, standing)
        return standing
    return None


def _standings(
    vault: Vault, plan: Plan, connector: Connector, callers: Sequence[Retiring]
) -> list[Standing | Exception]:
    """What each record is by now. One that stands for somebody else as well is none of the caller's."""
    own = [caller for caller in callers if not caller.shared]
    if not connector.readable:  # whoever is told of an erasure there knows alone what it means
        return ["gone" if caller.shared else "ours" for caller in callers]
    items = [_as_asked(plan, caller) for caller in own]
    looks = iter(zip(calls.current(connector, items), calls.worked_on(connector, items), strict=True))
    return ["gone" if caller.shared else _standing(_written(vault, plan, caller), *next(looks)) for caller in callers]


def _standing(
    ours: set[tuple[str, str]], held: Mapping[str, str] | Exception | None, worked_on: bool | Exception
) -> Standing | Exception:
    if isinstance(held, Exception):
        return held
    if isinstance(worked_on, Exception) or worked_on:
        return worked_on if isinstance(worked_on, Exception) else "theirs"
    if held is None:
        return "gone"
    return "ours" if all(not text or (name, text) in ours for name, text in held.items()) else "theirs"


def _as_asked(plan: Plan, caller: Retiring) -> Item:
    """The caller, with every field that the connection maps: staff may have written where we had nothing."""
    names: dict[str, Any] = dict.fromkeys((rule["to"] for rule in plan.rules if rule.get("write") != "never"), "")
    lead = str(caller.lead.id)
    at, title = caller.lead.created_at, TITLES["call_click"]
    return Item(lead, lead, "call_click", at, title, names, remote_id=caller.remote_id)


def _written(vault: Vault, plan: Plan, caller: Retiring) -> set[tuple[str, str]]:
    """All that we may have written to the caller's record: field and text."""
    told = [build(vault, plan, _Call(event, caller.lead, caller.site, None)) for event in caller.calls]
    return {one for item in told if isinstance(item, Item) for one in item.in_full().record.items()}
