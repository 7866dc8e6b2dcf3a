"""When a site is unusually silent: rarely by chance, soon when its form is broken."""

from __future__ import annotations

import random
from bisect import bisect_left
from datetime import UTC, datetime

import pytest

from leads.store.models import Site
from leads.store.queries.signs import Rhythm
from leads.upkeep.alerts import is_unusual

WEEK = 7 * 24.0  # hours
SITE = Site(key="demo", name="Sunrise", time_zone="UTC")


def rhythm(times: list[float], at: int, now: float) -> Rhythm:
    """What is known at `now`, in hours, when the first `at` of these events have come."""
    last = times[at - 1]
    weeks = min(4, int(last / WEEK))
    usual = [
        bisect_left(times, now - WEEK * back) - bisect_left(times, last - WEEK * back) for back in range(1, weeks + 1)
    ]
    weekly = (at - bisect_left(times, last - WEEK * weeks)) / weeks if weeks else 0
    return Rhythm(SITE, "consultation_request", datetime(2026, 1, 1, tzinfo=UTC), usual, weekly)


def by_chance(weekly: float, weeks: int, seed: int) -> list[float]:
    """Events on working days from 9 to 17, as chance brings them; times in hours."""
    chance, times, hour = random.Random(seed), [], 0.0
    while hour < weeks * 40:  # of work
        hour += chance.expovariate(weekly / 40)
        day, rest = divmod(hour, 8)
        times.append((day // 5) * WEEK + (day % 5) * 24 + 9 + rest)
    return times


@pytest.mark.parametrize("weekly", [3, 10, 40, 200, 1000])
def test_a_healthy_site_is_seldom_thought_broken(weekly: float) -> None:
    """Looked at just before each event, when the gap is the longest: about one false alarm in a hundred weeks."""
    sites = 1 if weekly == 1000 else 4
    alarms = 0
    for seed in range(sites):
        times = by_chance(weekly, 52, seed)
        alarms += sum(is_unusual(rhythm(times, n, times[n])) for n in range(1, len(times)))
    assert alarms <= 2 * sites


@pytest.mark.parametrize(("weekly", "hours"), [(10, 9 * 24), (40, 4 * 24), (200, 24), (1000, 6)])
def test_a_broken_form_is_noticed(weekly: float, hours: float) -> None:
    times = by_chance(weekly, 8, seed=1)
    broken = 6 * WEEK + 24 + 12  # a Tuesday noon
    known = [time for time in times if time < broken]
    noticed = next(gap for gap in range(1, 24 * 30) if is_unusual(rhythm(known, len(known), broken + gap)))
    assert noticed <= hours
    later = [is_unusual(rhythm(known, len(known), broken + gap)) for gap in range(noticed, 24 * 28)]
    assert all(later), "it stays so until an event comes"


def test_a_site_that_is_new_is_not_judged() -> None:
    times = [float(hour) for hour in range(int(1.5 * WEEK))]
    assert not is_unusual(rhythm(times, len(times), times[-1] + 48))


def test_nothing_is_judged_by_two_events() -> None:
    assert not is_unusual(Rhythm(SITE, "call_click", datetime(2026, 1, 1, tzinfo=UTC), (2, 2, 2, 2), 2))
