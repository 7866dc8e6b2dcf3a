"""Why a delivery may not go: suspected, without consent, paused, or for a person to decide."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Event, Lead
from leads.store.session import KEEPS_ITS_KEY

HOLD_SENTENCES = {
    "spam": "This looks like spam. Nothing was sent; if it is a real enquiry, press “Not spam, send”.",
    "no_consent": "There is no consent of the visitor that the details are shared with the CRM.",
    "paused": "This connection was paused by staff. It goes on by itself once an admin starts it again.",
    "unknown_caller": "This connection takes calls only once the caller is known.",
    "removed": "The connection was removed before this was sent. An admin can add a new one; or take care of it.",
}

# It may have arrived, and its CRM cannot tell: somebody has to look there before it is sent again.
LOOK_FIRST = "unknown_outcome"
NOT_ARRIVED = ("waiting", "sending", "held", "refused", "expired")
HELD_BY_REMOVAL = {"state": "held", "code": "removed", "sentence": HOLD_SENTENCES["removed"]}


class Way(NamedTuple):
    """What decides whether an event may go to a connection. state: its own, or `removed`."""

    connection_id: UUID
    state: str
    unknown_callers: str


def hold_reason(hold_code: str | None, kind: str, known: bool, way: Way) -> str | None:
    """Why an event may not go to a connection now; None when it may. hold_code, kind: the event's. known: its lead."""
    if hold_code:
        return hold_code
    if way.state == "removed":
        return "removed"
    if kind == "call_click" and not known and way.unknown_callers == "wait":
        return "unknown_caller"  # also while it is paused: whoever starts it again lets go only what waits for that
    return "paused" if way.state == "paused" else None


def way_to(connection: Connection) -> Way:
    """The way to a connection that is loaded."""
    state = connection.state if connection.removed_at is None else "removed"
    return Way(connection.id, state, connection.unknown_callers)


def is_in_doubt(unknown: bool, code: str | None) -> bool:
    """Whether nobody knows if a delivery arrived. Of a CRM that cannot be asked its code alone says so."""
    return unknown or code == LOOK_FIRST


def is_by_hand(delivery: Delivery) -> bool:
    """Whether a person took care of it or put it aside, and may think better of it. What goes another way is none."""
    return delivery.state == "handled" and delivery.code == "by_hand"


def may_have_arrived_since(delivery: Delivery) -> bool:
    """Whether it may be in the CRM although a copy of the database, which was put back, does not know of it."""
    return delivery.state in NOT_ARRIVED or is_by_hand(delivery)


def withhold(session: Session, event_id: UUID) -> None:
    """The visitor took back consent: what is not in a CRM yet stays here until a person has decided.

    What is being sent just now may arrive all the same; whoever sends it keeps the token, and tells
    (`outbox/outcomes.py`).
    """
    whose = select(Lead).join(Event, Event.lead_id == Lead.id).where(Event.id == event_id)
    whose = whose.with_for_update(of=Lead, **KEEPS_ITS_KEY)  # first, as whoever lets it go
    lead = session.scalars(whose, execution_options={"populate_existing": True}).one()
    event = session.get_one(Event, event_id, with_for_update=True, populate_existing=True)
    its = select(Delivery).where(Delivery.event_id == event_id).order_by(Delivery.id).with_for_update()
    deliveries = session.scalars(its).all()
    left = [one for one in deliveries if one.state in NOT_ARRIVED]
    # What a person took care of stays so, but goes out no more on their word alone.
    if event.hold_code is not None or (deliveries and not left and not any(map(is_by_hand, deliveries))):
        return
    event.hold_code = "no_consent"
    # Where it has arrived, the CRM knows who it is; a tap without the name would only take it out of the record.
    if not any(one.sent_at for one in deliveries) and not _agreed_elsewhere(session, event):
        lead.shareable = False
    for one in left:
        if one.code not in (LOOK_FIRST, "removed"):  # these go nowhere without a person
            one.unknown = one.unknown or one.state == "sending"
            one.state, one.code, one.field = "held", "no_consent", None
            one.sentence = HOLD_SENTENCES["no_consent"]


def _agreed_elsewhere(session: Session, event: Event) -> bool:
    """Whether another enquiry stands behind the person's details, so that their taps may go on under their name."""
    others = (Event.lead_id == event.lead_id, Event.id != event.id, Event.hold_code.is_(None))
    form = select(Event.id).where(*others, Event.kind == "consultation_request").limit(1)
    return session.scalar(form) is not None


# Why an enquiry is held that came from a page which the website has not listed.
FOREIGN_PAGE = "It was sent from a page of {page}, which is not among the website's addresses."
