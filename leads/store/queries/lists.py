"""Short lists and counts that several pages need."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Subquery, exists, func, literal, select
from sqlalchemy.orm import Session

from leads.store.models import DELIVERY_STATES, Action, Connection, Delivery, Event, Site, Unreadable, User, Worker

MOST_COUNTED = 10_000  # deliveries


def sites(session: Session) -> list[Site]:
    """All sites, oldest first."""
    return list(session.scalars(select(Site).order_by(Site.created_at, Site.id)))


def connections_in_use(session: Session) -> list[Connection]:
    """All connections that were not removed, oldest first."""
    in_use = select(Connection).where(Connection.removed_at.is_(None))
    return list(session.scalars(in_use.order_by(Connection.created_at, Connection.id)))


def served_sites(session: Session) -> list[Site]:
    """Sites with a connection that staff have not paused."""
    in_use = (Connection.site_id == Site.id, Connection.removed_at.is_(None), Connection.state != "paused")
    return list(session.scalars(select(Site).where(exists().where(*in_use)).order_by(Site.created_at, Site.id)))


def worker_seen_at(session: Session) -> datetime | None:
    """The last heartbeat of any worker."""
    return session.scalar(select(Worker.seen_at).order_by(Worker.seen_at.desc()).limit(1))


def start_of_day(time_zone: str, now: datetime) -> datetime:
    """When today began in this zone."""
    return datetime.combine(now.astimezone(ZoneInfo(time_zone)).date(), time(), ZoneInfo(time_zone))


def count(session: Session, column: Any, *where: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count(column)).where(*where)) or 0


def is_real() -> ColumnElement[bool]:
    """Deliveries of enquiries that visitors sent, without our own tests."""
    return Delivery.event_id.not_in(select(Event.id).where(Event.is_test))


def connection_counts(session: Session, connection_id: UUID) -> dict[str, int]:
    """Of one connection: state → how many deliveries, at most MOST_COUNTED of each: nobody needs to know more."""
    tests = (Delivery.connection_id == connection_id, Delivery.event_id.in_(select(Event.id).where(Event.is_test)))
    ours = dict(session.execute(select(Delivery.state, func.count()).where(*tests).group_by(Delivery.state)).all())
    some = [_first_of(connection_id, state, MOST_COUNTED + ours.get(state, 0)) for state in DELIVERY_STATES]
    found = session.execute(select(*(select(func.count()).select_from(one).scalar_subquery() for one in some))).one()
    counts = {state: number - ours.get(state, 0) for state, number in zip(DELIVERY_STATES, found, strict=True)}
    return {state: number for state, number in counts.items() if number}


def _first_of(connection_id: UUID, state: str, most: int) -> Subquery:
    here = (Delivery.connection_id == connection_id, Delivery.state == state)
    return select(literal(1)).select_from(Delivery).where(*here).limit(most).subquery()


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


def unreadable(session: Session, limit: int = 50) -> list[Unreadable]:
    """Bodies that could not be understood: those that nobody has seen first, then the newest."""
    unseen_first = Unreadable.seen_at.is_not(None)
    newest = select(Unreadable).order_by(unseen_first, Unreadable.received_at.desc(), Unreadable.id)
    return list(session.scalars(newest.limit(limit)))
