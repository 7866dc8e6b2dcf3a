"""Short lists and counts that several pages need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, time
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from leads.store.models import Action, Connection, Delivery, Site, User
from leads.store.scope import our_tests


def sites(session: Session) -> list[Site]:
    """All sites, oldest first."""
    return list(session.scalars(select(Site).order_by(Site.created_at, Site.id)))


def usual_zone(known: Sequence[Site]) -> str:
    """The time zone of what is told of several sites: the first one's."""
    return known[0].time_zone if known else "UTC"


def connections_in_use(session: Session) -> list[Connection]:
    """All connections that were not removed, oldest first."""
    in_use = select(Connection).where(Connection.removed_at.is_(None))
    return list(session.scalars(in_use.order_by(Connection.created_at, Connection.id)))


def served_sites(session: Session) -> list[Site]:
    """Sites that take enquiries and have a connection that staff have not paused."""
    in_use = (Connection.site_id == Site.id, Connection.removed_at.is_(None), Connection.state != "paused")
    return list(
        session.scalars(
            select(Site).where(Site.closed_at.is_(None), exists().where(*in_use)).order_by(Site.created_at, Site.id)
        )
    )


def unserved_sites(session: Session, connections: Iterable[Connection]) -> list[Site]:
    """Sites without a connection. connections: all that are in use."""
    served = {connection.site_id for connection in connections}
    return [site for site in sites(session) if site.id not in served]


def start_of_day(time_zone: str, now: datetime) -> datetime:
    """When today began in this zone."""
    return datetime.combine(now.astimezone(ZoneInfo(time_zone)).date(), time(), ZoneInfo(time_zone))


def count(session: Session, column: Any, *where: ColumnElement[bool]) -> int:
    """How many rows of the column's table there are for which all of this holds."""
    return session.scalar(select(func.count(column)).where(*where)) or 0


def is_real() -> ColumnElement[bool]:
    """Deliveries of enquiries that visitors sent, without our own tests."""
    return Delivery.event_id.not_in(our_tests())


def connection_actions(session: Session, connection_id: UUID, limit: int = 20) -> list[Action]:
    """What people did with a connection, newest first."""
    here = select(Action).where(Action.connection_id == connection_id)
    return list(session.scalars(here.order_by(Action.at.desc(), Action.id.desc()).limit(limit)))


def users(session: Session) -> list[User]:
    """Who may sign in, by name."""
    return list(session.scalars(select(User).order_by(User.name)))


def deliveries_of(session: Session, event_id: UUID) -> list[Delivery]:
    """One event's deliveries to all connections."""
    return list(session.scalars(select(Delivery).where(Delivery.event_id == event_id)))
