"""Who is forgotten: people whose last enquiry is old, and of whom nothing is left to do.

What has not arrived is never deleted, however old it is: it waits for the CRM, or for a person to see to it. Otherwise
only with what is held since it looks like spam, lacks consent or came from a caller who never said who it was: where
nobody has let it go in all that time it is forgotten too, or else a clinic would keep for ever just those whom it may
not keep. Slice by slice, so that no lock is held for long. By person and not by month: one who came back is kept whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from leads.store.clock import purging_allowed
from leads.store.models import (
    Action,
    Attempt,
    Connection,
    Delivery,
    Drift,
    Erasure,
    Event,
    Identity,
    Lead,
    RemoteRecord,
    Resubmission,
    Unreadable,
)
from leads.store.queries.lists import count
from leads.store.session import Database, at_leisure

SLICE = 100  # people in one transaction
# What comes each day.
_ROUTINE = (
    *("viewed", "unasked_viewed", "suspected_viewed", "unreadable_viewed"),
    *("signed_in", "signed_out", "sign_in_failed", "sign_in_unknown", "code_failed"),
)
UNDECIDED = ("no_consent", "spam", "unknown_caller")  # held for one of these, nobody has to keep it
_LOOKED_AT = ("sent", "confirmed")
_DONE = ("sent", "confirmed", "handled", "erased")  # `sent` is the end where a CRM cannot be read back
# Not seen, and seen: both go by the index.
_HALVES = (Unreadable.seen_at.is_(None), Unreadable.seen_at > datetime.min.replace(tzinfo=UTC))


def notice_period(keep: timedelta) -> timedelta:
    """How long beforehand people are told that what they have not decided on will be forgotten."""
    return min(timedelta(days=14), keep / 2)


class Place(NamedTuple):
    """How far a round has come, in the order in which people are looked at."""

    last_event_at: datetime
    lead_id: UUID


class Slice(NamedTuple):
    """What one transaction did. forgotten: of those `looked_at`. place: where the next one goes on; None: the end."""

    looked_at: int
    forgotten: int
    place: Place | None


def forget_slice(database: Database, before: datetime, place: Place | None = None, most: int = SLICE) -> Slice:
    """Forget those of the next `most` people who sent nothing since `before` and are done with.

    While the wall clock is not to be trusted nobody is looked at.
    """
    with database.read() as session:
        old = [Place(at, lead_id) for at, lead_id in session.execute(_old(before, place).limit(most))]
    with database.write() as session:
        if not old or not purging_allowed(session, database.now(session)):
            return Slice(0, 0, None)
        gone = _done_with(database, session, [one.lead_id for one in old], before)
        delete_leads(session, gone)
    return Slice(len(old), len(gone), old[-1] if len(old) == most else None)


def forget_unreadable(database: Database, before: datetime, most: int = SLICE) -> int:
    """Delete bodies that could not be read and came before `before`, also those nobody has seen. Returns how many."""
    return sum(_forget(database, Unreadable, half & (Unreadable.received_at < before), most) for half in _HALVES)


def count_unreadable(session: Session, before: datetime) -> int:
    """How many `forget_unreadable` would delete."""
    return sum(count(session, Unreadable.id, half, Unreadable.received_at < before) for half in _HALVES)


def forget_routine(database: Database, before: datetime, most: int = 1000) -> int:
    """Delete who signed in and who looked at what before `before`. Returns how many; fewer than `most` at the end."""
    return _forget(database, Action, Action.what.in_(_ROUTINE) & (Action.at < before), most)


def _forget(database: Database, model: type[Action | Unreadable], old: ColumnElement[bool], most: int) -> int:
    """Delete at most so many rows. While the wall clock is not to be trusted none is."""
    with database.write() as session:
        if not purging_allowed(session, database.now(session)):
            return 0
        gone = session.scalars(select(model.id).where(old).limit(most)).all()
        session.execute(delete(model).where(model.id.in_(gone)))
    return len(gone)


class Old(NamedTuple):
    """How many people sent nothing since a moment. done: all of it arrived, or somebody saw to it. undecided: by why it
    is held, one of UNDECIDED; the first of them that a person has. All but the rest of `people` would be forgotten."""

    people: int
    done: int
    undecided: Mapping[str, int]

    @property
    def forgettable(self) -> int:
        """How many would be forgotten."""
        return self.done + sum(self.undecided.values())


def count_old(session: Session, before: datetime) -> Old:
    """Who would be forgotten, and why."""
    old = (Lead.last_event_at < before, ~Lead.is_test)
    why = case(*((_is_held(code), code) for code in UNDECIDED), else_="done").label("why")
    found = select(why).where(*old, _nothing_left(before)).subquery()
    with at_leisure(session):
        people = session.scalars(select(func.count()).select_from(Lead).where(*old)).one()
        number: dict[str, int] = dict(session.execute(select(found.c.why, func.count()).group_by(found.c.why)).all())
    return Old(people, number.pop("done", 0), number)


def _is_held(code: str) -> ColumnElement[bool]:
    """Also where no connection was there for it."""
    alone = and_(Event.lead_id == Lead.id, Event.hold_code == code, ~exists().where(Delivery.event_id == Event.id))
    return or_(
        exists().where(Delivery.lead_id == Lead.id, Delivery.state == "held", Delivery.code == code),
        exists().where(alone),
    )


def delete_leads(session: Session, lead_ids: Collection[UUID]) -> None:
    """Delete these people and all that was kept of them. Who looked at them goes with them, by the foreign key."""
    _hand_over(session, lead_ids)
    theirs = select(Delivery.id).where(Delivery.lead_id.in_(lead_ids))
    for model in (Attempt, Action, Drift):
        session.execute(delete(model).where(model.delivery_id.in_(theirs)))
    session.execute(delete(Delivery).where(Delivery.lead_id.in_(lead_ids)))
    events = select(Event.id).where(Event.lead_id.in_(lead_ids))
    session.execute(delete(Resubmission).where(Resubmission.event_id.in_(events)))
    for child in (Event, RemoteRecord, Identity, Erasure):
        session.execute(delete(child).where(child.lead_id.in_(lead_ids)))
    session.execute(delete(Lead).where(Lead.id.in_(lead_ids)))


def _hand_over(session: Session, lead_ids: Collection[UUID]) -> None:
    """What nobody knew of a call stayed with its caller, while the call itself went to somebody who stays: without it
    that would be an enquiry that went nowhere, and such a one is never forgotten."""
    whose = select(Event.lead_id).where(Event.id == Delivery.event_id)
    stay = and_(Delivery.lead_id.in_(lead_ids), whose.scalar_subquery().not_in(lead_ids))
    session.execute(update(Delivery).where(stay).values(lead_id=whose.scalar_subquery()))


def _old(before: datetime, place: Place | None) -> Select[datetime, UUID]:
    old = select(Lead.last_event_at, Lead.id).where(Lead.last_event_at < before, ~Lead.is_test)
    if place is not None:
        old = old.where(tuple_(Lead.last_event_at, Lead.id) > place)
    return old.order_by(Lead.last_event_at, Lead.id)


def _done_with(database: Database, session: Session, lead_ids: Sequence[UUID], before: datetime) -> Sequence[UUID]:
    """Which of them are done with, and stay so until the commit: one may come back at this very moment."""
    digests = session.scalars(select(Identity.digest).where(Identity.lead_id.in_(lead_ids))).all()
    database.lock(session, set(digests))
    # The leads first, as whoever lets go what is held: neither holds what the other waits for.
    session.execute(select(Lead.id).where(Lead.id.in_(lead_ids)).order_by(Lead.id).with_for_update())
    session.execute(select(Delivery.id).where(Delivery.lead_id.in_(lead_ids)).order_by(Delivery.id).with_for_update())
    done = select(Lead.id).where(Lead.id.in_(lead_ids), Lead.last_event_at < before, _nothing_left(before))
    return session.scalars(done).all()


def _nothing_left(before: datetime) -> ColumnElement[bool]:
    """Everything of a person is in the CRM, was taken over by staff, or is held and nobody has decided on it in all
    that time; and nobody looks at it any more."""
    merged, known = aliased(Lead), aliased(Lead)
    mine, of_event = Event.lead_id == Lead.id, Resubmission.event_id == Event.id
    in_use = select(Connection.id).where(Connection.removed_at.is_(None))
    may_go = func.coalesce(Event.hold_code, "").in_(UNDECIDED)
    nobody_let_it_go = and_(
        Delivery.state == "held", func.coalesce(Delivery.code, "").in_(UNDECIDED), Delivery.unknown.is_(False)
    )
    is_elsewhere = exists().where(Delivery.event_id == Event.id, Delivery.state.in_(("handled", *_LOOKED_AT)))
    taken_back = and_(Event.hold_code == "no_consent", Resubmission.consent_given.is_(False), is_elsewhere)
    kept_for = (
        Lead.erased_at.is_(None) & exists().where(mine, ~may_go, ~exists().where(Delivery.event_id == Event.id)),
        exists().where(Erasure.lead_id == Lead.id, Erasure.ended_at.is_(None)),
        exists().where(Delivery.lead_id == Lead.id, Delivery.state.not_in(_DONE), ~nobody_let_it_go),
        # One that was sent again and then put away keeps the time of its next look, and nobody looks.
        exists().where(Delivery.lead_id == Lead.id, Delivery.check_at.is_not(None), Delivery.state.in_(_LOOKED_AT)),
        exists().where(Delivery.lead_id == Lead.id, Drift.delivery_id == Delivery.id, Drift.settled_at.is_(None)),
        exists().where(mine, of_event, Resubmission.seen_at.is_(None), or_(~may_go, taken_back)),
        exists().where(mine, of_event, Resubmission.received_at >= before),  # a newer word
        exists().where(RemoteRecord.lead_id == Lead.id, RemoteRecord.retire, RemoteRecord.connection_id.in_(in_use)),
        exists().where(merged.merged_into == Lead.id),  # it goes first
        # The code that a caller was told leads to somebody who came back.
        exists().where(known.id == Lead.merged_into, known.last_event_at >= before),
    )
    return and_(*(~reason for reason in kept_for))
