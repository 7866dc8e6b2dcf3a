"""What could not be understood: the list of it, and how much of it nobody has seen yet, by website."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from leads.store.models import Site, Unreadable
from leads.store.queries.lists import count, sites

# The end of the reason of all that came to the secret address: what came through the open form or the API anyone may
# have sent.
THROUGH_PLUGIN = " It came to the address for form plugins."
_UNSEEN = Unreadable.seen_at.is_(None)
_OF_PLUGIN = Unreadable.reason.endswith(THROUGH_PLUGIN, autoescape=True)


class Unseen(NamedTuple):
    """How many messages of one website could not be understood."""

    site: Site
    number: int


def unreadable(session: Session, limit: int = 50) -> list[Unreadable]:
    """Bodies that could not be understood: those that nobody has seen first, then those that were seen last."""
    unseen = select(Unreadable).where(_UNSEEN).order_by(Unreadable.received_at.desc(), Unreadable.id)
    found = list(session.scalars(unseen.limit(limit)))
    seen = select(Unreadable).where(~_UNSEEN).order_by(Unreadable.seen_at.desc())
    return found + list(session.scalars(seen.limit(limit - len(found)))) if len(found) < limit else found


def number_unseen(session: Session) -> int:
    """How many there are, of all websites and of none."""
    return count(session, Unreadable.id, _UNSEEN)


def number_unseen_before(session: Session, before: datetime) -> int:
    """How many of them came before that moment."""
    return count(session, Unreadable.id, _UNSEEN, Unreadable.received_at < before)


def oldest_unseen(session: Session) -> datetime | None:
    """When the first of them came; None: there is none."""
    return session.scalar(select(func.min(Unreadable.received_at)).where(_UNSEEN))


def unseen_of_plugins(session: Session) -> list[Unseen]:
    """What form plugins sent, by website; only websites of which there is any."""
    found = unseen_by_site(session, _OF_PLUGIN)
    return [Unseen(site, found[site.id]) for site in sites(session) if site.id in found]


def unseen_by_site(session: Session, *where: ColumnElement[bool]) -> dict[UUID | None, int]:
    """Id of a website → how many; None: of those that named no website."""
    rows = select(Unreadable.site_id, func.count()).where(_UNSEEN, *where).group_by(Unreadable.site_id)
    return dict(session.execute(rows).all())
