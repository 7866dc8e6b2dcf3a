"""What a measurement found, as a ratio against a limit measured beside it in the same run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

HEAD = ("", "median", "spread", "limit beside it", "ratio", "asked", "")


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

    def cells(self) -> list[str]:
        """As HEAD names them."""
        spread = f"{_number(min(self.values))} to {_number(max(self.values))}" if len(self.values) > 1 else ""
        limit = f"{_number(median(self.limit))}, {self.limit_name}" if self.limit else ""
        ratio = "" if self.ratio is None else f"{self.ratio:.0%}"
        measured = f"{_number(median(self.values))} {self.unit}".strip()
        return [self.name, measured, spread, limit, ratio, self._asked(), self.note]

    def _asked(self) -> str:
        asked = [f"≥ {self.least:.0%}"] if self.least is not None else []
        asked += [f"≤ {_number(self.at_most)} {self.unit}".strip()] if self.at_most is not None else []
        return f"{' and '.join(asked)}: {'yes' if self.holds else '**no**'}" if asked else ""


# A part of the bench: how many seconds it may take and a seed → its rows, each as soon as it is known.
Part = Callable[[float, int], Iterable[Row]]


def run_alone(part: Part) -> None:
    """Print what one part finds. Environment: SECONDS (120), SEED (1)."""
    for row in part(float(os.environ.get("SECONDS") or 120), int(os.environ.get("SEED") or 1)):
        print("  ".join(cell for cell in row.cells() if cell), flush=True)


def table(rows: Iterable[Row]) -> str:
    """In Markdown."""
    lines = [HEAD, ["---", "---:", "---:", "---:", "---:", "---:", "---"], *(row.cells() for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def page(facts: Mapping[str, str], seed: int, seconds: float, rows: Sequence[Row]) -> str:
    """The whole of bench/results.md. seconds: that the run took."""
    machine = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
    parts = "\n".join(f"## {part}\n\n{table(of_it)}" for part, of_it in groupby(rows, lambda row: row.part))
    return f"""# What `make bench` measured

Every figure is the median of its rounds, and every ratio the median of the rounds' own ratios: what is compared was
measured within the same seconds, on the same core. Other machines give other figures and much the same ratios.

| | |
|---|---|
{machine}| seed | {seed} |
| the run took | {seconds:.0f} s |

{parts}"""


def _number(value: float) -> str:
    """Three digits are all that such figures carry."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
