"""What the CRM no longer holds as it was confirmed, and nobody has seen to."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Drift, Lead, Site
from leads.store.people import listed_person, name_of
from leads.store.vault import Vault


class OpenDrift(NamedTuple):
    """One drift, and whose it is. name: as the desk calls the person; None for an unknown caller."""

    drift: Drift
    lead: Lead
    site: Site
    connection: Connection
    name: str | None


def drift_counts(session: Session) -> dict[str, int]:
    """Kind → how many are open."""
    kinds = _open(select(Drift.kind, func.count())).group_by(Drift.kind)
    return dict(session.execute(kinds).all())


def open_drifts(session: Session, vault: Vault, limit: int = 20) -> list[OpenDrift]:
    """What is open, the latest first; what is only changed after all else."""
    rows = _open(select(Drift, Lead, Site, Connection)).join(Lead, Lead.id == Delivery.lead_id)
    rows = rows.join(Site, Site.id == Lead.site_id)
    latest = rows.order_by(Drift.kind == "changed", Drift.found_at.desc(), Drift.id).limit(limit)
    return [
        OpenDrift(drift, lead, site, connection, name_of(listed_person(vault, lead)))
        for drift, lead, site, connection in session.execute(latest)
    ]


def _open(rows: Any) -> Any:
    """Of what is in use, open; what was deleted only until it is sent again."""
    stands = or_(Drift.kind != "deleted", Delivery.state == "confirmed")
    joined = rows.join(Delivery, Delivery.id == Drift.delivery_id)
    joined = joined.join(Connection, Connection.id == Drift.connection_id)
    return joined.where(Drift.settled_at.is_(None), Connection.removed_at.is_(None), stands)
