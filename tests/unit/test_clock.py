"""The ticking goes on, whatever fails in it and whatever the wall clock does."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from apscheduler.executors.pool import BasePoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.base import BaseScheduler
from sqlalchemy.exc import OperationalError

from leads.sync import clock
from leads.sync.clock import Every, Ticker, Watch
from tests.programs import wait_for

PARTS = (
    (MemoryJobStore, "get_due_jobs"),
    (MemoryJobStore, "update_job"),
    (MemoryJobStore, "get_next_run_time"),
    (BasePoolExecutor, "submit_job"),
    (BaseScheduler, "_process_jobs"),
    (Every, "get_next_fire_time"),
)
ERRORS = 1000
SILENT = 0.01  # five seconds in earnest


class Ticks:
    """A job that counts, fails when it is told to, and notes the longest gap."""

    def __init__(self) -> None:
        self.number, self.gap, self._last = 0, 0.0, time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        self.number, self.gap, self._last = self.number + 1, max(self.gap, now - self._last), now

    __name__ = "ticks"


@pytest.fixture
def watched() -> Iterator[Callable[[Ticker], None]]:
    """Starts a ticker and watches over it, as the worker's main thread does."""
    ended = threading.Event()
    threads, tickers = [], []

    def start(ticker: Ticker) -> None:
        def watch() -> None:
            while not ended.wait(0.005):
                ticker.watch()

        ticker.start()
        threads.append(threading.Thread(target=watch))
        tickers.append(ticker)
        threads[-1].start()

    yield start
    ended.set()
    for thread, ticker in zip(threads, tickers, strict=True):
        thread.join()
        ticker.stop(wait=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # they are what is tested
def test_a_thousand_errors_in_every_part_of_the_scheduler_never_end_the_ticking(
    watched: Callable[[Ticker], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    thrown = dict.fromkeys((name for _, name in PARTS), 0) | {"the job": 0}
    chance = random.Random(7)

    def sometimes_fails(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def fail_or_call(*args: Any, **options: Any) -> Any:
            if sum(thrown.values()) < ERRORS and chance.random() < 0.2:
                thrown[name] += 1
                raise OperationalError("x", None, Exception())
            return call(*args, **options)

        return fail_or_call

    for owner, name in PARTS:
        monkeypatch.setattr(owner, name, sometimes_fails(getattr(owner, name), name))
    ticks, others = Ticks(), Ticks()
    job = sometimes_fails(ticks, "the job")
    job.__name__ = "tick"
    watched(Ticker([(job, 0.002), (others, 0.002)], silent=SILENT))
    until = time.monotonic() + 100
    while sum(thrown.values()) < ERRORS and time.monotonic() < until:
        time.sleep(0.01)
    assert sum(thrown.values()) == ERRORS
    assert min(thrown.values()) > 20, thrown
    after = ticks.number, others.number
    wait_for(lambda: ticks.number > after[0] + 5 and others.number > after[1] + 5)
    # In earnest the silence is five seconds instead of a hundredth of one: below ten in all.
    assert ticks.gap < 5


@pytest.mark.parametrize(
    "jump",
    [timedelta(hours=-1), timedelta(days=-365), timedelta(hours=1), timedelta(days=365), timedelta(days=20 * 365)],
    ids=str,
)
def test_the_ticking_outlives_a_jump_of_the_wall_clock(watched: Callable[[Ticker], None], jump: timedelta) -> None:
    ticks = Ticks()
    with time_machine.travel(datetime.now(UTC), tick=True) as traveller:
        watched(Ticker([(ticks, 0.02)], silent=0.5))
        wait_for(lambda: ticks.number > 0)
        traveller.shift(jump)
        before, jumped = ticks.number, time.monotonic()
        time.sleep(1.5)
        wait_for(lambda: ticks.number > before + 10)
        number, seconds = ticks.number - before, time.monotonic() - jumped
        assert number < seconds / 0.02 + 25, "what was missed is not made up for"
    assert ticks.gap < 15, "an hour, as far as the scheduler knows"


def test_without_the_watch_a_clock_set_back_stops_the_scheduler() -> None:
    """The fault that is guarded against is real: this one is not watched."""
    ticks = Ticks()
    with time_machine.travel(datetime.now(UTC), tick=True) as traveller:
        ticker = Ticker([(ticks, 0.02)])
        ticker.start()
        wait_for(lambda: ticks.number > 0)
        traveller.shift(timedelta(hours=-1))
        time.sleep(0.5)
        before = ticks.number
        time.sleep(0.5)
        ticker.stop(wait=True)
    assert ticks.number == before > 0


def test_a_jump_is_seen_and_a_suspend_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seconds = datetime(2026, 3, 2, 9, tzinfo=UTC), [1000.0]
    monkeypatch.setattr(clock, "steady", lambda: seconds[0])
    watch = Watch(now)
    seconds[0] += 5
    assert watch.moved(now + timedelta(seconds=6)) == timedelta()
    assert watch.moved(now + timedelta(seconds=5, hours=1)) == timedelta(hours=1)
    assert watch.moved(now + timedelta(seconds=5, hours=-1)) == timedelta(hours=-1)
    seconds[0] += 8 * 3600  # the clock that goes on in a suspend has gone on
    assert watch.moved(now + timedelta(seconds=6, hours=8)) == timedelta()
    watch.note(now + timedelta(hours=1))
    assert watch.moved(now + timedelta(hours=1)) == timedelta()


def test_the_steady_clock_goes_on_and_cannot_be_set() -> None:
    with time_machine.travel(datetime.now(UTC) - timedelta(days=400), tick=True):
        first = clock.steady()
        time.sleep(0.02)
        assert 0.01 < clock.steady() - first < 5
    assert 0 < clock.steady() - first < 5
