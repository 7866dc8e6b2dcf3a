"""Many deliveries sent again, or put aside as spam: chosen by a filter, in slices, each slice with how far it came in
one commit.

What a filter chose when it was started is what it is done to: what moved on meanwhile is passed over, as is what the
visitor has taken consent back for, and what came into the same state later is left alone. So a worker that is killed
loses nothing and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from leads.store.consents import taken_back
from leads.store.holds import LOOK_FIRST
from leads.store.in_use import kept_in_use
from leads.store.models import Connection, Delivery, Event, Replay, new_id
from leads.store.outbox.decisions import handled, requeue
from leads.store.scope import our_tests
from leads.store.session import Database, at_leisure
from leads.store.staff import record
from leads.store.vault import Vault

SLICE = 100  # deliveries in one commit
LONGEST_COUNT = 60  # seconds: what is in the CRM is counted among millions, and somebody waits at the desk
SPAM = "spam"  # what is held as spam is never sent, but put aside
# What is held waits for a decision about each one, and what is being sent just now has its outcome decided elsewhere.
REPLAYABLE = {
    "needs_you": ("refused", "expired"),
    "refused": ("refused",),
    "expired": ("expired",),
    "waiting": ("waiting",),
    "in_the_crm": ("sent", "confirmed"),
}


class ReplayError(ValueError):
    """It cannot be started. The text says why."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which deliveries to send again. state: a word of REPLAYABLE; or SPAM, for what is put aside.

    code: the reason's. since, until: received not earlier, not later. kind: what the visitor did. None stands for all.
    """

    state: str
    connection_id: UUID | None = None
    site_id: UUID | None = None
    code: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    kind: str | None = None

    @property
    def is_spam(self) -> bool:
        """Whether these are put aside."""
        return self.state == SPAM

    @property
    def action(self) -> str:
        """What is done to them, as its start and its stop are written down."""
        return "put_aside" if self.is_spam else "replay"

    def where(self, now: datetime) -> list[ColumnElement[bool]]:
        """What is in it and was at `now`."""
        here = [_held_as_spam()] if self.is_spam else [*_stuck(REPLAYABLE[self.state], now), *_can_be_sent()]
        found = [*here, Delivery.created_at <= min(now, self.until or now)]
        if self.connection_id:
            found.append(Delivery.connection_id == self.connection_id)
        if self.code:
            found.append(Delivery.code == self.code)
        if self.since:
            found.append(Delivery.created_at >= self.since)
        if self.site_id:
            of_site = select(Connection.id).where(Connection.site_id == self.site_id)
            found.append(Delivery.connection_id.in_(of_site))
        if self.kind:
            found.append(exists().where(Event.id == Delivery.event_id, Event.kind == self.kind))
        return found

    def dump(self) -> dict[str, Any]:
        """As it is kept in the database."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


def _stuck(states: Sequence[str], now: datetime) -> list[ColumnElement[bool]]:
    # due_at tells since when one has been where it is, except for those that wait for a later try.
    return [Delivery.state.in_(states), or_(Delivery.state == "waiting", Delivery.due_at <= now)]


def _held_as_spam() -> ColumnElement[bool]:
    """Also at a connection that was removed."""
    return and_(Delivery.state == "held", Delivery.code == "spam")


def _can_be_sent() -> list[ColumnElement[bool]]:
    in_use = select(Connection.id).where(Connection.removed_at.is_(None))
    clear = or_(Delivery.code.is_(None), Delivery.code != LOOK_FIRST)
    return [Delivery.connection_id.in_(in_use), Delivery.event_id.not_in(our_tests()), clear]


def load_chosen(kept: dict[str, Any]) -> Chosen:
    """What `dump` gave."""
    connection, site, since, until = (kept.get(name) for name in ("connection_id", "site_id", "since", "until"))
    return Chosen(
        kept["state"],
        UUID(connection) if connection else None,
        UUID(site) if site else None,
        kept.get("code"),
        datetime.fromisoformat(since) if since else None,
        datetime.fromisoformat(until) if until else None,
        kept.get("kind"),
    )


def start_replay(session: Session, vault: Vault, chosen: Chosen, by: str, now: datetime) -> Replay:
    """Begin; the worker goes on with it. by: the user's name. Raises ReplayError when the filter finds nothing."""
    with at_leisure(session, LONGEST_COUNT):
        total = session.scalar(select(func.count()).select_from(Delivery).where(*chosen.where(now))) or 0
    if not total:
        raise ReplayError("Nothing fits this choice any more, so nothing was done.")
    values = {"state": "running", "total": total, "done": 0, "skipped": 0, "started_at": now}
    replay = Replay(id=new_id(), started_by=by, chosen=chosen.dump(), site_id=chosen.site_id, **values)
    session.add(replay)
    session.flush()
    number = f"{total:,} {'delivery' if total == 1 else 'deliveries'}"
    record(session, by, f"{chosen.action}_started", now, vault=vault, note=number)
    return replay


def stop_replay(session: Session, replay: Replay, by: str, now: datetime) -> None:
    """Do no more of it; the row is locked. What was done already stays so. by: the user's name."""
    if replay.state == "running":
        replay.state, replay.ended_at = "stopped", now
        record(session, by, f"{load_chosen(replay.chosen).action}_stopped", now)


def running_replays(session: Session) -> Sequence[UUID]:
    """Those that have not come to an end, oldest first."""
    running = select(Replay.id).where(Replay.state == "running")
    return session.scalars(running.order_by(Replay.started_at)).all()


def replay_slice(database: Database, replay_id: UUID, *, patient: bool = True) -> bool:
    """Do the next slice. False: it has come to an end.

    patient: pass this turn while a connection that works has enough to do, so that new enquiries need not queue behind.
    """
    with database.write() as session:
        now = database.now(session)
        replay = session.get_one(Replay, replay_id, with_for_update=True)
        if replay.state != "running":
            return False
        chosen = load_chosen(replay.chosen)
        some = _next_slice(session, replay, chosen)
        if (
            patient
            and not chosen.is_spam
            and any(_is_busy(session, connection_id, now) for connection_id in {row.connection_id for row in some})
        ):
            return True
        _do(session, replay, chosen, some, now)
        database.nudge(session)
    return replay.state == "running"


def _next_slice(session: Session, replay: Replay, chosen: Chosen) -> Sequence[Delivery]:
    """And one more, if there is one."""
    if not chosen.is_spam:
        kept_in_use(session, *([Connection.id == chosen.connection_id] if chosen.connection_id else []))
    left = chosen.where(replay.started_at)
    if replay.after:
        left.append(Delivery.id > replay.after)
    return session.scalars(select(Delivery).where(*left).order_by(Delivery.id).limit(SLICE + 1).with_for_update()).all()


def _is_busy(session: Session, connection_id: UUID, now: datetime) -> bool:
    """Whether it works, and more than two slices are due there: no more than that is counted."""
    works = exists().where(Connection.id == connection_id, Connection.state == "working")
    due = (Delivery.connection_id == connection_id, Delivery.state == "waiting", Delivery.due_at <= now, works)
    queued = select(Delivery.id).where(*due).limit(2 * SLICE + 1).subquery()
    return (session.scalar(select(func.count()).select_from(queued)) or 0) > 2 * SLICE


def _do(session: Session, replay: Replay, chosen: Chosen, found: Sequence[Delivery], now: datetime) -> None:
    rows = found[:SLICE]
    unwanted = set() if chosen.is_spam else taken_back(session, {row.event_id for row in rows})
    wanted = [row for row in rows if row.event_id not in unwanted]
    for row in wanted:
        if chosen.is_spam:
            handled(row)
        else:
            requeue(row, now)
        record(session, replay.started_by, "put_aside" if chosen.is_spam else "send_again", now, delivery_id=row.id)
    replay.done += len(wanted)
    replay.after = rows[-1].id if rows else replay.after
    if found == rows:  # only now: to count what is left each time would go through all of it
        replay.skipped = max(replay.total - replay.done, 0)
        replay.state, replay.ended_at = "finished", now
