"""`make bench`: how fast everything is, as ratios against bare limits that are measured beside it.

Environment: SECONDS (whole run, 430), SEED (a new one each time), PARTS (names with commas, all). A whole run writes
bench/results.md. Exit code 1 when something that is asked for was not met.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import delivery, freshness, growth, intake
from bench.machine import facts
from bench.report import HEAD, Part, Row, page
from tests.asked import asked

RESULTS = Path(__file__).with_name("results.md")
WHOLE = 430.0  # seconds: ten minutes less what starting servers and making data takes
# Each with its share of the whole.
PARTS: dict[str, tuple[Part, float]] = {
    "intake": (intake.measure, 0.3),
    "delivery": (delivery.measure, 0.25),
    "freshness": (freshness.measure, 0.25),
    "growth": (growth.measure, 0.2),
}


def main() -> int:
    """Measure the parts one after another. Returns the exit code."""
    seed, seconds, names = asked(WHOLE, PARTS)
    began = time.monotonic()
    rows = _measured(names, seconds, seed)
    Console().print(_table(rows))
    if len(names) == len(PARTS):
        RESULTS.write_text(page(facts(), seed, time.monotonic() - began, rows), encoding="utf-8")
    failed = [f"{row.part}: {row.name}" for row in rows if not row.holds]
    print("\n".join(f"NOT MET {name}" for name in failed) or "Everything that is asked for was met.")
    return 1 if failed else 0


def _measured(names: list[str], seconds: float, seed: int) -> list[Row]:
    """The rows of these parts, each shown as soon as it is known."""
    rows: list[Row] = []
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns) as progress:
        for name in names:
            part, share = PARTS[name]
            task = progress.add_task(name, total=None)
            for row in part(seconds * share, seed):
                rows.append(row)
                progress.console.print("  ".join(cell for cell in [row.part, *row.cells()] if cell), markup=False)
            progress.update(task, total=1, completed=1)
    return rows


def _table(rows: list[Row]) -> Table:
    shown = Table("part", *HEAD)
    for row in rows:
        shown.add_row(row.part, *row.cells())
    return shown


if __name__ == "__main__":
    sys.exit(main())
