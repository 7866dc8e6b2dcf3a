"""Who was erased on request, and what of it is still to be done in a CRM."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Erasure, Event, Lead, RemoteRecord, Site
from leads.store.people import with_callers


class Leftover(NamedTuple):
    """One erasure in a CRM, and whose it is."""

    erasure: Erasure
    lead: Lead
    connection: Connection


class Holding(NamedTuple):
    """A CRM that holds a record of somebody, or may. url: where staff can open it, if we know."""

    connection: Connection
    url: str | None


def erased_alone(site: Site) -> Select[UUID]:
    """Events of erased people that no connection was there for, so that no delivery tells of it."""
    erased = (Lead.site_id == site.id, Lead.erased_at.is_not(None))
    alone = ~exists().where(Delivery.event_id == Event.id)
    return select(Event.id).join(Lead, Lead.id == Event.lead_id).where(*erased, alone)


def open_erasures(session: Session, limit: int = 20) -> list[Leftover]:
    """Those that a person has to see to, then those that were tried in vain."""
    rows = _with_names(select(Erasure, Lead, Connection)).where(_in_trouble())
    rows = rows.order_by(Erasure.state != "needs_you", Erasure.tries_from, Erasure.lead_id)
    return [Leftover(*row) for row in session.execute(rows.limit(limit))]


def erasures_that_need_you(session: Session) -> int:
    """How many a person has to see to."""
    open_ = (Erasure.ended_at.is_(None), Erasure.state == "needs_you")
    return session.scalar(select(func.count()).select_from(Erasure).where(*open_)) or 0


def erasures_of(session: Session, lead_id: UUID) -> list[Leftover]:
    """Those of a person, and of callers who turned out to be them."""
    rows = _with_names(select(Erasure, Lead, Connection)).where(Erasure.lead_id.in_(with_callers(session, lead_id)))
    return [Leftover(*row) for row in session.execute(rows.order_by(Connection.created_at, Erasure.lead_id))]


def holding(session: Session, lead_id: UUID) -> list[Holding]:
    """Where a person's records stand now."""
    mine = RemoteRecord.lead_id.in_(with_callers(session, lead_id))
    rows = select(Connection, RemoteRecord.url).join(RemoteRecord, RemoteRecord.connection_id == Connection.id)
    return [Holding(*row) for row in session.execute(rows.where(mine).order_by(Connection.created_at))]


def _in_trouble() -> ColumnElement[bool]:
    return Erasure.ended_at.is_(None) & or_(Erasure.state == "needs_you", Erasure.sentence.is_not(None))


def _with_names(rows: Any) -> Any:
    joined = rows.join(Lead, Lead.id == Erasure.lead_id)
    return joined.join(Connection, Connection.id == Erasure.connection_id)
