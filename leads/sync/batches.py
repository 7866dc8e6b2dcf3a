"""A lane's batches, one after another. Behind a full one is a backlog: while the CRM answers, the next batch is claimed
and what became of the one before is written down.

Only where nothing can come to stand twice (tier A): what is in hand when a worker dies may have been sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from integrations.core.base import Connector
from leads.store import outbox
from leads.store.outbox import Claimed, Lane
from leads.sync.connect import Context


class _Batch(NamedTuple):
    """since: when its lease began, by the monotonic clock."""

    items: list[Claimed]
    since: float


class Batches:
    """At the end of the block all is written down, and what is claimed and was not taken is given back."""

    def __init__(self, context: Context, connector: Connector) -> None:
        self._context = context
        self._size = connector.batch_size
        self._works_beside = connector.tier == "A" and connector.batch_size > 1
        # One thread, so that what was done is written before what comes then is claimed. It starts when it is needed.
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: Future[_Batch] | None = None
        self._writing: Future[None] | None = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.give_back()
            self._written()
        finally:
            self._beside.shutdown()

    def take(self, lane: Lane) -> list[Claimed]:
        """The next batch; empty when nothing is due or nothing may be sent. The time for its calls runs.

        Raises what was raised when the one before the last was written down.
        """
        coming, self._coming = self._coming, None
        batch = coming.result() if coming else None
        if not (batch and batch.items):  # what was due only now, or had to wait for the batch before, is there now
            self._written()
            batch = self._claim(lane)
        self._context.limits.start_budget(batch.since)
        if self._works_beside and len(batch.items) == self._size and not lane.probing:
            self._coming = self._beside.submit(self._claim, lane)
        return batch.items

    def write(self, finish: Callable[[], None]) -> None:
        """Write down what became of the batch that was taken: at once, or while the CRM answers for the next one."""
        self._written()
        if self._coming:
            self._writing = self._beside.submit(finish)
        else:
            finish()

    def give_back(self) -> None:
        """Let go of what is claimed ahead: nothing more is to be sent for now."""
        coming, self._coming = self._coming, None
        if coming and (items := coming.result().items):
            outbox.give_back(self._context.database, items)

    def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _claim(self, lane: Lane) -> _Batch:
        since = time.monotonic()
        return _Batch(outbox.claim(self._context.database, lane, self._size, self._context.limits.lease), since)
