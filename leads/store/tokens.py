"""The sign-in of a connection: what it gave us, and who may renew it now. The only writer of these columns.

While a CRM is asked for a new token nobody holds a transaction: the right to ask is a lease in the row.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from leads.store.models import Connection, new_id
from leads.store.session import Database


class Lease(NamedTuple):
    """The right to renew, ours alone until it runs out. sealed: what the sign-in had given when it was taken."""

    connection_id: UUID
    token: UUID
    sealed: bytes | None


def held(database: Database, connection_id: UUID) -> bytes | None:
    """What the sign-in gave us last, sealed; None: nobody has signed in."""
    with database.read() as session:
        return session.scalar(select(Connection.tokens_sealed).where(Connection.id == connection_id))


def lease(database: Database, connection_id: UUID, seconds: float) -> Lease | None:
    """Take the right to renew, for so long at most. None: another one has it, or the connection was removed."""
    token = new_id()
    with database.write() as session:
        now = database.now(session)
        free = or_(Connection.token_lease_until.is_(None), Connection.token_lease_until < now)
        row = session.execute(
            update(Connection)
            .where(Connection.id == connection_id, Connection.removed_at.is_(None), free)
            .values(token_lease=token, token_lease_until=now + timedelta(seconds=seconds))
            .returning(Connection.tokens_sealed)
        ).one_or_none()
    return Lease(connection_id, token, row.tokens_sealed) if row else None


def release(database: Database, lease: Lease) -> None:
    """Give the right back before it runs out."""
    with database.write() as session:
        session.execute(
            update(Connection)
            .where(Connection.id == lease.connection_id, Connection.token_lease == lease.token)
            .values(token_lease=None, token_lease_until=None)
        )


def keep(database: Database, lease: Lease, sealed: bytes, ends_at: datetime | None) -> bool:
    """Store what the CRM gave. Safe to repeat. False: somebody signed in meanwhile, or took the connection out of use.

    Not the lease decides but what is stored: of two that asked at once, a CRM that changes the refresh token answers
    only one, and its answer must be kept even if it came late.
    """
    unchanged = or_(Connection.tokens_sealed.is_not_distinct_from(lease.sealed), Connection.tokens_sealed == sealed)
    with database.write() as session:
        kept = session.execute(
            update(Connection)
            .where(Connection.id == lease.connection_id, Connection.removed_at.is_(None), unchanged)
            .values(tokens_sealed=sealed, sign_in_ends_at=ends_at)
            .returning(Connection.id)
        ).one_or_none()
    return kept is not None


def sign_in(connection: Connection, sealed: bytes, ends_at: datetime | None) -> None:
    """Somebody signed in: whatever was there before no longer counts."""
    connection.tokens_sealed, connection.sign_in_ends_at = sealed, ends_at
    connection.token_lease = connection.token_lease_until = None


def forget(connection: Connection, ends_at: datetime | None = None) -> None:
    """The token is good for nothing any more. ends_at: when the key ends, where it is known."""
    connection.tokens_sealed, connection.sign_in_ends_at = None, ends_at
    connection.token_lease = connection.token_lease_until = None


def ending(session: Session, until: datetime) -> list[Connection]:
    """Connections in use whose sign-in ends before that moment."""
    soon = (Connection.removed_at.is_(None), Connection.tokens_sealed.is_not(None), Connection.sign_in_ends_at < until)
    return list(session.scalars(select(Connection).where(*soon).order_by(Connection.id)))
