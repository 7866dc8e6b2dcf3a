"""1,000 power cuts on SQLite: whatever was acknowledged is there when the power is back.

The machine's power is not cut: a preloaded library (`power.c`) keeps what a disk would hold, the program is killed,
and the folder is put back to that (`power_cuts.py`). Two forms, mixed: nothing that was not synced survives; or each
sector of it survives by chance, so that writes are torn and out of order. What a disk does that lies about a sync, or
that damages what was not being written, is not simulated. Two negative controls, whose setting only this harness
can make, show that the test proves something: with `synchronous=NORMAL` acknowledged rows must be lost, with `OFF` the
database must be found corrupt.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.chaos.plan import Figures, Plan

CUTS, NORMAL_CUTS, OFF_CUTS = 1000, 100, 50
_SOURCE = Path(__file__).with_suffix(".c")
_ROOT = _SOURCE.parent.parent.parent


def run(plan: Plan) -> Figures:
    """Cut with FULL, as the product sets it, then with what the negative controls set."""
    library = build(plan.folder)
    figures = _cut(plan, library, plan.count(CUTS, 12), "FULL")
    lost, acknowledged = figures.numbers["lost"], figures.numbers["acknowledged"]
    figures.must(lost == 0, f"no power cut loses what was acknowledged: {lost:g} were lost")
    figures.must(acknowledged > figures.numbers["cuts"], f"there is work between the cuts: {acknowledged:g} enquiries")
    normal = _cut(plan, library, plan.count(NORMAL_CUTS, 6), "NORMAL")
    figures.broken += [f"with NORMAL: {sentence}" for sentence in normal.broken]
    figures.add("lost_with_normal", normal.numbers["lost"])
    figures.must(normal.numbers["lost"] > 0, "with NORMAL something must be lost, or this proves nothing")
    off = _cut(plan, library, plan.count(OFF_CUTS, 12), "OFF")
    figures.add("corrupt_with_off", len(off.broken))
    enough = plan.count(OFF_CUTS, 12) > 12  # a short run may miss the few moments at which it shows
    figures.must(bool(off.broken) or not enough, "with OFF the database must be found corrupt, or this proves nothing")
    return figures


def build(folder: Path) -> Path:
    """Compile the library into the folder. Raises RuntimeError where there is no compiler, and says so."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("This test needs a C compiler. Install one (Debian, Ubuntu: apt install gcc libc6-dev).")
    library = folder / "power.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def _cut(plan: Plan, library: Path, cuts: int, synchronous: str) -> Figures:
    folder = plan.folder / synchronous
    folder.mkdir()
    command = [sys.executable, "-m", "tests.chaos.power_cuts", str(folder), str(plan.seed), str(cuts), synchronous]
    environ = os.environ | {"LD_PRELOAD": str(library)}
    with subprocess.Popen(command, cwd=_ROOT, env=environ, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        last = ""
        for line in process.stdout:
            last = line.strip()
            if not last.startswith("{"):
                plan.say(f"{synchronous}: {last}")
    if process.returncode:
        raise RuntimeError(f"the cuts ended with exit code {process.returncode}")
    return Figures(**json.loads(last))
