"""The reckoning of docs/explanation/scaling.md: the page holds what it says now, and its queue is a queue."""

from __future__ import annotations

from random import Random

import pytest

from bench.scaling import PAGE, _queue, filled


def test_the_page_holds_what_the_measured_costs_come_to() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "python -m bench.scaling --write"


def test_waiting_is_what_the_theory_of_queues_says() -> None:
    """One server that is busy for 80 % of the time, all at random: four times a service is waited for."""
    dice, now, arrivals = Random(7), 0.0, []
    for _ in range(100_000):
        now += dice.expovariate(0.8)
        arrivals.append(now)
    waits = _queue(arrivals, 1, lambda: dice.expovariate(1.0))
    assert sum(waits) / len(waits) == pytest.approx(4.0, rel=0.15)
