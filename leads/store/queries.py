"""What pages and the command line read. Nothing here writes, and nothing here calls a CRM.

Every reading is cheap with 100,000 leads: it goes by an index, or is bounded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import phonenumbers
from sqlalchemy import ColumnElement, Subquery, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from leads.store.models import (
    Action,
    Attempt,
    Connection,
    ConsentText,
    Delivery,
    Event,
    Identity,
    Lead,
    Resubmission,
    Site,
    Unreadable,
    User,
    Worker,
)
from leads.store.people import person_of, trace
from leads.store.vault import Vault

SILENT_AFTER = timedelta(seconds=20)  # a worker beats every five seconds
PAGE_SIZE = 25
MOST_FOUND = 50
MOST_SEARCHED = 5_000  # leads that one search by name decrypts
ARRIVED = ("sent", "confirmed")
# Held because it was set up so, not because somebody has to look.
HELD_ON_PURPOSE = ("paused", "unknown_caller")
# The first of these that one of a lead's deliveries has is what the list says of the lead.
_URGENCY = ("refused", "expired", "held", "sending", "waiting", "sent", "confirmed", "handled", "erased")
_NOT_ARRIVED = ("waiting", "sending", "held", "refused", "expired")


class Wait(NamedTuple):
    """Enquiries that have not arrived at one connection for one reason; see `_not_arrived` for the words.

    connection: None when the site has none. oldest: when the first of them was received. due: when the next one
    is tried.
    """

    reason: str
    connection: Connection | None
    number: int
    oldest: datetime
    due: datetime
    sentence: str | None


class Today(NamedTuple):
    """One site's day so far, in its own time zone. deliveries: state → how many."""

    site: Site
    events: int
    deliveries: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Overview:
    """How everything stands. waiting: reason → enquiries, each counted once however many connections it goes to.

    checking: sent, and not read back from the CRM yet. unreadable: not yet seen by a person.
    resubmitted: leads who sent other answers under the same browser id, not yet seen; at most MOST_FOUND.
    """

    now: datetime
    worker_seen_at: datetime | None
    any_event: bool
    waiting: Mapping[str, int]
    waits: Sequence[Wait]
    checking: int
    connections: Sequence[Connection]
    today: Sequence[Today]
    unreadable: int
    resubmitted: Sequence[UUID]

    @property
    def worker_is_silent(self) -> bool:
        """Whether nothing is delivered now, as far as we know."""
        return self.worker_seen_at is None or self.now - self.worker_seen_at > SILENT_AFTER


def overview(session: Session, now: datetime) -> Overview:
    """How everything stands at `now`."""
    connections = connections_in_use(session)
    waits = _waits(session, connections) + _without_connection(session, connections)
    waiting = _waiting(session)
    waiting["no_connection"] = sum(wait.number for wait in waits if wait.reason == "no_connection")
    return Overview(
        now=now,
        worker_seen_at=worker_seen_at(session),
        any_event=session.scalar(select(Event.id).limit(1)) is not None,
        waiting={reason: count for reason, count in waiting.items() if count},
        waits=waits,
        checking=_checking(session, connections),
        connections=connections,
        today=[_today(session, site, now) for site in sites(session)],
        unreadable=_count(session, Unreadable.id, Unreadable.seen_at.is_(None)),
        resubmitted=_resubmitted(session),
    )


def worker_seen_at(session: Session) -> datetime | None:
    """The last heartbeat of any worker."""
    return session.scalar(select(Worker.seen_at).order_by(Worker.seen_at.desc()).limit(1))


def sites(session: Session) -> list[Site]:
    """All sites, oldest first."""
    return list(session.scalars(select(Site).order_by(Site.created_at, Site.id)))


def connections_in_use(session: Session) -> list[Connection]:
    """All connections that were not removed, oldest first."""
    in_use = select(Connection).where(Connection.removed_at.is_(None))
    return list(session.scalars(in_use.order_by(Connection.created_at, Connection.id)))


def _not_arrived() -> Subquery:
    """Every delivery that has not arrived, with the reason: on_the_way, problem, paused, unknown_caller, spam,
    no_consent, removed, refused or expired."""
    reason = case(
        (Delivery.state == "held", Delivery.code),
        (Delivery.state.in_(("refused", "expired")), Delivery.state),
        (Connection.state == "failing", "problem"),
        (Connection.state == "paused", "paused"),
        else_="on_the_way",
    )
    # What a CRM says of one try while it is only late, says nothing about all that wait there.
    sentence = case((Delivery.state.in_(("refused", "expired", "held")), Delivery.sentence), else_=None)
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
        .where(Delivery.state.in_(_NOT_ARRIVED))
        .subquery()
    )


def _waiting(session: Session) -> dict[str, int]:
    late = _not_arrived().c
    rows = session.execute(select(late.reason, func.count(late.event_id.distinct())).group_by(late.reason))
    return dict(rows.all())


def _waits(session: Session, connections: Iterable[Connection]) -> list[Wait]:
    by_id = {connection.id: connection for connection in connections}
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
    return [Wait(reason, by_id.get(id_), *rest) for reason, id_, *rest in rows]


def _without_connection(session: Session, connections: Iterable[Connection]) -> list[Wait]:
    served = {connection.site_id for connection in connections}
    unserved = [site for site in sites(session) if site.id not in served]
    waits = []
    for site in unserved:
        alone = (Event.site_id == site.id, ~exists().where(Delivery.event_id == Event.id))
        count, oldest = session.execute(select(func.count(), func.min(Event.received_at)).where(*alone)).one()
        if count:
            sentence = f"The site {site.name} has no connection to a CRM."
            waits.append(Wait("no_connection", None, count, oldest, oldest, sentence))
    return waits


def _checking(session: Session, connections: Iterable[Connection]) -> int:
    here = Delivery.connection_id.in_([connection.id for connection in connections])
    return _count(session, Delivery.id, here, Delivery.state == "sent", Delivery.check_at.is_not(None))


def _resubmitted(session: Session) -> list[UUID]:
    unseen = select(Event.lead_id).join(Resubmission, Resubmission.event_id == Event.id)
    return list(session.scalars(unseen.where(Resubmission.seen_at.is_(None)).distinct().limit(MOST_FOUND)))


def _today(session: Session, site: Site, now: datetime) -> Today:
    events = (Event.site_id == site.id, Event.received_at >= start_of_day(site.time_zone, now))
    rows = session.execute(
        select(Delivery.state, func.count())
        .join(Event, Event.id == Delivery.event_id)
        .where(*events)
        .group_by(Delivery.state)
    )
    return Today(site, _count(session, Event.id, *events), dict(rows.all()))


def start_of_day(time_zone: str, now: datetime) -> datetime:
    """When today began in this zone."""
    return datetime.combine(now.astimezone(ZoneInfo(time_zone)).date(), time(), ZoneInfo(time_zone))


def _count(session: Session, column: Any, *where: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count(column)).where(*where)) or 0


class Standing(NamedTuple):
    """Where a lead or delivery stands: its state, and the short code of the reason."""

    state: str
    code: str | None


@dataclass(frozen=True, slots=True)
class LeadFilter:
    """Which leads to list. states: at least one delivery is in one of them. since: the last event is not older."""

    states: tuple[str, ...] = ()
    on_purpose: bool = True
    kind: str | None = None
    site_id: UUID | None = None
    since: datetime | None = None


class Cursor(NamedTuple):
    """A place in the list: the last event's time and the id of a lead."""

    at: datetime
    id: UUID


class LeadRow(NamedTuple):
    """One line of the list. name: as given, or None for a caller not yet known. standing: None without a connection."""

    lead: Lead
    name: str | None
    site: Site
    last_event: Event | None
    standing: Standing | None


class Page(NamedTuple):
    """Part of the list, newest first. newer, older: where the next parts begin, None at an end."""

    rows: list[LeadRow]
    newer: Cursor | None
    older: Cursor | None


class Found(NamedTuple):
    """What a search brought. complete: False when there were more leads than a search by name looks through."""

    rows: list[LeadRow]
    complete: bool


def leads(
    session: Session,
    vault: Vault,
    chosen: LeadFilter,
    *,
    older_than: Cursor | None = None,
    newer_than: Cursor | None = None,
    size: int = PAGE_SIZE,
) -> Page:
    """One page of leads, by the time of their last event."""
    listed = select(Lead).where(*_chosen(chosen))
    if newer_than:
        upwards = listed.where(_beyond(newer_than, newer=True)).order_by(Lead.last_event_at, Lead.id)
        found = list(session.scalars(upwards.limit(size + 1)))
        more_newer, more_older = len(found) > size, True
        found = found[:size][::-1]
    else:
        downwards = listed.order_by(Lead.last_event_at.desc(), Lead.id.desc())
        if older_than:
            downwards = downwards.where(_beyond(older_than, newer=False))
        found = list(session.scalars(downwards.limit(size + 1)))
        more_newer, more_older = older_than is not None, len(found) > size
        found = found[:size]
    rows = _rows(session, vault, found)
    first, last = (_place(found[0]), _place(found[-1])) if found else (None, None)
    return Page(rows, first if more_newer else None, last if more_older else None)


def _place(lead: Lead) -> Cursor:
    return Cursor(lead.last_event_at, lead.id)


def _beyond(place: Cursor, *, newer: bool) -> ColumnElement[bool]:
    at, id_ = Lead.last_event_at, Lead.id
    # The first condition says nothing new: it lets the database start at the right place of its index.
    if newer:
        return and_(at >= place.at, or_(at > place.at, id_ > place.id))
    return and_(at <= place.at, or_(at < place.at, id_ < place.id))


def _chosen(chosen: LeadFilter) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [Lead.merged_into.is_(None)]
    if chosen.states:
        where.append(_in_states(chosen))
    if chosen.kind:
        where.append(exists().where(Event.lead_id == Lead.id, Event.kind == chosen.kind))
    if chosen.site_id:
        where.append(Lead.site_id == chosen.site_id)
    if chosen.since:
        where.append(Lead.last_event_at >= chosen.since)
    return where


def _in_states(chosen: LeadFilter) -> ColumnElement[bool]:
    wanted: list[ColumnElement[bool]] = [Delivery.state.in_(chosen.states)]
    if not chosen.on_purpose:
        wanted.append(or_(Delivery.state != "held", Delivery.code.not_in(HELD_ON_PURPOSE)))
    if set(chosen.states) <= set(ARRIVED):
        return exists().where(Delivery.lead_id == Lead.id, *wanted)
    # Few leads are in the other states: those are looked up first, not every lead in turn.
    return Lead.id.in_(select(Delivery.lead_id).where(*wanted))


def _rows(session: Session, vault: Vault, found: Sequence[Lead]) -> list[LeadRow]:
    ids = [lead.id for lead in found]
    by_site = {site.id: site for site in sites(session)}
    events = session.scalars(select(Event).where(Event.lead_id.in_(ids)).order_by(Event.received_at, Event.id))
    last_event = {event.lead_id: event for event in events}
    standings: dict[UUID, set[Standing]] = {}
    for id_, state, code in session.execute(
        select(Delivery.lead_id, Delivery.state, Delivery.code).where(Delivery.lead_id.in_(ids)).distinct()
    ):
        standings.setdefault(id_, set()).add(Standing(state, code))
    return [
        LeadRow(
            lead,
            name_of(person_of(vault, lead)),
            by_site[lead.site_id],
            last_event.get(lead.id),
            most_urgent(standings.get(lead.id, ())),
        )
        for lead in found
    ]


def name_of(person: Mapping[str, str]) -> str | None:
    """What to call a person: the name, else the e-mail or phone, else None."""
    full = " ".join(filter(None, (person.get("first_name"), person.get("last_name"))))
    return full or person.get("email") or person.get("phone")


def most_urgent(standings: Iterable[Standing]) -> Standing | None:
    """Of several, the one that somebody should know first."""
    return min(standings, key=lambda standing: (_URGENCY.index(standing.state), standing.code or ""), default=None)


def lead_by_code(session: Session, typed: str) -> Lead | None:
    """The lead with this reference code, in any case, with or without hyphen; a merged caller leads to the person."""
    letters = re.sub(r"[\s-]", "", typed).upper()
    lead = (
        session.scalar(select(Lead).where(Lead.code == f"{letters[:3]}-{letters[3:]}")) if len(letters) == 6 else None
    )
    return person_behind(session, lead) if lead else None


def person_behind(session: Session, lead: Lead) -> Lead:
    """The lead that this one turned out to be; itself when it was not merged."""
    while lead.merged_into:
        lead = session.get_one(Lead, lead.merged_into)
    return lead


def search(session: Session, vault: Vault, typed: str, chosen: LeadFilter) -> Found:
    """Leads by reference code, e-mail or phone; else by parts of the name, newest first, at most MOST_FOUND."""
    where = _chosen(chosen)
    coded = lead_by_code(session, typed)
    digests = _digests(session, vault, typed)
    ids = set(session.scalars(select(Identity.lead_id).where(Identity.digest.in_(digests)))) if digests else set()
    ids |= {coded.id} if coded else set()
    newest = select(Lead).order_by(Lead.last_event_at.desc(), Lead.id.desc())
    exact = list(session.scalars(newest.where(Lead.id.in_(ids), *where).limit(MOST_FOUND))) if ids else []
    if exact:
        return Found(_rows(session, vault, exact), complete=True)
    matches = _matcher(typed)
    looked_at = session.scalars(newest.where(*where, Lead.known.is_(True)).limit(MOST_SEARCHED + 1)).all()
    found = [lead for lead in looked_at[:MOST_SEARCHED] if matches(person_of(vault, lead))]
    return Found(_rows(session, vault, found[:MOST_FOUND]), complete=len(looked_at) <= MOST_SEARCHED >= len(found))


def _digests(session: Session, vault: Vault, typed: str) -> list[bytes]:
    """Keyed hashes of what was typed, as an e-mail and as a phone number of each site's region."""
    found: list[bytes] = []
    for site in sites(session):
        answers = {"email": typed.strip()} if "@" in typed else {"phone": _e164(typed, site.region)}
        found += trace(vault, site.id, answers, None).digests.values()
    return found


def _e164(typed: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(typed, region)
    except phonenumbers.NumberParseException:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _matcher(typed: str) -> Callable[[Mapping[str, str]], bool]:
    """Whether a person's details hold every word that was typed; accents and case do not matter."""
    words = _plain(typed).split()

    def matches(person: Mapping[str, str]) -> bool:
        details = _plain(" ".join(person.values()))
        return all(word in details for word in words)

    return matches


def _plain(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(sign))


class DeliveryStory(NamedTuple):
    """One enquiry's way to one connection, with every try and everything a person did about it."""

    delivery: Delivery
    connection: Connection
    attempts: list[Attempt]
    actions: list[Action]


class EventStory(NamedTuple):
    """One enquiry. wording: of the consent that was asked for. resubmissions: the same form with other answers."""

    event: Event
    answers: Mapping[str, Any]
    wording: str | None
    resubmissions: list[tuple[Resubmission, Mapping[str, Any]]]
    deliveries: list[DeliveryStory]


class Journey(NamedTuple):
    """All there is to tell of one lead, newest enquiry first."""

    lead: Lead
    site: Site
    person: Mapping[str, str]
    events: list[EventStory]


def journey(session: Session, vault: Vault, lead_id: UUID) -> Journey | None:
    """All there is to tell of a lead; of the person when this caller was merged. None: there is no such lead."""
    lead = session.get(Lead, lead_id)
    if lead is None:
        return None
    lead = person_behind(session, lead)
    site = session.get_one(Site, lead.site_id)
    newest = select(Event).where(Event.lead_id == lead.id).order_by(Event.received_at.desc(), Event.id.desc())
    events = [_event_story(session, vault, event) for event in session.scalars(newest)]
    return Journey(lead, site, person_of(vault, lead), events)


def _event_story(session: Session, vault: Vault, event: Event) -> EventStory:
    wording = session.get(ConsentText, (event.site_id, event.consent_version)) if event.consent_version else None
    again = select(Resubmission).where(Resubmission.event_id == event.id).order_by(Resubmission.received_at)
    ways = session.execute(
        select(Delivery, Connection)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.event_id == event.id)
        .order_by(Connection.created_at)
    ).all()
    return EventStory(
        event,
        vault.open(event.answers_sealed, "event", "answers", event.id),
        wording.text if wording else None,
        [(row, vault.open(row.answers_sealed, "resubmission", "answers", row.id)) for row in session.scalars(again)],
        [_delivery_story(session, delivery, connection) for delivery, connection in ways],
    )


def _delivery_story(session: Session, delivery: Delivery, connection: Connection) -> DeliveryStory:
    tries = select(Attempt).where(Attempt.delivery_id == delivery.id).order_by(Attempt.started_at, Attempt.id)
    actions = select(Action).where(Action.delivery_id == delivery.id).order_by(Action.at, Action.id)
    return DeliveryStory(delivery, connection, list(session.scalars(tries)), list(session.scalars(actions)))


def connection_counts(session: Session, connection_id: UUID) -> dict[str, int]:
    """Of one connection: state → how many deliveries."""
    here = select(Delivery.state, func.count()).where(Delivery.connection_id == connection_id)
    return dict(session.execute(here.group_by(Delivery.state)).all())


def connection_actions(session: Session, connection_id: UUID, limit: int = 20) -> list[Action]:
    """What people did with a connection, newest first."""
    here = select(Action).where(Action.connection_id == connection_id)
    return list(session.scalars(here.order_by(Action.at.desc(), Action.id.desc()).limit(limit)))


def users(session: Session) -> list[User]:
    """Who may sign in, by name."""
    return list(session.scalars(select(User).order_by(User.name)))


def deliveries_of(session: Session, event_id: UUID) -> list[Delivery]:
    """One event's deliveries to all connections."""
    return list(session.scalars(select(Delivery).where(Delivery.event_id == event_id)))


def unreadable(session: Session, limit: int = 50) -> list[Unreadable]:
    """Bodies that could not be understood: those that nobody has seen first, then the newest."""
    unseen_first = Unreadable.seen_at.is_not(None)
    newest = select(Unreadable).order_by(unseen_first, Unreadable.received_at.desc(), Unreadable.id)
    return list(session.scalars(newest.limit(limit)))
