"""What was claimed together goes to the CRM push by push, as many at once as the connector allows.

Once one of them shows that the CRM does not work or wants quiet, no other is begun.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import NamedTuple

from integrations.core.base import Connector, Item, Pushed, Result, parts
from integrations.core.errors import Refused
from leads.store.outbox import Claimed
from leads.sync import calls, doubt
from leads.sync.batches import Batch
from leads.sync.connect import Context


class Push(NamedTuple):
    """One push, and what became of each delivery of it. asked: those of the results that the CRM itself
    had a say in; the others could not even be translated. began: by the monotonic clock."""

    claimed: Sequence[Claimed]
    results: Sequence[Result | Exception]
    asked: Sequence[Result | Exception]
    began: float
    took: timedelta

    def went_well(self) -> bool:
        """Whether the CRM took each or had something against that one alone."""
        return all(isinstance(result, Pushed | Refused) for result in self.results)


class Pushes:
    """The pushes of one claim. made: in the order of what was claimed. left: what was not sent."""

    def __init__(self, context: Context, connector: Connector, batch: Batch, claimed: Sequence[Claimed]) -> None:
        """claimed: those of the batch that may be sent."""
        self._context, self._connector, self._batch = context, connector, batch
        self._goes_on, self._begun = True, False
        some = list(parts(claimed, connector.batch_size))
        if len(some) == 1:  # as nearly always: no thread is needed
            pushes = [self._push(some[0])]
        else:
            with ThreadPoolExecutor(connector.at_once, thread_name_prefix="pushes") as pool:
                pushes = list(pool.map(self._push, some))
        self.made = [push for push in pushes if push]
        self.left = [one for part, push in zip(some, pushes, strict=True) if not push for one in part]

    def _may_begin(self) -> bool:
        has_time = not self._begun or self._context.limits.has_time(self._batch.since)
        return self._goes_on and has_time and not self._context.stop.is_set()

    def _push(self, claimed: Sequence[Claimed]) -> Push | None:
        if not self._may_begin():
            return None
        self._begun = True
        self._context.limits.start_budget(self._batch.since)
        began = time.monotonic()
        built = [self._batch.items[one.delivery.id] for one in claimed]
        doubtful = {str(one.event.id) for one in claimed if doubt.is_doubtful(one)}
        results = calls.for_each(built, lambda items: calls.push(self._connector, items, doubtful))
        asked = [result for one, result in zip(built, results, strict=True) if isinstance(one, Item)]
        push = Push(claimed, results, asked, began, timedelta(seconds=time.monotonic() - began))
        self._goes_on = self._goes_on and push.went_well()
        return push
