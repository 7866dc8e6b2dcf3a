"""What a replay would send again and why it is not in the CRM, and how replays went."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Replay
from leads.store.outbox.replays import LONGEST_COUNT, Chosen
from leads.store.session import at_leisure


class Reason(NamedTuple):
    """Deliveries of one connection that are where they are for one reason. sentence: None when there is none."""

    connection: Connection
    code: str | None
    sentence: str | None
    number: int


def reasons(session: Session, chosen: Chosen, now: datetime) -> list[Reason]:
    """What a filter finds now, the most frequent reason first."""
    number = func.count(Delivery.id)
    found = (
        select(Connection, Delivery.code, Delivery.sentence, number)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(*chosen.where(now))
        .group_by(Connection.id, Delivery.code, Delivery.sentence)
        .order_by(number.desc())
    )
    with at_leisure(session, LONGEST_COUNT):
        return [Reason(*row) for row in session.execute(found).all()]


def recent_replays(session: Session, limit: int = 20) -> list[Replay]:
    """The newest, whether they are on their way or over."""
    return list(session.scalars(select(Replay).order_by(Replay.started_at.desc(), Replay.id.desc()).limit(limit)))
