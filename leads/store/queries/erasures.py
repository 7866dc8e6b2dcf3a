"""Who was erased on request, and what of it is still to be done in a CRM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.orm import Session

from leads.store.among import among
from leads.store.erasure_list import Entry, Listed
from leads.store.models import Connection, Delivery, Erasure, Event, Lead, RemoteRecord, Site
from leads.store.outbox.erasure import is_still
from leads.store.people import person_behind, with_callers


class CrmErasure(NamedTuple):
    """One erasure in a CRM, and whose it is."""

    erasure: Erasure
    lead: Lead
    connection: Connection


class Holding(NamedTuple):
    """A CRM that holds a record of somebody, or may. url: where staff can open it, if we know."""

    connection: Connection
    url: str | None


class Back(NamedTuple):
    """Who stands on the list of erasures and is here all the same, as after a restore.

    again: to be erased again, each as they are listed. changed: who wrote since, or turned out to be somebody else, so
    that a person has to look first. unclear: of whom the list does not know whether they were erased.
    """

    again: list[tuple[Lead, Entry]]
    changed: list[Lead]
    unclear: list[Lead]


def erased_alone(site: Site) -> Select[UUID]:
    """Events of erased people that no connection was there for, so that no delivery tells of it."""
    erased = (Lead.site_id == site.id, Lead.erased_at.is_not(None))
    alone = ~exists().where(Delivery.event_id == Event.id)
    return select(Event.id).join(Lead, Lead.id == Event.lead_id).where(*erased, alone)


def open_erasures(session: Session, limit: int = 20) -> list[CrmErasure]:
    """Those that a person has to see to, then those that were tried in vain or wait for their connection."""
    rows = _with_names(select(Erasure, Lead, Connection)).where(_in_trouble())
    rows = rows.order_by(Erasure.state != "needs_you", Erasure.tries_from, Erasure.lead_id)
    return [CrmErasure(*row) for row in session.execute(rows.limit(limit))]


def erasures_that_need_you(session: Session) -> int:
    """How many a person has to see to."""
    open_ = (Erasure.ended_at.is_(None), Erasure.state == "needs_you")
    return session.scalar(select(func.count()).select_from(Erasure).where(*open_)) or 0


def erasures_of(session: Session, lead_id: UUID) -> list[CrmErasure]:
    """Those of a person, and of callers who turned out to be them."""
    rows = _with_names(select(Erasure, Lead, Connection)).where(Erasure.lead_id.in_(with_callers(session, lead_id)))
    return [CrmErasure(*row) for row in session.execute(rows.order_by(Connection.created_at, Erasure.lead_id))]


def holding(session: Session, lead_id: UUID) -> list[Holding]:
    """Where a person's records stand now."""
    mine = RemoteRecord.lead_id.in_(with_callers(session, lead_id))
    rows = select(Connection, RemoteRecord.url).join(RemoteRecord, RemoteRecord.connection_id == Connection.id)
    return [Holding(*row) for row in session.execute(rows.where(mine).order_by(Connection.created_at))]


def back(session: Session, listed: Listed) -> Back:
    """Who of the list is here and not erased."""
    again: dict[UUID, tuple[Lead, Entry]] = {}
    changed: dict[UUID, Lead] = {}
    for person, entry in _not_erased(session, listed.erased):
        if is_still(session, person, entry):
            again[person.id] = (person, entry)
        else:
            changed[person.id] = person
    unclear = {person.id: person for person, _ in _not_erased(session, listed.begun)}
    return Back(
        list(again.values()),
        [person for id_, person in changed.items() if id_ not in again],
        [person for id_, person in unclear.items() if id_ not in again | changed],
    )


def unlisted(session: Session, listed: Listed) -> list[Entry]:
    """Who is erased here and does not stand on the list."""
    known = {entry.leads[0] for entry in listed.erased}
    people = select(Lead.erased_at, Lead.code, Lead.id).where(Lead.erased_at.is_not(None), Lead.merged_into.is_(None))
    return [
        Entry(at, code, tuple(with_callers(session, lead_id)))
        for at, code, lead_id in session.execute(people.order_by(Lead.erased_at, Lead.id))
        if at and lead_id not in known
    ]


def never_known(session: Session, listed: Listed) -> list[Entry]:
    """Who was erased and is not here at all, since they first wrote after the copy was made that was put back."""
    by_id = {lead_id: entry for entry in listed.erased for lead_id in entry.leads}
    here = set(session.scalars(select(Lead.id).where(among(Lead.id, "ids")), {"ids": list(by_id)}))
    # Who was erased before that was in the copy, and has been forgotten since.
    latest = session.scalar(select(func.max(Event.received_at)))
    since = {entry for entry in by_id.values() if latest is None or entry.at > latest}
    return sorted(entry for entry in since if here.isdisjoint(entry.leads))


def _not_erased(session: Session, entries: Iterable[Entry]) -> Iterator[tuple[Lead, Entry]]:
    by_id = {lead_id: entry for entry in sorted(entries) for lead_id in entry.leads}  # of two the later one
    here = select(Lead).where(among(Lead.id, "ids"), Lead.erased_at.is_(None), Lead.is_test.is_(False))
    for lead in session.scalars(here.order_by(Lead.id), {"ids": list(by_id)}).all():
        if (person := person_behind(session, lead)).erased_at is None:
            yield person, by_id[lead.id]


def _in_trouble() -> ColumnElement[bool]:
    stands_still = or_(Erasure.state == "needs_you", Erasure.sentence.is_not(None), Connection.state != "working")
    return Erasure.ended_at.is_(None) & stands_still


def _with_names(rows: Any) -> Any:
    joined = rows.join(Lead, Lead.id == Erasure.lead_id)
    return joined.join(Connection, Connection.id == Erasure.connection_id)
