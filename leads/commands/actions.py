"""`frontdesk actions`: who did what."""

from __future__ import annotations

import click

from leads.commands.office import Office, as_rows, json_option
from leads.deeds import GROUPS, told
from leads.store.queries.actions import Deed, deeds


@click.command("actions")
@click.option("--who", default="", help="Only what this user did; for commands: 'command line'.")
@click.option("--group", type=click.Choice(list(GROUPS)), help="Only what is of this kind.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def actions(who: str, group: str | None, limit: int, json_: bool) -> None:
    """Show who did what, newest first. Enquiries are named by their reference code alone."""
    office = Office()
    kinds = GROUPS[group].sentences if group else ()
    with office.database.read() as session:
        found = deeds(session, office.vault, who=who.strip().lower(), kinds=kinds, size=limit)
    rows = [_shown(deed) for deed in found.rows]
    empty = "Nothing was done yet." if not who and not group else "Nothing fits."
    as_rows(["at", "sentence"], rows, empty, json_=json_)


def _shown(deed: Deed) -> dict[str, object]:
    return {
        "at": deed.action.at,
        "who": deed.action.user_name,
        "what": deed.action.what,
        "lead": deed.lead.code if deed.lead else None,
        "connection": deed.connection.name if deed.connection else None,
        "sentence": told(deed),
    }
