"""The parts of the chaos programme, and how one of them is run in a process of its own."""

from __future__ import annotations

import importlib
import os
import time
import traceback
from functools import partial
from pathlib import Path

from leads.upkeep import logs
from tests.chaos.plan import Figures, Plan

# Part (a module here with `run`) → seconds of a full run. The longest begin first.
PARTS = {
    "behaviours": 400.0,
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
    logs.configure("critical")  # the screen is for the progress
    if name != max(PARTS, key=PARTS.__getitem__):
        os.nice(2)  # the longest never waits for anything, and the whole run lasts as long as it does
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
