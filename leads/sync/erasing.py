"""Erasure on request: the records of people who were erased here go from the CRM, with retries as for every call.

Their details are gone by now: what may have arrived without our hearing of it is looked for by our own numbers alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from integrations.core.base import Connector, EventKind, Item, Seen
from integrations.core.errors import DeliveryError, Misconfigured, Throttled
from leads.store import outbox
from leads.store.failpoint import reach
from leads.store.holds import LOOK_FIRST
from leads.store.outbox import Lane
from leads.store.outbox.erasing import BY_HAND, Leaving, Told
from leads.sync import calls, retry
from leads.sync.connect import Context
from leads.sync.item import TITLES
from leads.sync.removal import heed

_RIGHTS_AGAIN = timedelta(minutes=5)  # a wrong key that is tried every minute may lock the account
_BROKEN_OFF = (
    "It may have arrived: the connection broke off before the CRM had answered. Look in the CRM for the reference "
    "codes of the enquiries, and delete what you find."
)
_NAMELESS = "The CRM holds this person, but does not say under which number. Look there for the reference codes."


class _AskAPerson(Exception):  # noqa: N818 - it says what happens next
    """It cannot be erased by us. code, sentence: why, and what a person is to do."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code)
        self.code, self.sentence = code, sentence


def erase_people(context: Context, lane: Lane, connector: Connector) -> None:
    """Erase in the lane's CRM those who are to be erased there now."""
    since = time.monotonic()
    context.limits.start_budget(since)
    for person in outbox.to_erase(context.database, lane):
        if context.stop.is_set() or not context.limits.has_time(since):
            return
        if isinstance(_Erasing(context, lane, connector, person).run(), Throttled):
            return


@dataclass(slots=True)
class _Erasing:
    """One person. found: their records that were looked for and found. page: of one of them, if we know."""

    context: Context
    lane: Lane
    connector: Connector
    person: Leaving
    found: list[str] = field(default_factory=list)
    page: str | None = None

    def run(self) -> Exception | None:
        """Returns what went wrong."""
        now = self.context.now()
        # A write that the CRM does not show yet could not be erased either: it would come after us.
        shown_at = self.person.tries_from + timedelta(seconds=self.connector.settle)
        if self.connector.settle and shown_at > now:
            self._not_now("waiting", shown_at)
            return None
        try:
            self._erase(now)
        except _AskAPerson as asked:
            self._not_now("needs_you", now, code=asked.code, sentence=asked.sentence)
            return None
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the lane either
            self._went_wrong(error, now)
            return error
        return None

    def _erase(self, now: datetime) -> None:
        """Raises what went wrong."""
        nameless = self._look()
        ids = list(dict.fromkeys([*self.person.remote_ids, *self.found]))
        if ids:
            ids = self._erase_all_of(ids, now)
        if nameless:
            raise nameless
        outbox.erased(self.context.database, self.lane, self.person.lead_id, ids)

    def _erase_all_of(self, ids: Sequence[str], now: datetime) -> list[str]:
        """Erase these records and what was made one with them, unless one of them is somebody else's too. Returns which
        these were."""
        merged = self.connector.merged_with(ids)
        told = self.connector.events_on(merged)
        if other := outbox.also_of(self.context.database, self.lane, self.person, merged, told, self.page):
            raise _AskAPerson("shared", _shared(other))
        if set(merged) > set(
            self.person.remote_ids
        ):  # once one of them is gone, the CRM may not tell of the others any more
            self.found = merged
            self._not_now("waiting", now)
        self.connector.erase(merged)
        reach("erase.answered")
        return merged

    def _look(self) -> _AskAPerson | None:
        """Look for what may have arrived, and where what did stands now. Returns what a person has to see to, since we
        cannot find it."""
        doubts = self.person.doubts
        broken_off = _AskAPerson(LOOK_FIRST, _BROKEN_OFF) if any(one.broken_off for one in doubts) else None
        if not self.connector.readable:
            # A call may stand on a record of its own: nobody knew yet whose it was.
            has_a_call = any(one.broken_off and one.kind == "call_click" for one in doubts)
            return broken_off if has_a_call or not self.person.remote_ids else None
        items = [_nobody(self.person, one) for one in (*doubts, *self.person.arrived)]
        seen = [_answer(one) for one in calls.look_up(self.connector, items)]
        there = [one for one in seen if isinstance(one, Seen)]
        copies = [copy for one in seen[: len(doubts)] if isinstance(one, Seen) for copy in one.copies]
        self.found = [*(one.remote_id for one in there), *copies]
        self.page = next((one.url for one in there), None)
        missed = [item for item, one in zip(items[: len(doubts)], seen[: len(doubts)], strict=True) if one is None]
        if self.found or self.person.remote_ids or not missed:
            return None
        if any(_answer(one) is not None for one in calls.current(self.connector, missed)):
            return _AskAPerson("nameless", _NAMELESS)
        return broken_off  # it may stand on a record that was there before, which has none of our numbers

    def _went_wrong(self, error: Exception, now: datetime) -> None:
        heed(self.context, self.lane, error)
        if not isinstance(error, DeliveryError):
            calls.log_bug(error)
        decision = retry.decide(
            error,
            attempts=self.person.attempts,
            age=now - self.person.tries_from,
            now=now,
            policy=self.context.policy,
            chance=random.random(),  # noqa: S311 - spreads load, guards nothing
        )
        code, sentence = retry.describe(error)
        if decision.state != "waiting":
            self._not_now("needs_you", now, code=code, sentence=f"{sentence} {BY_HAND}", counts=decision.counts)
            return
        due_at = now + _RIGHTS_AGAIN if isinstance(error, Misconfigured) else decision.due_at
        self._not_now("waiting", due_at, code=code, sentence=sentence, counts=decision.counts)

    def _not_now(
        self,
        state: str,
        due_at: datetime,
        *,
        code: str | None = None,
        sentence: str | None = None,
        counts: bool = False,
    ) -> None:
        outbox.not_erased(
            self.context.database,
            self.lane,
            self.person.lead_id,
            state=state,
            due_at=due_at,
            counts=counts,
            code=code,
            sentence=sentence,
            found=self.found,
        )


def _nobody(person: Leaving, told: Told) -> Item:
    """An enquiry without a word of what it said."""
    kind = cast(EventKind, told.kind)
    return Item(str(person.lead_id), str(told.event_id), kind, told.received_at, TITLES[kind], record={})


def _answer(one: object) -> object:
    if isinstance(one, Exception):
        raise one
    return one


def _shared(code: str) -> str:
    return (
        f"The CRM's record stands also for {code}, who wrote under another name, to another website or again later, or "
        "was made one with this person there. Take out of it by hand what belongs to this person; then press “I erased "
        "it there”."
    )
