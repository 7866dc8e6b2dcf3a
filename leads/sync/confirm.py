"""Proof: what was sent is read back from the CRM, and becomes `confirmed`, or is sent again, or is shown.

What was confirmed is looked at again each night; what the CRM no longer holds like that becomes a drift.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from integrations.core.base import Connector, Item, Pushed, Seen, parts
from integrations.core.errors import Refused
from leads.store import outbox
from leads.store.models import Connection
from leads.store.outbox import Claimed, Health, Lane, Look, Outcome
from leads.sync import calls, retry
from leads.sync.connect import Context
from leads.sync.item import build_all
from leads.sync.nights import next_look

_TIMES_MISSING = 3  # after this many a person is asked
_AGAIN = timedelta(seconds=30)
_SOONEST, _LATEST = timedelta(seconds=5), timedelta(hours=1)  # when the CRM could not be asked
_FIRST = 4  # deliveries in the first slice, until we know how quick the CRM is
_MOST = 400  # in one slice: they are written down in one commit, which holds up others
_AT_ONCE = 20  # in one call at most, where the CRM takes fewer in one push
_SLICE = 1.0  # seconds one slice may take, so that what comes in meanwhile goes out within two
_ANSWERED = Pushed("seen")


@dataclass(slots=True)
class Reader:
    """Reads back what is due for it, a slice at a time: between two of them, what came in meanwhile goes first."""

    context: Context
    connection: Connection
    connector: Connector
    size: int = _FIRST

    def look(self, lane: Lane, before: Health) -> Health | None:
        """Read the next slice back. Returns how the connection is then; None: nothing is due for it."""
        due = outbox.to_check(self.context.database, lane, 1 if lane.probing else self.size)
        if not due:
            return None
        now, answered, looks = self.context.now(), list[Seen | Exception | None](), list[Look]()
        began = time.monotonic()
        for some in parts(due, max(self.connector.batch_size, _AT_ONCE)):
            clock = time.monotonic()
            built = build_all(self.context.vault, self.connection, some)
            answers = calls.for_each(built, lambda items: calls.look_up(self.connector, items))
            took = int((time.monotonic() - clock) * 1000)
            looks += (self._look(item, answer, now, took) for item, answer in zip(some, answers, strict=True))
            answered += (answer for one, answer in zip(built, answers, strict=True) if isinstance(one, Item))
            if time.monotonic() - began > _SLICE or _in_trouble(answers):
                self.size = max(len(looks) // 2, 1)
                break  # the others stay due
        else:
            self.size = min(self.size * 2, _MOST)
        health = self._health(answered, before)
        outbox.checked(self.context.database, lane, looks, health)
        return health

    def _health(self, answered: Sequence[Seen | Exception | None], before: Health) -> Health:
        said = [answer if isinstance(answer, Exception) else _ANSWERED for answer in answered]
        return retry.assess(said, before, self.context.now()) if said else before

    def _look(self, item: Claimed, answer: Seen | Exception | None, now: datetime, took: int) -> Look:
        if isinstance(answer, Exception):
            return Look(_not_asked(item, answer, now))
        coming, first = self._coming_night(item, now), item.delivery.state == "sent"
        if answer is None or (first and calls.is_partial(answer)):
            return Look(self._lost(item, now, took) if first else _gone(item, now, took, coming))
        outcome = Outcome(
            item,
            "confirmed",
            now,
            False,
            "confirmed",
            now,
            took,
            remote_id=answer.remote_id,
            remote_url=answer.url,
            check_at=coming,
        )
        return Look(outcome, self._digests(answer), answer.copies)

    def _coming_night(self, item: Claimed, now: datetime) -> datetime | None:
        """When to look again. The canary takes its own record away, so nobody looks for that."""
        if item.event.is_test:
            return None
        since, days = item.delivery.confirmed_at or now, self.context.limits.sweep_days
        return next_look(now, since, item.site.time_zone, days, random.random())  # noqa: S311 - spreads load

    def _digests(self, seen: Seen) -> dict[str, str] | None:
        """What the record holds, as keyed hashes: enough to see that it changed, and nothing to read."""
        if seen.record is None:
            return None
        place = self.connection.id
        return {
            name: self.context.vault.digest("seen", place, name, value).hex() for name, value in seen.record.items()
        }

    def _lost(self, item: Claimed, now: datetime, took: int) -> Outcome:
        """Accepted, and not there after the settle delay: sent again, until a person has to look."""
        times = item.delivery.missing + 1
        if times >= _TIMES_MISSING or self.connector.tier == "C":
            sentence = "The CRM accepted it but does not hold it. Please look in the CRM."
            return Outcome(item, "refused", now, False, "missing", now, took, "missing", sentence)
        sentence = "The CRM accepted it but does not hold it; it is sent again."
        due_at = now + _AGAIN * (times - 1)
        return Outcome(item, "waiting", due_at, False, "missing", now, took, "missing", sentence, unknown=True)


def _in_trouble(answers: Sequence[Seen | Exception | None]) -> bool:
    """Whether the CRM could not be asked; what it has against one enquiry alone is another matter."""
    return any(isinstance(answer, Exception) and not isinstance(answer, Refused) for answer in answers)


def _gone(item: Claimed, now: datetime, took: int, coming: datetime | None) -> Outcome:
    """Seen before, and not there any more. It stays confirmed: staff may have deleted it on purpose."""
    return Outcome(item, "confirmed", now, False, "missing", now, took, check_at=coming)


def _not_asked(item: Claimed, error: Exception, now: datetime) -> Outcome:
    """Asked again after a quarter of the time that has passed since it was sent, so that it never becomes a storm."""
    wait = min(max((now - (item.delivery.sent_at or now)) / 4, _SOONEST), _LATEST)
    code, sentence = retry.describe(error)
    return Outcome(
        item,
        item.delivery.state,
        now,
        False,
        retry.verdict_of(error),
        now,
        0,
        code,
        sentence,
        status=getattr(error, "status", None),
        check_at=now + wait,
    )
