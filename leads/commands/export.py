"""`frontdesk lead export`: all enquiries as a file for a spreadsheet."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from leads.commands.office import Office, fail, site_named
from leads.store.queries.export import Exported, exported

_PERSON = ("first_name", "last_name", "email", "phone")
_ANSWERS = ("preferred_time", "preferred_contact", "service", "message", "page", "tel", "label")
_COLUMNS = (
    *("reference", "site", "received_at", "kind", *_PERSON, *_ANSWERS),
    *("other_answers", "consent", "consent_wording", "standing"),
)
_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet would take for a formula
_NOTE = (
    "The file holds names, contact details and what people wrote about their health, and is not encrypted. "
    "Delete it once it is no longer needed: what is erased or forgotten here later stays in it."
)


@click.command("export")
@click.option("--csv", "path", required=True, metavar="FILE", help="Where to write; - is the standard output.")
@click.option("--site", "site_key", help="Only the enquiries of this website, by its key.")
def export(path: str, site_key: str | None) -> None:
    """Write all enquiries into a file for a spreadsheet, one in a line, oldest first. Times are UTC.

    Only its owner may read the file, and none is overwritten. Text that a spreadsheet would run as a formula, a phone
    number with + among it, begins with an apostrophe. That it was done is written down.
    """
    office = Office()
    with office.database.read() as session:
        site = site_named(session, site_key) if site_key else None
    with _opened(path) as file:
        with office.database.write() as session:
            office.record(session, "exported", f"of {site_key}" if site_key else "of every website")
        number = _write(file, exported(office.database, office.vault, site.id if site else None))
    click.echo(f"Enquiries written: {number}. {_NOTE}", err=True)


def _write(file: IO[str], rows: Iterable[Exported]) -> int:
    file.write("\ufeff")  # else Excel takes it for another encoding
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    number = 0
    for number, row in enumerate(rows, 1):  # noqa: B007 - counted on the way
        writer.writerow(map(_harmless, _cells(row)))
    return number


def _cells(row: Exported) -> Iterator[Any]:
    event, answers = row.event, row.answers
    yield from (row.lead.code, row.site.key, f"{event.received_at:%Y-%m-%d %H:%M:%S}", event.kind)
    yield from (row.person.get(name, "") for name in _PERSON)
    yield from (answers.get(name, "") for name in _ANSWERS)
    yield "; ".join(f"{name}: {text}" for group in ("attribution", "extra") for name, text in _group(answers, group))
    yield {True: "given", False: "not given on the form", None: ""}[event.consent_given]
    yield event.consent_version or ""
    yield "; ".join(row.standings) or "no connection"


def _group(answers: Any, group: str) -> Iterable[tuple[str, Any]]:
    found = answers.get(group)
    return found.items() if isinstance(found, dict) else ()


def _harmless(cell: Any) -> str:
    text = str(cell)
    return f"'{text}" if text.startswith(_RUNS) else text


@contextmanager
def _opened(path: str) -> Iterator[IO[str]]:
    if path == "-":
        yield sys.stdout
        return
    try:
        mine = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        fail(f"There is a file {path} already. Choose another name.")
    except OSError as error:
        fail(f"{Path(path)} cannot be written: {error.strerror}.")
    with os.fdopen(mine, "w", encoding="utf-8", newline="") as file:
        yield file
