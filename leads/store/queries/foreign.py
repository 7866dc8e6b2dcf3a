"""Pages that send again and again and are not listed: most often another address of the clinic that was forgotten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.store.holds import FOREIGN_PAGE
from leads.store.models import Delivery, Event, Site
from leads.store.people import listed_answers
from leads.store.queries.places import LISTED, held_alone
from leads.store.vault import Vault

_LATEST = 100  # of what is held; more is not opened for a hint
_OFTEN = 3
_BEFORE, _, _AFTER = FOREIGN_PAGE.partition("{page}")


class ForeignPage(NamedTuple):
    """A page, and how many enquiries that it sent to a website are held. latest: when the last of them came."""

    site: Site
    page: str
    number: int
    latest: datetime


def foreign_pages(session: Session, vault: Vault) -> list[ForeignPage]:
    """Those among the latest that are held, most often first; without what was listed since."""
    sent: dict[tuple[UUID, str], list[datetime]] = defaultdict(list)
    for event in _held(session):
        told = str(listed_answers(vault, event).get("suspicion") or "")
        if told.startswith(_BEFORE) and told.endswith(_AFTER):
            sent[event.site_id, told[len(_BEFORE) : -len(_AFTER)]].append(event.received_at)
    often = sorted(((*key, times) for key, times in sent.items() if len(times) >= _OFTEN), key=lambda one: -len(one[2]))
    sites = {site.id: site for site in session.scalars(select(Site).where(Site.id.in_({one[0] for one in often})))}
    return [
        ForeignPage(sites[site_id], page, len(times), max(times))
        for site_id, page, times in often
        if page not in sites[site_id].origins
    ]


def _held(session: Session) -> Iterable[Event]:
    """The latest, once each; also where no connection is, as while a website is being set up."""
    sent = select(Event).join(Delivery, Delivery.event_id == Event.id).where(LISTED["spam"])
    found = [*session.scalars(sent.order_by(Delivery.created_at.desc()).limit(_LATEST))]
    if alone := held_alone(session, "spam"):
        found += session.scalars(select(Event).where(*alone).order_by(Event.received_at.desc()).limit(_LATEST))
    return {event.id: event for event in found}.values()
