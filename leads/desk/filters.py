"""What is chosen above a list: out of which words, websites and periods."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask_login import current_user

from leads.desk import words
from leads.store.models import Connection, Site
from leads.store.queries.lists import start_of_day, usual_zone

PERIODS = {"today": "Today", "1": "Last 24 hours", "7": "Last 7 days", "30": "Last 30 days"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen; an empty text means all. It stands in the URL, so it holds nothing personal."""

    state: str = ""
    kind: str = ""
    site: str = ""
    connection: str = ""
    code: str = ""
    period: str = ""

    def given(self) -> dict[str, Any]:
        """The filters that are set, for links and hidden fields."""
        return {name: value for name, value in asdict(self).items() if value}

    def site_among(self, known: Sequence[Site]) -> Site | None:
        """None: every website."""
        return next((site for site in known if site.key == self.site), None)

    def site_id_among(self, known: Sequence[Site]) -> UUID | None:
        """The same by its id alone."""
        site = self.site_among(known)
        return site.id if site else None

    def since(self, known: Sequence[Site], now: datetime) -> datetime | None:
        """When the period begins: today in the chosen site's zone, or else the first one's."""
        if self.period != "today":
            return now - timedelta(days=int(self.period)) if self.period else None
        site = self.site_among(known)
        return start_of_day(site.time_zone if site else usual_zone(known), now)


def of_one_site(choice: Choice, known: Sequence[Site], connections: Sequence[Connection] = ()) -> Choice:
    """The choice of what is done to many in the background, where nobody is signed in: whoever does not look after all
    websites does it to one of theirs at a time."""
    if choice.site or current_user.sites is None or not known:
        return choice
    named = {row.site_id for row in connections if str(row.id) == choice.connection}
    return replace(choice, site=next((site.key for site in known if site.id in named), known[0].key))


def misses(given: Mapping[str, str], choice: Choice) -> bool:
    """Whether something was chosen that is in no list, such as a connection that was removed meanwhile. A list shows
    all then; but nothing may be done to all that was meant for some."""
    return any(given.get(name, "") not in ("", value) for name, value in asdict(choice).items() if name != "code")


def choice_of(
    given: Mapping[str, str], states: Collection[str], known: Sequence[Site], connections: Sequence[Connection] = ()
) -> Choice:
    """What is not in the lists counts as all."""

    def one_of(name: str, allowed: Collection[str]) -> str:
        value = given.get(name, "")
        return value if value in allowed else ""

    return Choice(
        one_of("state", states),
        one_of("kind", words.EVENTS),
        one_of("site", [site.key for site in known]),
        one_of("connection", [str(row.id) for row in connections]),
        given.get("code", "").strip()[:60],
        one_of("period", PERIODS),
    )
