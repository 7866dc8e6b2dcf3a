"""What was claimed together goes to the CRM push by push, as many at once as the connector allows.

Where that is more than one, the next batch is begun while the CRM works for the last pushes of the one before: the
worker would have nothing to do meanwhile. Once one of them shows that the CRM does not work or wants quiet, no other
is begun.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import chain
from threading import Lock
from typing import NamedTuple, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from integrations.core.base import Connector, Item, Pushed, Result, parts
from integrations.core.errors import Refused
from leads.store import outbox
from leads.store.models import Connection
from leads.store.outbox import Claimed, Lane
from leads.sync import calls, doubt
from leads.sync.connect import Context
from leads.sync.item import build_all

log = structlog.get_logger()


class Push(NamedTuple):
    """One push, and what became of each delivery of it. asked: those of the results that the CRM itself had a say in;
    the others could not even be translated. began: by the monotonic clock."""

    claimed: Sequence[Claimed]
    results: _Results
    asked: _Results
    began: float
    milliseconds: int

    def went_well(self) -> bool:
        """Whether the CRM took each or had something against that one alone."""
        return all(isinstance(result, Pushed | Refused) for result in self.results)


class Sent(NamedTuple):
    """pushes: in the order of what was claimed. left: what was not sent."""

    pushes: list[Push]
    left: list[Claimed]


_FRESH = 0.5  # seconds that what was seen of the connection holds good
_Results = Sequence[Result | Exception]
_Part = tuple[Sequence[Claimed], Future[Push | None]]  # what goes in one push; None: it was not begun


class Sender:
    """Sends what a lane claims. At the end of the block all that was begun is answered."""

    def __init__(self, context: Context, connection: Connection, connector: Connector, lane: Lane) -> None:
        self._context = context
        self._lane = lane
        self._connection = connection
        self._connector = connector
        # At a pace they would only wait for each other.
        at_once = 1 if connection.pace else connector.at_once
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="pushes") if at_once > 1 else None
        self._batches: deque[list[_Part]] = deque()  # of which not all was answered when we last looked
        self._in_trouble = False
        self._is_ours, self._looked_at = True, time.monotonic()  # whether the lane holds its connection, and since when

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()

    @property
    def in_hand(self) -> bool:
        """Whether something was begun of which nobody has been told yet what became of it."""
        return bool(self._batches)

    def begin(self, claimed: Sequence[Claimed], since: float, more_to_come: bool) -> None:
        """Send these. Returns when they are answered, or at once where other pushes may run beside them. since: when
        their lease began, by the monotonic clock."""
        some = list(parts(claimed, self._connector.batch_size))
        # Else no thread is needed, as nearly always.
        pool = self._pool if more_to_come or len(some) > 1 or self._batches else None
        self._wait_for(claimed)
        batch: list[_Part] = []
        self._batches.append(batch)
        for number, part in enumerate(some):
            is_first = number == 0 and len(self._batches) == 1  # it was claimed just now
            batch.append((part, self._begin(pool, part, since, is_first)))

    def answered(self, more_to_come: bool) -> Sent:
        """What became of a batch, or of all that was begun when no more is to come or one of them is in trouble: what
        the others were told then belongs to it. Nothing yet of the only one, which may go on beside the next."""
        sent = Sent([], [])
        if more_to_come and self._pool and len(self._batches) == 1:
            return sent
        while self._batches and (not sent.pushes or not more_to_come or self._in_trouble):
            for part, future in self._batches.popleft():
                if push := future.result():
                    sent.pushes.append(push)
                else:
                    sent.left.extend(part)
        if not self._batches:
            self._in_trouble = False
        return sent

    def _wait_for(self, claimed: Sequence[Claimed]) -> None:
        """No two pushes of one person run at once: staff may have sent an earlier enquiry of theirs again meanwhile."""
        people = {one.lead.id for one in claimed}
        for part, future in chain.from_iterable(self._batches):
            if any(one.lead.id in people for one in part):
                wait([future])

    def _begin(
        self, pool: ThreadPoolExecutor | None, part: Sequence[Claimed], since: float, is_first: bool
    ) -> Future[Push | None]:
        pushed: Future[Push | None] = Future()
        once = Lock()

        def push() -> None:
            if once.acquire(blocking=False):
                try:
                    pushed.set_result(self._push(part, since, is_first))
                except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
                    pushed.set_exception(error)

        try:
            if pool:
                pool.submit(push)
        except RuntimeError as error:  # no thread can be had just now; one that is there may take it all the same
            log.error("no thread for a push", type=type(error).__name__)
            pool = None
        if not pool:
            push()
        return pushed

    def _push(self, claimed: Sequence[Claimed], since: float, is_first: bool) -> Push | None:
        if not self._may_begin(since, is_first):
            return None
        self._context.limits.start_budget(since)
        began = time.monotonic()
        results, asked = self._results(claimed)
        push = Push(claimed, results, asked, began, int((time.monotonic() - began) * 1000))
        if not push.went_well():  # said by this one alone: another may have said it meanwhile
            self._in_trouble = True
        return push

    def _results(self, claimed: Sequence[Claimed]) -> tuple[_Results, _Results]:
        """What became of each, and those of it that the CRM had a say in."""
        try:
            built = build_all(self._context.vault, self._connection, claimed)
            doubtful = {str(one.event.id) for one in claimed if doubt.is_doubtful(one)}
            results = calls.for_each(built, lambda items: calls.push(self._connector, items, doubtful))
        except Exception as error:  # noqa: BLE001 - a bug of ours must not take along what others of the batch were told
            calls.log_bug(error)
            return [error] * len(claimed), []
        return results, [result for one, result in zip(built, results, strict=True) if isinstance(one, Item)]

    def _may_begin(self, since: float, is_first: bool) -> bool:
        has_time = is_first or (self._context.limits.has_time(since) and self._holds())
        return has_time and not self._in_trouble and not self._context.stop.is_set()

    def _holds(self) -> bool:
        """Whether nobody has paused or removed the connection: a batch may be many pushes. Not asked for each."""
        if time.monotonic() - self._looked_at > _FRESH:
            try:
                self._is_ours = outbox.holds(self._context.database, self._lane)
            except SQLAlchemyError as error:
                log.warning("the database did not answer before a push", type=type(error).__name__)
                return False
            self._looked_at = time.monotonic()
        return self._is_ours
