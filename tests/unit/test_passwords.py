"""Passwords that are guessed soon, and those that are not."""

from __future__ import annotations

import pytest

from leads.store.passwords import is_easy


@pytest.mark.parametrize(
    "easy",
    [
        "passwordpassword",
        "Password Password 1",
        "P@ssw0rd-P@ssw0rd",
        "Frontdesk2026!",
        "summer winter 12",
        "tom tom tom tom 1",
        "sunrise sunrise",
        "SunriseSunrise12!",
        "abc1abc1abc1",
        "aabbaabbaabb",
        "123456789012",
        "qwertyuiop12",
        "poiuytrewq09876",
        "abcdefghijkl",
    ],
)
def test_what_is_little_but_words_runs_and_repetitions_is_easy(easy: str) -> None:
    assert is_easy(easy)


@pytest.mark.parametrize(
    "good",
    [
        "correct horse battery",
        "banana banana pie shop",
        "my dentist has a password",
        "three blue dentists",
        "tkv8-hq2m-x7wd-p4ne",
        "){/|~;^%<+=?!&",
        "сорок тысяч обезьян",
        "x" * 3 + "Vq9!fLw2",
    ],
)
def test_a_few_words_and_what_a_program_makes_are_not(good: str) -> None:
    assert not is_easy(good)
