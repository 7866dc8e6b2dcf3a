"""The calls that a CRM allows a day: as it gets short, what is left is kept for new enquiries.

A CRM tells what is left only beside an answer: what it said an hour ago counts no more, and the next call shows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, or_, select
from sqlalchemy.orm import Session

from leads.store.models import Connection

# The share of the day's calls below which something is left undone.
LOOKS = 0.05  # the first look at what was just sent
ALL_ELSE = 0.2  # nightly looks and test enquiries
_NEWS = timedelta(hours=1)
_FRESH = timedelta(minutes=10)


def oldest(now: datetime) -> datetime:
    """From when on what a CRM said of its day counts as news."""
    return now - _NEWS


def affords(share: float, since: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Whether a connection has more than this share of the day's calls left, as far as its CRM has told since then."""
    return or_(
        Connection.quota_left.is_(None),
        Connection.quota_of.is_(None),
        Connection.quota_at <= since,
        Connection.quota_left > share * Connection.quota_of,
    )


def sites_in_need(session: Session, now: datetime) -> set[UUID]:
    """Sites of which a connection has calls for enquiries and their proof only."""
    in_use = Connection.removed_at.is_(None)
    return set(session.scalars(select(Connection.site_id).where(in_use, ~affords(ALL_ELSE, oldest(now)))))


def is_news(row: Connection, left: int, of: int | None, now: datetime) -> bool:
    """Whether this is worth a write: not at each call, but when a hundredth of the day's calls went, or time has."""
    if row.quota_left is None or row.quota_at is None or row.quota_of != of or now - row.quota_at > _FRESH:
        return True
    return abs(left - row.quota_left) * 100 >= (of or row.quota_left)
