"""The ticking: APScheduler calls jobs at even intervals, is watched, and is replaced when it falls silent.

Known of APScheduler 3.11: an error in its job store ends its thread while it still calls itself running; a clock set
back makes it sleep until the clock has caught up; a clock set forward makes it count every tick that it missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from leads.store.clock import TOLERANCE

log = structlog.get_logger()

SILENT = 5.0  # seconds without a tick after which the scheduler is replaced
_UNSETTABLE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # nobody can set it, and it goes on in a suspend


def steady() -> float:
    """Seconds by a clock that nobody can set."""
    return time.clock_gettime(_UNSETTABLE)


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """So many seconds after now, whatever was missed: a year's worth of missed ticks would take all memory."""

    def __init__(self, seconds: float) -> None:
        self._span = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The next time."""
        return now if previous_fire_time is None else now + self._span


class Ticker:
    """Calls each job every so many seconds; an error in one is logged and ends nothing.

    jobs: (job, seconds); the first one is the tick by which the ticker is seen to live.
    """

    def __init__(self, jobs: list[tuple[Callable[[], None], float]], silent: float = SILENT) -> None:
        self._jobs = jobs
        self._silent = silent
        self._ticked = time.monotonic()
        self._scheduler: BackgroundScheduler | None = None

    def start(self) -> None:
        """Start ticking, at once."""
        self._ticked = time.monotonic()
        try:
            self._scheduler = self._start()
        except Exception as error:  # noqa: BLE001 - `watch` tries again
            log.error("the clock did not start", type=type(error).__name__)

    def _start(self) -> BackgroundScheduler:
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        scheduler = BackgroundScheduler(timezone=UTC, job_defaults=defaults)
        for number, (job, seconds) in enumerate(self._jobs):
            scheduler.add_job(self._called(job, is_tick=number == 0), Every(seconds))
        scheduler.start()
        return scheduler

    def _called(self, job: Callable[[], None], *, is_tick: bool) -> Callable[[], None]:
        def call() -> None:
            if is_tick:
                self._ticked = time.monotonic()
            try:
                job()
            except Exception as error:  # noqa: BLE001 - the next call may do better
                log.error("a job failed", job=job.__name__, type=type(error).__name__)

        return call

    def is_silent(self) -> bool:
        """Whether the last tick was too long ago."""
        return time.monotonic() - self._ticked > self._silent

    def watch(self) -> None:
        """Replace a scheduler that has fallen silent. To be called often, from another thread than its own."""
        if self.is_silent():
            log.error("the clock stopped; replacing it")
            self.stop(wait=False)
            self.start()

    def stop(self, *, wait: bool) -> None:
        """End the ticking. wait: until the jobs that run have ended."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            with suppress(Exception):  # one whose thread has died may not be able to stop
                scheduler.shutdown(wait=wait)


class Watch:
    """Sees the wall clock jump, by comparing it with one that nobody can set."""

    def __init__(self, now: datetime) -> None:
        self.note(now)

    def moved(self, now: datetime) -> timedelta:
        """How far the wall clock has jumped since it was noted last; zero below half a minute."""
        jump = now - self._wall - timedelta(seconds=steady() - self._steady)
        return jump if abs(jump) > TOLERANCE else timedelta()

    def note(self, now: datetime) -> None:
        """Take this time as a right one."""
        self._wall, self._steady = now, steady()
