"""Stored enquiries as examples: what a change would mean for those that came last."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import and_, exists, select
from sqlalchemy.orm import Session

from leads.store.consents import Noted, noted
from leads.store.models import Delivery, Drift, Event, Lead, RemoteRecord, Site


class Stored(NamedTuple):
    """An enquiry. remote_id: the CRM's record of the person, where it is asked for one connection and known."""

    event: Event
    lead: Lead
    site: Site
    consent: Noted | None
    remote_id: str | None = None


def latest_enquiry(session: Session, lead: Lead) -> Stored | None:
    """What a lead asked last."""
    newest = select(Event).where(Event.lead_id == lead.id).order_by(Event.received_at.desc(), Event.id.desc())
    event = session.scalars(newest.limit(1)).first()
    return Stored(event, lead, session.get_one(Site, lead.site_id), noted(session, event)) if event else None


def latest_enquiries(session: Session, site_id: UUID, limit: int = 5) -> list[Stored]:
    """The latest enquiry of each of the leads of a site that were heard of last, newest first; none of erased ones."""
    real = (Lead.site_id == site_id, Lead.merged_into.is_(None), Lead.is_test.is_(False))
    newest = (
        select(Lead)
        .where(*real, Lead.erased_at.is_(None))
        .order_by(Lead.last_event_at.desc(), Lead.id.desc())
        .limit(limit)
    )
    found = [latest_enquiry(session, lead) for lead in session.scalars(newest).all()]
    return [one for one in found if one]


def latest_confirmed(session: Session, connection_id: UUID, limit: int) -> list[Stored]:
    """What was last seen in a connection's CRM, and not missed there since; newest first."""
    missed = exists().where(Drift.delivery_id == Delivery.id, Drift.kind == "deleted")
    record = and_(RemoteRecord.lead_id == Lead.id, RemoteRecord.connection_id == connection_id)
    seen = (Delivery.connection_id == connection_id, Delivery.state == "confirmed", ~missed, Event.is_test.is_(False))
    rows = (
        select(Event, Lead, Site, RemoteRecord.remote_id)
        .join(Delivery, Delivery.event_id == Event.id)
        .join(Lead, Lead.id == Delivery.lead_id)
        .join(Site, Site.id == Lead.site_id)
        .outerjoin(RemoteRecord, record)
    )
    newest = rows.where(*seen).order_by(Delivery.due_at.desc()).limit(limit)
    return [Stored(event, lead, site, noted(session, event), one) for event, lead, site, one in session.execute(newest)]
