"""What happens next: pure functions from (verdict, attempts, age, now) to a decision. Holds the schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from integrations.core.base import Pushed, Result, Tier
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, Unknown
from leads.store.holds import LOOK_FIRST
from leads.store.outbox import Health

FAILURES_TO_PAUSE = 3  # calls that fail in a row before a connection is taken out of use; by the schedule: a minute
_PROBE_FIRST = timedelta(seconds=5)
_PROBE_LAST = timedelta(seconds=60)
_PROBE_LAST_MISCONFIGURED = timedelta(minutes=5)  # a wrong key tried every minute may lock the account
_THROTTLE_DEFAULT = timedelta(seconds=30)
_THROTTLE_MIN = timedelta(seconds=1)
_THROTTLE_MAX = timedelta(hours=24)
LOOK_YOURSELF = (
    "It may have arrived: an earlier try broke off before the CRM had answered, or a copy of the database was put back "
    "since. This CRM cannot be asked. Look in the CRM; then press “Send again” or “I took care of it”."
)
BUG = ("bug", "Frontdesk made a mistake of its own. It is logged, and the enquiry is tried again.")


@dataclass(frozen=True, slots=True)
class Policy:
    """schedule: the wait before each try; the sum of all is the age at which we give up."""

    schedule: tuple[timedelta, ...]

    @property
    def max_age(self) -> timedelta:
        """After so long nothing is tried again by itself."""
        return sum(self.schedule, timedelta())


@dataclass(frozen=True, slots=True)
class Decision:
    """state, due_at: where the delivery goes. counts: whether an attempt was spent. unknown: look before sending."""

    state: str
    due_at: datetime
    counts: bool = False
    unknown: bool = False


def decide(
    result: Result | Exception,
    *,
    attempts: int,
    age: timedelta,
    now: datetime,
    policy: Policy,
    chance: float,
    probing: bool = False,
    tier: Tier = "A",
    settle: float = 0.0,
) -> Decision:
    """What becomes of one delivery.

    attempts: those spent before. age: since the first try was due. chance: 0 to 1, spreads the wait by ± 20 %.
    probing: the connection was out of use and this was the probe, which costs nothing. tier, settle: the connector's;
    what may have been written is not sent again before `settle` seconds, and with tier C only by a person.
    """
    if isinstance(result, Pushed):
        return Decision("sent", now, counts=True)
    unknown = in_doubt(result)
    if isinstance(result, Refused) or (unknown and tier == "C"):
        return Decision("refused", now, counts=True)
    if age >= policy.max_age:
        return Decision("expired", now, unknown=unknown)
    if isinstance(result, Misconfigured):
        return Decision("waiting", now)
    if isinstance(result, Throttled):
        return Decision("waiting", now + throttle(result))
    least = timedelta(seconds=settle if unknown and tier == "B" else 0)
    if probing:
        return Decision("waiting", now + least, unknown=unknown)
    spent = attempts + 1
    if spent >= len(policy.schedule):
        return Decision("expired", now, counts=True, unknown=unknown)
    wait = policy.schedule[spent] * (0.8 + 0.4 * chance)
    return Decision("waiting", now + max(wait, least), counts=True, unknown=unknown)


def in_doubt(result: Result | Exception) -> bool:
    """Whether it may have been written: the CRM did not say, or we did not understand what it said."""
    return isinstance(result, Unknown) or not isinstance(result, Pushed | DeliveryError)


def throttle(error: Throttled) -> timedelta:
    """How long the CRM wants quiet: what it says, within one second and one day."""
    if error.retry_after is None:
        return _THROTTLE_DEFAULT
    return min(max(timedelta(seconds=min(error.retry_after, 1e6)), _THROTTLE_MIN), _THROTTLE_MAX)


def assess(results: Sequence[Result | Exception], before: Health, now: datetime) -> Health:
    """What the results of one call say of the connection, given how it stood `before`."""
    throttled = [error for error in results if isinstance(error, Throttled)]
    until = now + max(throttle(error) for error in throttled) if throttled else None
    for error in results:
        if isinstance(error, Misconfigured):
            failing = _failing(error.code, error.sentence, before, now, _PROBE_LAST_MISCONFIGURED)
            return replace(failing, wait_until=until)
    works = any(isinstance(result, Pushed | Refused) for result in results)
    if throttled and before.state == "failing" and not works:  # also where it was our own database or pace
        return replace(before, probe_at=until, wait_until=until)
    if throttled:
        return Health("working", 0, 0, throttled[0].code, throttled[0].sentence, wait_until=until)
    if works:
        return Health("working", 0, 0)
    failures = before.failures + 1
    code, sentence = describe(results[0])
    if before.state == "failing" or failures >= FAILURES_TO_PAUSE:
        return _failing(code, sentence, before, now, _PROBE_LAST)
    return Health("working", failures, 0, code, sentence)


def _failing(code: str, sentence: str, before: Health, now: datetime, longest: timedelta) -> Health:
    wait = min(_PROBE_FIRST * 2 ** min(before.probes, 10), longest)
    return Health("failing", before.failures + 1, before.probes + 1, code, sentence, probe_at=now + wait)


def verdict_of(result: Result | Exception) -> str:
    """The name under which an attempt that went wrong is kept."""
    return type(result).__name__ if isinstance(result, DeliveryError) else "Bug"


def describe(result: Result | Exception, tier: Tier = "A") -> tuple[str, str]:
    """Short code and plain sentence of what went wrong."""
    if in_doubt(result) and tier == "C":
        return LOOK_FIRST, LOOK_YOURSELF
    code, sentence = getattr(result, "code", None), getattr(result, "sentence", None)
    if isinstance(code, str) and isinstance(sentence, str):
        return code, sentence
    return BUG
