"""When what was confirmed is looked at again: each night, while the clinic sleeps, for some weeks."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

_BEGINS = time(2)
_LASTS = timedelta(hours=2)


def next_look(now: datetime, confirmed_at: datetime, time_zone: str, days: int, chance: float) -> datetime | None:
    """A moment of the coming night, between two and four in the site's zone; None when `days` are over by then.

    chance: 0 to 1, spreads the looks over the night.
    """
    zone = ZoneInfo(time_zone)
    local = now.astimezone(zone)
    date = local.date() if local.time() < _BEGINS else local.date() + timedelta(days=1)
    # Through UTC, since on one night a year there is no half past two.
    look = datetime.combine(date, _BEGINS, zone).astimezone(now.tzinfo) + _LASTS * chance
    return look if look <= confirmed_at + timedelta(days=days) else None
