"""`frontdesk lead erase-again`: after a restore, erase whom the list of erasures names and the database has again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from leads.commands.office import ME, HomePath, Office, fail, say
from leads.plain import number_of
from leads.store import outbox
from leads.store.erasure_list import Listed
from leads.store.queries.erasures import Back, back, never_known
from leads.upkeep.erasures import complete, never_here, told_of

_FILE = HomePath(exists=True, dir_okay=False, path_type=Path)


@click.command("erase-again")
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase_again(files: Sequence[Path], yes: bool) -> None:
    """After a restore, erase again who was erased since that copy was made, here and in every CRM.

    Who that is stands in erased.txt in the data folder. FILES: such lists of other hosts, or of the folder before; they
    are taken over into it. Who wrote again since is left to you, and the end is 1. Safe to repeat.
    """
    office = Office()
    _ = office.vault
    if not files and not office.erasures.file.exists():
        say(f"There is no list {office.erasures.file}. Put it back, if anybody was erased since the copy was made.")
    listed = _listed(office, files)
    with office.database.read() as session:
        found, unknown = back(session, listed), never_known(session, listed)
    people = number_of(len(listed.erased), "person", "people")
    say(f"On the list: {people}. Here again, and to be erased: {len(found.again)}.")
    if found.again:
        if not yes:
            codes = ", ".join(lead.code for lead, _ in found.again)
            click.confirm(f"Erase {codes} for good, here and with all that stands on the record in a CRM?", abort=True)
        say(f"Erased again: {_erase(office, found)}. What a CRM holds is erased there by the worker.")
    if unknown:
        say(never_here(unknown))
    if left := list(told_of(found, office.erasures)):
        fail("\n".join(left))


def not_on_the_list(file: Path) -> str:
    """What to say where somebody was erased and the list does not say so."""
    return f"The list of erasures {file} could not be written: after a restore nobody would know. See: frontdesk doctor"


def _listed(office: Office, files: Sequence[Path]) -> Listed:
    """The whole list, with what others have. Ends the program with a sentence when one cannot be read."""
    erasures = office.erasures
    try:
        mine, listed = complete(office.database, erasures), erasures.read(*files)
    except OSError as error:
        fail(f"The list {error.filename} cannot be read: {error.strerror}.")
    others = set(listed.erased).difference(mine.erased)
    if not all(erasures.add("erased", entry) for entry in sorted(others)):
        say(not_on_the_list(erasures.file), err=True)
    return listed


def _erase(office: Office, found: Back) -> int:
    """Returns how many. Who wrote in this very moment, or was erased by somebody else, is passed over."""
    erased = 0
    with click.progressbar(found.again, label="Erasing") as bar:
        for lead, entry in bar:
            done = outbox.erase(office.database, office.vault, office.erasures, lead.id, ME, entry)
            erased += done is not None
    return erased
