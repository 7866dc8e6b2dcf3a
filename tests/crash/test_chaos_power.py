"""A short run of `make chaos`, part power: the full one has 1,000 cuts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import power
from tests.chaos.plan import Plan


@pytest.mark.timeout(120)
def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    figures = power.run(Plan(seed=3, seconds=20, folder=tmp_path, scale=0.02))
    assert figures.broken == []
    assert figures.numbers["cuts"] == 20
