"""What a lane is to erase in its CRM of people who were erased here, and what became of that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from leads.store.failpoint import reach
from leads.store.models import Attempt, Connection, Delivery, Erasure, Event, Lead
from leads.store.outbox.lanes import Lane, may_erase, mine
from leads.store.outbox.records import standing_for
from leads.store.session import Database

_AT_ONCE = 20  # people in one pass of a lane
_LOOKED_FOR = 5  # enquiries of one person: where a record is merged, all that stands on it moves
_OUT_OF_REACH = "The connection was removed, so Frontdesk can erase nothing there any more."
BY_HAND = "Delete the record in the CRM by hand; then press “I erased it there”."
_MAYBE = "It may have arrived: look for the reference codes in the CRM, and delete what you find."
_COPIES = "The CRM has more records of this person, which Frontdesk did not make. Look at them there:"


class Told(NamedTuple):
    """An enquiry that stands in the CRM, or may. broken_off: nobody heard what became of it."""

    event_id: UUID
    kind: str
    received_at: datetime
    broken_off: bool


class Leaving(NamedTuple):
    """Somebody to be erased. remote_ids: their records. url: the page of one of them, if we know. doubts: what may
    stand there besides, to be looked for. arrived: the newest that were taken: staff may have merged the record into
    another since, on which they stand now.

    tries_from: nothing is written there later than this. attempts: tries that counted.
    """

    lead_id: UUID
    remote_ids: tuple[str, ...]
    url: str | None
    doubts: tuple[Told, ...]
    arrived: tuple[Told, ...]
    tries_from: datetime
    attempts: int


def to_erase(database: Database, lane: Lane) -> list[Leaving]:
    """Whom the lane is to erase in its CRM now."""
    with database.read() as session:
        now = database.now(session)
        due = select(Erasure).where(Erasure.connection_id == lane.connection_id, may_erase(now), mine(lane, now))
        rows = session.scalars(due.order_by(Erasure.due_at).limit(_AT_ONCE)).all()
        return [_leaving(session, row) for row in rows]


def _leaving(session: Session, row: Erasure) -> Leaving:
    tried = exists().where(Attempt.delivery_id == Delivery.id)
    unclear = Delivery.unknown | (Delivery.sent_at.is_(None) & tried)
    told = select(Event.id, Event.kind, Event.received_at, Delivery.unknown)
    told = told.join(Delivery, Delivery.event_id == Event.id)
    told = told.where(Delivery.lead_id == row.lead_id, Delivery.connection_id == row.connection_id)
    taken = told.where(Delivery.sent_at.is_not(None), ~Delivery.unknown).order_by(Event.received_at.desc(), Event.id)
    return Leaving(
        lead_id=row.lead_id,
        remote_ids=tuple(row.remote_ids),
        url=row.url,
        doubts=tuple(Told(*one) for one in session.execute(told.where(unclear))),
        arrived=tuple(Told(*one) for one in session.execute(taken.limit(_LOOKED_FOR))),
        tries_from=row.tries_from,
        attempts=row.attempts,
    )


def also_of(
    database: Database, lane: Lane, person: Leaving, remote_ids: Sequence[str], events: Collection[str], url: str | None
) -> str | None:
    """The reference code of somebody else for whom one of these records stands too; None when there is nobody. events:
    ours that stand on them. url: the page of one of them, if the person's own is not known."""
    with database.read() as session:
        others = [row.lead_id for row in standing_for(session, lane, remote_ids, person.url or url)]
        others += _who_sent(session, events)
        somebody = select(Lead.code).where(Lead.id.in_(others), Lead.id != person.lead_id, Lead.erased_at.is_(None))
        return session.scalar(somebody.limit(1))


def _number(event: str) -> UUID | None:
    """Staff of the clinic may have changed what stands in the CRM."""
    try:
        return UUID(event)
    except ValueError:
        return None


def _who_sent(session: Session, events: Collection[str]) -> list[UUID]:
    ids = [found for one in events if (found := _number(one))]
    return list(session.scalars(select(Event.lead_id).where(Event.id.in_(ids)).distinct()))


def erased(database: Database, lane: Lane, lead_id: UUID, remote_ids: Iterable[str]) -> None:
    """These records are gone from the lane's CRM. What was learned of meanwhile goes next."""
    gone = set(remote_ids)
    with database.write() as session:
        now = database.now(session)
        row = session.get_one(Erasure, (lead_id, lane.connection_id), with_for_update=True)
        row.remote_ids = [one for one in row.remote_ids if one not in gone]
        if not row.remote_ids and row.state == "waiting":
            end(session, row, "done", now)
            if row.copies:
                row.state, row.ended_at = "needs_you", None
                row.code, row.sentence = "copies", f"{_COPIES} {', '.join(row.copies)}."
        reach("erase.written")
    reach("erase.committed")


def not_erased(
    database: Database,
    lane: Lane,
    lead_id: UUID,
    *,
    state: str,
    due_at: datetime,
    counts: bool = False,
    code: str | None = None,
    sentence: str | None = None,
    found: Iterable[str] = (),
) -> None:
    """It did not work now, or has to wait (`waiting`), or a person has to see to it (`needs_you`). found: records that
    were looked for and found meanwhile."""
    with database.write() as session:
        row = session.get_one(Erasure, (lead_id, lane.connection_id), with_for_update=True)
        if row.state == "waiting":
            row.state, row.due_at, row.code, row.sentence = state, due_at, code, sentence
            row.attempts += counts
            row.remote_ids = list(dict.fromkeys([*row.remote_ids, *found]))


def end(session: Session, row: Erasure, state: str, now: datetime) -> None:
    """Nothing is left to do: `done` by us, or `handled` by a person. Nothing leads to the CRM's records any more."""
    row.state, row.ended_at, row.remote_ids, row.url = state, now, [], None
    row.code = row.sentence = None
    # Whether it had arrived matters no more.
    here = (Delivery.lead_id == row.lead_id, Delivery.connection_id == row.connection_id)
    session.execute(update(Delivery).where(*here, Delivery.state == "erased").values(unknown=False))


def arrived_after_all(
    session: Session, lane: Lane, lead_id: UUID, remote_id: str, url: str | None, now: datetime
) -> None:
    """What was in a worker's hands while the person was erased has been written: that record has to go too."""
    row = session.get(Erasure, (lead_id, lane.connection_id), with_for_update=True)
    if row is None:
        row = Erasure(lead_id=lead_id, connection_id=lane.connection_id, remote_ids=[], copies=[], attempts=0)
        row.state = "waiting"
        session.add(row)
    row.remote_ids, row.url = list(dict.fromkeys([*row.remote_ids, remote_id])), url or row.url
    row.tries_from = row.due_at = now
    if row.state in ("done", "handled"):
        row.state, row.ended_at, row.attempts = "waiting", None, 0
    if session.get_one(Connection, lane.connection_id).removed_at is not None:  # no worker will see to it
        out_of_reach(row)


def out_of_reach(row: Erasure) -> None:
    """Its connection was removed: a person has to erase it there."""
    row.state, row.code = "needs_you", "removed"
    row.sentence = f"{_OUT_OF_REACH} {BY_HAND if row.remote_ids else _MAYBE}"


def try_again(row: Erasure, now: datetime) -> None:
    """Staff want another try."""
    row.state, row.due_at, row.tries_from, row.attempts = "waiting", now, now, 0
    row.code = row.sentence = row.ended_at = None
