"""Every enquiry with its person and where it stands, a slice at a time, for a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Event, Lead, Site
from leads.store.people import listed_answers, listed_person
from leads.store.queries.places import MOST_COUNTED
from leads.store.session import Database
from leads.store.vault import Vault

_BEFORE_ALL = UUID(int=0)


class Exported(NamedTuple):
    """One enquiry. standings: where it stands, each `connection: state`."""

    event: Event
    lead: Lead
    site: Site
    person: Mapping[str, str]
    answers: Mapping[str, Any]
    standings: Sequence[str]


def number_of(session: Session, site: Site | None) -> int:
    """How many `exported` gives now. One more than MOST_COUNTED stands for any greater number."""
    some = select(Event.id).where(*_wanted(site, _BEFORE_ALL)).limit(MOST_COUNTED + 1)
    return session.scalars(select(func.count()).select_from(some.subquery())).one()


def exported(database: Database, vault: Vault, site: Site | None = None, size: int = 500) -> Iterator[Exported]:
    """All enquiries, or those of a site, oldest first. No slice holds the database while it is written away."""
    last = _BEFORE_ALL
    while True:
        with database.read() as session:
            rows = _slice(session, vault, site, last, size)
        yield from rows
        if len(rows) < size:
            return
        last = rows[-1].event.id


def _wanted(site: Site | None, after: UUID) -> list[ColumnElement[bool]]:
    real = [Event.is_test.is_(False), Event.id > after]
    return [*real, Event.site_id == site.id] if site else real


def _slice(session: Session, vault: Vault, site: Site | None, last: UUID, size: int) -> list[Exported]:
    real = select(Event, Lead, Site).join(Lead, Lead.id == Event.lead_id).join(Site, Site.id == Event.site_id)
    real = real.where(*_wanted(site, last))
    found = session.execute(real.order_by(Event.id).limit(size)).all()
    standings = _standings(session, [event.id for event, _, _ in found])
    return [
        Exported(event, lead, site, listed_person(vault, lead), listed_answers(vault, event), standings[event.id])
        for event, lead, site in found
    ]


def _standings(session: Session, ids: Sequence[UUID]) -> Mapping[UUID, Sequence[str]]:
    ways = (
        select(Delivery.event_id, Connection.name, Delivery.state)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.event_id.in_(ids))
        .order_by(Connection.created_at, Connection.id)
    )
    found = defaultdict(list)
    for event_id, name, state in session.execute(ways):
        found[event_id].append(f"{name}: {state}")
    return found
