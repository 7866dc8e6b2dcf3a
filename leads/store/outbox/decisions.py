"""What people decide: send again, not spam, pause, remove. Pages and commands call the same functions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from leads.store import budget
from leads.store.consents import last_words, taken_back
from leads.store.failpoint import reach
from leads.store.holds import (
    HELD_BY_REMOVAL,
    HOLD_SENTENCES,
    LOOK_FIRST,
    NOT_ARRIVED,
    hold_reason,
    is_by_hand,
    is_in_doubt,
    way_to,
)
from leads.store.in_use import kept_in_use
from leads.store.models import Connection, Delivery, Erasure, Event, Lead
from leads.store.outbox.erasing import out_of_reach
from leads.store.outbox.outcomes import bring_forward
from leads.store.people import answers_of, vouch
from leads.store.staff import record
from leads.store.vault import Vault

NOBODY_SIGNED_IN = "Nobody has signed in at the CRM yet. Press “Sign in” on the connection's page."
PUT_ASIDE = "A person put this aside as spam. If it is real after all, press “Not spam, send”."
_REMOVED_MIDWAY = (
    "It may have arrived: the connection was removed while this was being sent. Look in the CRM; then press “I took "
    "care of it”."
)
# What is being sent just now has its outcome decided elsewhere.
CAN_SEND_AGAIN = ("waiting", "refused", "expired", "sent", "confirmed")
CAN_BE_HANDLED = ("waiting", "refused", "expired", "held")
# What is held because of what it is, whatever becomes of the connection.
_HELD_FOR_ITSELF = and_(Delivery.state == "held", func.coalesce(Delivery.code, "").in_(("spam", "no_consent")))


def send_again(session: Session, delivery: Delivery, by: str, now: datetime) -> bool:
    """A person sends it again. False, with nothing changed: it is being sent just now, waits for another decision, or
    its connection was removed."""
    if not _locked_in_use(session, delivery) or delivery.state not in CAN_SEND_AGAIN:
        return False
    requeue(delivery, now)
    record(session, by, "send_again", now, delivery_id=delivery.id)
    return True


def _locked_in_use(session: Session, delivery: Delivery) -> bool:
    """Lock it as it stands now. Returns whether its connection is in use, and stays so."""
    # The connection before the delivery, as whoever removes it: neither holds what the other waits for.
    in_use = kept_in_use(session, Connection.id == delivery.connection_id)
    session.refresh(delivery, with_for_update=True)
    return bool(in_use)


def take_care(session: Session, delivery: Delivery, by: str, now: datetime) -> bool:
    """A person took care of it outside of Frontdesk. False: it has moved on, and nothing changed."""
    session.refresh(delivery, with_for_update=True)
    if delivery.state not in CAN_BE_HANDLED:
        return False
    handled(delivery)
    record(session, by, "handled", now, delivery_id=delivery.id)
    return True


def requeue(delivery: Delivery, now: datetime) -> None:
    """Send again, with a fresh budget: what staff press and what a release does."""
    for name, value in budget.fresh(now).items():
        setattr(delivery, name, value)
    reach("requeue.written")


def requeue_all_of(session: Session, lead_id: UUID, connection_id: UUID, now: datetime) -> None:
    """A lead's details were corrected: all that was refused or waits at this connection goes again, in order."""
    here = (Delivery.lead_id == lead_id, Delivery.connection_id == connection_id)
    stuck = select(Delivery).where(*here, Delivery.state.in_(("refused", "waiting"))).with_for_update()
    rows = session.scalars(stuck).all()
    unwanted = taken_back(session, {row.event_id for row in rows})
    for row in rows:
        if row.code != LOOK_FIRST and row.event_id not in unwanted:
            requeue(row, now)


def may_go_after_all(delivery: Delivery, event: Event) -> bool:
    """Whether a person may send what somebody took care of. What is held for itself is released instead."""
    return is_by_hand(delivery) and event.hold_code is None


def may_send_again(delivery: Delivery, event: Event) -> bool:
    """Whether a person may: also what somebody took care of, or one wrong press would keep it from the CRM for ever."""
    return delivery.state in CAN_SEND_AGAIN or may_go_after_all(delivery, event)


def send_after_all(session: Session, delivery: Delivery, event: Event, lead: Lead, by: str, now: datetime) -> bool:
    """A person sends what somebody took care of. Lead and event are locked. False, with nothing changed: it was decided
    otherwise meanwhile, or its connection was removed."""
    if not _locked_in_use(session, delivery) or not may_go_after_all(delivery, event):
        return False
    let_go(delivery, event, lead, session.get_one(Connection, delivery.connection_id), now)
    record(session, by, "send_again", now, delivery_id=delivery.id)
    return True


def let_go(delivery: Delivery, event: Event, lead: Lead, connection: Connection, now: datetime) -> None:
    """It goes, or is held where something stands in its way. Lead and event are locked, the connection is in use."""
    requeue(delivery, now)
    if hold := hold_reason(event.hold_code, event.kind, lead.known, way_to(connection)):
        delivery.state, delivery.code, delivery.sentence = "held", hold, HOLD_SENTENCES[hold]


def to_release(deliveries: Iterable[Delivery], event: Event) -> list[Delivery]:
    """Those that go once a person has cleared the event: what is held, and what was put aside and turns out to be real.
    What somebody took care of for want of consent only where nothing else of it is held: it may be in that CRM."""
    rows = list(deliveries)
    held = [row for row in rows if row.state == "held"]
    aside = [row for row in rows if is_by_hand(row)]
    return held + aside if event.hold_code == "spam" else held or aside


def release_hold(session: Session, vault: Vault, event: Event, lead: Lead, now: datetime) -> int:
    """A person has cleared the event (not spam, or consent was given). Returns how many deliveries may go now."""
    kept_in_use(session, Connection.id.in_(select(Delivery.connection_id).where(Delivery.event_id == event.id)))
    ways = session.execute(
        select(Delivery, Connection)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.event_id == event.id, Delivery.state.in_(("held", "handled")))
        .execution_options(populate_existing=True)
    ).all()
    by_id = {delivery.id: connection for delivery, connection in ways}
    going = to_release((delivery for delivery, _ in ways), event)
    is_form = event.kind == "consultation_request"  # a tap says nothing of who it is, and nobody's consent
    agrees = last_words(session, [event.id]).get(event.id, event.consent_given)
    asks_consent = event.hold_code == "spam" and is_form and not agrees
    event.hold_code = "no_consent" if asks_consent else None
    if is_form and not asks_consent:
        vouch(session, vault, lead, answers_of(vault, event), now)
    for delivery in going:
        let_go(delivery, event, lead, by_id[delivery.id], now)
    return sum(delivery.state == "waiting" for delivery in going)


def pause(session: Session, connection: Connection, now: datetime) -> None:
    """Staff stop a connection: nothing is sent until they resume it."""
    connection.state, connection.state_since = "paused", now
    connection.code, connection.sentence = "paused", HOLD_SENTENCES["paused"]
    connection.wait_until = None  # a probe that was due stays: it tells that a fault had stopped it before staff did
    session.execute(
        update(Delivery)
        .where(Delivery.connection_id == connection.id, Delivery.state == "waiting")
        .values(state="held", code="paused", sentence=HOLD_SENTENCES["paused"])
    )


def wait_for_sign_in(connection: Connection, now: datetime) -> None:
    """Nobody has signed in at the CRM for it yet. What staff paused stays so."""
    _fail(connection, "signed_out", NOBODY_SIGNED_IN, now)


def start_failing(connection: Connection, sentence: str, now: datetime) -> None:
    """It was stored in spite of what its test found; it is tried again by itself. What staff paused stays so."""
    _fail(connection, "check", sentence, now)


def _fail(connection: Connection, code: str, sentence: str, now: datetime) -> None:
    if connection.state != "paused":
        connection.state, connection.state_since, connection.probe_at = "failing", now, now
        connection.code, connection.sentence = code, sentence


def resume(session: Session, connection: Connection, now: datetime) -> None:
    """Start a connection again of which it is known that it works; all that waits is due at once."""
    connection.state, connection.state_since = "working", now
    connection.code = connection.sentence = connection.probe_at = None
    connection.failures = connection.probes = 0
    try_now(session, connection, now)


def try_now(session: Session, connection: Connection, now: datetime) -> None:
    """Staff start what they had paused, or want a try at once. What a fault had stopped, be it before the pause, gets
    its probe: only a try that succeeds shows that it works again."""
    if connection.state == "paused":
        connection.state, connection.state_since = "failing" if connection.probe_at else "working", now
        connection.code = connection.sentence = None
    if connection.state == "failing":
        connection.probes, connection.probe_at = 0, now
    connection.wait_until = None
    session.execute(
        update(Delivery)
        .where(Delivery.connection_id == connection.id, Delivery.state == "held", Delivery.code == "paused")
        .values(**budget.fresh(now))
    )
    bring_forward(session, connection.id, now)


def remove(session: Session, connection: Connection, now: datetime) -> int:
    """Take a connection out of use. Returns how many of its deliveries had not arrived, as far as we know; they stay to
    be seen. What may have arrived is for a person, and no other connection gets it; it keeps its token, so that whoever
    is sending it can still tell what became of it."""
    connection.removed_at = now
    _erase_no_more(session, connection)
    here = update(Delivery).where(Delivery.connection_id == connection.id).returning(Delivery.id)
    may_have_arrived = or_(Delivery.state == "sending", Delivery.unknown.is_(True), Delivery.code == LOOK_FIRST)
    in_doubt = here.where(Delivery.state.in_(NOT_ARRIVED), may_have_arrived)
    # Nobody can look there any more. Each row is written once: PostgreSQL asks for the lead's lock at the second time,
    # and whoever decides about that lead waits for this connection.
    unchecked = {"check_at": None}
    may_be_there = in_doubt.values(
        state="refused", code=LOOK_FIRST, sentence=_REMOVED_MIDWAY, lease_until=None, **unchecked
    )
    count = len(session.scalars(may_be_there).all())
    stays = or_(Delivery.state.not_in(NOT_ARRIVED), _HELD_FOR_ITSELF)
    session.execute(here.where(Delivery.check_at.is_not(None), stays).values(unchecked))
    held = select(Delivery.id).where(Delivery.connection_id == connection.id, _HELD_FOR_ITSELF)
    count += len(session.scalars(held).all())
    clear = or_(Delivery.code.is_(None), Delivery.code != LOOK_FIRST)
    left = here.where(Delivery.state.in_(NOT_ARRIVED), clear, ~_HELD_FOR_ITSELF)
    not_sent = left.values(**HELD_BY_REMOVAL, **unchecked)
    return count + len(session.scalars(not_sent).all())


def _erase_no_more(session: Session, connection: Connection) -> None:
    """Whoever was to be erased there has to be erased by a person."""
    waiting = (Erasure.ended_at.is_(None), Erasure.state == "waiting")
    to_erase = select(Erasure).where(Erasure.connection_id == connection.id, *waiting)
    for erasure in session.scalars(to_erase.order_by(Erasure.lead_id).with_for_update()).all():
        out_of_reach(erasure)


def doubt_all(session: Session) -> int:
    """A copy of the database was put back: what had not arrived when it was made may have arrived since. Returns how
    many enquiries that are, each counted once for however many CRMs."""
    open_ = (Delivery.state.in_(NOT_ARRIVED), Delivery.unknown.is_(False))
    # What somebody had taken care of may have been sent all the same since.
    by_hand = update(Delivery).where(Delivery.state == "handled", Delivery.code == "by_hand")
    session.execute(by_hand.values(unknown=True))
    return len(set(session.scalars(update(Delivery).where(*open_).values(unknown=True).returning(Delivery.event_id))))


def handled(delivery: Delivery) -> None:
    """A person took care of it outside of Frontdesk, or put it aside as spam. Whether it may have arrived stays known:
    they may think better of it."""
    delivery.unknown = is_in_doubt(delivery.unknown, delivery.code)
    delivery.sentence = PUT_ASIDE if delivery.code == "spam" else "A person took care of this."
    delivery.state, delivery.code, delivery.field = "handled", "by_hand", None
