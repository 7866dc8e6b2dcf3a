"""Connections that are in use, and stay so until the commit.

To be asked for before anything is made to wait at them, and before deliveries are locked, as whoever removes one does:
or it could come to wait at one that is being removed just now, where nobody would send it and nobody be told.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from leads.store.models import Connection
from leads.store.session import ONLY_STAYS


def kept_in_use(session: Session, *which: ColumnElement[bool]) -> set[UUID]:
    """Those of these connections, or of all."""
    in_use = select(Connection.id).where(Connection.removed_at.is_(None), *which).order_by(Connection.id)
    return set(session.scalars(in_use.with_for_update(**ONLY_STAYS)))
