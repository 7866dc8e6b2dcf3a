"""`frontdesk balance`: whether every enquiry is accounted for, by site and day."""

from __future__ import annotations

from typing import Any

import click

from leads.commands.office import WRONG, Office, as_rows, json_option, site_named
from leads.store.queries.balance import DayBalance, recent_balances
from leads.store.queries.lists import sites


@click.command("balance")
@click.option("--site", "site_key", help="Key of one website; all if left out.")
@click.option("--days", default=14, show_default=True, type=click.IntRange(1, 366), help="Today and the days before.")
@json_option
def balance(site_key: str | None, days: int, json_: bool) -> None:
    """Count where every enquiry stands. Ends with 1 when some are not accounted for."""
    office = Office()
    with office.database.read() as session:
        known = [site_named(session, site_key)] if site_key else sites(session)
        found = recent_balances(session, known, office.database.now(session), days)
    rows = [_shown(day) | ({} if json_ else {"closes": "yes" if day.closes else "NO"}) for day in found]
    as_rows(list(rows[0]) if rows else [], rows, "There are no websites yet.", json_=json_)
    if not all(day.closes for day in found):
        raise SystemExit(WRONG)


def _shown(day: DayBalance) -> dict[str, Any]:
    return {
        "site": day.site.key,
        "day": day.day.isoformat(),
        "captured": day.captured,
        **day.states,
        "not_accounted_for": day.unaccounted,
        "closes": day.closes,
    }
