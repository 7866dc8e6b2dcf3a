"""The round in which old enquiries are forgotten: each hour, by one worker out of many, a slice at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from leads.store import tasks
from leads.store.retention import Place, Slice, forget_routine, forget_slice, forget_unreadable
from leads.store.session import Database

log = structlog.get_logger()

EVERY = timedelta(hours=1)
KEEP_ROUTINE = timedelta(days=365)  # who signed in, and who looked at what
_BREATH = 0.05  # seconds between slices in which others write


@dataclass(frozen=True, slots=True)
class Retention:
    """keep: how long after a person's last enquiry; zero: for ever. stop: ends a round after the slice in hand."""

    database: Database
    keep: timedelta
    stop: threading.Event

    def round(self) -> None:
        """Forget what has become old, if this process is the one to do it."""
        if self.keep and self._is_mine("retention"):
            forgotten = sum(done.forgotten for done in slices(self.database, self._before(self.keep), self.stop))
            if forgotten:
                log.info("old enquiries were forgotten", people=forgotten)
        if self._is_mine("routine"):
            while not self.stop.is_set() and forget_routine(self.database, self._before(KEEP_ROUTINE)):
                self.stop.wait(_BREATH)

    def _is_mine(self, duty: str) -> bool:
        with self.database.write() as session:
            # A little less, so that the ticks of one process alone do not miss every other round.
            return tasks.claim(session, duty, self.database.now(session), EVERY * 0.9)

    def _before(self, keep: timedelta) -> datetime:
        return self.database.time() - keep


def slices(database: Database, before: datetime, stop: threading.Event) -> Iterator[Slice]:
    """Forget all who are old, slice by slice, each as soon as it is done."""
    place: Place | None = None
    while not stop.is_set():
        done = forget_slice(database, before, place)
        yield done
        place = done.place
        if place is None:
            break
        stop.wait(_BREATH)
    while not stop.is_set() and forget_unreadable(database, before):
        stop.wait(_BREATH)
