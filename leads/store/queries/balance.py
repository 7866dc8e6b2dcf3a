"""The daily balance: every enquiry that a site captured stands somewhere, or the day does not close.

Both sides are counted from rows each time: what was captured from events alone, where it stands from deliveries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, CompoundSelect, and_, case, exists, false, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Event, Site
from leads.store.queries.erasures import erased_alone
from leads.store.queries.leads import URGENCY

STATES = ("confirmed", "sent", "waiting", "held", "refused", "expired", "handled", "erased")
_MOST_LOST = 50
# An enquiry and a connection that came, or went, in the same moment may have missed each other.
MARGIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class DayBalance:
    """One day of one site, in enquiries. states: each enquiry under the most urgent state of its deliveries.

    lost: enquiries without a delivery for a connection that was there. What no connection was there for, waits, if it
    is not held; unconnected: how many of those that wait do so.
    """

    site: Site
    day: date
    captured: int
    states: Mapping[str, int]
    lost: int
    unconnected: int = 0

    @property
    def closes(self) -> bool:
        """Whether everything captured is accounted for."""
        return self.lost == 0 and self.captured == sum(self.states.values())

    @property
    def unaccounted(self) -> int:
        """How many enquiries are wrong about it; 0 when it closes."""
        return max(self.lost, abs(self.captured - sum(self.states.values())))


def day_of(site: Site, moment: datetime) -> date:
    """Which day the site has at this moment, in its own zone."""
    return moment.astimezone(ZoneInfo(site.time_zone)).date()


def last_days(site: Site, now: datetime, number: int) -> list[date]:
    """Today and the days before it in the site's own zone, oldest first."""
    today = day_of(site, now)
    return [today - timedelta(days=back) for back in reversed(range(number))]


def balance(session: Session, site: Site, days: Sequence[date], now: datetime) -> list[DayBalance]:
    """The balance of each of these days, which follow each other, oldest first."""
    found: list[Counter[str]] = [Counter() for _ in days]
    # One statement, so that all is counted at the same moment while enquiries come in.
    for number, rank, lost, count in session.execute(_Days(site, days).counted(_connections(session, site), now)):
        day = found[number]
        day["captured"] += count
        day["lost"] += count if lost else 0
        if rank is not None:
            day[_counted_as(URGENCY[rank])] += count
        elif not lost:
            day["unconnected"] += count
    return [_day(site, day, counts) for day, counts in zip(days, found, strict=True)]


def recent_balances(session: Session, sites: Sequence[Site], now: datetime, days: int = 2) -> list[DayBalance]:
    """The last days of every site on which it was here, by site, oldest first."""
    return [day for site in sites for day in balance(session, site, _lived(site, last_days(site, now, days)), now)]


def _lived(site: Site, days: Sequence[date]) -> Sequence[date]:
    """Those of these days on which the site was here: today always, should the clock have been set back."""
    added = day_of(site, site.created_at)
    return [day for day in days if day >= added] or days[-1:]


def lost_leads(session: Session, site: Site, days: Sequence[date], now: datetime) -> list[UUID]:
    """Whose enquiries of these days have no delivery for a connection that was there; at most _MOST_LOST."""
    counted = (*_Days(site, days).events, Event.id.not_in(erased_alone(site)))
    found = select(Event.lead_id).where(*counted, _lost(session, site, now)).distinct()
    return list(session.scalars(found.limit(_MOST_LOST)))


def _day(site: Site, day: date, found: Counter[str]) -> DayBalance:
    states = {state: found[state] for state in STATES}
    states["waiting"] += found["unconnected"]
    return DayBalance(site, day, found["captured"], states, found["lost"], found["unconnected"])


def _counted_as(state: str) -> str:
    return "waiting" if state == "sending" else state


class _Days:
    """Counts a site's events by local day. A day is told by its number in `days`."""

    def __init__(self, site: Site, days: Sequence[date]) -> None:
        zone = ZoneInfo(site.time_zone)
        ends = [datetime.combine(day + timedelta(days=1), time(), zone) for day in days]
        start = datetime.combine(days[0], time(), zone)
        self._site = site
        self._number = case(*((Event.received_at < end, n) for n, end in enumerate(ends)))
        self.events = (
            Event.site_id == site.id,
            Event.received_at >= start,
            Event.received_at < ends[-1],
            Event.is_test.is_(False),
        )

    def counted(self, connections: Sequence[Connection], now: datetime) -> CompoundSelect[Any]:
        """Day, urgency of the most urgent delivery (None: there is none), whether one is missing, and how many are so:
        each enquiry is looked at once, and its deliveries with it."""
        rank = case({state: n for n, state in enumerate(URGENCY)}, value=Delivery.state)
        held = case((Event.hold_code.is_not(None), URGENCY.index("held")))  # also where no connection was there
        expected: ColumnElement[int] = literal(0)
        found: ColumnElement[int] = literal(0)
        for row in connections:
            there = _was_there(row)
            expected += case((there, 1), else_=0)
            found += case((and_(Delivery.connection_id == row.id, there), 1), else_=0)
        each = (
            select(
                func.max(self._number).label("day"),
                func.min(rank).label("rank"),
                func.min(held).label("held"),
                func.max(expected).label("expected"),
                func.sum(found).label("found"),
            )
            .outerjoin_from(Event, Delivery, Delivery.event_id == Event.id)
            .where(*self.events, Event.id.not_in(erased_alone(self._site)))
            .group_by(Event.id)
            .subquery()
        ).c
        nowhere = each.rank.is_(None) if _is_served(connections, now) else false()
        lost = or_(each.found < each.expected, nowhere)
        columns = (each.day, func.coalesce(each.rank, each.held).label("rank"), lost.label("lost"))
        alone = (self._number.label("day"), literal(URGENCY.index("erased")), false())
        erased = select(*alone, func.count()).where(*self.events, Event.id.in_(erased_alone(self._site)))
        return union_all(select(*columns, func.count()).group_by(*columns), erased.group_by(self._number))


def _connections(session: Session, site: Site) -> Sequence[Connection]:
    """All that the site ever had."""
    return session.scalars(select(Connection).where(Connection.site_id == site.id)).all()


def _lost(session: Session, site: Site, now: datetime) -> ColumnElement[bool]:
    """Whether a delivery of an event is missing."""
    connections = _connections(session, site)
    missing = [and_(_was_there(row), ~_handed_to(row)) for row in connections]
    nowhere = ~exists().where(Delivery.event_id == Event.id)
    return or_(false(), *missing, *([nowhere] if _is_served(connections, now) else []))


def _is_served(connections: Sequence[Connection], now: datetime) -> bool:
    return any(row.removed_at is None and row.created_at <= now - MARGIN for row in connections)


def _was_there(connection: Connection) -> ColumnElement[bool]:
    """Whether this connection was in use when the event came."""
    there = [Event.received_at >= connection.created_at + MARGIN]
    if connection.removed_at is not None:
        there.append(Event.received_at < connection.removed_at - MARGIN)
    return and_(*there)


def _handed_to(connection: Connection) -> ColumnElement[bool]:
    return exists().where(Delivery.event_id == Event.id, Delivery.connection_id == connection.id)
