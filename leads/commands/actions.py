"""`frontdesk actions`: who did what."""

from __future__ import annotations

import click

from leads.audit import GROUPS, describe
from leads.commands.office import Office, as_rows, json_option
from leads.store.queries.audit import AuditEntry, audit_log


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
        found = audit_log(session, office.vault, who=who.strip().lower(), kinds=kinds, size=limit)
    rows = [_shown(entry) for entry in found.rows]
    empty = "Nothing was done yet." if not who and not group else "Nothing fits."
    as_rows(["at", "sentence"], rows, empty, json_=json_)


def _shown(entry: AuditEntry) -> dict[str, object]:
    return {
        "at": entry.action.at,
        "who": entry.action.user_name,
        "what": entry.action.what,
        "lead": entry.lead.code if entry.lead else None,
        "connection": entry.connection.name if entry.connection else None,
        "sentence": describe(entry),
    }
