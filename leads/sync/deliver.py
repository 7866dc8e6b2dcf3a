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
from integrations.core.registry import UnknownKindError, no_connector
from leads.store import outbox
from leads.store.failpoint import reach
from leads.store.models import Connection
from leads.store.outbox import Claimed, Health, Lane, Outcome
from leads.store.queries.overview import another_worker_lives
from leads.store.session import once_more
from leads.store.vault import UnknownKeyError, VaultError
from leads.sync import callers, calls, canary, confirm, doubt, retry
from leads.sync.batches import Batches, Done
from leads.sync.connect import Context, open_connector
from leads.sync.erasing import erase_people
from leads.sync.item import LACKS_KEY
from leads.sync.options import UNREADABLE
from leads.sync.pushes import Sender, Sent

log = structlog.get_logger()

_TURN, _LONGEST = 1.0, 60.0  # seconds
_CANNOT_BE_OPENED = "the connection cannot be opened"
_OURS = ("no_connector", "lacks_key", "bad_options")  # codes of what the CRM has no part in


def run_lane(context: Context, connection_id: UUID, others_wait: Callable[[], bool] = lambda: False) -> bool:
    """Serve one connection until nothing is due, it may not be used, or the worker stops.

    Now and then it ends before: when others wait for their turn, when the connection was set up anew, so that what is
    left goes by the new mapping, address or pace, or when it took so long that what else is to be done in the CRM, such
    as erasing, would never have its turn. Returns whether it did.
    """
    if context.leaves_to_others(connection_id):
        return False
    lane = outbox.lease(context.database, connection_id, context.worker, context.limits.lease)
    if lane is None:
        return False
    try:
        service = _opened(context, lane)
        return service.run(others_wait) if service else False
    finally:
        outbox.release(context.database, lane)


def _opened(context: Context, lane: Lane) -> _Service | None:
    """None: the connection cannot even be opened. That is told like any fault that a person has to mend, and looked at
    again by itself: the connector may be installed again, or the key file be whole. Where another worker may have the
    key that this one lacks, it is left to that one."""
    with context.database.read() as session:
        connection = session.get_one(Connection, lane.connection_id)
    try:
        return _Service(context, lane, connection)
    except UnknownKindError:
        trouble = Misconfigured("no_connector", no_connector(connection.kind))
    except UnknownKeyError:
        trouble = Misconfigured("lacks_key", LACKS_KEY)
        if _another_may_open_it(context):
            log.error(_CANNOT_BE_OPENED, connection=str(connection.id), code=trouble.code)
            context.leave_to_others(connection.id)
            return None
    except VaultError:
        trouble = Misconfigured("bad_options", UNREADABLE)
    before = Health.of(connection)
    if before.code != trouble.code:
        log.error(_CANNOT_BE_OPENED, connection=str(connection.id), code=trouble.code)
    outbox.checked(context.database, lane, [], retry.assess([trouble], before, context.now()))
    return None


def _another_may_open_it(context: Context) -> bool:
    with context.database.read() as session:
        return another_worker_lives(session, context.worker, context.database.now(session))


class _Service:
    """What is done for one connection while a worker has its lane."""

    def __init__(self, context: Context, lane: Lane, connection: Connection) -> None:
        self._connection = connection
        self._context = context
        self._lane = lane
        self._connector = open_connector(context, self._connection)
        self._reader = confirm.Reader(context, self._connection, self._connector)
        self._health = Health.of(self._connection)
        self._asked = False  # whether anything showed since how the connection is

    def run(self, others_wait: Callable[[], bool]) -> bool:
        """See `run_lane`."""
        if self._lane.probing and self._connector.tier == "C":  # an enquiry that breaks off there costs a person's time
            self._probe()
        goes_on = self._deliver(_Turn(self._context, self._connection, others_wait))
        if self._context.stop.is_set():
            return False
        if self._lane.probing and not self._asked:
            self._probe()
        if self._health.takes_more(self._context.now):
            erase_people(self._context, self._lane, self._connector)
            callers.retire_callers(self._context, self._connection, self._lane, self._connector)
            canary.clean_up(self._context, self._lane, self._connector)
        return goes_on

    def _deliver(self, turn: _Turn) -> bool:
        """Send and read back until nothing is due. Returns whether it ended before."""
        with (
            Batches(self._context, self._connector, self._lane) as batches,
            Sender(self._context, self._connection, self._connector, self._lane) as sender,
        ):
            try:
                while not self._context.stop.is_set() and self._do_next(batches, sender):
                    if not self._health.takes_more(self._context.now):
                        batches.give_back()
                    if turn.is_over():
                        return True
                return False
            finally:
                self._settle(batches, sender.answered(more_to_come=False))

    def _do_next(self, batches: Batches, sender: Sender) -> bool:
        """Send a batch; read back when none is due. Returns whether there was anything to do."""
        batch = batches.take(self._lane)
        if batch.claimed:
            claimed = doubt.set_aside(self._context.database, self._lane, self._connector, batch.claimed)
            sender.begin(claimed, batch.since, batch.more)
        if sender.in_hand:
            self._settle(batches, sender.answered(batch.more))
        elif looked := self._reader.look(self._lane, self._health):
            self._note(looked)
        else:
            return False
        return True

    def _settle(self, batches: Batches, sent: Sent) -> None:
        """Judge what was sent, and have it written down."""
        if not (sent.pushes or sent.left):
            return
        before = self._health
        outcomes = self._judge(sent)
        batches.write(Done(outcomes, self._health if self._health != before else None))
        if sent.left:
            outbox.give_back(self._context.database, sent.left)

    def _judge(self, sent: Sent) -> list[Outcome]:
        """What became of each delivery, and how the connection is since."""
        reach("push.answered")
        # The one time that is asked for: it is a call to the database.
        now, clock = once_more(self._context.now), time.monotonic()
        outcomes: list[Outcome] = []
        for push in sent.pushes:
            began = now - timedelta(seconds=clock - push.began)
            trial = _Try(self._context, self._connector, self._lane.probing, now, began, push.milliseconds)
            outcomes += map(trial.outcome, push.claimed, push.results)
        if asked := [result for push in sent.pushes for result in push.asked]:
            self._note(retry.assess(asked, self._health, now))
        return outcomes

    def _probe(self) -> None:
        """Without an enquiry: the connection's own check shows whether it works again."""
        self._context.limits.start_budget()
        self._note(retry.assess([_checked(self._connector, self._health)], self._health, self._context.now()))
        outbox.checked(self._context.database, self._lane, [], self._health)

    def _note(self, health: Health) -> None:
        self._health, self._asked = health, True
        self._lane = replace(self._lane, probing=health.state == "failing")


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


def _checked(connector: Connector, before: Health) -> Result | Exception:
    try:
        wrong = [finding.sentence for finding in connector.check() if not finding.ok]
    except DeliveryError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a bug of ours must not end the lane
        calls.log_bug(error)
        return error
    code = before.code if before.code and before.code not in _OURS else "check"
    return Misconfigured(code, wrong[0]) if wrong else Pushed("checked")


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
