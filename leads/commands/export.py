"""`frontdesk lead export`: all enquiries as a file for a spreadsheet."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from leads import spreadsheet
from leads.commands.office import HomePath, Office, fail, harmless, say, site_named
from leads.spreadsheet import SEPARATORS
from leads.store.queries.export import exported

_FILE = HomePath(dir_okay=False, allow_dash=True)


@click.command("export")
@click.option("--csv", "path", type=_FILE, required=True, metavar="FILE", help="Where to write; - is standard output.")
@click.option("--site", "site_key", help="Only the enquiries of this website, by its key.")
@click.option(
    "--separator",
    type=click.Choice(list(SEPARATORS)),
    default="comma",
    show_default=True,
    help="Between columns; Excel set to German, French and most languages of Europe wants semicolons.",
)
def export(path: str, site_key: str | None, separator: str) -> None:
    """Write all enquiries into a file for a spreadsheet, one in a line, oldest first.

    Times are given by the website's clock and in UTC.

    Only its owner may read the file, and none is overwritten. Text that a spreadsheet would run as a formula, a phone
    number with + among it, begins with an apostrophe. That it was done is written down.
    """
    office = Office()
    with office.database.read() as session:
        site = site_named(session, site_key) if site_key else None
    with _opened(path) as file:
        with office.database.write() as session:
            office.record(session, "exported", spreadsheet.whose(site))
        is_shown = path == "-" and sys.stdout.isatty()
        number = -1  # the columns' names are no enquiry
        rows = exported(office.database, office.vault, site)
        for number, line in enumerate(spreadsheet.lines(rows, SEPARATORS[separator])):  # noqa: B007
            file.write(harmless(line) if is_shown else line)
    say(f"Enquiries written: {number}. {spreadsheet.NOTE}", err=True)


@contextmanager
def _opened(path: str) -> Iterator[IO[str]]:
    if path == "-":
        yield sys.stdout
        sys.stdout.flush()  # says here that it cannot be written, and not when the program ends
        return
    try:
        mine = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        fail(f"There is a file {path} already. Choose another name.")
    except OSError as error:
        fail(f"{Path(path)} cannot be written: {error.strerror}.")
    try:
        with os.fdopen(mine, "w", encoding="utf-8", newline="") as file:
            yield file
    except BaseException as error:
        Path(path).unlink()  # half a file looks like a whole one
        if not isinstance(error, OSError):
            raise
        fail(f"{Path(path)} cannot be written: {error.strerror}. What was written of it was deleted.")
