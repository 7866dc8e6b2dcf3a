"""The daily balance: every enquiry that a site captured stands somewhere, or the day does not close.

Both sides are counted from rows each time: what was captured from events alone, where it stands from deliveries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    union_all,
)
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
    is not held; unconnected: how many of those that wait do so; held_alone: why others are held → how many.
    """

    site: Site
    day: date
    captured: int
    states: Mapping[str, int]
    lost: int
    unconnected: int = 0
    held_alone: Mapping[str, int] = field(default_factory=dict)

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
    alone: list[Counter[str]] = [Counter() for _ in days]
    if any(counts["unconnected"] for counts in found):
        for number, code, count in session.execute(_Days(site, days).held_alone()):
            alone[number][code] = min(count, found[number]["unconnected"])  # one may have come since
            found[number]["unconnected"] -= alone[number][code]
    return [_day(site, *counts) for counts in zip(days, found, alone, strict=True)]


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


def _day(site: Site, day: date, found: Counter[str], held_alone: Counter[str]) -> DayBalance:
    states = {state: found[state] for state in STATES}
    states["waiting"] += found["unconnected"]
    states["held"] += held_alone.total()
    return DayBalance(site, day, found["captured"], states, found["lost"], found["unconnected"], held_alone)


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

    def held_alone(self) -> Select[int, str, int]:
        """Day, why, and how many are held though no connection was there: by an index of what is held, which are few.
        The one that `counted` goes by does not tell."""
        nowhere = ~exists().where(Delivery.event_id == Event.id)
        held = (*self.events, Event.hold_code.is_not(None), nowhere)
        return select(self._number, Event.hold_code, func.count()).where(*held).group_by(self._number, Event.hold_code)

    def counted(self, connections: Sequence[Connection], now: datetime) -> CompoundSelect[Any]:
        """Day, urgency of the most urgent delivery (None: there is none), whether one is missing, and how many are so:
        each enquiry is looked at once, and its deliveries with it."""
        rank = case({state: n for n, state in enumerate(URGENCY)}, value=Delivery.state)
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
        columns = (each.day, each.rank, lost.label("lost"))
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
