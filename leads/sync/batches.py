"""A lane's batches, one after another. What became of one is written down in the commit that claims another.

Behind a full one is a backlog: while the CRM answers for it, what became of the batch before is written down, and the
next one is claimed; and as long as the CRM is quick, the next one is twice as large, for one commit costs much the same
for many. Only where nothing can come to stand twice (tier A): what is in hand when a worker dies may have been sent.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import structlog

from integrations.core.base import Connector
from leads.store import outbox
from leads.store.failpoint import reach
from leads.store.outbox import Claimed, Health, Lane, Outcome
from leads.sync.connect import Context

log = structlog.get_logger()

_MOST = 400  # deliveries in one batch: others wait for its commit
_QUICK = 1.0  # seconds for all its pushes


class Batch(NamedTuple):
    """What was claimed together. since: when its lease began, by the monotonic clock. more: there were as many as were
    asked for, and what comes behind it may be worked on beside it."""

    claimed: list[Claimed]
    since: float
    more: bool


class Done(NamedTuple):
    """What became of a batch, and how the connection is since, if that is news."""

    outcomes: Sequence[Outcome]
    health: Health | None


class Batches:
    """At the end of the block all is written down, and what is claimed and was not taken is given back."""

    def __init__(self, context: Context, connector: Connector, lane: Lane) -> None:
        self._context = context
        self._lane = lane  # as it was for the last batch
        self._works_beside = connector.tier == "A" and connector.batch_size > 1
        self._least = self._size = connector.batch_size
        self._began = time.monotonic()  # when the batch in hand was taken
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="batches")  # its thread starts when it is needed
        self._coming: Future[Batch] | None = None
        self._unwritten: deque[Done] = deque()  # of the batch in hand, and of the one before until that is written down

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.give_back()
        finally:  # whatever became of that: what was sent is written down
            try:
                self._write_down()
            finally:
                self._beside.shutdown()

    def take(self, lane: Lane) -> Batch:
        """The next one; empty when nothing is due or nothing may be sent. The time for its calls runs.

        Raises what was raised when the one before the last was written down.
        """
        batch = self._claimed_ahead()
        self._lane = lane  # only now: the claim beside us had the one before
        if batch and batch.claimed and not self._may_be_sent(batch):
            outbox.give_back(self._context.database, batch.claimed)
            batch = None
        if not (batch and batch.claimed):  # what was due only now, or had to wait for the batch before, is there now
            batch = self._claim()
        self._began = time.monotonic()
        self._context.limits.start_budget(batch.since)  # for what the lane itself calls: what it reads back, removes
        batch = batch._replace(more=batch.more and self._works_beside and not lane.probing)
        try:
            if not (batch.more and self._claim_beside()):
                self._write_down()
        except Exception:
            outbox.give_back(self._context.database, batch.claimed)
            raise
        return batch

    def write(self, done: Done) -> None:
        """Write this down with the next claim, or at the end of the block."""
        if done.outcomes:  # all may have been set aside
            self._unwritten.append(done)
        if self._works_beside:
            is_quick = time.monotonic() - self._began < _QUICK
            self._size = max(min(self._size * 2, _MOST) if is_quick else self._size // 2, self._least)

    def give_back(self) -> None:
        """Let go of what is claimed ahead: nothing more is to be sent for now."""
        if (batch := self._claimed_ahead()) and batch.claimed:
            outbox.give_back(self._context.database, batch.claimed)

    def _claimed_ahead(self) -> Batch | None:
        coming, self._coming = self._coming, None
        return coming.result() if coming else None

    def _may_be_sent(self, ahead: Batch) -> bool:
        """Whether enough of its time is left, and nobody has paused or removed the connection meanwhile."""
        return self._context.limits.has_time(ahead.since) and outbox.holds(self._context.database, self._lane)

    def _claim_beside(self) -> bool:
        """Whether the next batch is claimed, and the one before written down, while the CRM answers for this one."""
        try:
            self._coming = self._beside.submit(self._claim)
        except RuntimeError as error:  # no thread can be had just now
            log.error("no thread to claim ahead", type=type(error).__name__)
            self._works_beside = False
            return False
        return True

    def _write_down(self) -> None:
        while self._unwritten:
            done = self._unwritten[0]
            self._is_written(done, outbox.finish(self._context.database, self._lane, *done))

    def _claim(self) -> Batch:
        since, size = time.monotonic(), self._size
        database, lease = self._context.database, self._context.limits.lease
        if self._unwritten:
            done = self._unwritten[0]
            fenced, claimed = outbox.finish_and_claim(database, self._lane, *done, size, lease)
            self._is_written(done, fenced)
        else:
            claimed = outbox.claim(database, self._lane, size, lease)
        return Batch(claimed, since, more=len(claimed) == size)

    def _is_written(self, done: Done, fenced: int) -> None:
        self._unwritten.popleft()  # only now: what could not be written down is tried once more at the end of the block
        reach("finish.committed")
        log.info(
            "delivered",
            connection=str(self._lane.connection_id),
            batch=len(done.outcomes),
            sent=sum(outcome.verdict == "sent" for outcome in done.outcomes),
            fenced=fenced,
            milliseconds=done.outcomes[0].milliseconds,
            code=done.health.code if done.health else None,
        )
