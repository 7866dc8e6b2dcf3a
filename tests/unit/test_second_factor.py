"""Codes of the app: those of the standard, however they are typed, and one step of a clock that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyotp
import pytest

from leads.store.second_factor import matching_step, new_secret

# RFC 6238, appendix B: its secret for SHA-1, in base 32; of its eight digits the last six.
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
VECTORS = {59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 20000000000: "353130"}
NOW = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)


def _code(seconds: int = 0) -> str:
    return pyotp.TOTP(SECRET).at(NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", VECTORS)
def test_the_codes_of_the_standard_are_right(seconds: int) -> None:
    then = datetime.fromtimestamp(seconds, UTC)
    assert matching_step(SECRET, VECTORS[seconds], then) == seconds // 30


@pytest.mark.parametrize(("seconds", "is_right"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_clock_may_be_one_step_ahead_or_behind(seconds: int, is_right: bool) -> None:
    step = matching_step(SECRET, _code(seconds), NOW)
    assert step == (int(NOW.timestamp()) // 30 + seconds // 30 if is_right else None)


def test_a_code_may_have_spaces() -> None:
    first, last = _code()[:3], _code()[3:]
    for typed in (f"{first} {last}", f" {first}{last}\n", f"{first}-{last}", f"{first}\N{NO-BREAK SPACE}{last}"):
        assert matching_step(SECRET, typed, NOW) is not None, typed


@pytest.mark.parametrize("typed", ["", "0", "abcdef", "１２３４５６", "\ud800", "9" * 10_000])
def test_what_is_no_code_is_wrong(typed: str) -> None:
    assert matching_step(SECRET, typed, NOW) is None


def test_each_secret_is_another_one_of_160_bits() -> None:
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert {len(pyotp.TOTP(secret).byte_secret()) for secret in secrets} == {20}
