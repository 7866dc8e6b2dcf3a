"""When what was confirmed is looked at again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.sync.nights import next_look

ZONE = "America/New_York"
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware


@given(moments, st.floats(0, 1))
def test_it_is_the_coming_night_in_the_clinics_zone(now: datetime, chance: float) -> None:
    look = next_look(now, now, ZONE, 30, chance)
    assert look is not None
    assert timedelta(0) < look - now <= timedelta(hours=27), "each night, and never the same moment again"
    assert 2 <= look.astimezone(ZoneInfo(ZONE)).hour <= 4 + (look.date().month in (3, 11))  # the nights of the clocks


def test_the_looks_are_spread_over_two_hours() -> None:
    now = datetime(2026, 6, 1, 15, tzinfo=UTC)
    first, last = next_look(now, now, ZONE, 30, 0), next_look(now, now, ZONE, 30, 1)
    assert first == datetime(2026, 6, 2, 2, tzinfo=ZoneInfo(ZONE))
    assert last == datetime(2026, 6, 2, 4, tzinfo=ZoneInfo(ZONE))


@pytest.mark.parametrize(("days", "looks"), [(30, 30), (2, 2), (0, 0)])
def test_it_ends_after_as_many_nights(days: int, looks: int) -> None:
    confirmed = now = datetime(2026, 6, 1, 15, tzinfo=UTC)
    times = 0
    while look := next_look(now, confirmed, ZONE, days, 0.5):
        now, times = look, times + 1
    assert times == looks
