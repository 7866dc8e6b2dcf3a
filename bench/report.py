"""What a measurement found, as a ratio against a limit measured beside it in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. values: one per round, in `unit`. limit: the bare limit's values of the same rounds.

    least: the ratio that is asked for, or None; at_most: the greatest value that is. note: a few words.
    """

    part: str
    name: str
    unit: str
    values: Sequence[float]
    limit: Sequence[float] = ()
    limit_name: str = ""
    least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Median of the rounds' own ratios: both were measured within the same seconds."""
        pairs = [value / limit for value, limit in zip(self.values, self.limit, strict=False) if limit]
        return median(pairs) if pairs else None

    @property
    def holds(self) -> bool:
        """Whether what is asked for was met; True when nothing is."""
        enough = self.least is None or (self.ratio is not None and self.ratio >= self.least)
        return enough and (self.at_most is None or median(self.values) <= self.at_most)


# A part of the bench: how many seconds it may take and a seed → its rows, each as soon as it is known.
Part = Callable[[float, int], Iterable[Row]]
