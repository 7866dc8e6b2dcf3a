"""What becomes of calls when their caller turns out to be somebody known."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, Update, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from leads.store import budget
from leads.store.holds import HOLD_SENTENCES
from leads.store.in_use import kept_in_use
from leads.store.models import Attempt, Connection, Delivery, Event, Identity, Lead, RemoteRecord

MOVED = "The caller is now known; moving the call to the person."


class Caller(Protocol):
    """The lead of somebody not yet known, however it was read."""

    @property
    def id(self) -> UUID: ...
    @property
    def code(self) -> str: ...


def release(session: Session, lead_id: UUID, now: datetime) -> None:
    """Calls that waited for their caller to be known may go, where the connection may be used."""
    _release(session, Delivery.lead_id == lead_id, now)


def release_all(session: Session, connection_id: UUID, now: datetime) -> None:
    """A connection that waited for callers to be known does so no more: what it held for that may go."""
    _release(session, Delivery.connection_id == connection_id, now)


def _release(session: Session, which: ColumnElement[bool], now: datetime) -> None:
    waiting_for_name = (which, Delivery.state == "held", Delivery.code == "unknown_caller")
    # Whoever starts a paused connection again comes before or after, or what is held for the pause would stay so.
    kept_in_use(session, Connection.id.in_(select(Delivery.connection_id).where(*waiting_for_name)))
    session.execute(_go(now).where(*waiting_for_name, ~_at_a_paused_connection()))
    session.execute(update(Delivery).where(*waiting_for_name).values(code="paused", sentence=HOLD_SENTENCES["paused"]))


def merge(session: Session, caller: Caller, person_id: UUID, now: datetime) -> None:
    """The unknown caller was this person: the events go to her, and so does what the CRM already has.

    Each keeps the code that was told for it: at a repeat, another one would tell that the person was known.
    """
    caller_id = caller.id
    session.execute(update(Lead).where(Lead.id == caller_id).values(merged_into=person_id))
    moved = {"lead_id": person_id, "code": func.coalesce(Event.code, caller.code)}
    session.execute(update(Event).where(Event.lead_id == caller_id).values(**moved))
    to = select(Delivery.connection_id).where(Delivery.lead_id == caller_id)
    in_use = Delivery.connection_id.in_(kept_in_use(session, Connection.id.in_(to)))
    arrived = (Delivery.lead_id == caller_id, Delivery.state.in_(("sent", "confirmed")))
    session.execute(_go(now, lead_id=person_id, code="moved", sentence=MOVED).where(*arrived, in_use))
    session.execute(update(Delivery).where(Delivery.lead_id == caller_id, ~_doubtful()).values(lead_id=person_id))
    _release(session, Delivery.lead_id.in_((person_id, caller_id)), now)  # in doubt it goes as the caller's first
    session.execute(update(RemoteRecord).where(RemoteRecord.lead_id == caller_id).values(retire=True))
    for identity in session.scalars(select(Identity).where(Identity.lead_id == caller_id)).all():
        session.delete(identity)
        same = {"digest": identity.digest, "kind": identity.kind, "trusted": identity.trusted}
        session.merge(Identity(**same, lead_id=person_id, seen_at=now))


def _doubtful() -> ColumnElement[bool]:
    """The CRM may hold the caller because of it, and nobody knows yet: it moves once that is known (`outcomes.finish`).

    Moved at once, the caller's record would never be learned of, and stay in the CRM for ever. One failed try is
    enough: the record may have been written before the call that failed.
    """
    was_tried = exists().where(Attempt.delivery_id == Delivery.id)
    tried = and_(Delivery.state == "waiting", was_tried)
    # After a restore all that is held is in doubt, but it never went as the caller's.
    waits_for_name = and_(func.coalesce(Delivery.code, "") == "unknown_caller", ~was_tried)
    stuck = and_(Delivery.unknown, Delivery.state.in_(("held", "refused", "expired")), ~waits_for_name)
    by_hand = and_(Delivery.unknown, Delivery.state == "handled", Delivery.code == "by_hand")  # may yet be sent again
    return or_(Delivery.state == "sending", tried, stuck, by_hand)


def _go(now: datetime, **why: Any) -> Update:
    """Due now, with a fresh budget: the wait was nobody's fault."""
    return update(Delivery).values(**(budget.fresh(now) | why))


def _at_a_paused_connection() -> ColumnElement[bool]:
    return Delivery.connection_id.in_(select(Connection.id).where(Connection.state == "paused"))
