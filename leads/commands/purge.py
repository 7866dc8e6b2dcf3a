"""`frontdesk purge`: forget old enquiries now, or say how many that would be."""

from __future__ import annotations

import threading
from datetime import timedelta

import click

from leads.commands.office import Office, fail, say
from leads.plain import number_of
from leads.store.retention import count_old, count_unreadable
from leads.upkeep.retention import slices

_UNDECIDED = {
    "no_consent": "Held for want of consent",
    "spam": "Held since it looks like spam",
    "unknown_caller": "Held until the caller is known",
}


@click.command("purge")
@click.option("--days", type=click.IntRange(1, 36_500), help="Instead of FRONTDESK_KEEP_DAYS.")
@click.option("--dry-run", is_flag=True, help="Only say how many it would be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(days: int | None, dry_run: bool, yes: bool) -> None:
    """Forget people who have not been heard of for long, and of whom nothing is left to do.

    The worker does it by itself each hour when FRONTDESK_KEEP_DAYS is set. What waits to be sent, was refused or given
    up, and nobody has seen to, is always kept. What is held because it looks like spam, lacks consent or came from a
    caller who never said who it was is forgotten too, if nobody has decided on it in all that time; so is what could
    not be understood.
    """
    office = Office()
    keep = days or office.settings.keep_days
    if not keep:
        fail("Enquiries are kept for ever, since FRONTDESK_KEEP_DAYS is 0. Say how long: frontdesk purge --days 365")
    with office.database.read() as session:
        before = office.database.now(session) - timedelta(days=keep)
        old, unread = count_old(session, before), count_unreadable(session, before)
    say(f"People who sent nothing for {keep} days: {old.people}. All of it has arrived and is done with: {old.done}.")
    for code, number in sorted(old.undecided.items()):
        say(f"{_UNDECIDED[code]}, and nobody has decided on it in all that time: {number}.")
    if unread:
        say(f"Could not be understood, and came before that: {unread}.")
    if dry_run or not (old.forgettable or unread):
        return
    if not yes:
        click.confirm("Delete them here for good? The CRM keeps what it has.", abort=True)
    forgotten = 0
    with click.progressbar(length=old.people, label="Forgetting") as bar:
        for slice_ in slices(office.database, before, threading.Event()):
            forgotten += slice_.forgotten
            bar.update(slice_.looked_at)
    with office.database.read() as session:
        gone = unread - count_unreadable(session, before)
    if not forgotten and gone < 1:
        fail("Nobody was forgotten: the server's clock has jumped within the last hour, so no date can be trusted yet.")
    with office.database.write() as session:
        what = number_of(forgotten, "person", "people") + (f" and {number_of(gone, 'message')}" if gone else "")
        office.record(session, "purged", f"{what}, after {keep} days")
    say(f"People forgotten: {forgotten}." + (f" Messages forgotten: {gone}." if gone else ""))
