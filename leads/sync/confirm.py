"""Proof: what was sent is read back from the CRM, and becomes `confirmed`, or is sent again, or is shown."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from integrations.core.base import Connector, Pushed
from integrations.core.errors import DeliveryError
from leads.store import outbox
from leads.store.failpoint import reach
from leads.store.models import Connection
from leads.store.outbox import Claimed, Health, Lane, Outcome
from leads.sync import retry
from leads.sync.connect import Context
from leads.sync.item import build

_TIMES_MISSING = 3  # after this many a person is asked
_AGAIN = timedelta(seconds=30)
_LATER = timedelta(seconds=5)  # when the CRM could not be asked


def read_back(context: Context, lane: Lane, connection: Connection, connector: Connector, before: Health) -> None:
    """Read back all that is due for it, a batch at a time."""
    while not context.stop.is_set():
        context.limits.start_budget()
        sent = outbox.to_check(context.database, lane, connector.batch_size)
        if not sent:
            return
        with context.database.read() as session:
            now = context.database.now(session)
        clock = time.monotonic()
        items = [build(context.vault, connection, item) for item in sent]
        try:
            found = connector.find(items)
        except DeliveryError as error:
            outcomes = [_not_asked(item, error, now) for item in sent]
            outbox.checked(context.database, lane, outcomes, retry.assess([error], before, now))
            return
        took = int((time.monotonic() - clock) * 1000)
        outcomes = [_seen(item, pushed, now, took) for item, pushed in zip(sent, found, strict=True)]
        outbox.checked(context.database, lane, outcomes, None)


def _seen(item: Claimed, found: Pushed | None, now: datetime, took: int) -> Outcome:
    if found:
        return Outcome(
            item,
            "confirmed",
            now,
            False,
            "confirmed",
            now,
            took,
            remote_id=found.remote_id,
            remote_url=found.url,
        )
    code, times = "missing", item.delivery.missing + 1
    if times >= _TIMES_MISSING:
        sentence = "The CRM accepted it several times but does not hold it. Please look in the CRM."
        return Outcome(item, "refused", now, False, "missing", now, took, code, sentence)
    sentence = "The CRM accepted it but does not hold it; it is sent again."
    return Outcome(item, "waiting", now + _AGAIN * (times - 1), False, "missing", now, took, code, sentence)


def _not_asked(item: Claimed, error: DeliveryError, now: datetime) -> Outcome:
    verdict = type(error).__name__
    return Outcome(
        item,
        "sent",
        now,
        False,
        verdict,
        now,
        0,
        error.code,
        error.sentence,
        status=error.status,
        check_at=now + _LATER,
    )


def retire_callers(context: Context, lane: Lane, connector: Connector) -> None:
    """Remove the records of callers who became known: their calls now stand on the person's own record."""
    leads, remote_ids = outbox.to_retire(context.database, lane)
    if not leads:
        return
    try:
        if remote_ids:
            connector.erase(remote_ids)
    except DeliveryError:
        return  # the rows stay, so the next round asks again
    reach("retire.erased")
    outbox.retired(context.database, lane, leads)
