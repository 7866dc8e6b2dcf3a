"""Enquiries as a file for a spreadsheet, written by a command and by the desk. Text a line at a time, none kept."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

from leads.store.codes import reference_of
from leads.store.consents import OF_THE_FORM
from leads.store.models import Site
from leads.store.queries.export import Exported

NOTE = (
    "The file holds names, contact details and what people wrote about their health, and is not encrypted. "
    "Delete it once it is no longer needed: what is erased or forgotten here later stays in it."
)
_PERSON = ("first_name", "last_name", "email", "phone")
_ANSWERS = ("preferred_time", "preferred_contact", "service", "message", "page", "tel", "label")
_CAMPAIGN = ("utm_source", "utm_medium", "utm_campaign")
_COLUMNS = (
    *("reference", "site", "received_local", "time_zone", "received_utc", "kind", *_PERSON, *_ANSWERS),
    *("source", *_CAMPAIGN, "other_answers", "consent", "consent_wording", "standing", "person_reference"),
)
# Between two columns, by what the user chooses.
SEPARATORS = {"comma": ",", "semicolon": ";"}
_AFTER_A_SEPARATOR = {
    ",": re.compile(r"([;\t\r\n][ '\"]*)(?=[=+\-@])"),  # in quotes itself, so a cell with one is not cut in two
    ";": re.compile(r"([,;\t\r\n][ '\"]*)(?=[=+\-@])"),
}
_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet would take for a formula


def whose(site: Site | None) -> str:
    """Which enquiries the file holds, for who did what."""
    return f"of {site.key}" if site else "of every website"


def lines(rows: Iterable[Exported], separator: str = ",") -> Iterator[str]:
    """The columns' names, then each enquiry; one of these may itself have line breaks. separator: one of SEPARATORS."""
    yield "\ufeff" + _line(_COLUMNS, separator)  # else Excel takes it for another encoding
    for row in rows:
        yield _line((_harmless(cell, separator) for cell in _cells(row)), separator)


def _line(cells: Iterable[str], separator: str) -> str:
    text = StringIO(newline="")
    csv.writer(text, delimiter=separator).writerow(cells)
    return text.getvalue()


def _cells(row: Exported) -> Iterator[Any]:
    event, answers, zone = row.event, row.answers, row.site.time_zone
    local = event.received_at.astimezone(ZoneInfo(zone))
    yield from (reference_of(event, row.lead), row.site.key)
    yield from (f"{local:%Y-%m-%d %H:%M:%S}", zone, f"{event.received_at:%Y-%m-%d %H:%M:%S}", event.kind)
    yield from (row.person.get(name, "") for name in _PERSON)
    yield from (answers.get(name, "") for name in _ANSWERS)
    touch, own = _group(answers, "attribution"), _group(answers, "extra")
    yield from (event.source, *(touch.get(name, "") for name in _CAMPAIGN))
    others = [*((name, text) for name, text in touch.items() if name not in _CAMPAIGN), *own.items()]
    yield "; ".join(f"{name}: {text}" for name, text in others)
    yield {True: "given", False: "not given on the form", None: ""}[event.consent_given]
    yield event.consent_version or ("" if event.consent_given is None else OF_THE_FORM)
    yield "; ".join(row.standings) or "no connection"
    yield row.lead.code


def _group(answers: Any, group: str) -> dict[str, Any]:
    found = answers.get(group)
    return found if isinstance(found, dict) else {}


def _harmless(cell: Any, separator: str) -> str:
    # What is a separator, and so begins a cell, is up to the country that the spreadsheet is set to.
    text = _AFTER_A_SEPARATOR[separator].sub(r"\1'", str(cell))
    return f"'{text}" if text.startswith(_RUNS) else text
