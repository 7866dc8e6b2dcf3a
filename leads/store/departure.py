"""A clinic has left: all that came from its website is forgotten here, with the website. CRMs keep what they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.orm import Session, aliased

from leads.store.holds import NOT_ARRIVED
from leads.store.models import Connection, Delivery, Erasure, Event, Lead, Site, Unreadable
from leads.store.queries.lists import count
from leads.store.retention import SLICE, delete_leads
from leads.store.session import Database, at_leisure
from leads.store.sites import SiteError, remove_site


class Kept(NamedTuple):
    """What is known of a website's visitors. not_arrived: enquiries that some CRM does not have, or no CRM has.
    to_erase: records of erased people that still stand in a CRM. unreadable: what could not be understood."""

    people: int
    enquiries: int
    not_arrived: int
    to_erase: int
    unreadable: int


def kept_of(session: Session, site: Site) -> Kept:
    """What would be forgotten. Raises SiteError where the clinic has not left: its website is open, or connected."""
    _require_gone(session, site)
    of_visitors = (Event.site_id == site.id, ~Event.is_test)
    late = exists().where(Delivery.event_id == Event.id, Delivery.state.in_(NOT_ARRIVED))
    nowhere = ~exists().where(Delivery.event_id == Event.id)
    here = select(Lead.id).where(Lead.site_id == site.id, ~Lead.is_test)
    with at_leisure(session):
        return Kept(
            people=count(session, Lead.id, Lead.id.in_(here)),
            enquiries=count(session, Event.id, *of_visitors),
            not_arrived=count(session, Event.id, *of_visitors, or_(late, nowhere)),
            to_erase=count(session, Erasure.lead_id, Erasure.ended_at.is_(None), Erasure.lead_id.in_(here)),
            unreadable=count(session, Unreadable.id, Unreadable.site_id == site.id),
        )


def forget_all_of(database: Database, site_id: UUID) -> Iterator[int]:
    """Forget the visitors of a website whose clinic has left, a slice in each transaction: yields how many people. Then
    the website goes, with its connections and their keys. Whoever was ended in the midst of it begins anew.

    Raises SiteError as `kept_of` does, and where something came in meanwhile.
    """
    while people := _forget_slice(database, site_id):
        yield people
    with database.write() as session:
        site = session.get_one(Site, site_id)
        session.execute(delete(Unreadable).where(Unreadable.site_id == site_id))
        remove_site(session, site)


def _forget_slice(database: Database, site_id: UUID) -> int:
    merged = aliased(Lead)
    first = ~exists().where(merged.merged_into == Lead.id)  # callers who became known go before whom they became
    theirs = select(Lead.id).where(Lead.site_id == site_id, ~Lead.is_test, first).order_by(Lead.id).limit(SLICE)
    with database.write() as session:
        _require_gone(session, session.get_one(Site, site_id, with_for_update={"read": True}))
        people = session.scalars(theirs.with_for_update()).all()
        session.execute(select(Delivery.id).where(Delivery.lead_id.in_(people)).order_by(Delivery.id).with_for_update())
        delete_leads(session, people)
    return len(people)


def _require_gone(session: Session, site: Site) -> None:
    if site.closed_at is None:
        raise SiteError(f"{site.key} takes enquiries. First: frontdesk site close {site.key}")
    connected = select(Connection.name).where(Connection.site_id == site.id, Connection.removed_at.is_(None))
    if name := session.scalar(connected.limit(1)):
        raise SiteError(f"{site.key} is still connected to “{name}”. First: frontdesk connection remove “{name}”")
