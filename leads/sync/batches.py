"""A lane's batches, one after another. Behind a full one is a backlog: while the CRM answers, the next batch is claimed
and translated, and what became of the one before is written down.

Only where nothing can come to stand twice (tier A): what is in hand when a worker dies may have been sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple
from uuid import UUID

from integrations.core.base import Connector, Item
from integrations.core.errors import DeliveryError
from leads.store import outbox
from leads.store.models import Connection
from leads.store.outbox import Claimed, Lane
from leads.sync.connect import Context
from leads.sync.item import build_all


class Batch(NamedTuple):
    """What was claimed together. items: by the delivery's id, what is to be sent, or why it cannot be. since: when its
    lease began, by the monotonic clock."""

    claimed: list[Claimed]
    items: dict[UUID, Item | DeliveryError]
    since: float


class Batches:
    """At the end of the block all is written down, and what is claimed and was not taken is given back."""

    def __init__(self, context: Context, connection: Connection, connector: Connector) -> None:
        self._context = context
        self._connection = connection
        self._size = connector.batch_size
        self._works_beside = connector.tier == "A" and connector.batch_size > 1
        # One thread, so that what was done is written before what comes then is claimed. It starts when it is needed.
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: Future[Batch] | None = None
        self._writing: Future[None] | None = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.give_back()
            self._written()
        finally:
            self._beside.shutdown()

    def take(self, lane: Lane) -> Batch:
        """The next one; empty when nothing is due or nothing may be sent. The time for its calls runs.

        Raises what was raised when the one before the last was written down.
        """
        coming, self._coming = self._coming, None
        batch = coming.result() if coming else None
        if not (batch and batch.claimed):  # what was due only now, or had to wait for the batch before, is there now
            self._written()
            batch = self._claim(lane)
        self._context.limits.start_budget(batch.since)
        if self._works_beside and len(batch.claimed) == self._size and not lane.probing:
            self._coming = self._beside.submit(self._claim, lane)
        return batch

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
        if coming and (claimed := coming.result().claimed):
            outbox.give_back(self._context.database, claimed)

    def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _claim(self, lane: Lane) -> Batch:
        since = time.monotonic()
        claimed = outbox.claim(self._context.database, lane, self._size, self._context.limits.lease)
        built = build_all(self._context.vault, self._connection, claimed)
        items = {one.delivery.id: item for one, item in zip(claimed, built, strict=True)}
        return Batch(claimed, items, since)
