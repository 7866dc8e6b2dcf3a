"""What a removed connection left goes by another: to a new one by itself, to one in use by a person's word."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import and_, exists, func, not_, or_, select, update
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Event, Lead
from leads.store.outbox.arrivals import delivery_row, hold_reason, way_to
from leads.store.outbox.decisions import LOOK_FIRST
from leads.store.past_orm import insert_all
from leads.store.session import ONLY_STAYS

# Another connection took it over.
HANDED_ON = and_(Delivery.state == "handled", func.coalesce(Delivery.code, "") == "replaced")
_SENT = "It goes through another connection instead."
_SENT_IN_DOUBT = "Nobody knows whether it arrived. A person had it sent through another connection as well."


def backfill(session: Session, connection: Connection, now: datetime, since: datetime | None = None) -> int:
    """Give a new connection what no other one has or will get. since: received not earlier; None: at any time.

    Returns how many events.
    """
    gone = Delivery.connection_id.in_(select(Connection.id).where(Connection.removed_at.is_not(None)))
    # What one connection took over from another, and had not brought to its CRM when it was removed itself, as well.
    left_by_removed = and_(gone, or_(Delivery.state.in_(("held", "waiting")), HANDED_ON))
    in_time = [Event.received_at >= since] if since else []
    orphans = session.execute(
        select(Event, Lead)
        .join(Lead, Lead.id == Event.lead_id)
        .where(
            Event.site_id == connection.site_id,
            *in_time,
            Event.is_test.is_(False),
            Lead.erased_at.is_(None),
            ~exists().where(Delivery.event_id == Event.id, not_(left_by_removed)),
        )
        .order_by(Event.received_at)
        .with_for_update(of=Lead, **ONLY_STAYS)  # one that is being erased just now is seen to be
    ).all()
    for event, lead in orphans:
        session.execute(
            update(Delivery)
            .where(Delivery.event_id == event.id)
            .values(state="handled", code="replaced", sentence=_SENT)
        )
        _give(session, event, lead, connection, now)
    return len(orphans)


def is_left(delivery: Delivery, connection: Connection) -> bool:
    """Whether it stayed at its connection, which was removed, and a person may send it through another one."""
    why = (delivery.state, delivery.code)
    return connection.removed_at is not None and why in (("held", "removed"), ("refused", LOOK_FIRST))


def send_elsewhere(session: Session, delivery: Delivery, to: Connection, now: datetime, looks_first: bool) -> bool:
    """A person sends what a removed connection left through another one. The event and both rows are locked.

    looks_first: whether that CRM can be asked before what may have arrived is sent, should it be the same one. Returns
    False, with nothing changed, when it was decided otherwise meanwhile, or that connection has it or may not have it.
    """
    event = session.get_one(Event, delivery.event_id)
    may_have_it = to.removed_at is None and to.site_id == event.site_id and not event.is_test
    has_it = select(Delivery.id).where(Delivery.event_id == event.id, Delivery.connection_id == to.id)
    left = is_left(delivery, session.get_one(Connection, delivery.connection_id))
    if not (left and may_have_it) or session.scalar(has_it) is not None:
        return False
    in_doubt = delivery.code == LOOK_FIRST
    delivery.state, delivery.code, delivery.field = "handled", "replaced", None
    delivery.unknown = in_doubt  # whoever erases the person has to know
    delivery.sentence = _SENT_IN_DOUBT if in_doubt else _SENT
    lead = session.get_one(Lead, event.lead_id)
    _give(session, event, lead, to, now, unknown=in_doubt and looks_first)
    return True


def _give(
    session: Session, event: Event, lead: Lead, connection: Connection, now: datetime, unknown: bool = False
) -> None:
    hold = hold_reason(event.hold_code, event.kind, lead.known, way_to(connection))
    row = delivery_row(event.id, lead.id, connection.id, hold, event.received_at, now)
    insert_all(session, Delivery, [row | {"unknown": unknown}])
