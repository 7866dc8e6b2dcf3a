"""Out, first half: a worker leases a connection, and claims what is due there with a token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Integer,
    Row,
    Select,
    UpdateBase,
    Uuid,
    and_,
    bindparam,
    engine,
    exists,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from leads.store import unindexed
from leads.store.among import among
from leads.store.failpoint import reach
from leads.store.models import CanaryRun, Connection, Delivery, Erasure, Lead, RemoteRecord, UTCDateTime, new_id
from leads.store.outbox.claimed import Claimed, as_claimed, with_details
from leads.store.quota import ALL_ELSE, LOOKS, affords, oldest
from leads.store.session import KEEPS_ITS_KEY, Database

# Building a statement costs more than running it, so those of the loop are built once; each run brings its own time.
NOW: BindParameter[datetime] = bindparam("now", type_=UTCDateTime)
OLDEST: BindParameter[datetime] = bindparam("oldest", type_=UTCDateTime)
_MOST: BindParameter[int] = bindparam("most", type_=Integer)
Moment = datetime | BindParameter[datetime]
_State = InstrumentedAttribute[str] | ColumnElement[str]

# What is read back, the most urgent first, and the share of the day's calls that it must leave to new enquiries.
LOOKED_AT = {"sent": LOOKS, "confirmed": ALL_ELSE}


@dataclass(frozen=True, slots=True)
class Lane:
    """A worker's right to use one connection until `until`; `probing`: one delivery only, to see if it works again."""

    connection_id: UUID
    worker: str
    token: UUID
    probing: bool


def ready(session: Session, now: datetime) -> list[UUID]:
    """Connections that have something due, may be used now and are in nobody's hands.

    One that is out of use is due for its probe even when nothing waits for it, else it would never be seen to work.
    What may not overtake is not due: a lane would find nothing to do, and its own commits would wake it again at once.
    """
    return list(session.connection().scalars(_ready(), moment(now)))


def moment(now: datetime) -> dict[str, Any]:
    """What a statement that was built once is run with."""
    return {"now": now, "oldest": oldest(now)}


@cache
def _ready() -> Select[UUID]:
    here = Delivery.connection_id == Connection.id
    # Each by itself: for the two together SQLite would go through all of the connection, each time it looks.
    due = [exists().where(here, which(Delivery, Delivery.state, NOW), ~_overtakes(Delivery)) for which in _DUE]
    looks = [
        exists().where(here, to_check_now(state, NOW)) & affords(share, OLDEST) for state, share in LOOKED_AT.items()
    ]
    retiring = exists().where(RemoteRecord.connection_id == Connection.id, may_retire(NOW))
    tests = Connection.id.in_(to_remove_now(NOW).with_only_columns(Delivery.connection_id))
    erasing = exists().where(Erasure.connection_id == Connection.id, may_erase(NOW))
    work = or_(*due, *looks, retiring, tests, erasing, Connection.state == "failing")
    return select(Connection.id).where(usable(NOW), _free(NOW), work)


def lease(database: Database, connection_id: UUID, worker: str, seconds: float) -> Lane | None:
    """Take a connection for this worker alone. None: another one has it, or it may not be used now."""
    token = new_id()
    with database.write() as session:
        now = database.now(session)
        row = session.execute(
            update(Connection)
            .where(Connection.id == connection_id, usable(now), _free(now))
            .values(lease_worker=worker, lease_token=token, lease_until=now + timedelta(seconds=seconds))
            .returning(Connection.state)
        ).one_or_none()
        reach("lease.written")
    reach("lease.committed")
    return Lane(connection_id, worker, token, probing=row.state == "failing") if row else None


def release(database: Database, lane: Lane) -> None:
    """Give a connection back before its lease ends."""
    with database.write() as session:
        session.execute(
            update(Connection)
            .where(Connection.id == lane.connection_id, Connection.lease_token == lane.token)
            .values(lease_worker=None, lease_token=None, lease_until=None)
        )
        reach("release.written")
    reach("release.committed")


def holds(database: Database, lane: Lane) -> bool:
    """Whether the lane still holds its connection, and nobody has paused or removed that since."""
    with database.glance() as opened:
        return bool(opened.scalar(_HELD, {"connection": lane.connection_id, "held": lane.token}))


_HELD = select(
    exists().where(
        Connection.id == bindparam("connection"),
        Connection.lease_token == bindparam("held"),
        Connection.removed_at.is_(None),
        Connection.state != "paused",
    )
)


def was_set_up_anew(database: Database, connection: Connection) -> bool:
    """Whether what a lane goes by has changed since this row was read: key, address, mapping, share or pace."""
    with database.glance() as opened:
        now = opened.execute(_SET_UP, {"connection": connection.id}).one_or_none()
    return now != tuple(getattr(connection, name) for name in _GOES_BY)


_GOES_BY = ("options_sealed", "mapping", "share", "unknown_callers", "pace")
_SET_UP = select(*(getattr(Connection, name) for name in _GOES_BY)).where(Connection.id == bindparam("connection"))


def hold(session: Session, lane: Lane) -> bool:
    """Lock the connection before its deliveries, as whoever pauses or removes it: neither holds what the other waits
    for. Returns whether it is still in use."""
    return session.connection().scalar(_HOLD, {"connection": lane.connection_id}) is None


_HOLD = select(Connection.removed_at).where(Connection.id == bindparam("connection")).with_for_update(**KEEPS_ITS_KEY)


def usable(now: Moment) -> ColumnElement[bool]:
    """A connection that calls may be made to: it works, or its probe is due, the CRM has not asked for quiet, and what
    came before it is all there."""
    probe = and_(Connection.state == "failing", Connection.probe_at <= now)
    quiet = and_(Connection.wait_until.is_not(None), Connection.wait_until > now)
    in_use = and_(Connection.removed_at.is_(None), Connection.takes_over.is_(False))
    return and_(in_use, or_(Connection.state == "working", probe), ~quiet)


def mine(lane: Lane, now: Moment) -> ColumnElement[bool]:
    """Whether the lane still holds its connection, and calls may be made there."""
    return exists().where(Connection.id == lane.connection_id, Connection.lease_token == lane.token, usable(now))


def _free(now: Moment) -> ColumnElement[bool]:
    return or_(Connection.lease_until.is_(None), Connection.lease_until < now)


def _waits(row: type[Delivery], state: _State, now: Moment) -> ColumnElement[bool]:
    return and_(state == "waiting", row.due_at <= now)


def _left_behind(row: type[Delivery], state: _State, now: Moment) -> ColumnElement[bool]:
    return and_(state == "sending", row.lease_until < now)


_DUE = (_waits, _left_behind)


def _overtakes(row: type[Delivery]) -> ColumnElement[bool]:
    """Whether an earlier event of the same lead is still on its way to the same connection."""
    # A planner that does not know yet how long a backlog has become would go through all of it for each row: the offset
    # keeps it from joining the two.
    earlier = aliased(Delivery)
    on_its_way = select(earlier.id).where(
        earlier.lead_id == row.lead_id,
        unindexed.same(earlier.connection_id, row.connection_id),
        unindexed.word(earlier.state).in_(("waiting", "sending")),
        tuple_(earlier.created_at, earlier.id) < tuple_(row.created_at, row.id),
    )
    return on_its_way.limit(1).offset(0).exists()


def to_check_now(state: str, now: Moment) -> ColumnElement[bool]:
    """What was sent just now, and what was confirmed and is looked at again for some weeks. state: either."""
    return and_(Delivery.state == state, Delivery.check_at <= now)


def may_retire(now: Moment) -> ColumnElement[bool]:
    """A merged lead's record goes once nothing of it is still on its way to the person's record.

    One that could not be removed is left alone for a while, or a lane would be woken by its own failure.
    """
    moving = exists().where(
        Lead.id == RemoteRecord.lead_id,
        or_(Delivery.lead_id == Lead.merged_into, Delivery.lead_id == Lead.id),
        unindexed.same(Delivery.connection_id, RemoteRecord.connection_id),
        unindexed.word(Delivery.state).in_(("waiting", "sending")),
    )
    due = or_(RemoteRecord.retire_at.is_(None), RemoteRecord.retire_at <= now)
    return and_(RemoteRecord.retire.is_(True), due, ~moving)


def may_erase(now: Moment) -> ColumnElement[bool]:
    """What is to be erased goes once none of it is in a worker's hands any more: what that one writes has to go too."""
    in_hand = exists().where(
        Delivery.lead_id == Erasure.lead_id,
        unindexed.same(Delivery.connection_id, Erasure.connection_id),
        Delivery.token.is_not(None),
        Delivery.lease_until > now,
    )
    return and_(Erasure.ended_at.is_(None), Erasure.due_at <= now, Erasure.state == "waiting", ~in_hand)


def to_remove_now(now: Moment) -> Select[UUID]:
    """Deliveries of tests that their CRM has shown to hold, or may hold, and that are to be removed there."""
    tests = select(CanaryRun.event_id).where(CanaryRun.removed_at.is_(None))
    state = unindexed.word(Delivery.state)
    there = or_(state.in_(("confirmed", "refused", "expired")), and_(state == "sent", Delivery.check_at.is_(None)))
    on_time = (Delivery.remote_id.is_not(None), Delivery.due_at <= now)
    return select(Delivery.id).where(Delivery.event_id.in_(tests), there, *on_time)


def claim(
    database: Database,
    lane: Lane,
    limit: int,
    seconds: float,
    before: Callable[[Session, datetime], bool] | None = None,
) -> list[Claimed]:
    """Lease up to `limit` due deliveries of the lane's connection, never two of one lead.

    Extends the lane's lease; an empty list also when the lane was lost or its connection may no longer be used. before:
    what is written first, in the same commit, and tells whether any more may be sent.
    """
    token = new_id()
    with database.write() as session:
        now = database.now(session)
        lease = {"new_token": token, "until": now + timedelta(seconds=seconds)}
        held = {"connection": lane.connection_id, "held": lane.token, "now": now}
        opened = session.connection()
        # This locks the connection, as `hold` does, while it may be used.
        is_held = opened.execute(_prolong(), held | lease).one_or_none() is not None
        if before and not is_held:
            hold(session, lane)
        may_send = before is None or before(session, now)
        if not (is_held and may_send):
            return []
        rows = _next_due(opened, lane.connection_id, 1 if lane.probing else limit, now)
        claimed = _one_of_each_lead(as_claimed(row, token) for row in rows)
        opened.execute(_take(), {"ids": [item.delivery.id for item in claimed]} | lease)
        reach("claim.written")
    reach("claim.committed")
    return claimed


@cache
def _prolong() -> UpdateBase:
    """The lane's own lease, while it is the lane's and calls may be made."""
    mine = (Connection.id == bindparam("connection"), Connection.lease_token == bindparam("held"), usable(NOW))
    return update(Connection).where(*mine).values(lease_until=bindparam("until")).returning(Connection.id)


@cache
def _take() -> UpdateBase:
    taken = update(Delivery).where(among(Delivery.id, "ids"))
    return taken.values(state="sending", token=bindparam("new_token"), lease_until=bindparam("until"))


def _next_due(
    opened: engine.Connection, connection_id: UUID, limit: int, now: datetime
) -> Sequence[Row[*tuple[Any, ...]]]:
    ids = opened.scalars(_due_next(), {"connection": connection_id, "most": limit} | moment(now)).all()
    # In a statement of its own: in one, a planner that knows nothing of the tables yet looks them up once for each row.
    details = {"ids": ids, "most": limit} | moment(now)
    return opened.execute(_details_of(), details).all() if ids else []


def _one_of_each_lead(due: Iterable[Claimed]) -> list[Claimed]:
    """A caller who became known between the two statements has brought theirs to the person's."""
    first: dict[UUID, Claimed] = {}
    for one in due:
        first.setdefault(one.lead.id, one)
    return list(first.values())


@cache
def _due_next() -> CompoundSelect[UUID]:
    return union_all(*map(_first, _DUE))


@cache
def _details_of() -> Select[*tuple[Any, ...]]:
    state = unindexed.word(Delivery.state)
    return (
        with_details()
        .where(among(Delivery.id, "ids"), or_(*(which(Delivery, state, NOW) for which in _DUE)))
        .order_by(Delivery.due_at, Delivery.id)
        .limit(_MOST)
        .with_for_update(of=Delivery, skip_locked=True)
    )


def _first(which: Callable[[type[Delivery], _State, Moment], ColumnElement[bool]]) -> Select[UUID]:
    """As many as are asked for at most, in the order of the index: a long backlog is not looked through."""
    row = aliased(Delivery)
    here = row.connection_id == bindparam("connection", type_=Uuid)
    first = select(row.id).where(here, which(row, row.state, NOW), ~_overtakes(row)).order_by(row.due_at, row.id)
    return select(first.limit(_MOST).subquery().c.id)
