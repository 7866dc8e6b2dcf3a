"""After a jump of the wall clock rows keep their distance: once for all workers, and nothing is purged for an hour."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from leads.store import outbox
from leads.store.clock import heartbeat, mend, purging_allowed
from leads.store.models import Connection, Delivery, Site, Task, Worker
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.pace import wait_turn
from tests.database.lanes import Clock, delivery_of, finished, leased
from tests.factory import send

LEASE = 60.0
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def planned(database: Database, event_id: UUID, **values: object) -> None:
    with database.write() as session:
        session.execute(update(Delivery).where(Delivery.event_id == event_id).values(**values))


def connection_now(database: Database, connection: Connection) -> Connection:
    with database.read() as session:
        return session.get_one(Connection, connection.id)


@pytest.mark.parametrize("back", [HOUR, YEAR], ids=["an hour", "a year"])
def test_a_clock_set_back_holds_nothing_up(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, back: timedelta
) -> None:
    heartbeat(timed, "w1")
    due, later = send(timed, vault, site, email="a@example.com"), send(timed, vault, site, email="b@example.com")
    planned(timed, later.event_id, due_at=clock() + 5 * MINUTE)
    with timed.write() as session:
        session.add(Task(name="canary", due_at=clock() + MINUTE))
    lane = leased(timed, connection, seconds=LEASE)
    assert len(outbox.claim(timed, lane, 1, LEASE)) == 1
    clock.forward(seconds=20)
    heartbeat(timed, "w1")
    clock.time -= back

    assert mend(timed, -back, LEASE) == -back
    now = clock()
    assert delivery_of(timed, later.event_id).due_at == now + 5 * MINUTE - 20 * SECOND
    assert delivery_of(timed, due.event_id).lease_until == now + timedelta(seconds=LEASE - 20)
    assert connection_now(timed, connection).lease_until == now + timedelta(seconds=LEASE - 20)
    assert delivery_of(timed, due.event_id).tries_from == now - 20 * SECOND
    with timed.read() as session:
        assert session.get_one(Task, "canary").due_at == now + 40 * SECOND
        assert session.get_one(Worker, "w1").seen_at == now
    assert mend(timed, -back, LEASE) == mend(timed, timedelta(), LEASE) == timedelta()


def test_a_new_worker_sees_by_heartbeats_from_the_future_that_the_clock_was_set_back(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    heartbeat(timed, "dead")
    event = send(timed, vault, site).event_id
    leased(timed, connection, worker="dead", seconds=LEASE)
    clock.time -= HOUR
    assert mend(timed, timedelta(), LEASE) == -HOUR
    assert delivery_of(timed, event).due_at == clock()
    clock.forward(seconds=LEASE + 1)
    assert leased(timed, connection, worker="new"), "a dead worker's lease runs out as ever"


def test_a_lease_taken_after_the_clock_was_set_back_stands(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    heartbeat(timed, "w1")
    clock.time -= HOUR
    leased(timed, connection, seconds=LEASE)
    mend(timed, -HOUR, LEASE)
    assert outbox.lease(timed, connection.id, "w2", LEASE) is None


@pytest.mark.parametrize("ahead", [HOUR, YEAR], ids=["an hour", "a year"])
def test_a_clock_set_forward_ends_no_live_lease_and_no_budget(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, ahead: timedelta
) -> None:
    heartbeat(timed, "w1")
    event = send(timed, vault, site, email="a@example.com").event_id
    lane = leased(timed, connection, seconds=LEASE)
    claimed = outbox.claim(timed, lane, 1, LEASE)
    waiting = send(timed, vault, site, email="b@example.com").event_id
    tried_from = clock()
    clock.time += ahead

    assert mend(timed, ahead, LEASE) == ahead
    assert outbox.lease(timed, connection.id, "w2", LEASE) is None
    assert finished(timed, lane, claimed) == 0, "it was fenced off"
    assert delivery_of(timed, event).state == "sent"
    assert delivery_of(timed, waiting).tries_from == tried_from + ahead
    heartbeat(timed, "w1")
    assert mend(timed, ahead, LEASE) == timedelta(), "the second worker finds it mended"


def test_a_clock_set_forward_lets_nothing_be_looked_up_too_soon(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    heartbeat(timed, "w1")
    doubtful, sent = (send(timed, vault, site, email=f"{name}@example.com").event_id for name in "ab")
    planned(timed, doubtful, unknown=True, due_at=clock() + 2 * MINUTE)
    planned(timed, sent, state="sent", check_at=clock() + MINUTE)
    with timed.write() as session:
        row = session.get_one(Connection, connection.id)
        row.wait_until = clock() + 10 * MINUTE
    clock.time += HOUR
    new = send(timed, vault, site, email="new@example.com").event_id

    mend(timed, HOUR, LEASE)
    assert delivery_of(timed, doubtful).due_at == clock() + 2 * MINUTE
    assert delivery_of(timed, sent).check_at == clock() + MINUTE
    assert connection_now(timed, connection).wait_until == clock() + 10 * MINUTE
    assert delivery_of(timed, new).due_at == clock(), "what came in since is due at once"
    assert delivery_of(timed, new).tries_from == clock()


def test_a_worker_that_stood_still_moves_nothing(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    """Its own clocks disagree, but another worker's heartbeat vouches for the wall clock."""
    heartbeat(timed, "w2")
    event = send(timed, vault, site).event_id
    before = delivery_of(timed, event).tries_from
    clock.forward(seconds=2)
    assert mend(timed, HOUR, LEASE) == timedelta()
    assert delivery_of(timed, event).tries_from == before


@pytest.mark.parametrize("jump", [-HOUR, HOUR], ids=["back", "forward"])
def test_many_workers_mend_a_jump_once(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, jump: timedelta
) -> None:
    for name in "abc":
        heartbeat(timed, name)
    with timed.write() as session:
        session.get_one(Connection, connection.id).wait_until = clock() + 10 * MINUTE
    clock.time += jump
    with ThreadPoolExecutor(3) as pool:
        mended = list(pool.map(lambda _: mend(timed, jump, LEASE), range(3)))
    assert sorted(mended, key=abs) == [timedelta(), timedelta(), jump]
    assert connection_now(timed, connection).wait_until == clock() + 10 * MINUTE


def test_what_comes_in_after_a_set_back_does_not_overtake(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    heartbeat(timed, "w1")
    first = send(timed, vault, site, email="same@example.com").event_id
    clock.time -= HOUR
    mend(timed, -HOUR, LEASE)
    clock.forward(seconds=1)
    send(timed, vault, site, email="same@example.com", message="again")
    claimed = outbox.claim(timed, leased(timed, connection), 10, LEASE)
    assert [item.event.id for item in claimed] == [first]


@pytest.mark.parametrize("jump", [-YEAR, -HOUR, HOUR, YEAR], ids=str)
def test_nothing_is_purged_for_an_hour_after_a_jump(timed: Database, clock: Clock, jump: timedelta) -> None:
    def allowed() -> bool:
        with timed.read() as session:
            return purging_allowed(session, clock())

    heartbeat(timed, "w1")
    assert allowed()
    clock.time += jump
    assert not allowed(), "before anybody has seen the jump"
    mend(timed, jump, LEASE)
    for _ in range(59):
        heartbeat(timed, "w1")
        assert not allowed()
        clock.forward(minutes=1)
    clock.forward(minutes=1)
    heartbeat(timed, "w1")
    assert allowed()


def test_heartbeats_of_the_gone_are_forgotten_after_a_day_but_not_by_a_wrong_clock(
    timed: Database, clock: Clock
) -> None:
    def known() -> list[str]:
        with timed.read() as session:
            return sorted(session.scalars(select(Worker.id)))

    heartbeat(timed, "gone")
    clock.time += YEAR
    heartbeat(timed, "w1")  # whether a year has passed nobody can say
    assert known() == ["gone", "w1"]
    for _ in range(61):
        clock.forward(minutes=1)
        heartbeat(timed, "w1")
    assert known() == ["w1"]


def test_no_turn_is_waited_for_that_a_clock_set_back_has_put_off(
    timed: Database, connection: Connection, clock: Clock
) -> None:
    wait_turn(timed, connection.id, 10)
    clock.time -= HOUR
    began = time.monotonic()
    wait_turn(timed, connection.id, 10)
    assert time.monotonic() - began < 60
    assert connection_now(timed, connection).pace_at == clock() + timedelta(seconds=0.1)
