"""For whom a record of the CRM stands: two websites of a clinic may share an account, and so may two connections."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.store.models import Connection, RemoteRecord
from leads.store.outbox.lanes import Lane


def standing_for(session: Session, lane: Lane, remote_ids: Collection[str], url: str | None) -> list[RemoteRecord]:
    """What is known of these records, at the lane's connection and at all others to the same account. url: of one of
    them, if we know."""
    kind = select(Connection.kind).where(Connection.id == lane.connection_id).scalar_subquery()
    alike = select(Connection.id).where(Connection.kind == kind)
    named = (RemoteRecord.connection_id.in_(alike), RemoteRecord.remote_id.in_(remote_ids))
    account = next((found for one in remote_ids if (found := _account(url, one))), None)
    return [
        row
        for row in session.scalars(select(RemoteRecord).where(*named))
        if row.connection_id == lane.connection_id or _may_be_same(account, _account(row.url, row.remote_id))
    ]


def _account(url: str | None, remote_id: str) -> str | None:
    """Where a record's page stands, but for the record's own id; None where its address does not tell."""
    before, found, after = (url or "").rpartition(remote_id)
    return before + after if found else None


def _may_be_same(one: str | None, other: str | None) -> bool:
    """Of small numbers each account has its own 12, so the pages decide; where they cannot, rather once too often."""
    return one is None or other is None or one == other
