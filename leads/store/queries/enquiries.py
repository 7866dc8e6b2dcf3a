"""Stored enquiries as examples: what a change would mean for those that came last."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.store.consents import Noted, noted
from leads.store.models import Event, Lead, Site


class Stored(NamedTuple):
    """A lead's latest enquiry."""

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
