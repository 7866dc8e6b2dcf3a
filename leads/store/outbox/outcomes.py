"""Out, second half: what became of each claimed delivery, written down for the holder of the token only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from leads.store import budget
from leads.store.among import among
from leads.store.callers import MOVED
from leads.store.failpoint import reach
from leads.store.holds import HELD_BY_REMOVAL, is_in_doubt
from leads.store.models import Attempt, Connection, Delivery, Erasure, Lead, RemoteRecord, new_id
from leads.store.outbox.claimed import Claimed
from leads.store.outbox.erasing import arrived_after_all
from leads.store.outbox.lanes import Lane, claim, hold
from leads.store.past_orm import insert_all, update_all, upsert
from leads.store.session import KEEPS_ITS_KEY, Database, once_more

MAY_HAVE_WRITTEN = ("Unknown", "Bug")  # verdicts of tries
# As in `unindexed`: they are found by their ids, and not among all that are being sent.
# Waiting: consent was taken back and given again while it was in hand. What waits otherwise has no token.
_IN_HAND = "coalesce(delivery.state, '') IN ('sending', 'waiting')"
_IN_DOUBT = "coalesce(delivery.state, '') = 'refused'"
_ERASED = "coalesce(delivery.state, '') = 'erased'"
_HELD = "coalesce(delivery.state, '') = 'held'"
_FREE = "token = NULL, lease_until = NULL"  # nobody has it in hand any more
_OF_A_MOVE = ("lead_id", "missing", "tries_from")  # written only where a call moves to the person


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try. state, due_at, counts: as `sync.retry` decided. verdict, code, …: for the Attempt."""

    claimed: Claimed
    state: str
    due_at: datetime
    counts: bool
    verdict: str
    started_at: datetime
    milliseconds: int
    code: str | None = None
    sentence: str | None = None
    field: str | None = None
    status: int | None = None
    unknown: bool = False
    remote_id: str | None = None
    remote_url: str | None = None
    check_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What a try says of the connection itself; the values to write."""

    state: str
    failures: int
    probes: int
    code: str | None = None
    sentence: str | None = None
    probe_at: datetime | None = None
    wait_until: datetime | None = None

    @classmethod
    def of(cls, connection: Connection) -> Health:
        """As its row says."""
        return cls(*(getattr(connection, one.name) for one in fields(cls)))

    def takes_more(self, now: Callable[[], datetime]) -> bool:
        """Whether the CRM works, and has not asked for quiet. now: called only where it matters."""
        return self.state == "working" and not (self.wait_until and self.wait_until > now())


def finish(database: Database, lane: Lane, outcomes: Sequence[Outcome], health: Health | None) -> int:
    """Write down what became of claimed deliveries, in one commit. health: None when it is no news.

    Returns how many another worker had taken over.
    """

    def written() -> int:
        with database.write() as session:
            hold(session, lane)
            return _write_down(session, lane, outcomes, health, database.now(session))

    return once_more(written)  # what was written already counts as taken over


def finish_and_claim(
    database: Database, lane: Lane, outcomes: Sequence[Outcome], health: Health | None, limit: int, seconds: float
) -> tuple[int, list[Claimed]]:
    """Both in one commit, for a lane that goes on. Returns what `finish` and `claim` do."""
    fenced = 0

    def write_down(session: Session, now: datetime) -> bool:
        nonlocal fenced
        fenced = _write_down(session, lane, outcomes, health, now)
        return health is None or health.takes_more(lambda: now)

    claimed = once_more(lambda: claim(database, lane, limit, seconds, write_down))
    return fenced, claimed


def _write_down(session: Session, lane: Lane, outcomes: Sequence[Outcome], health: Health | None, now: datetime) -> int:
    people = _turned_out_to_be(session, [outcome.claimed.lead.id for outcome in outcomes])
    rows = [_finished(outcome, people.get(outcome.claimed.lead.id), now) for outcome in outcomes]
    ours: set[UUID] = set()
    for moves in (False, True):  # an id that is written again as it was is taken out of its index and put back
        some = [row for row in rows if ("lead_id" in row) is moves]
        ours |= update_all(session, Delivery, ("id", "token"), some, _FREE, where=_IN_HAND)
    # A caller who became known meanwhile does not matter there: nothing more goes to that CRM.
    rest = [_finished(one, None, now) for one in outcomes if one.claimed.delivery.id not in ours]
    ours |= _known_after_removal(session, rest)
    ours |= _known_after_withdrawal(session, [row for row in rows if row["id"] not in ours])
    _known_after_erasure(session, lane, [one for one in outcomes if one.claimed.delivery.id not in ours], now)
    written = [outcome for outcome in outcomes if outcome.claimed.delivery.id in ours]
    upsert(session, RemoteRecord, _records(lane, written, people), ["remote_id", "url", "retire"])
    insert_all(session, Attempt, [attempt_of(outcome) for outcome in written])
    if health is not None:
        report(session, lane, health, now)
    reach("finish.written")
    return len(outcomes) - len(written)


def _known_after_removal(session: Session, rows: Sequence[dict[str, Any]]) -> set[UUID]:
    """Write down what was in hand when its connection was removed: nobody has to look in the CRM for it any more."""
    clear = [row for row in rows if not is_in_doubt(row["unknown"], row.get("code"))]
    known = [row if row["state"] == "sent" else row | HELD_BY_REMOVAL for row in clear]
    stays = [{name: row[name] for name in row if name not in _OF_A_MOVE} | {"check_at": None} for row in known]
    return update_all(session, Delivery, ("id", "token"), stays, _FREE, where=_IN_DOUBT)


def _known_after_withdrawal(session: Session, rows: Sequence[dict[str, Any]]) -> set[UUID]:
    """Consent was taken back while this was in hand: what has not arrived stays held."""
    arrived = [{name: row[name] for name in row if name not in _OF_A_MOVE} for row in rows if row["state"] == "sent"]
    stays = [_doubt_alone(row) for row in rows if row["state"] != "sent"]
    of_both = (update_all(session, Delivery, ("id", "token"), some, _FREE, where=_HELD) for some in (arrived, stays))
    return set().union(*of_both)


def _known_after_erasure(session: Session, lane: Lane, outcomes: Sequence[Outcome], now: datetime) -> None:
    """The person was erased while this was in hand: what was written in the CRM has to go there as well."""
    known = [_doubt_alone(_finished(one, None, now)) for one in outcomes]
    ids = update_all(session, Delivery, ("id", "token"), known, _FREE, where=_ERASED)
    late = [one for one in outcomes if one.claimed.delivery.id in ids]
    insert_all(session, Attempt, [attempt_of(one) for one in late])
    for one in late:
        if one.remote_id is not None:
            arrived_after_all(session, lane, one.claimed.lead.id, one.remote_id, one.remote_url, now)


def _doubt_alone(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of a row that is to stay as it is otherwise."""
    return {"id": row["id"], "token": row["token"], "unknown": is_in_doubt(row["unknown"], row.get("code"))}


def _turned_out_to_be(session: Session, lead_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Callers who became known while this was on its way → the person's lead. Locked first, as the intake does."""
    return dict(session.connection().execute(_MERGED, {"leads": lead_ids}).all())


_LOCKED = (
    select(Lead.id, Lead.merged_into).where(among(Lead.id, "leads")).order_by(Lead.id).with_for_update(read=True).cte()
)
_MERGED = select(_LOCKED).where(_LOCKED.c.merged_into.is_not(None))


def _finished(outcome: Outcome, person: UUID | None, now: datetime) -> dict[str, Any]:
    """The delivery's row. It is written only while it is in the hands of whoever claimed it, so what was read then
    still holds. person: who the caller turned out to be meanwhile."""
    claimed, row = outcome.claimed, outcome.claimed.delivery
    answered = outcome.remote_id is not None
    moves = person is not None and outcome.state != "waiting" and not outcome.unknown
    finished = {
        "id": row.id,
        "token": claimed.token,
        "state": outcome.state,
        "due_at": outcome.due_at,
        "unknown": outcome.unknown,
        "code": outcome.code,
        "sentence": outcome.sentence,
        "field": outcome.field,
        "attempts": row.attempts + outcome.counts,
        "remote_id": outcome.remote_id if answered else row.remote_id,
        "remote_url": outcome.remote_url if answered else row.remote_url,
        "sent_at": now if answered else row.sent_at,
        "check_at": outcome.check_at if answered else row.check_at,
    }
    if not moves:
        return finished
    if outcome.verdict in MAY_HAVE_WRITTEN:  # somebody looks before it is sent again, whoever it is of
        return finished | {"lead_id": person, "missing": row.missing, "tries_from": row.tries_from}
    # What the CRM has of the caller is known now: the event goes to the person.
    return finished | budget.fresh(now) | {"lead_id": person, "code": "moved", "sentence": MOVED}


def _records(lane: Lane, written: Sequence[Outcome], people: Mapping[UUID, UUID]) -> list[dict[str, Any]]:
    """The CRM's records that stand for these leads from now on. A caller's goes once the person is known."""
    records = {
        outcome.claimed.lead.id: {
            "lead_id": outcome.claimed.lead.id,
            "connection_id": lane.connection_id,
            "remote_id": outcome.remote_id,
            "url": outcome.remote_url,
            "retire": outcome.claimed.lead.id in people,
        }
        for outcome in written
        if outcome.remote_id is not None
    }
    return list(records.values())  # of two batches that are written down together both may have one of the lead


def attempt_of(outcome: Outcome) -> dict[str, Any]:
    """The row of one try."""
    return {
        "id": new_id(),
        "delivery_id": outcome.claimed.delivery.id,
        "started_at": outcome.started_at,
        "milliseconds": outcome.milliseconds,
        "verdict": outcome.verdict,
        "code": outcome.code,
        "status": outcome.status,
        "sentence": outcome.sentence,
    }


def report(session: Session, lane: Lane, health: Health, now: datetime) -> None:
    """Write down how the connection is, if that is news and the lane still holds it."""
    held = {"connection": lane.connection_id, "held": lane.token}
    if session.connection().execute(_HEALTH, held).one_or_none() == astuple(health):
        return
    row = session.scalars(
        select(Connection)
        .where(Connection.id == lane.connection_id, Connection.lease_token == lane.token)
        .with_for_update(**KEEPS_ITS_KEY)
    ).one_or_none()
    if row is None or row.state == "paused":  # what staff decided meanwhile stands
        return
    recovered = row.state == "failing" and health.state == "working"
    if row.state != health.state:
        row.state_since = now
    row.state, row.failures, row.probes = health.state, health.failures, health.probes
    row.code, row.sentence = health.code, health.sentence
    row.probe_at, row.wait_until = health.probe_at, health.wait_until
    if recovered:
        bring_forward(session, row.id, now)


_HEALTH = select(*(getattr(Connection, field.name) for field in fields(Health))).where(
    Connection.id == bindparam("connection"), Connection.lease_token == bindparam("held")
)


def bring_forward(session: Session, connection_id: UUID, now: datetime) -> None:
    """What waits for its next slot may go now: the reason for waiting is over."""
    session.execute(
        update(Delivery)
        .where(Delivery.connection_id == connection_id, Delivery.state == "waiting", Delivery.due_at > now)
        .values(due_at=now)
    )
    to_erase = (Erasure.connection_id == connection_id, Erasure.ended_at.is_(None), Erasure.due_at > now)
    session.execute(update(Erasure).where(*to_erase).values(due_at=now))


def give_back(database: Database, claimed: Sequence[Claimed], due_at: datetime | None = None) -> None:
    """Return deliveries of which nothing was sent: no attempt, due at once or at `due_at`."""
    rows = [
        {
            "id": item.delivery.id,
            "token": item.token,
            "state": "waiting",
            "due_at": due_at or item.delivery.due_at,
            "unknown": item.left_behind or item.delivery.unknown,
        }
        for item in claimed
    ]
    with database.write() as session:
        found = update_all(session, Delivery, ("id", "token"), rows, _FREE, where=_IN_HAND)
        rest = [row for row in rows if row["id"] not in found]
        found |= _known_after_removal(session, rest)
        found |= _known_after_withdrawal(session, [row for row in rest if row["id"] not in found])
        erased = [_doubt_alone(row) for row in rows if row["id"] not in found]
        update_all(session, Delivery, ("id", "token"), erased, _FREE, where=_ERASED)
        reach("returned.written")
    reach("returned.committed")


def last_in_doubt(database: Database, delivery_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Delivery → when the last try ended of which nobody knows whether it was written."""
    unsure = (Attempt.delivery_id.in_(delivery_ids), Attempt.verdict.in_(MAY_HAVE_WRITTEN))
    with database.read() as session:
        tries = session.scalars(select(Attempt).where(*unsure).order_by(Attempt.started_at, Attempt.id)).all()
    return {one.delivery_id: one.started_at + timedelta(milliseconds=one.milliseconds) for one in tries}
