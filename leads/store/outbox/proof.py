"""Proof: what was sent is read back, again each night for some weeks, and records that nothing needs any more go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, Uuid, bindparam, delete, exists, select, update
from sqlalchemy.orm import Session

from leads.store.among import among
from leads.store.consents import taken_back
from leads.store.failpoint import reach
from leads.store.models import Attempt, Connection, Delivery, Event, Lead, RemoteRecord, Site
from leads.store.outbox import drift
from leads.store.outbox.claimed import Claimed, DeliveryRow, as_claimed, with_details
from leads.store.outbox.lanes import (
    LOOKED_AT,
    NOW,
    OLDEST,
    Lane,
    hold,
    may_retire,
    mine,
    moment,
    to_check_now,
    usable,
)
from leads.store.outbox.outcomes import Health, Outcome, attempt_of, report
from leads.store.outbox.records import standing_for
from leads.store.past_orm import insert_all, update_all
from leads.store.quota import affords
from leads.store.scope import our_tests
from leads.store.session import Database

_AT_ONCE = 100  # deliveries in one transaction
_RETIRE_AGAIN, _RETIRE_SELDOM = timedelta(minutes=1), timedelta(hours=6)  # twice as long after each try
_RETIRE_TRIES = 20  # three days
_CALLERS_AT_ONCE = 20  # each is looked at before its record goes
_TAKEN_BACK = (
    "The CRM accepted it but does not hold it. The visitor has taken consent back since, so it is not sent again by "
    "itself. Please decide."
)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the CRM showed of a delivery. outcome: its verdict is `confirmed`, `missing` or an error's name.

    digests: the CRM's field → keyed hash (hex) of its value now; None when this CRM does not tell. copies: ids of other
    records of the same person.
    """

    outcome: Outcome
    digests: Mapping[str, str] | None = None
    copies: tuple[str, ...] = ()


def to_check(database: Database, lane: Lane, limit: int) -> list[Claimed]:
    """What is to be read back from the CRM now, what was only just sent first.

    An empty list also when the lane was lost, its connection may no longer be used, or the day's calls get short.
    """
    with database.read() as session:
        asked: dict[str, Any] = {"connection": lane.connection_id, "token": lane.token, "most": limit}
        asked |= moment(database.now(session))
        for state in LOOKED_AT:
            if rows := session.connection().execute(_looked_at(state), asked).all():
                return [as_claimed(row, lane.token) for row in rows]
    return []


@cache
def _looked_at(state: str) -> Select[*tuple[Any, ...]]:
    connection = bindparam("connection", type_=Uuid)
    held = Connection.lease_token == bindparam("token", type_=Uuid)
    may = exists().where(Connection.id == connection, held, usable(NOW), affords(LOOKED_AT[state], OLDEST))
    due = (Delivery.connection_id == connection, to_check_now(state, NOW))
    most = bindparam("most", type_=Integer)
    return with_details().where(*due, may).order_by(Delivery.check_at).limit(most)


def checked(database: Database, lane: Lane, looks: Sequence[Look], health: Health | None) -> None:
    """Write down what was read back. What changed meanwhile is left alone, and all where the connection was removed:
    nobody looks there again, or sends what is missing. health: None when nothing was asked."""
    with database.write() as session:
        in_use, now = hold(session, lane), database.now(session)
        if looks and in_use:
            _write_all(session, lane, looks, now)
        if health is not None:
            report(session, lane, health, now)
        session.flush()
        reach("checked.written")
    reach("checked.committed")


def _write_all(session: Session, lane: Lane, looks: Sequence[Look], now: datetime) -> None:
    ids = [look.outcome.claimed.delivery.id for look in looks]
    there = {row.id: row for row in session.connection().execute(_LOCKED, {"ids": ids})}
    seen: list[tuple[DeliveryRow, Look]] = []
    for look in _as_wanted(session, looks):
        was, row = look.outcome.claimed.delivery, there.get(look.outcome.claimed.delivery.id)
        if row is not None and (row.state, row.sent_at) == (was.state, was.sent_at):
            seen.append((was._replace(lead_id=row.lead_id), look))
    people = drift.People(session, lane.connection_id, {row.lead_id for row, _ in seen})
    rows = [_looked_upon(people, row, look, now) for row, look in seen]
    for first in (True, False):  # what is seen for the first time changes more
        update_all(session, Delivery, ("id",), [row for row in rows if ("state" in row) is first])
    insert_all(session, Attempt, [attempt_of(look.outcome) for row, look in seen if row.state == "sent"])
    people.write_down()


def _as_wanted(session: Session, looks: Sequence[Look]) -> list[Look]:
    """The same, but what is to be sent again and whose visitor does not want that any more is for a person."""
    lost = {look.outcome.claimed.event.id for look in looks if look.outcome.state == "waiting"}
    unwanted = taken_back(session, lost)
    return [
        replace(look, outcome=replace(look.outcome, state="refused", sentence=_TAKEN_BACK))
        if look.outcome.claimed.event.id in unwanted
        else look
        for look in looks
    ]


_LOCKED = (
    select(Delivery.id, Delivery.lead_id, Delivery.state, Delivery.sent_at)
    .where(among(Delivery.id, "ids"))
    .order_by(Delivery.id)
    .with_for_update()
)


def _looked_upon(people: drift.People, row: DeliveryRow, look: Look, now: datetime) -> dict[str, Any]:
    """What changes in the delivery's row by one look."""
    outcome, is_there = look.outcome, look.outcome.verdict == "confirmed"
    first = _first_look(people, row, outcome, now) if row.state == "sent" else {}
    if outcome.verdict == "missing":
        drift.gone(people, row, "deleted" if row.state == "confirmed" else "never_stored", now)
    if is_there:
        drift.seen(people, row, look.digests, look.copies, now)
    return first | {
        "id": row.id,
        "remote_id": outcome.remote_id if is_there else row.remote_id,
        "remote_url": outcome.remote_url if is_there else row.remote_url,
        "check_at": outcome.check_at,
    }


def _first_look(people: drift.People, row: DeliveryRow, outcome: Outcome, now: datetime) -> dict[str, Any]:
    if outcome.state not in drift.ON_ITS_WAY:
        people.arrived(row)
    return {
        "state": outcome.state,
        "due_at": outcome.due_at,
        "unknown": outcome.unknown,
        "code": outcome.code,
        "sentence": outcome.sentence,
        "missing": row.missing + (outcome.verdict == "missing"),
        "confirmed_at": now if outcome.state == "confirmed" else row.confirmed_at,
    }


def check_all(database: Database, connection_id: UUID, days: int) -> int:
    """Look now at all that was confirmed in the last days and that nights still look at. Returns how many deliveries.

    A slice at a time, so that no lock is held for long.
    """
    with database.read() as session:
        now = database.now(session)
    number = 0
    for planned in (Delivery.check_at > now, Delivery.check_at < now):  # one after the other: each goes by the index
        while some := _check_some(database, connection_id, planned, now - timedelta(days=days), now):
            number += some
    return number


def _check_some(
    database: Database, connection_id: UUID, planned: ColumnElement[bool], since: datetime, now: datetime
) -> int:
    here = (Delivery.connection_id == connection_id, Delivery.state == "confirmed")
    lately = select(Delivery.id).where(
        *here, planned, Delivery.event_id.not_in(our_tests()), Delivery.confirmed_at >= since
    )
    some = lately.order_by(Delivery.check_at).limit(_AT_ONCE)
    with database.write() as session:
        due = update(Delivery).where(Delivery.id.in_(some)).values(check_at=now)
        rows = session.scalars(due.returning(Delivery.id))
        number = len(rows.all())
        database.nudge(session)
    return number


class Retiring(NamedTuple):
    """A caller who became known, and the caller's own record. calls: what the person tapped. shared: the CRM took both
    for one person, so the record stays."""

    lead: Lead
    site: Site
    calls: list[Event]
    remote_id: str
    shared: bool


def to_retire(database: Database, lane: Lane) -> list[Retiring]:
    """Callers who became known and whose own records nothing needs any more."""
    with database.read() as session:
        now = database.now(session)
        due = (RemoteRecord.connection_id == lane.connection_id, may_retire(now), mine(lane, now))
        found = select(Lead, Site, RemoteRecord)
        found = found.join(RemoteRecord, RemoteRecord.lead_id == Lead.id).join(Site, Site.id == Lead.site_id)
        rows = session.execute(found.where(*due).limit(_CALLERS_AT_ONCE)).all()
        return [
            Retiring(lead, site, _calls(session, lead), row.remote_id, _is_also_of_others(session, lane, row))
            for lead, site, row in rows
        ]


def _is_also_of_others(session: Session, lane: Lane, row: RemoteRecord) -> bool:
    """Whether the record stands for somebody who stays."""
    return any(not other.retire for other in standing_for(session, lane, [row.remote_id], row.url))


def _calls(session: Session, caller: Lead) -> list[Event]:
    calls = select(Event).where(Event.lead_id == caller.merged_into, Event.kind == "call_click")
    return list(session.scalars(calls))


def not_retired(database: Database, lane: Lane, why: Mapping[UUID, str]) -> None:
    """The records of these leads could not be removed now, and why; that is tried again, ever less often, and after
    some days no more."""
    with database.write() as session:
        now = database.now(session)
        for row in _retiring(session, lane, why):
            row.retire_at = now + min(_RETIRE_AGAIN * 2**row.retire_tries, _RETIRE_SELDOM)
            row.retire_tries, row.left_because = row.retire_tries + 1, why[row.lead_id]
            if row.retire_tries >= _RETIRE_TRIES:
                row.retire, row.retire_at = False, None


def left_to_staff(database: Database, lane: Lane, why: Mapping[UUID, str | None]) -> None:
    """The records of these leads stay, and the person's page tells of them: the CRM refuses to delete them, and why;
    or staff of the clinic have worked on them (None)."""
    with database.write() as session:
        for row in _retiring(session, lane, why):
            row.retire, row.retire_at, row.left_because = False, None, why[row.lead_id]


def _retiring(session: Session, lane: Lane, lead_ids: Collection[UUID]) -> Sequence[RemoteRecord]:
    here = (RemoteRecord.connection_id == lane.connection_id, RemoteRecord.lead_id.in_(lead_ids))
    return session.scalars(select(RemoteRecord).where(*here, RemoteRecord.retire).with_for_update()).all()


def retired(database: Database, lane: Lane, lead_ids: Sequence[UUID]) -> None:
    """Forget the records of these leads: the CRM holds them no more."""
    with database.write() as session:
        here = RemoteRecord.connection_id == lane.connection_id
        session.execute(delete(RemoteRecord).where(here, RemoteRecord.lead_id.in_(lead_ids), RemoteRecord.retire))
        reach("retire.written")
    reach("retire.committed")
