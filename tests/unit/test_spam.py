"""Is it a person? What is suspected and what is not."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import time_machine

from leads.intake.limit import Limiter
from leads.intake.spam import Signals, SpamCheck

KEY = b"k" * 32
WRITTEN = ("::ffff:10.1.2.3", "10.1.2.3:8080", "[::1]:8080")
SHOWN = datetime.fromisoformat("2026-03-02T09:00:00+00:00")


def check(min_seconds: float = 3, limit: int = 3, exempt: frozenset[str] = frozenset()) -> SpamCheck:
    return SpamCheck(KEY, min_seconds, Limiter(limit), exempt)


def signals(
    token: str | None = None, address: str = "203.0.113.9", trap: str = "", foreign: str | None = None
) -> Signals:
    return Signals("consultation_request", address, token, trap, foreign)


def sent_after(seconds: float, token_of: SpamCheck | None = None, site: str = "demo") -> str | None:
    """The suspicion about a form that was shown for so long."""
    with time_machine.travel(SHOWN, tick=False):
        token = (token_of or check()).token("demo")
    with time_machine.travel(SHOWN + timedelta(seconds=seconds), tick=False):
        return check().suspicion(site, signals(token))


def test_a_person_is_not_suspected() -> None:
    assert sent_after(3) is None
    assert sent_after(86400 * 30) is None
    assert check().suspicion("demo", signals()) is None


def test_faster_than_a_person_is_suspected() -> None:
    assert "faster" in (sent_after(2.9) or "")


def test_a_form_from_before_the_clock_was_set_back_is_not_suspected() -> None:
    assert sent_after(-3600) is None


def test_a_signature_of_somebody_else_is_suspected() -> None:
    stranger = SpamCheck(b"x" * 32, 3, Limiter(3), frozenset())
    assert "not ours" in (sent_after(10, token_of=stranger) or "")


def test_a_signature_for_another_site_is_suspected() -> None:
    assert "another site" in (sent_after(10, site="other") or "")


@pytest.mark.parametrize("token", ["x", ".", "é", "a.b.c", "W10.", "x" * 5000])
def test_a_made_up_signature_is_suspected(token: str) -> None:
    assert "not ours" in (check().suspicion("demo", signals(token)) or "")


def test_a_filled_trap_is_suspected() -> None:
    assert "cannot see" in (check().suspicion("demo", signals(trap="https://spam.example")) or "")


def test_a_foreign_page_is_suspected() -> None:
    assert "a page of https://evil.example" in (
        check().suspicion("demo", signals(foreign="https://evil.example")) or ""
    )
    assert "no web address" in (check().suspicion("demo", signals(foreign="")) or "")


def test_one_address_may_send_so_many_to_a_site_in_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("leads.window.time.monotonic", lambda: now[0])
    spam = check(limit=3)
    reasons = [spam.suspicion("demo", signals()) for _ in range(5)]
    assert [bool(reason) for reason in reasons] == [False, False, False, True, True]
    assert spam.suspicion("other", signals()) is None
    assert spam.suspicion("demo", signals(address="203.0.113.10")) is None
    now[0] += 601
    assert spam.suspicion("demo", signals()) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.9", "203.0.113.10", False),
        ("not an address", "", True),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.10", False),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9:50001", "203.0.113.10:50001", False),
        ("203.0.113.9:50001", "203.0.113.9:50002", True),
        ("[2001:db8:1:2::1]:443", "2001:db8:1:2::9", True),
        ("[::ffff:203.0.113.9]:443", "203.0.113.9", True),
    ],
)
def test_who_counts_as_one_address(one: str, other: str, same: bool) -> None:
    spam = check(limit=1)
    assert not spam.too_many("demo", one)
    assert spam.too_many("demo", other) is same


def test_an_address_of_our_own_proxy_says_nothing() -> None:
    spam = check(limit=1, exempt=frozenset({"10.0.0.0/8", "::1"}))
    assert not any(spam.too_many("demo", address) for address in ("10.1.2.3", "::1", *WRITTEN) for _ in range(5))
    assert [spam.too_many("demo", "203.0.113.9") for _ in range(2)] == [False, True]
