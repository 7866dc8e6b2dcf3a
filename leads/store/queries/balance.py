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

from sqlalchemy import ColumnElement, Select, and_, case, exists, false, func, literal, not_, or_, select, union_all
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Event, Site
from leads.store.queries.leads import URGENCY

STATES = ("confirmed", "sent", "waiting", "held", "refused", "expired", "handled", "erased")
_MOST_LOST = 50
# An enquiry and a connection that came, or went, in the same moment may have missed each other.
_MARGIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class DayBalance:
    """One day of one site, in enquiries. states: each enquiry under the most urgent state of its deliveries.

    lost: enquiries without a delivery for a connection that was there. What no connection was there for, waits.
    """

    site: Site
    day: date
    captured: int
    states: Mapping[str, int]
    lost: int

    @property
    def closes(self) -> bool:
        """Whether everything captured is accounted for."""
        return self.lost == 0 and self.captured == sum(self.states.values())

    @property
    def unaccounted(self) -> int:
        """How many enquiries are wrong about it; 0 when it closes."""
        return max(self.lost, abs(self.captured - sum(self.states.values())))


def last_days(site: Site, now: datetime, number: int) -> list[date]:
    """Today and the days before it in the site's own zone, oldest first."""
    today = now.astimezone(ZoneInfo(site.time_zone)).date()
    return [today - timedelta(days=back) for back in reversed(range(number))]


def balance(session: Session, site: Site, days: Sequence[date], now: datetime) -> list[DayBalance]:
    """The balance of each of these days, which follow each other, oldest first."""
    when = _Days(site, days)
    lost, unconnected = _lost(session, site, now)
    # One statement, so that all is counted at the same moment while enquiries come in.
    counted = union_all(
        when.count_events("captured"),
        when.count_events("unconnected", unconnected),
        when.count_events("lost", lost),
        when.count_states(),
    )
    found: list[Counter[str]] = [Counter() for _ in days]
    for what, rank, number, count in session.execute(counted):
        found[number][_counted_as(URGENCY[rank]) if what == "state" else what] += count
    return [_day(site, day, counts) for day, counts in zip(days, found, strict=True)]


def recent_balances(session: Session, sites: Sequence[Site], now: datetime, days: int = 2) -> list[DayBalance]:
    """The last days of every site, by site, oldest first."""
    return [day for site in sites for day in balance(session, site, last_days(site, now, days), now)]


def lost_leads(session: Session, site: Site, days: Sequence[date], now: datetime) -> list[UUID]:
    """Whose enquiries of these days have no delivery for a connection that was there; at most _MOST_LOST."""
    lost, _ = _lost(session, site, now)
    found = select(Event.lead_id).where(*_Days(site, days).events, lost).distinct()
    return list(session.scalars(found.limit(_MOST_LOST)))


def _day(site: Site, day: date, found: Counter[str]) -> DayBalance:
    states = {state: found[state] for state in STATES}
    states["waiting"] += found["unconnected"]
    return DayBalance(site, day, found["captured"], states, found["lost"])


def _counted_as(state: str) -> str:
    return "waiting" if state == "sending" else state


class _Days:
    """Counts a site's events by local day. A day is told by its number in `days`."""

    def __init__(self, site: Site, days: Sequence[date]) -> None:
        zone = ZoneInfo(site.time_zone)
        ends = [datetime.combine(day + timedelta(days=1), time(), zone) for day in days]
        start = datetime.combine(days[0], time(), zone)
        self._number = case(*((Event.received_at < end, n) for n, end in enumerate(ends)))
        self.events = (
            Event.site_id == site.id,
            Event.received_at >= start,
            Event.received_at < ends[-1],
            Event.is_test.is_(False),
        )

    def count_events(self, what: str, *where: ColumnElement[bool]) -> Select[Any]:
        number = self._number.label("day")
        columns = (literal(what).label("what"), literal(-1).label("rank"), number, func.count(Event.id))
        return select(*columns).where(*self.events, *where).group_by(number)

    def count_states(self) -> Select[Any]:
        rank = case({state: n for n, state in enumerate(URGENCY)}, value=Delivery.state)
        each = (
            select(func.min(rank).label("rank"), self._number.label("day"))
            .join(Event, Event.id == Delivery.event_id)
            .where(*self.events)
            .group_by(Delivery.event_id, self._number)
            .subquery()
        )
        known = each.c.rank.is_not(None)
        columns = (literal("state").label("what"), each.c.rank, each.c.day, func.count())
        return select(*columns).where(known).group_by(each.c.rank, each.c.day)


def _lost(session: Session, site: Site, now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Two conditions on an event: a delivery of it is missing; it has none, and rightly so."""
    connections = session.scalars(select(Connection).where(Connection.site_id == site.id)).all()
    nowhere = ~exists().where(Delivery.event_id == Event.id)
    served = any(row.removed_at is None and row.created_at <= now - _MARGIN for row in connections)
    lost = or_(false(), *(_missing(row) for row in connections), *([nowhere] if served else []))
    return lost, and_(nowhere, not_(lost))


def _missing(connection: Connection) -> ColumnElement[bool]:
    there = [Event.received_at >= connection.created_at + _MARGIN]
    if connection.removed_at is not None:
        there.append(Event.received_at < connection.removed_at - _MARGIN)
    return and_(*there, ~exists().where(Delivery.event_id == Event.id, Delivery.connection_id == connection.id))
