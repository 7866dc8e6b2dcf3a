"""The chaos programme in its short form: every part once, at a fiftieth of its size. `make chaos` is the whole."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.chaos.parts import PARTS
from tests.chaos.plan import Plan

SEED = 7  # the same plan each time; `make chaos` takes a new one
# What the other tests run whole anyway.
ELSEWHERE = {"failpoints": "tests/crash/test_kill.py", "outage": "tests/system/test_outage.py"}


@pytest.mark.parametrize("part", sorted(set(PARTS) - set(ELSEWHERE)))
def test_no_invariant_breaks(part: str, tmp_path: Path) -> None:
    plan = Plan(seed=SEED, seconds=8, folder=tmp_path, scale=0.02)
    figures = importlib.import_module(f"tests.chaos.{part}").run(plan)
    print(f"seed {plan.seed}: {figures.numbers}")
    assert figures.broken == []
