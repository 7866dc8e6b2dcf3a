"""Test enquiries: how the last ones went."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.store.models import CanaryRun, Site
from leads.store.queries.lists import served_sites


def last_runs(session: Session) -> list[tuple[Site, CanaryRun | None]]:
    """Each site whose enquiries go to a CRM, with its last run; None: it had none yet."""
    return [(site, last_run(session, site)) for site in served_sites(session)]


def last_run(session: Session, site: Site) -> CanaryRun | None:
    """A site's newest run, on its way or over."""
    newest = select(CanaryRun).where(CanaryRun.site_id == site.id).order_by(CanaryRun.started_at.desc())
    return session.scalars(newest.limit(1)).first()


def recent_runs(session: Session, limit: int = 50) -> list[tuple[CanaryRun, Site]]:
    """The newest runs of all sites."""
    rows = select(CanaryRun, Site).join(Site, Site.id == CanaryRun.site_id)
    return [(run, site) for run, site in session.execute(rows.order_by(CanaryRun.started_at.desc()).limit(limit))]
