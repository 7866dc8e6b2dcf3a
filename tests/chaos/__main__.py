"""`make chaos`: break everything that can break, and compare what was promised with what arrived.

Environment: SECONDS (whole run, 600), SEED (a new one each time), PARTS (names with commas, all). The seed is printed
first; the same seed makes the same faults in the same order, though a real machine never interleaves them twice alike.
Exit code 1 when an invariant broke. The last line holds the figures.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.chaos.plan import Figures, Plan

WHOLE = 600.0  # seconds in which a full run must be over, on two cores
SIDE_BY_SIDE = 2
# Part (a module here with `run`) → seconds of a full run. The longest begin first.
PARTS = {
    "behaviours": 300.0,
    "outage": 180.0,
    "kills": 170.0,
    "power": 150.0,
    "postgres_stops": 120.0,
    "failovers": 110.0,
    "failpoints": 100.0,
    "zombies": 60.0,
}


def run_part(name: str, seed: int, scale: float, folder: Path) -> Figures:
    """One part in a process of its own. What it raises counts as broken."""
    home = folder / name
    home.mkdir(parents=True)
    plan = Plan(seed, PARTS[name] * scale, home, scale, partial(_say, name))
    _say(name, "begins")
    try:
        figures = importlib.import_module(f"tests.chaos.{name}").run(plan)
    except Exception:  # noqa: BLE001 - one part that breaks must not hide what the others find
        figures = Figures(broken=[f"the part itself failed: {traceback.format_exc()}"])
    figures.numbers["seconds"] = round(time.monotonic() - plan.started)
    _say(name, _line(figures))
    return figures


def _say(name: str, text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name}: {text}", flush=True)


def _line(figures: Figures) -> str:
    return " ".join(f"{name}={number:g}" for name, number in figures.numbers.items())


def main() -> int:
    """Run the parts, two at a time. Returns the exit code."""
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
    seconds = float(os.environ.get("SECONDS") or WHOLE)
    names = [name for name in (os.environ.get("PARTS") or ",".join(PARTS)).split(",") if name]
    if unknown := set(names) - set(PARTS):
        print(f"There is no part {', '.join(sorted(unknown))}. The parts are: {', '.join(PARTS)}.")
        return 2
    print(f"SEED={seed} SECONDS={seconds:g} PARTS={','.join(names)}", flush=True)
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
