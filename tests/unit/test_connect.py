"""What a lane may still begin before another worker takes over what it holds."""

from __future__ import annotations

import pytest

from integrations.core.errors import TryLater, Unknown
from leads.sync.connect import Limits


def test_too_late_for_a_first_call_nothing_was_sent_for_a_later_one_it_may_have_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = [0.0]
    monkeypatch.setattr("leads.sync.connect.time.monotonic", lambda: seconds[0])
    limits = Limits(lease=60, timeout=20)
    limits.start_budget()
    seconds[0] = 41
    with pytest.raises(TryLater):
        limits.check_budget()
    limits.start_budget()
    limits.check_budget()
    seconds[0] = 82
    with pytest.raises(Unknown):
        limits.check_budget()


def test_another_push_is_begun_while_half_of_the_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [100.0]
    monkeypatch.setattr("leads.sync.connect.time.monotonic", lambda: seconds[0])
    limits = Limits(lease=60, timeout=20)
    seconds[0] = 119
    assert limits.has_time(100)
    seconds[0] = 121
    assert not limits.has_time(100)
