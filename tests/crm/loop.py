"""What the outbox does with a connector, without a database: tried again until all is in, looked up where in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from integrations.core.base import Connector, Item, Pushed
from integrations.core.errors import Refused
from integrations.core.oauth import Token
from leads.sync import calls, retry
from tests.contract.connection import build
from tests.contract.people import AT
from tests.pretend.server import PretendCrm

# Seconds. PATIENT: where every answer comes, however busy the machine is.
DEADLINE, LATE, PATIENT = 0.6, 0.8, 60.0


@contextmanager
def connected(crm: PretendCrm, *, deadline: float = PATIENT, **options: Any) -> Iterator[Connector]:
    """A connector for this CRM, which is served meanwhile. options: beside those that the CRM names itself."""
    with crm:
        token = Token.load(crm.token) if crm.token else None
        hosts = frozenset({"127.0.0.1"})
        yield build(crm.kind, crm.settings() | options, token, allowed_private_hosts=hosts, deadline=deadline)


def deadline_for(crm: PretendCrm) -> float:
    """Short only where some answers come late on purpose."""
    return DEADLINE if crm.faults_rate else PATIENT


def enquiry(connector: Connector, number: int, person: int, **details: str) -> Item:
    """The enquiry of this number by this person, mapped as a new connection maps it: written where nothing stands."""
    known = {
        "first_name": f"First{person}",
        "last_name": f"Last{person}",
        "full_name": f"First{person} Last{person}",
        "email": f"person{person}@clinic.example",
        "phone": f"+1201555{person:04}",
    } | details
    record = {theirs: known[ours] for ours, theirs in connector.fields.items() if known.get(ours)}
    ids = {"lead_id": str(UUID(int=person + 1)), "event_id": str(UUID(int=(1 << 64) + number))}
    return Item(
        **ids, kind="consultation_request", occurred_at=AT, title="Consultation request", record={}, fill=record
    )


def deliver(connector: Connector, items: Sequence[Item], tries: int = 300) -> dict[str, str]:
    """Push until all is there, two events of one lead never at a time. Returns our lead → its record."""
    homes: dict[str, str] = {}
    waiting, doubtful = list(items), set[str]()
    for _ in range(tries):
        if not waiting:
            return homes
        batch = [replace(item, remote_id=homes.get(item.lead_id)) for item in _next(waiting, connector.batch_size)]
        for item, result in zip(batch, calls.push(connector, batch, doubtful), strict=True):
            assert not isinstance(result, Refused), result
            if isinstance(result, Pushed):
                homes[item.lead_id] = result.remote_id
                waiting = [one for one in waiting if one.event_id != item.event_id]
            elif retry.in_doubt(result):
                doubtful.add(item.event_id)
    raise AssertionError(f"{len(waiting)} are not in")


def _next(waiting: Sequence[Item], size: int) -> list[Item]:
    first = {item.lead_id: item for item in reversed(waiting)}
    return [item for item in waiting if first[item.lead_id] is item][:size]
