"""One lane: claim → push → finish, over and over, for one connection, until nothing is due."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

import structlog

from integrations.core.base import Connector, Pushed, Result
from integrations.core.errors import DeliveryError, Misconfigured, Refused
from leads.store import outbox
from leads.store.failpoint import reach
from leads.store.models import Connection
from leads.store.outbox import Claimed, Health, Lane, Outcome
from leads.store.session import once_more
from leads.sync import callers, calls, canary, confirm, doubt, retry
from leads.sync.batches import Batch, Batches, Done
from leads.sync.connect import Context, open_connector
from leads.sync.erasing import erase_people
from leads.sync.pushes import Sender, Sent

log = structlog.get_logger()

_TURN, _LONGEST = 1.0, 60.0  # seconds


def run_lane(context: Context, connection_id: UUID, others_wait: Callable[[], bool] = lambda: False) -> bool:
    """Serve one connection until nothing is due, it may not be used, or the worker stops.

    Now and then it ends before: when others wait for their turn, when the connection was set up anew, so that what is
    left goes by the new mapping, address or pace, or when it took so long that what else is to be done in the CRM, such
    as erasing, would never have its turn. Returns whether it did.
    """
    lane = outbox.lease(context.database, connection_id, context.worker, context.limits.lease)
    if lane is None:
        return False
    try:
        return _serve(context, lane, others_wait)
    finally:
        outbox.release(context.database, lane)


def _serve(context: Context, lane: Lane, others_wait: Callable[[], bool]) -> bool:
    with context.database.read() as session:
        connection = session.get_one(Connection, lane.connection_id)
    connector = open_connector(context, connection)
    reader = confirm.Reader(context, connection, connector)
    health, asked = _health_of(connection), False
    if lane.probing and connector.tier == "C":  # an enquiry that breaks off there costs a person's time
        health, asked = _probe(context, lane, connector, health), True
        lane = replace(lane, probing=health.state == "failing")
    turn, goes_on = _Turn(context, connection, others_wait), False
    with Batches(context, connector, lane, paced=bool(connection.pace)) as batches:
        while not context.stop.is_set():
            batch = batches.take(lane)
            if batch.claimed:
                health = _deliver(context, connection, connector, lane, batches, batch, health)
            elif looked := reader.look(lane, health):
                health = looked
            else:
                break
            if not health.takes_more(context.now):
                batches.give_back()
            asked, lane = True, replace(lane, probing=health.state == "failing")
            if goes_on := turn.is_over():
                break
    if context.stop.is_set():
        return False
    if lane.probing and not asked:
        health = _probe(context, lane, connector, health)
    if health.takes_more(context.now):
        callers.retire_callers(context, connection, lane, connector)
        canary.clean_up(context, lane, connector)
        erase_people(context, lane, connector)
    return goes_on


class _Turn:
    """The time that a lane has before it sees whether to make room."""

    def __init__(self, context: Context, connection: Connection, others_wait: Callable[[], bool]) -> None:
        self._context = context
        self._connection = connection
        self._others_wait = others_wait
        self._until = time.monotonic() + _TURN
        self._end = time.monotonic() + _LONGEST

    def is_over(self) -> bool:
        """Whether others wait, what the lane goes by has changed, or it has gone on for long. If not, another turn
        begins."""
        now = time.monotonic()
        if now < self._until:
            return False
        self._until = now + _TURN
        return (
            now >= self._end or self._others_wait() or outbox.was_set_up_anew(self._context.database, self._connection)
        )


def _deliver(
    context: Context,
    connection: Connection,
    connector: Connector,
    lane: Lane,
    batches: Batches,
    batch: Batch,
    before: Health,
) -> Health:
    """Send a batch. Returns how the connection is then."""
    claimed = doubt.set_aside(context.database, lane, connector, batch.claimed)
    sent = Sender(context, connection, connector, batch.since).send(claimed)
    outcomes, health = _judge(context, lane, connector, sent, before)
    batches.write(Done(outcomes, health if health != before else None))
    if sent.left:
        outbox.give_back(context.database, sent.left)
    return health


def _health_of(connection: Connection) -> Health:
    return Health(
        connection.state,
        connection.failures,
        connection.probes,
        connection.code,
        connection.sentence,
        connection.probe_at,
        connection.wait_until,
    )


def _probe(context: Context, lane: Lane, connector: Connector, before: Health) -> Health:
    """Without an enquiry: the connection's own check shows whether it works again."""
    context.limits.start_budget()
    health = retry.assess([_checked(connector, before)], before, context.now())
    outbox.checked(context.database, lane, [], health)
    return health


def _checked(connector: Connector, before: Health) -> Result | Exception:
    try:
        wrong = [finding.sentence for finding in connector.check() if not finding.ok]
    except DeliveryError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a bug of ours must not end the lane
        calls.log_bug(error)
        return error
    return Misconfigured(before.code or "check", wrong[0]) if wrong else Pushed("checked")


def _judge(
    context: Context, lane: Lane, connector: Connector, sent: Sent, before: Health
) -> tuple[list[Outcome], Health]:
    """What became of what was sent, and how the connection is since."""
    reach("push.answered")
    # The one time that is asked for: it is a call to the database.
    now, clock = once_more(context.now), time.monotonic()
    asked = [result for push in sent.pushes for result in push.asked]
    health = retry.assess(asked, before, now) if asked else before
    outcomes: list[Outcome] = []
    for push in sent.pushes:
        began = now - timedelta(seconds=clock - push.began)
        trial = _Try(context, connector, lane.probing, now, began, push.milliseconds)
        outcomes += map(trial.outcome, push.claimed, push.results)
    return outcomes, health


class _Try(NamedTuple):
    """One push. now: when the CRM had answered. milliseconds: after so long."""

    context: Context
    connector: Connector
    probing: bool
    now: datetime
    began: datetime
    milliseconds: int

    def outcome(self, claimed: Claimed, result: Result | Exception) -> Outcome:
        """What became of one delivery of it."""
        decision = self._decide(claimed, result)
        outcome = partial(
            Outcome,
            claimed,
            decision.state,
            decision.due_at,
            decision.counts,
            started_at=self.began,
            milliseconds=self.milliseconds,
        )
        if isinstance(result, Pushed):
            check_at = self.now + timedelta(seconds=self.connector.settle) if self.connector.readable else None
            return outcome("sent", remote_id=result.remote_id, remote_url=result.url, check_at=check_at)
        # One whose look-up failed may still be there: it is looked up again before it is sent.
        doubtful = not isinstance(result, Refused) and decision.state != "refused" and doubt.is_doubtful(claimed)
        code, sentence = retry.describe(result, self.connector.tier)
        return outcome(
            retry.verdict_of(result),
            code=code,
            sentence=sentence,
            field=_word(getattr(result, "field", None)),
            status=getattr(result, "status", None),
            unknown=decision.unknown or doubtful,
        )

    def _decide(self, claimed: Claimed, result: Result | Exception) -> retry.Decision:
        return retry.decide(
            result,
            attempts=claimed.delivery.attempts,
            age=self.now - claimed.delivery.tries_from,
            now=self.now,
            policy=self.context.policy,
            chance=random.random(),  # noqa: S311 - spreads load, guards nothing
            probing=self.probing,
            tier=self.connector.tier,
            settle=self.connector.settle,
        )


def _word(text: str | None) -> str | None:
    """A field's name as the CRM gave it, if it is one that a column can hold."""
    return text if text and len(text) <= 200 and text.isprintable() else None
