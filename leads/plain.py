"""Numbers and lengths of time as people say them, on pages and in notices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

_STANDS = {
    "confirmed": "in the CRM",
    "sent": "taken by the CRM",
    "waiting": "waiting",
    "held": "held",
    "refused": "refused",
    "expired": "given up",
    "handled": "taken care of",
    "erased": "erased",
}


def number_of(number: int, word: str, words: str | None = None) -> str:
    """`1 enquiry`, `1,200 enquiries`."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def enquiries(number: int, verb: str = "", verbs: str = "") -> str:
    """`2 enquiries`; with `waits`, `wait` as the verb of one and of many: `2 enquiries wait`."""
    return number_of(number, f"enquiry {verb}".rstrip(), f"enquiries {verbs}".rstrip())


def passed_over(done: str) -> str:
    """Why some of many were left alone. done: what was done to the others."""
    return "having moved on meanwhile" + ("" if done == "put aside" else " or with consent taken back since")


def span(time: timedelta) -> str:
    """A length of time, as rough as people say it: `2 hours`, and `a moment` for less than a second."""
    seconds = max(int(time.total_seconds()), 0)
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return number_of(seconds // size, word)
    return number_of(seconds, "second") if seconds else "a moment"


def days_until(moment: datetime, now: datetime) -> str | None:
    """`in 12 days`, `within a day`; None when it is past."""
    if moment <= now:
        return None
    days = (moment - now).days
    return f"in {number_of(days, 'day')}" if days else "within a day"


def stands(states: Mapping[str, int]) -> str:
    """How many stand where: `38 in the CRM; 2 waiting`. states: those of a day's balance."""
    return "; ".join(f"{states[state]:,} {text}" for state, text in _STANDS.items() if states.get(state))
