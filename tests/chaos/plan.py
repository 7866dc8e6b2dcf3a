"""What every part of the chaos programme gets and gives: `run(plan: Plan) -> Figures`.

The seed decides which faults come, in which order and with which pauses. It does not decide how a real machine
interleaves its processes: the same seed gives the same plan, not the same run.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What one part may use.

    seed: the run's seed; take randomness from `dice`, never from the module `random`. seconds: how long the part may
    take. folder: an empty folder of the part's own. scale: 1 for all that RELIABILITY.md promises (500 kills, 1,000
    power cuts, …), less for a short run. say: one line of progress for the screen.
    """

    seed: int
    seconds: float
    folder: Path
    scale: float = 1.0
    say: Callable[[str], None] = print
    started: float = field(default_factory=time.monotonic)

    def dice(self, name: str) -> random.Random:
        """Chance for one purpose: the same seed and name give the same numbers, whatever other threads draw."""
        return random.Random(f"{self.seed}:{name}")

    def count(self, whole: int, least: int = 1) -> int:
        """So many of the `whole` number that a full run has; never fewer than `least`."""
        return max(round(whole * self.scale), least)

    def left(self) -> float:
        """Seconds that are left of the part's time; below zero when it is over."""
        return self.started + self.seconds - time.monotonic()


@dataclass(slots=True)
class Figures:
    """What a part measured (`numbers`: name → number) and which invariants it saw broken, as sentences (`broken`)."""

    numbers: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def add(self, name: str, number: float = 1) -> None:
        self.numbers[name] = self.numbers.get(name, 0) + number

    def take(self, other: Figures) -> None:
        """Add another's: numbers are summed, of those named `..._in` (seconds) and `..._most` the larger stays."""
        for name, number in other.numbers.items():
            here = self.numbers.get(name, 0)
            self.numbers[name] = max(here, number) if name.endswith(("_in", "_most")) else here + number
        self.broken += other.broken

    def must(self, holds: bool, sentence: str) -> None:
        """Note a broken invariant. sentence: what should have held, and what was seen instead."""
        if not holds:
            self.broken.append(sentence)
