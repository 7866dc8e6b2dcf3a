"""What people did, newest first."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from leads.store.models import Action, Connection, Delivery, Lead
from leads.store.queries.leads import Cursor
from leads.store.staff import note_of
from leads.store.vault import Vault


class AuditEntry(NamedTuple):
    """One thing that somebody did. lead, connection: what it was about, if anything. note: such as a user's name."""

    action: Action
    lead: Lead | None
    connection: Connection | None
    note: str | None


class AuditPage(NamedTuple):
    """older: where the next page begins; None: this is the last."""

    rows: list[AuditEntry]
    older: Cursor | None


def audit_log(
    session: Session,
    vault: Vault,
    *,
    who: str = "",
    kinds: Collection[str] = (),
    older_than: Cursor | None = None,
    size: int = 50,
) -> AuditPage:
    """A page of what was done. who: by one person alone. kinds: of these alone; empty for all."""
    wanted = select(Action)
    if who:
        wanted = wanted.where(Action.user_name == who)
    if kinds:
        wanted = wanted.where(Action.what.in_(kinds))
    if older_than:
        wanted = wanted.where(tuple_(Action.at, Action.id) < older_than)
    page = wanted.order_by(Action.at.desc(), Action.id.desc()).limit(size + 1).subquery("page")
    full = (
        select(Action, Lead, Connection)
        .join(page, page.c.id == Action.id)
        .outerjoin(Delivery, Delivery.id == Action.delivery_id)
        .outerjoin(Lead, Lead.id == func.coalesce(Action.lead_id, Delivery.lead_id))
        .outerjoin(Connection, Connection.id == func.coalesce(Action.connection_id, Delivery.connection_id))
        .order_by(Action.at.desc(), Action.id.desc())
    )
    found = [
        AuditEntry(action, lead, connection, note_of(vault, action))
        for action, lead, connection in session.execute(full)
    ]
    last = found[size - 1].action if len(found) > size else None
    return AuditPage(found[:size], Cursor(last.at, last.id) if last else None)
