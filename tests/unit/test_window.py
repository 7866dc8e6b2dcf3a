"""So many within so many seconds, and no more memory for it than is set."""

from __future__ import annotations

import pytest

from leads.window import Window


def test_a_window_moves_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("leads.window.time.monotonic", lambda: now[0])
    window = Window(2, seconds=10)
    hits = []
    for now[0] in (1000, 1006, 1009, 1010.5, 1011, 1016.5):
        hits.append(window.hit("her"))
    assert hits == [True, True, False, True, False, True]


def test_what_was_hit_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("leads.window.time.monotonic", lambda: now[0])
    window = Window(2, seconds=10)
    for number in range(50):
        window.hit(str(number))
    now[0] += 11
    window.hit("her")
    assert len(window) == 1


def test_a_flood_from_many_addresses_takes_no_more_memory() -> None:
    window = Window(1, seconds=600, remembered=100)
    for number in range(5000):
        assert window.hit(str(number))
    assert len(window) == 101
    assert not window.hit("4999")
    assert window.hit("0"), "who came longest ago was forgotten"


def test_looking_counts_nothing_and_clearing_forgets() -> None:
    window = Window(1, seconds=10)
    assert not window.is_full("her")
    assert not window.is_full("her")
    window.hit("her")
    assert window.is_full("her")
    window.clear("her")
    assert not window.is_full("her")


def test_the_last_hit_is_taken_back() -> None:
    window = Window(2, seconds=10)
    window.take_back("her")
    window.hit("her")
    window.hit("her")
    window.take_back("her")
    assert not window.is_full("her")
    window.take_back("her")
    assert len(window) == 0
