"""How everything stands: what the home page tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Subquery, and_, case, exists, func, select
from sqlalchemy.orm import Session

from leads.store.alerts import open_alerts
from leads.store.clock import worker_seen_at
from leads.store.holds import LOOK_FIRST, NOT_ARRIVED
from leads.store.models import Alert, Connection, Delivery, Event, Resubmission, Site, Worker
from leads.store.queries.balance import MARGIN, DayBalance, day_of, recent_balances
from leads.store.queries.drift import drift_counts
from leads.store.queries.erasures import CrmErasure, erased_alone, erasures_that_need_you, open_erasures
from leads.store.queries.lists import connections_in_use, count, is_real, sites, start_of_day, unserved_sites
from leads.store.queries.places import HELD_FOR_A_PERSON, by_place, number_at
from leads.store.queries.unreadable import number_unseen, oldest_unseen
from leads.store.shared_ids import sites_that_share

SILENT_AFTER = timedelta(seconds=20)  # a worker beats every five seconds
_MOST_RESUBMITTED = 50
_ONLY_AS_ALERTS = ("mail", "silence", "balance")  # the others are told by connections, waits and the worker


class Wait(NamedTuple):
    """Enquiries that have not arrived at one connection for one reason; see `_not_arrived` for the words.

    connection: in use or removed; None when the site has none. oldest: when the first of them was received. due: when
    the next one is tried. sentence: what a CRM said of them, or None. site: of those that have no connection.
    """

    reason: str
    connection: Connection | None
    number: int
    oldest: datetime
    due: datetime
    sentence: str | None
    site: Site | None = None

    @property
    def site_id(self) -> UUID | None:
        """Of the website that sent them."""
        if self.connection:
            return self.connection.site_id
        return self.site.id if self.site else None


class Today(NamedTuple):
    """One site's day so far, in its own time zone. places: where how many of its enquiries stand, see `places`.
    unconnected: how many go nowhere, since no connection was there."""

    site: Site
    events: int
    places: Mapping[str, int]
    unconnected: int


@dataclass(frozen=True, slots=True)
class Overview:
    """How everything stands. waiting: reason → enquiries, each counted once however many connections it goes to.

    need_you: how many enquiries need a person, whatever the reason.
    checking: sent, and not read back from the CRM yet. unreadable: not yet seen by a person.
    unreadable_since: when the first of those came.
    resubmitted: leads who sent other answers under the same browser id, not yet seen; at most _MOST_RESUBMITTED.
    sharing_ids: sites whose form gives one id to several visitors.
    drift: kind → how many records the CRM no longer holds as they were confirmed, and nobody has seen to.
    erasures: what is still to be erased in a CRM and does not get on; to_erase: how many of them need a person.
    balances: of yesterday and today. alerts: what is wrong and does not show otherwise.
    """

    now: datetime
    worker_seen_at: datetime | None
    any_event: bool
    waiting: Mapping[str, int]
    waits: Sequence[Wait]
    need_you: int
    checking: int
    connections: Sequence[Connection]
    today: Sequence[Today]
    unreadable: int
    unreadable_since: datetime | None
    resubmitted: Sequence[UUID]
    sharing_ids: Sequence[Site]
    drift: Mapping[str, int]
    erasures: Sequence[CrmErasure]
    to_erase: int
    balances: Sequence[DayBalance]
    alerts: Sequence[Alert]

    @property
    def worker_is_silent(self) -> bool:
        """Whether nothing is delivered now, as far as we know."""
        return is_silent(self.worker_seen_at, self.now)


def is_silent(seen: datetime | None, now: datetime) -> bool:
    """Whether no worker is running, as far as we know. seen: the last heartbeat of any."""
    return seen is None or now - seen > SILENT_AFTER


def worker_lives(session: Session, now: datetime) -> bool:
    """Whether a worker is running now, as far as we know."""
    return not is_silent(worker_seen_at(session), now)


def another_worker_lives(session: Session, worker: str, now: datetime) -> bool:
    """Whether one besides this is running now, on whatever host."""
    others = select(func.max(Worker.seen_at)).where(Worker.id != worker)
    return not is_silent(session.scalar(others), now)


def overview(session: Session, now: datetime) -> Overview:
    """How everything stands at `now`."""
    known, connections = sites(session), connections_in_use(session)
    alone = without_connection(session, connections)
    waiting, balances = Counter(_waiting(session)), recent_balances(session, known, now)
    for wait in alone:
        waiting[wait.reason] += wait.number
    return Overview(
        now=now,
        worker_seen_at=worker_seen_at(session),
        any_event=any(_has_events(session, site) for site in known),
        waiting=waiting,
        waits=_waits(session) + alone,
        need_you=number_at(session, "needs_you"),
        checking=_checking(session, connections),
        connections=connections,
        today=[_today(session, site, now, balances) for site in known],
        unreadable=number_unseen(session),
        unreadable_since=oldest_unseen(session),
        resubmitted=_resubmitted(session),
        sharing_ids=sites_that_share(session, known, now),
        drift=drift_counts(session),
        erasures=open_erasures(session),
        to_erase=erasures_that_need_you(session),
        balances=balances,
        alerts=open_alerts(session, _ONLY_AS_ALERTS),
    )


def _has_events(session: Session, site: Site) -> bool:
    real = select(Event.id).where(Event.site_id == site.id, Event.is_test.is_(False))
    return session.scalar(real.order_by(Event.received_at).limit(1)) is not None


def _not_arrived() -> Subquery:
    """Every delivery that has not arrived, with the reason: on_the_way, problem, paused, unknown_caller, spam,
    no_consent, removed, refused, unknown_outcome, missing or expired."""
    told_apart = Delivery.code.in_((LOOK_FIRST, "missing"))
    reason = case(
        (and_(Delivery.state == "refused", told_apart), Delivery.code),
        (Delivery.state == "held", Delivery.code),
        (Delivery.state.in_(("refused", "expired")), Delivery.state),
        (Connection.state == "failing", "problem"),
        (Connection.state == "paused", "paused"),
        else_="on_the_way",
    )
    # What a CRM says of one try while it is only late, says nothing about all that wait there.
    sentence = case((Delivery.state.in_(("refused", "expired")), Delivery.sentence), else_=None)
    return (
        select(
            reason.label("reason"),
            sentence.label("sentence"),
            Delivery.connection_id,
            Delivery.event_id,
            Delivery.created_at,
            Delivery.due_at,
        )
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.state.in_(NOT_ARRIVED), is_real())
        .subquery()
    )


def _waiting(session: Session) -> dict[str, int]:
    late = _not_arrived().c
    rows = session.execute(select(late.reason, func.count(late.event_id.distinct())).group_by(late.reason))
    return dict(rows.all())


def _waits(session: Session) -> list[Wait]:
    by_id = {connection.id: connection for connection in session.scalars(select(Connection))}
    late = _not_arrived().c
    rows = session.execute(
        select(
            late.reason,
            late.connection_id,
            func.count(),
            func.min(late.created_at),
            func.min(late.due_at),
            late.sentence,
        )
        .group_by(late.reason, late.connection_id, late.sentence)
        .order_by(func.min(late.created_at))
    )
    return [Wait(reason, by_id[id_], *rest) for reason, id_, *rest in rows]


def without_connection(session: Session, connections: Iterable[Connection]) -> list[Wait]:
    """Enquiries of sites that no connection serves: no_connection, or held as spam or no_consent besides."""
    waits: list[Wait] = []
    for site in unserved_sites(session, connections):
        here = (Event.site_id == site.id, Event.received_at >= _unserved_since(session, site), Event.is_test.is_(False))
        alone = (*here, ~exists().where(Delivery.event_id == Event.id), Event.id.not_in(erased_alone(site)))
        reason = func.coalesce(Event.hold_code, "no_connection")
        found = select(reason, func.count(), func.min(Event.received_at)).where(*alone).group_by(reason)
        sentence = f"The site {site.name} has no connection to a CRM."
        waits += [
            Wait(why, None, number, oldest, oldest, sentence, site) for why, number, oldest in session.execute(found)
        ]
    return waits


def _unserved_since(session: Session, site: Site) -> datetime:
    """Since when its enquiries go nowhere: what came before went to the connection that was removed last. One that was
    removed before it had taken all over left some of them nowhere."""
    had_all = (Connection.site_id == site.id, Connection.takes_over.is_(False))
    last = session.scalar(select(func.max(Connection.removed_at)).where(*had_all))
    return last - MARGIN if last else datetime.min.replace(tzinfo=UTC)


def _checking(session: Session, connections: Iterable[Connection]) -> int:
    here = Delivery.connection_id.in_([connection.id for connection in connections])
    return count(session, Delivery.id, here, Delivery.state == "sent", Delivery.check_at.is_not(None), is_real())


def number_resubmitted(session: Session) -> int:
    """How many people sent an enquiry again with other answers, and nobody has seen it."""
    unseen = select(Resubmission.event_id).where(Resubmission.seen_at.is_(None))
    return count(session, Event.lead_id.distinct(), Event.id.in_(unseen))


def _resubmitted(session: Session) -> list[UUID]:
    unseen = select(Resubmission.event_id).where(Resubmission.seen_at.is_(None)).limit(_MOST_RESUBMITTED)
    return list(session.scalars(select(Event.lead_id).where(Event.id.in_(unseen)).distinct()))


def _today(session: Session, site: Site, now: datetime, balances: Iterable[DayBalance]) -> Today:
    today = Event.received_at >= start_of_day(site.time_zone, now)
    events = (Event.site_id == site.id, today, Event.is_test.is_(False))
    its = next(day for day in balances if day.site.id == site.id and day.day == day_of(site, now))
    # Of what came while no CRM was connected no delivery tells.
    erased = {"erased": number} if (number := its.states["erased"]) else {}
    places = Counter(by_place(session, *events) | erased)
    for code, held in its.held_alone.items():
        places["needs_you" if code in HELD_FOR_A_PERSON else "not_now"] += held
    return Today(site, count(session, Event.id, *events), places, its.unconnected)
