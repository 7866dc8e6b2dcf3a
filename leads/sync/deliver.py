"""One lane: claim → push → finish, over and over, for one connection, until nothing is due."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from integrations.core.base import Connector, Item, Pushed, Result
from integrations.core.errors import DeliveryError, Refused
from leads.store import outbox
from leads.store.failpoint import reach
from leads.store.models import Connection
from leads.store.outbox import Claimed, Health, Lane, Outcome
from leads.sync import canary, confirm, retry
from leads.sync.connect import Context, open_connector
from leads.sync.item import build

log = structlog.get_logger()


def run_lane(context: Context, connection_id: UUID) -> None:
    """Serve one connection until nothing is due, it may not be used, or the worker stops."""
    lane = outbox.lease(context.database, connection_id, context.worker, context.limits.lease)
    if lane is None:
        return
    try:
        _serve(context, lane)
    finally:
        outbox.release(context.database, lane)


def _serve(context: Context, lane: Lane) -> None:
    with context.database.read() as session:
        connection = session.get_one(Connection, lane.connection_id)
    connector = open_connector(context, connection)
    health = _health_of(connection)
    while not context.stop.is_set():
        context.limits.start_budget()
        claimed = outbox.claim(context.database, lane, connector.batch_size, context.limits.lease)
        if not claimed:
            break
        if context.stop.is_set():
            outbox.give_back(context.database, claimed)
            break
        health = _deliver(context, lane, connection, connector, claimed, health)
        lane = replace(lane, probing=health.state == "failing")
    if not context.stop.is_set() and health.state == "working":
        confirm.read_back(context, lane, connection, connector, health)
        confirm.retire_callers(context, lane, connector)
        canary.clean_up(context, lane, connector)


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


def _deliver(
    context: Context,
    lane: Lane,
    connection: Connection,
    connector: Connector,
    claimed: list[Claimed],
    before: Health,
) -> Health:
    started, clock = _now(context), time.monotonic()
    results = push(connector, [build(context.vault, connection, item) for item in claimed], claimed)
    reach("push.answered")
    took = int((time.monotonic() - clock) * 1000)
    health = retry.assess(results, before, _now(context))
    outcomes = [
        _outcome(context, item, result, started, took, connector, lane.probing)
        for item, result in zip(claimed, results, strict=True)
    ]
    fenced = outbox.finish(context.database, lane, outcomes, health)
    log.info(
        "delivered",
        connection=str(lane.connection_id),
        batch=len(claimed),
        sent=sum(isinstance(result, Pushed) for result in results),
        fenced=fenced,
        milliseconds=took,
        code=health.code,
    )
    return health


def push(connector: Connector, items: list[Item], claimed: Sequence[Claimed]) -> list[Result | Exception]:
    """Write items to the CRM; first look up those that an earlier try may have written."""
    found: dict[str, Result | Exception] = {}
    doubtful = [item for item, row in zip(items, claimed, strict=True) if row.left_behind or row.delivery.unknown]
    if doubtful and connector.readable:
        try:
            answers = connector.find(doubtful)
            found = {item.event_id: pushed for item, pushed in zip(doubtful, answers, strict=True) if pushed}
        except DeliveryError as error:
            found = dict.fromkeys((item.event_id for item in doubtful), error)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not lose the batch
            found = dict.fromkeys((item.event_id for item in doubtful), error)
            _log_bug(error)
    rest = [item for item in items if item.event_id not in found]
    found |= dict(zip((item.event_id for item in rest), _push(connector, rest), strict=True))
    return [found[item.event_id] for item in items]


def _push(connector: Connector, items: list[Item]) -> list[Result | Exception]:
    if not items:
        return []
    try:
        results: list[Result | Exception] = list(connector.push(items))
        if len(results) != len(items):
            raise ValueError("a connector must answer once per item")
    except Refused as error:
        if len(items) == 1:
            return [error]
        # The CRM refuses the batch as a whole: split it until the guilty record stands alone.
        middle = len(items) // 2
        return _push(connector, items[:middle]) + _push(connector, items[middle:])
    except DeliveryError as error:
        return [error] * len(items)
    except Exception as error:  # noqa: BLE001 - a bug of ours must not lose the batch
        _log_bug(error)
        return [error] * len(items)
    return results


def _outcome(
    context: Context,
    claimed: Claimed,
    result: Result | Exception,
    started: datetime,
    took: int,
    connector: Connector,
    probing: bool,
) -> Outcome:
    now, row = _now(context), claimed.delivery
    decision = retry.decide(
        result,
        attempts=row.attempts,
        age=now - row.tries_from,
        now=now,
        policy=context.policy,
        chance=random.random(),  # noqa: S311 - spreads load, guards nothing
        probing=probing,
    )
    if isinstance(result, Pushed):
        check_at = now + timedelta(seconds=connector.settle) if connector.readable else None
        return Outcome(
            claimed,
            decision.state,
            decision.due_at,
            decision.counts,
            "sent",
            started,
            took,
            remote_id=result.remote_id,
            remote_url=result.url,
            check_at=check_at,
        )
    # One whose look-up failed may still be there: it is looked up again before it is sent.
    doubtful = not isinstance(result, Refused) and (claimed.left_behind or row.unknown)
    code, sentence = retry.describe(result)
    verdict = type(result).__name__ if isinstance(result, DeliveryError) else "Bug"
    return Outcome(
        claimed,
        decision.state,
        decision.due_at,
        decision.counts,
        verdict,
        started,
        took,
        code=code,
        sentence=sentence,
        field=getattr(result, "field", None),
        status=getattr(result, "status", None),
        unknown=decision.unknown or doubtful,
    )


def _now(context: Context) -> datetime:
    with context.database.read() as session:
        return context.database.now(session)


def _log_bug(error: Exception) -> None:
    # Type and place only: the message of an exception may quote a patient.
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
    log.error("bug", type=type(error).__name__, place=place)
