"""A round is done by one process out of many, and by one again whatever the clock does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

from leads.store.models import Task
from leads.store.session import Database
from leads.store.tasks import begin as begin_task
from leads.store.tasks import claim, ran_at
from tests.conftest import only_postgres
from tests.database.lanes import Clock

EVERY = timedelta(seconds=30)


def claimed(database: Database, name: str = "watch", every: timedelta = EVERY) -> bool:
    with database.write() as session:
        return claim(session, name, database.now(session), every)


def test_a_round_is_due_at_once_and_then_when_its_time_has_come(timed: Database, clock: Clock) -> None:
    assert claimed(timed)
    assert not claimed(timed)
    clock.forward(seconds=29)
    assert not claimed(timed)
    clock.forward(seconds=1)
    assert claimed(timed)
    assert not claimed(timed)


def test_duties_do_not_disturb_each_other(timed: Database) -> None:
    assert claimed(timed, "watch")
    assert claimed(timed, "canary")


def test_a_clock_that_was_set_back_does_not_end_it(timed: Database, clock: Clock) -> None:
    assert claimed(timed)
    clock.forward(hours=-5)
    assert claimed(timed)
    assert not claimed(timed)


def test_one_who_read_the_time_before_the_winner_did_loses(timed: Database, clock: Clock) -> None:
    clock.forward(seconds=5)
    assert claimed(timed)
    clock.forward(seconds=-5)
    assert not claimed(timed)


def test_of_many_processes_one_does_the_round(database: Database) -> None:
    for _round in ("the first of all", "one that is due again"):
        together = Barrier(8)

        def at_once(_: int, together: Barrier = together) -> bool:
            together.wait()
            return claimed(database, every=timedelta(hours=1))

        with ThreadPoolExecutor(8) as pool:
            won = sum(pool.map(at_once, range(8)))
        assert won == 1
        _make_due(database)


def _make_due(database: Database) -> None:
    with database.write() as session:
        session.get_one(Task, "watch").due_at = database.now(session)


@only_postgres
def test_any_number_of_processes_may_begin_at_once(database: Database) -> None:
    together = Barrier(4)

    def begin(_: int) -> None:
        with database.write() as session:
            assert ran_at(session, "digest") is None
            together.wait()
            begin_task(session, "digest", database.now(session))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    with database.read() as session:
        assert ran_at(session, "digest") is not None
