"""A record of the API calls: how many came, when, and what became of each."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

REMEMBERED = 10_000  # calls; the counts go on for ever


@dataclass(slots=True)
class Call:
    """One API call. at: seconds since 1970. outcome: `under_way`, then `ok`, `partial`, `unauthorized`, `invalid`
    or the name of the fault it met."""

    name: str
    at: float = field(default_factory=time.time)
    outcome: str = "under_way"


class Calls:
    """Every API call so far. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.forget()

    def forget(self) -> None:
        with self._lock:
            self._recent: deque[Call] = deque(maxlen=REMEMBERED)
            self._total = 0
            self._outcomes: Counter[str] = Counter()

    def arrive(self, name: str) -> Call:
        """Note a call that has just come in."""
        call = Call(name)
        with self._lock:
            self._recent.append(call)
            self._total += 1
        return call

    def settle(self, call: Call, outcome: str) -> None:
        """Note what became of it."""
        with self._lock:
            call.outcome = outcome
            self._outcomes[outcome] += 1

    def summary(self) -> dict[str, Any]:
        """How many calls there were, how many of each outcome, and the last ones, oldest first."""
        with self._lock:
            recent = [asdict(call) for call in self._recent]
            return {"total": self._total, "outcomes": dict(self._outcomes), "recent": recent}
