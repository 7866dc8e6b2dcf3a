"""Driving the outbox by hand, as a worker does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from leads.store import outbox
from leads.store.models import Connection, Delivery
from leads.store.outbox import Claimed, Health, Lane, Outcome
from leads.store.session import Database

WELL = Health("working", 0, 0)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **span: float) -> None:
        self.time += timedelta(**span)


def leased(database: Database, connection: Connection, worker: str = "w1", seconds: float = 60) -> Lane:
    lane = outbox.lease(database, connection.id, worker, seconds)
    assert lane is not None
    return lane


def outcome(claimed: Claimed, state: str = "sent", **more: Any) -> Outcome:
    """What became of a try; a success has the remote id `r-` and the lead's code."""
    now = claimed.delivery.due_at
    values: dict[str, Any] = {"due_at": now, "counts": True, "verdict": state, "started_at": now, "milliseconds": 5}
    if state == "sent":
        values |= {"remote_id": f"r-{claimed.lead.code}", "check_at": now}
    return Outcome(claimed, state, **(values | more))


def finished(
    database: Database, lane: Lane, claimed: Sequence[Claimed], state: str = "sent", health: Health = WELL, **more: Any
) -> int:
    return outbox.finish(database, lane, [outcome(item, state, **more) for item in claimed], health)


def delivered(database: Database, connection: Connection) -> list[Claimed]:
    """Send all that is due, successfully."""
    lane = leased(database, connection)
    sent: list[Claimed] = []
    while claimed := outbox.claim(database, lane, 50, 60):
        finished(database, lane, claimed)
        sent += claimed
    outbox.release(database, lane)
    return sent


def delivery_of(database: Database, event_id: UUID) -> Delivery:
    """The only delivery of an event."""
    with database.read() as session:
        return session.scalars(select(Delivery).where(Delivery.event_id == event_id)).one()
