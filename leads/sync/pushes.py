"""What was claimed together goes to the CRM push by push, as many at once as the connector allows.

Once one of them shows that the CRM does not work or wants quiet, no other is begun.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import structlog

from integrations.core.base import Connector, Item, Pushed, Result, parts
from integrations.core.errors import Refused
from leads.store.models import Connection
from leads.store.outbox import Claimed
from leads.sync import calls, doubt
from leads.sync.connect import Context
from leads.sync.item import build_all

log = structlog.get_logger()


class Push(NamedTuple):
    """One push, and what became of each delivery of it. asked: those of the results that the CRM itself had a say in;
    the others could not even be translated. began: by the monotonic clock."""

    claimed: Sequence[Claimed]
    results: Sequence[Result | Exception]
    asked: Sequence[Result | Exception]
    began: float
    milliseconds: int

    def went_well(self) -> bool:
        """Whether the CRM took each or had something against that one alone."""
        return all(isinstance(result, Pushed | Refused) for result in self.results)


class Sent(NamedTuple):
    """pushes: in the order of what was claimed. left: what was not sent."""

    pushes: list[Push]
    left: list[Claimed]


class Sender:
    """Sends what was claimed together. since: when its lease began, by the monotonic clock."""

    def __init__(self, context: Context, connection: Connection, connector: Connector, since: float) -> None:
        self._context = context
        self._connection = connection
        self._connector = connector
        self._since = since
        self._begun = self._in_trouble = False

    def send(self, claimed: Sequence[Claimed]) -> Sent:
        """Returns when all that was begun is answered."""
        some = list(parts(claimed, self._connector.batch_size))
        at_once = 1 if self._connection.pace else self._connector.at_once  # a pace would only make them wait
        if len(some) == 1 or at_once == 1:  # as nearly always: no thread is needed
            pushes = [self._push(part) for part in some]
        else:
            pushes = self._push_side_by_side(some, at_once)
        left = [one for part, push in zip(some, pushes, strict=True) if push is None for one in part]
        return Sent([push for push in pushes if push], left)

    def _push_side_by_side(self, some: Sequence[Sequence[Claimed]], at_once: int) -> list[Push | None]:
        pushes: list[Push | None] = [None] * len(some)

        def push(number: int) -> None:
            pushes[number] = self._push(some[number])

        with ThreadPoolExecutor(at_once, thread_name_prefix="pushes") as pool:
            begun: list[Future[None]] = []
            try:
                begun += (pool.submit(push, number) for number in range(len(some)))
            except RuntimeError as error:  # no thread can be had just now; those that are there go on
                log.error("no thread for a push", type=type(error).__name__)
        for one in begun:
            one.result()
        return pushes

    def _push(self, claimed: Sequence[Claimed]) -> Push | None:
        if not self._may_begin():
            return None
        self._begun = True
        self._context.limits.start_budget(self._since)
        began = time.monotonic()
        built = build_all(self._context.vault, self._connection, claimed)
        doubtful = {str(one.event.id) for one in claimed if doubt.is_doubtful(one)}
        results = calls.for_each(built, lambda items: calls.push(self._connector, items, doubtful))
        asked = [result for one, result in zip(built, results, strict=True) if isinstance(one, Item)]
        push = Push(claimed, results, asked, began, int((time.monotonic() - began) * 1000))
        if not push.went_well():  # said by this one alone: another may have said it meanwhile
            self._in_trouble = True
        return push

    def _may_begin(self) -> bool:
        has_time = not self._begun or self._context.limits.has_time(self._since)
        return has_time and not self._in_trouble and not self._context.stop.is_set()
