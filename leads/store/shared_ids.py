"""Websites that give one id to several visitors, as a page does that was made once and kept by a cache.

Each of them is an enquiry of its own all the same. But what one of them sends later counts as the same once more, and
waits for a look, so somebody should know why.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.store import tasks
from leads.store.models import Site, Task

_LATELY = timedelta(days=7)
_SELDOM = timedelta(hours=1)  # between two that are written down: every visitor may be one more


def note(session: Session, site_ids: Iterable[UUID], now: datetime) -> None:
    """Somebody sent another person's id. Once may be a family at one computer; again, within some days, is the page."""
    for site_id in site_ids:
        if not tasks.claim(session, f"shared_id {site_id}", now, _LATELY):
            tasks.claim(session, _again(site_id), now, _SELDOM)


def sites_that_share(session: Session, known: Iterable[Site], now: datetime) -> list[Site]:
    """Those of the known ones of which this was so lately."""
    lately = set(session.scalars(select(Task.name).where(Task.ran_at > now - _LATELY)))
    return [site for site in known if _again(site.id) in lately]


def _again(site_id: UUID) -> str:
    return f"shared_id again {site_id}"
