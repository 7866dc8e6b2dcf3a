"""What an earlier try may have written already. The connector's tier says what becomes of it.

A: sent again, since the CRM keeps it from standing there twice. B: left alone until even a late write can be read
back, then looked up. C: a person looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from integrations.core.base import Connector
from leads.store import outbox
from leads.store.holds import LOOK_FIRST
from leads.store.outbox import Claimed, Lane, Outcome
from leads.store.session import Database
from leads.sync import retry


def is_doubtful(item: Claimed) -> bool:
    """Whether an earlier try may have written it: its answer never came, or its worker died over it."""
    return item.left_behind or item.delivery.unknown


def set_aside(database: Database, lane: Lane, connector: Connector, claimed: Sequence[Claimed]) -> list[Claimed]:
    """Put away those that must not be sent now. Returns those that may be."""
    doubtful = [item for item in claimed if is_doubtful(item)]
    if connector.tier == "A" or not doubtful:
        return list(claimed)
    now = database.time()
    if connector.tier == "C":
        outbox.finish(database, lane, [_for_a_person(item, now) for item in doubtful], None)
        return [item for item in claimed if not is_doubtful(item)]
    return _settled(database, lane, connector, claimed, now)


def _settled(
    database: Database, lane: Lane, connector: Connector, claimed: Sequence[Claimed], now: datetime
) -> list[Claimed]:
    """Without those whose last try is younger than the CRM needs to show it."""
    settle = timedelta(seconds=connector.settle)
    if not settle:
        return list(claimed)
    left = [item for item in claimed if item.left_behind]
    outbox.finish(database, lane, [_interrupted(item, now, settle) for item in left], None)
    tried = outbox.last_in_doubt(database, [item.delivery.id for item in claimed if item.delivery.unknown])
    rest = [item for item in claimed if not item.left_behind]
    early = {item.delivery.id for item in rest if tried.get(item.delivery.id, now - settle) + settle > now}
    for item in rest:
        if item.delivery.id in early:
            outbox.give_back(database, [item], due_at=tried[item.delivery.id] + settle)
    return [item for item in rest if item.delivery.id not in early]


def _interrupted(item: Claimed, now: datetime, settle: timedelta) -> Outcome:
    code, sentence = "interrupted", "The sync was interrupted while this was being sent."
    return Outcome(item, "waiting", now + settle, False, "Unknown", now, 0, code, sentence, unknown=True)


def _for_a_person(item: Claimed, now: datetime) -> Outcome:
    return Outcome(item, "refused", now, True, "Unknown", now, 0, LOOK_FIRST, retry.LOOK_YOURSELF)
