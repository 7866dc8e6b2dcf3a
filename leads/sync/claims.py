"""A lane's batches, one after another. Behind a full one is a backlog: while the CRM answers, the next is claimed.

Only where nothing can come to stand twice (tier A): what is in hand when a worker dies may have been sent.
"""

from __future__ import annotations

import time
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


class Claims:
    """What is claimed and not taken is given back at the end of the block."""

    def __init__(self, context: Context, connector: Connector) -> None:
        self._context = context
        self._size = connector.batch_size
        self._looks_ahead = connector.tier == "A" and connector.batch_size > 1
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="claims")  # starts its thread when it is first needed
        self._coming: Future[_Batch] | None = None

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
        self._pool.shutdown()

    def take(self, lane: Lane) -> list[Claimed]:
        """The next batch; empty when nothing is due or nothing may be sent. The time for its calls runs."""
        coming, self._coming = self._coming, None
        batch = coming.result() if coming else None
        if not (batch and batch.items):  # what was due only now, or had to wait for the batch before, is there now
            batch = self._claim(lane)
        self._context.limits.start_budget(batch.since)
        if self._looks_ahead and len(batch.items) == self._size and not lane.probing:
            self._coming = self._pool.submit(self._claim, lane)
        return batch.items

    def give_back(self) -> None:
        """Let go of what is claimed ahead: nothing more is to be sent for now."""
        coming, self._coming = self._coming, None
        if coming and (items := coming.result().items):
            outbox.give_back(self._context.database, items)

    def _claim(self, lane: Lane) -> _Batch:
        since = time.monotonic()
        return _Batch(outbox.claim(self._context.database, lane, self._size, self._context.limits.lease), since)
