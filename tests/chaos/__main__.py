"""`make chaos`: break everything that can break, and compare what was promised with what arrived.

Environment: SECONDS (whole run, 600), SEED (a new one each time), PARTS (names with commas, all). The seed is printed
first; the same seed makes the same faults in the same order, though a real machine never interleaves them twice alike.
Exit code 1 when an invariant broke. The last line holds the figures.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.asked import asked
from tests.chaos.parts import PARTS, run_part
from tests.chaos.plan import Figures

WHOLE = 600.0  # seconds in which a full run must be over, on two cores
SIDE_BY_SIDE = 3  # the parts wait more than they work


def main() -> int:
    """Run the parts, some side by side. Returns the exit code."""
    seed, seconds, names = asked(WHOLE, PARTS)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    scale = min(seconds / WHOLE, 1.0)
    with ProcessPoolExecutor(SIDE_BY_SIDE, multiprocessing.get_context("spawn")) as pool:
        running = {name: pool.submit(run_part, name, seed, scale, folder) for name in names}
        figures = {name: future.result() for name, future in running.items()}
    return _report(seed, figures, folder)


def _report(seed: int, figures: dict[str, Figures], folder: Path) -> int:
    broken = [f"BROKEN {name}: {sentence}" for name, one in figures.items() for sentence in one.broken]
    if broken:
        print("\n".join(broken))
        print(f"What the programs have logged is kept in {folder}.")
    else:
        shutil.rmtree(folder)
    numbers = " ".join(
        f"{name}.{key}={number:g}" for name, one in figures.items() for key, number in one.numbers.items()
    )
    print(f"seed={seed} broken={len(broken)} {numbers}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
