"""Where deliveries stand, in a few words: all numbers, lists and alerts, and the doctor, count by these."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Event, Site
from leads.store.outbox.takeover import HANDED_ON
from leads.store.queries.lists import connections_in_use, count, is_real, unserved_sites
from leads.store.scope import our_tests

MOST_COUNTED = 1_000  # in one place, on a page
# What is held for one of these goes on by a person alone. Not what looks like spam: any stranger can send that, so it
# is told by itself, and hides no other news.
HELD_FOR_A_PERSON = ("no_consent", "removed")
_FOR_A_PERSON = Delivery.code.in_(HELD_FOR_A_PERSON)

# Each delivery stands in one of them; what somebody should know first comes first.
PLACES: dict[str, ColumnElement[bool]] = {
    "needs_you": and_(Delivery.state.in_(("refused", "expired", "held")), or_(Delivery.state != "held", _FOR_A_PERSON)),
    # Not all that is held: what of it needs a person is told as such.
    "not_now": and_(Delivery.state == "held", func.coalesce(Delivery.code, "").not_in(HELD_FOR_A_PERSON)),
    "on_the_way": Delivery.state.in_(("waiting", "sending")),
    "in_the_crm": Delivery.state.in_(("sent", "confirmed")),
    "handled": and_(Delivery.state == "handled", ~HANDED_ON),
    "erased": Delivery.state == "erased",
    "elsewhere": HANDED_ON,
}
LISTED = PLACES | {"spam": and_(Delivery.state == "held", Delivery.code == "spam")}
# Place or state → why an enquiry stands there although no connection is there for it.
_HELD_ALONE = {"needs_you": ["no_consent"], "not_now": ["spam"], "spam": ["spam"], "held": ["no_consent", "spam"]}
_PLACE = case(*((here, literal(place)) for place, here in PLACES.items()))


class Need(NamedTuple):
    """How many enquiries need a person at one connection, in use or removed. held: those of them that are held."""

    connection: Connection
    site: Site
    number: int
    held: int


def number_at(session: Session, place: str) -> int:
    """How many enquiries stand there, each counted once however many connections it goes to. place: one of LISTED."""
    number = session.scalar(select(func.count(Delivery.event_id.distinct())).where(LISTED[place], is_real())) or 0
    alone = held_alone(session, place)
    return number + (count(session, Event.id, *alone, Event.is_test.is_(False)) if alone else 0)


def held_alone(session: Session, place: str, site_id: UUID | None = None) -> list[ColumnElement[bool]]:
    """Which events stand there, held where no connection is; empty where there can be none. place: or a state."""
    codes = _HELD_ALONE.get(place, ())
    unserved = unserved_sites(session, connections_in_use(session)) if codes else []
    alone = [site.id for site in unserved if site_id in (None, site.id)]
    nowhere = ~exists().where(Delivery.event_id == Event.id)
    return [Event.site_id.in_(alone), Event.hold_code.in_(codes), nowhere] if alone else []


def needs(session: Session) -> list[Need]:
    """Who needs a person, by connection, the oldest first: all that are in use, and removed ones that left somebody."""
    here = (Delivery.connection_id == Connection.id, PLACES["needs_you"], is_real())
    number, held = (
        select(func.count(Delivery.id)).where(*here, *only).correlate(Connection).scalar_subquery()
        for only in ((), (Delivery.state == "held",))
    )
    rows = select(Connection, Site, number, held).join(Site, Site.id == Connection.site_id)
    found = session.execute(rows.order_by(Connection.created_at, Connection.id)).all()
    return [need for row in found if (need := Need(*row)).number or need.connection.removed_at is None]


def by_place(session: Session, *events: ColumnElement[bool]) -> dict[str, int]:
    """Place → how many of these enquiries stand there, each under the most urgent place of its deliveries."""
    rank = case(*((here, number) for number, here in enumerate(PLACES.values())))
    each = select(func.min(rank).label("rank")).join(Event, Event.id == Delivery.event_id).where(*events)
    ranks = each.group_by(Delivery.event_id).subquery().c.rank
    places = list(PLACES)
    return {places[number]: count for number, count in session.execute(select(ranks, func.count()).group_by(ranks))}


def connection_counts(session: Session, connection_id: UUID) -> dict[str, int]:
    """Of one connection: place → how many deliveries. One more than MOST_COUNTED stands for any greater number."""
    bounded = [_bounded(place, connection_id) for place in PLACES]
    counted = {place: number for place, number in session.execute(union_all(*bounded)) if number}
    for place, number in Counter(session.scalars(_of_tests(connection_id))).items():
        if counted[place] <= MOST_COUNTED:
            counted[place] -= number
    return {place: number for place, number in counted.items() if number}


def _of_tests(connection_id: UUID) -> Select[str]:
    """Where our own tests' deliveries stand, found by the tests, which are few. Grouped by the place, SQLite would take
    the index that has the state, and so go through the whole connection."""
    return select(_PLACE).where(Delivery.connection_id == connection_id, Delivery.event_id.in_(our_tests()))


def _bounded(place: str, connection_id: UUID) -> Select[str, int]:
    """By the index, and no further than counted: a table of millions is not read for a number on a page."""
    some = select(Delivery.state).where(Delivery.connection_id == connection_id, PLACES[place])
    return select(literal(place), func.count()).select_from(some.limit(MOST_COUNTED + 1).subquery())
