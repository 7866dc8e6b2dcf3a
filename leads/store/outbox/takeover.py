"""What a removed connection left goes by another: to a new one by itself, to one in use by a person's word."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, not_, or_, select, tuple_, update
from sqlalchemy.orm import Session

from leads.store.holds import LOOK_FIRST, hold_reason, is_in_doubt, way_to
from leads.store.models import Connection, Delivery, Event, Lead, Site
from leads.store.outbox.arrivals import delivery_row
from leads.store.outbox.decisions import may_go_after_all
from leads.store.past_orm import insert_all
from leads.store.session import KEEPS_ITS_KEY, ONLY_STAYS, Database

SLICE = 200  # events in one transaction
_BREATH = 0.05  # seconds between slices in which others write
# Another connection took it over.
HANDED_ON = and_(Delivery.state == "handled", func.coalesce(Delivery.code, "") == "replaced")
_SENT = "It goes through another connection instead."
_SENT_IN_DOUBT = "Nobody knows whether it arrived. A person had it sent through another connection as well."


class _Place(NamedTuple):
    """An event's, in the order in which they came."""

    received_at: datetime
    event_id: UUID


def take_over(database: Database, connection_id: UUID, stop: threading.Event | None = None) -> int:
    """Give a new connection what no other one has or will get, a slice in each transaction. Returns how many events.

    Nothing is sent there before all is given, or a later enquiry could overtake an earlier one of the same person.
    Whoever is ended in the midst of it, be it by `stop`, leaves `takes_over` as it is: the worker begins anew.
    """
    stop = stop or threading.Event()
    _wait_for_the_last(database, connection_id)
    number, place = 0, None
    while not stop.is_set():
        orphans = _orphans(database, connection_id, place)
        number += _give_all(database, connection_id, [event_id for _, event_id in orphans])
        if len(orphans) < SLICE:
            _end(database, connection_id)
            break
        place = orphans[-1]
        stop.wait(_BREATH)
    return number


def taking_over(session: Session) -> Sequence[UUID]:
    """New connections that do not have all yet that came before them."""
    return session.scalars(select(Connection.id).where(Connection.takes_over, Connection.removed_at.is_(None))).all()


def _wait_for_the_last(database: Database, connection_id: UUID) -> None:
    """What was being stored while the connection was made did not see it yet."""
    with database.write() as session:
        site_id = session.get_one(Connection, connection_id).site_id
        session.get_one(Site, site_id, with_for_update=True)  # waits for those, and lets go at once


def _orphans(database: Database, connection_id: UUID, place: _Place | None) -> list[_Place]:
    """The next slice of events, oldest first. Looked for while others write: there may be many that are none."""
    with database.read() as session:
        connection = session.get_one(Connection, connection_id)
        of_site = select(Event.received_at, Event.id).where(Event.site_id == connection.site_id, ~_has_a_way())
        if place is not None:
            of_site = of_site.where(tuple_(Event.received_at, Event.id) > place)
        oldest = of_site.join(Lead, Lead.id == Event.lead_id).where(Event.is_test.is_(False), Lead.erased_at.is_(None))
        found = session.execute(oldest.order_by(Event.received_at, Event.id).limit(SLICE))
        return [_Place(*row) for row in found] if connection.removed_at is None else []


def _has_a_way() -> ColumnElement[bool]:
    gone = Delivery.connection_id.in_(select(Connection.id).where(Connection.removed_at.is_not(None)))
    # What one connection took over from another, and had not brought to its CRM when it was removed itself, as well.
    left_by_removed = and_(gone, or_(Delivery.state.in_(("held", "waiting")), HANDED_ON))
    return exists().where(Delivery.event_id == Event.id, not_(left_by_removed))


def _give_all(database: Database, connection_id: UUID, event_ids: Sequence[UUID]) -> int:
    """Those of these events that still go nowhere. Returns how many."""
    if not event_ids:
        return 0
    with database.write() as session:
        database.lock(session, _giving(session.get_one(Connection, connection_id)))
        connection = session.get_one(Connection, connection_id, with_for_update=KEEPS_ITS_KEY)
        if connection.removed_at is not None:
            return 0
        _hold(session, event_ids)
        orphans = session.execute(
            select(Event, Lead)
            .join(Lead, Lead.id == Event.lead_id)
            .where(Event.id.in_(event_ids), Lead.erased_at.is_(None), ~_has_a_way())
            .order_by(Event.received_at, Event.id)
            .with_for_update(of=Lead, **ONLY_STAYS)  # nor is erased whom a caller has just turned out to be
        ).all()
        theirs = Delivery.event_id.in_([event.id for event, _ in orphans])
        # It may be the same CRM, by a new key: there somebody looks first.
        doubtful = set(session.scalars(select(Delivery.event_id).where(theirs, Delivery.unknown)))
        session.execute(update(Delivery).where(theirs).values(state="handled", code="replaced", sentence=_SENT))
        now = database.now(session)
        given = [_given(event, lead, connection, now) | {"unknown": event.id in doubtful} for event, lead in orphans]
        insert_all(session, Delivery, given)
        database.nudge(session)
    return len(orphans)


def _hold(session: Session, event_ids: Sequence[UUID]) -> None:
    """Whoever decides about these, turns out to be somebody known or is erased, does so before or after. In statements
    of their own, so that what is read next is as those before us have left it."""
    people = select(Lead.id).where(Lead.id.in_(select(Event.lead_id).where(Event.id.in_(event_ids))))
    for rows in (people.order_by(Lead.id), select(Event.id).where(Event.id.in_(event_ids)).order_by(Event.id)):
        session.execute(rows.with_for_update(read=True))


def _giving(connection: Connection) -> frozenset[bytes]:
    """Two new connections of one site do not give themselves the same at once. Of a UUID 7 the end is random."""
    return frozenset({connection.site_id.bytes[-8:]})


def _end(database: Database, connection_id: UUID) -> None:
    with database.write() as session:
        # One that was removed before tells for ever that it did not have all.
        through = (Connection.id == connection_id, Connection.removed_at.is_(None))
        session.execute(update(Connection).where(*through).values(takes_over=False))
        database.nudge(session)


def is_left(delivery: Delivery, connection: Connection, event: Event) -> bool:
    """Whether it stayed at its connection, which was removed, and a person may send it through another one."""
    why = (delivery.state, delivery.code)
    left = why in (("held", "removed"), ("refused", LOOK_FIRST)) or may_go_after_all(delivery, event)
    return connection.removed_at is not None and left


def send_elsewhere(session: Session, delivery: Delivery, to: Connection, now: datetime, looks_first: bool) -> bool:
    """A person sends what a removed connection left through another one. The event and both rows are locked.

    looks_first: whether that CRM can be asked before what may have arrived is sent, should it be the same one. Returns
    False, with nothing changed, when it was decided otherwise meanwhile, or that connection has it or may not have it.
    """
    event = session.get_one(Event, delivery.event_id)
    may_have_it = to.removed_at is None and to.site_id == event.site_id and not event.is_test
    has_it = select(Delivery.id).where(Delivery.event_id == event.id, Delivery.connection_id == to.id)
    left = is_left(delivery, session.get_one(Connection, delivery.connection_id), event)
    if not (left and may_have_it) or session.scalar(has_it) is not None:
        return False
    in_doubt = is_in_doubt(delivery.unknown, delivery.code)
    delivery.state, delivery.code, delivery.field = "handled", "replaced", None
    delivery.unknown = in_doubt  # whoever erases the person has to know
    delivery.sentence = _SENT_IN_DOUBT if in_doubt else _SENT
    lead = session.get_one(Lead, event.lead_id)
    insert_all(session, Delivery, [_given(event, lead, to, now) | {"unknown": in_doubt and looks_first}])
    return True


def _given(event: Event, lead: Lead, connection: Connection, now: datetime) -> dict[str, Any]:
    hold = hold_reason(event.hold_code, event.kind, lead.known, way_to(connection))
    return delivery_row(event.id, lead.id, connection.id, hold, event.received_at, now)
