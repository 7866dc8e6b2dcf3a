"""A new connection gets what came before it: each once, in order, and never so much at once that others wait long."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from leads.store import outbox
from leads.store.models import Connection, Delivery, Site
from leads.store.outbox import takeover
from leads.store.queries.overview import without_connection
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Context, Limits
from leads.sync.setup import Setup
from leads.sync.takeover import take_over_on
from tests.database.lanes import Clock, delivered
from tests.database.loop import POLICY
from tests.factory import make_connection, send, send_in_groups
from tests.statements import statements

OPTIONS = {"url": "https://crm.example.com", "key": "k"}


@pytest.fixture
def slices_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "SLICE", 2)


class Between(threading.Event):
    """Something happens between two slices."""

    def __init__(self, *does: Any) -> None:
        super().__init__()
        self._does = list(does)

    def wait(self, timeout: float | None = None) -> bool:
        if self._does:
            self._does.pop(0)()
        return self.is_set()


def has(database: Database, connection_id: UUID) -> list[UUID]:
    """The events that a connection was given, in order."""
    with database.read() as session:
        rows = select(Delivery.event_id).where(Delivery.connection_id == connection_id)
        return list(session.scalars(rows.order_by(Delivery.created_at, Delivery.id)))


def came(database: Database, vault: Vault, site: Site, clock: Clock, number: int) -> list[UUID]:
    found = []
    for one in range(number):
        found.append(send(database, vault, site, email=f"jane{one}@example.com").event_id)
        clock.forward(seconds=1)
    return found


def is_new(database: Database, vault: Vault, site: Site) -> Connection:
    return make_connection(database, vault, site, takes_over=True)


def is_ready(database: Database, connection: Connection, clock: Clock) -> bool:
    with database.read() as session:
        return connection.id in outbox.ready(session, clock())


def test_two_hundred_take_as_many_statements_as_one(timed: Database, vault: Vault, site: Site) -> None:
    counts = []
    for number in (1, 100):  # of which SQLite takes so many in one
        send_in_groups(timed, vault, site, number)
        connection = make_connection(timed, vault, site)
        with statements(timed) as sent:
            assert outbox.take_over(timed, connection.id) == number
        counts.append(len(sent))
        with timed.write() as session:
            connection = session.get_one(Connection, connection.id)
            connection.removed_at = timed.now(session)
            for row in session.scalars(select(Delivery)):
                row.state = "confirmed"
    assert counts[0] == counts[1]


@pytest.mark.usefixtures("slices_of_two")
def test_each_goes_once_and_in_order(timed: Database, vault: Vault, site: Site, clock: Clock) -> None:
    events = came(timed, vault, site, clock, 5)
    connection = is_new(timed, vault, site)
    assert outbox.take_over(timed, connection.id) == 5
    assert has(timed, connection.id) == events
    assert is_ready(timed, connection, clock)


@pytest.mark.usefixtures("slices_of_two")
def test_what_comes_meanwhile_is_there_once_and_does_not_overtake(
    timed: Database, vault: Vault, site: Site, clock: Clock
) -> None:
    events = came(timed, vault, site, clock, 5)
    connection = is_new(timed, vault, site)

    def comes() -> None:
        events.append(send(timed, vault, site, email="jane4@example.com").event_id)
        assert not is_ready(timed, connection, clock), "the earlier one of the same person is not there yet"
        assert outbox.lease(timed, connection.id, "w1", 60) is None

    assert outbox.take_over(timed, connection.id, Between(comes)) == 5
    assert has(timed, connection.id) == events
    assert [item.event.id for item in delivered(timed, connection)] == events


@pytest.mark.usefixtures("slices_of_two")
def test_where_it_breaks_off_the_worker_gives_the_rest(
    timed: Database, vault: Vault, site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = came(timed, vault, site, clock, 5)
    gives, times = takeover._give_all, Counter[str]()

    def breaks_off(*args: Any) -> int:
        times["given"] += 1
        if times["given"] == 2:
            raise OperationalError("", {}, Exception("the database is gone"))
        return gives(*args)

    monkeypatch.setattr(takeover, "_give_all", breaks_off)
    connection = Setup(timed, vault, Limits(60, 5), "anna").create(site.key, "sandbox", "", OPTIONS)
    assert has(timed, connection.id) == events[:2]
    assert not is_ready(timed, connection, clock)
    take_over_on(Context(timed, vault, "w1", Limits(60, 5), POLICY))
    assert has(timed, connection.id) == events
    assert is_ready(timed, connection, clock)


@pytest.mark.usefixtures("slices_of_two")
def test_whoever_is_told_to_stop_leaves_the_rest(timed: Database, vault: Vault, site: Site, clock: Clock) -> None:
    events = came(timed, vault, site, clock, 5)
    connection = is_new(timed, vault, site)
    stop = Between()
    stop._does.append(stop.set)
    assert outbox.take_over(timed, connection.id, stop) == 2
    assert not is_ready(timed, connection, clock)
    assert outbox.take_over(timed, connection.id) == 3
    assert has(timed, connection.id) == events


@pytest.mark.usefixtures("slices_of_two")
def test_one_that_is_paused_or_removed_meanwhile(timed: Database, vault: Vault, site: Site, clock: Clock) -> None:
    came(timed, vault, site, clock, 5)
    connection = is_new(timed, vault, site)

    def becomes(does: Any) -> None:
        with timed.write() as session:
            does(session, session.get_one(Connection, connection.id), clock())

    between = Between(lambda: becomes(outbox.pause), lambda: becomes(outbox.remove))
    assert outbox.take_over(timed, connection.id, between) == 4
    with timed.read() as session:
        assert {(row.state, row.code) for row in session.scalars(select(Delivery))} == {("held", "removed")}
        assert outbox.taking_over(session) == []
    assert outbox.take_over(timed, is_new(timed, vault, site).id) == 5


@pytest.mark.usefixtures("slices_of_two")
def test_of_two_new_ones_at_once_one_has_each(timed: Database, vault: Vault, site: Site, clock: Clock) -> None:
    events = came(timed, vault, site, clock, 20)
    first, second = (is_new(timed, vault, site).id for _ in range(2))
    with ThreadPoolExecutor(3) as pool:
        numbers = list(pool.map(lambda one: outbox.take_over(timed, one), (first, second, first)))
    assert sum(numbers) == 20
    assert sorted(has(timed, first) + has(timed, second)) == sorted(events)


def test_what_a_connection_did_not_get_that_went_at_once_is_still_told(
    timed: Database, vault: Vault, site: Site, clock: Clock
) -> None:
    came(timed, vault, site, clock, 3)
    clock.forward(hours=1)
    connection = is_new(timed, vault, site)
    with timed.write() as session:
        outbox.remove(session, session.get_one(Connection, connection.id), clock())
    assert outbox.take_over(timed, connection.id) == 0
    clock.forward(hours=1)
    with timed.read() as session:
        assert [wait.number for wait in without_connection(session, [])] == [3]
