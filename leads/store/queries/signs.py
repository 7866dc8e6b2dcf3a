"""What alerts are judged by: how connections, worker, sites and test enquiries do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from leads.store import backup, tasks
from leads.store.alerts import SETTLED, open_alerts
from leads.store.clock import worker_seen_at
from leads.store.models import EVENT_KINDS, CanaryRun, Connection, Delivery, Event, Site, Worker
from leads.store.queries.balance import DayBalance, balance, last_days
from leads.store.queries.erasures import erasures_that_need_you
from leads.store.queries.foreign import ForeignPage, foreign_pages
from leads.store.queries.lists import connections_in_use, count, sites
from leads.store.queries.overview import SILENT_AFTER, Wait, without_connection
from leads.store.queries.places import PLACES, Need, needs
from leads.store.queries.unreadable import Unseen, unseen_of_plugins
from leads.store.vault import Vault

_WEEKS = 4  # how far back a site's habits are learned from


class Load(NamedTuple):
    """What waits for one connection. oldest: since when the first of them has been due for sending."""

    connection: Connection
    site: Site
    waiting: int
    oldest: datetime | None


class Rhythm(NamedTuple):
    """How often a site sends one kind of event. last: None when it sent none in all these weeks.

    usual: for each earlier week, how many came in the span that now has passed since the last one. weekly: how many
    come in a week. told: an alert says that it is silent, and nothing came since.
    """

    site: Site
    kind: str
    last: datetime | None
    usual: Sequence[int]
    weekly: float
    told: bool = False

    @property
    def subject(self) -> str:
        """What an alert about its silence is known by."""
        return f"{self.site.key} {self.kind}"


@dataclass(frozen=True, slots=True)
class Signs:
    """All of it at one moment. worker_since: since when one worker or another has been running, None without one.

    canaries: the last test enquiry of each site that came to an end. to_erase: how many records of
    erased people a person has to see to. copied_at: when a copy of the database was last made by us, None before
    the first. unreadable: what form plugins sent, nobody understood, and nobody has seen. foreign: pages that are not
    among the addresses of the websites to which they send.
    """

    now: datetime
    loads: Sequence[Load]
    needs: Sequence[Need]
    without_connection: Sequence[Wait]
    worker_since: datetime | None
    worker_seen_at: datetime | None
    canaries: Sequence[tuple[CanaryRun, Site]]
    rhythms: Sequence[Rhythm]
    balances: Sequence[DayBalance]
    to_erase: int = 0
    copied_at: datetime | None = None
    unreadable: Sequence[Unseen] = ()
    foreign: Sequence[ForeignPage] = ()


def signs(session: Session, now: datetime, vault: Vault | None = None) -> Signs:
    """Look at everything. vault: to see which pages have sent what is held."""
    known, connections = sites(session), connections_in_use(session)
    taking = [site for site in known if site.closed_at is None]  # of a closed one, silence is what is wanted
    return Signs(
        now=now,
        loads=loads(session, known, connections),
        needs=needs(session),
        without_connection=without_connection(session, connections),
        worker_since=_worker_since(session, now),
        worker_seen_at=worker_seen_at(session),
        canaries=_canaries(session, taking),
        rhythms=[_rhythm(session, site, kind, now) for site in taking for kind in EVENT_KINDS],
        balances=_balances(session, known, now),
        to_erase=erasures_that_need_you(session),
        copied_at=tasks.ran_at(session, backup.TASK),
        unreadable=unseen_of_plugins(session),
        foreign=foreign_pages(session, vault) if vault else (),
    )


def _worker_since(session: Session, now: datetime) -> datetime | None:
    """Those that died count as well, where another one was there before anybody would have been told: or what waits for
    one that is killed again and again would be given time for ever."""
    since, least = None, now - SILENT_AFTER
    for started_at, seen_at in session.execute(_WORKERS):
        if seen_at < least:
            break
        since = min(since or started_at, started_at)
        least = since - SILENT_AFTER - SETTLED
    return since


_WORKERS = select(Worker.started_at, Worker.seen_at).order_by(Worker.seen_at.desc())


def loads(session: Session, known: Iterable[Site], connections: Sequence[Connection]) -> list[Load]:
    """What waits for each of these connections."""
    by_id = {site.id: site for site in known}
    here = Delivery.connection_id.in_([connection.id for connection in connections])
    rows = session.execute(
        select(Delivery.connection_id, func.count(), func.min(Delivery.tries_from))
        .where(here, PLACES["on_the_way"])
        .group_by(Delivery.connection_id)
    )
    waiting = {id_: (number, since) for id_, number, since in rows}
    return [Load(row, by_id[row.site_id], *waiting.get(row.id, (0, None))) for row in connections]


def _canaries(session: Session, known: Iterable[Site]) -> list[tuple[CanaryRun, Site]]:
    newest = select(CanaryRun).where(CanaryRun.ended_at.is_not(None)).order_by(CanaryRun.started_at.desc()).limit(1)
    found = ((session.scalar(newest.where(CanaryRun.site_id == site.id)), site) for site in known)
    return [(run, site) for run, site in found if run is not None]


def _rhythm(session: Session, site: Site, kind: str, now: datetime) -> Rhythm:
    mine = (Event.site_id == site.id, Event.kind == kind, Event.is_test.is_(False))
    horizon = now - timedelta(weeks=_WEEKS + 1)
    newest = select(Event.received_at).where(*mine, Event.received_at > horizon)
    last = session.scalar(newest.order_by(Event.received_at.desc()).limit(1))
    if last is None:
        never = Rhythm(site, kind, None, (), 0)
        return never._replace(told=never.subject in {alert.subject for alert in open_alerts(session, ["silence"])})
    usual, weeks = [], 0
    while weeks < _WEEKS and (start := _weeks_before(last, weeks + 1, site)) >= site.created_at:
        weeks += 1
        end = _weeks_before(now, weeks, site)
        usual.append(count(session, Event.id, *mine, Event.received_at >= start, Event.received_at < end))
    learned = (Event.received_at >= _weeks_before(last, weeks, site), Event.received_at < last)
    weekly = count(session, Event.id, *mine, *learned) / weeks if sum(usual) else 0
    return Rhythm(site, kind, last, usual, weekly)


def _weeks_before(moment: datetime, weeks: int, site: Site) -> datetime:
    """The same time of the clock on the wall, so that an hour's change twice a year moves nothing."""
    return (moment.astimezone(ZoneInfo(site.time_zone)) - timedelta(weeks=weeks)).astimezone(moment.tzinfo)


def _balances(session: Session, known: Iterable[Site], now: datetime) -> list[DayBalance]:
    """Of today and yesterday, and of each day before them that is told not to close."""
    told = [alert.subject for alert in open_alerts(session, ["balance"])]
    found: list[DayBalance] = []
    for site in known:
        recent = last_days(site, now, 2)
        days = [date.fromisoformat(day) for key, day in map(str.split, told) if key == site.key]
        for day in sorted(day for day in days if day < recent[0]):
            found += balance(session, site, [day], now)
        found += balance(session, site, recent, now)
    return found


def subject_of(day: DayBalance) -> str:
    """What an alert about the balance of this day is known by."""
    return f"{day.site.key} {day.day.isoformat()}"
