"""The table of `make bench`: a ratio is that of the same round, and what was not met is said."""

from __future__ import annotations

from bench.report import Row, page, table


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    """A machine that was busy in one round was busy for both."""
    row = Row("Intake", "32 clients", "/s", [100.0, 10.0, 90.0], [200.0, 20.0, 100.0], "bare", least=0.5)
    assert row.ratio == 0.5
    assert row.holds


def test_what_is_asked_for_and_not_met_is_said() -> None:
    slow = Row("Intake", "32 clients", "/s", [40.0], [100.0], "bare", least=0.5)
    late = Row("Intake", "p99", "ms", [90.0, 120.0, 130.0], at_most=100)
    assert not slow.holds
    assert not late.holds
    assert "40%" in table([slow])
    assert "≥ 50%: **no**" in table([slow])
    assert "≤ 100 ms: **no**" in table([late])


def test_each_part_has_its_table_under_the_machine() -> None:
    rows = [Row("Intake", "one", "/s", [1.0]), Row("Delivery", "two", "/s", [2.0])]
    text = page({"processor": "two cores"}, 7, 12.3, rows)
    assert text.index("| processor | two cores |") < text.index("## Intake") < text.index("## Delivery")
    assert "| seed | 7 |" in text
