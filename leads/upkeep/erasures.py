"""The list of erasures is kept whole, and it is told who stands there and is in the database all the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog

from leads.store.erasure_list import Entry, ErasureList, Listed
from leads.store.models import Lead
from leads.store.queries.erasures import Back, back, unlisted
from leads.store.session import Database

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listing:
    """erasures: the list of this host, which each worker keeps."""

    database: Database
    erasures: ErasureList

    def round(self) -> None:
        """Complete the list, and leave a line in the log where somebody on it is here again."""
        listed = complete(self.database, self.erasures)
        with self.database.read() as session:
            if again := back(session, listed).again:
                log.error("erased people are here again, see: frontdesk doctor", people=len(again))


def complete(database: Database, erasures: ErasureList) -> Listed:
    """Add whoever is erased and missing there: by another host, while it could not be written, or before there was one.

    Returns who stands there, those with them. Raises OSError when the list cannot be read.
    """
    listed = erasures.read()
    with database.read() as session:
        missing = unlisted(session, listed)
    for entry in missing:
        if not erasures.add("erased", entry):
            break
    return listed._replace(erased=[*listed.erased, *missing])


def told_of(found: Back, erasures: ErasureList) -> Iterator[str]:
    """What a person has to look at, in sentences."""
    if found.changed:
        yield (
            f"Erased on request, here again, and not as they were: {_codes(found.changed)}. They wrote since, or "
            "turned out to be somebody else. Look at each; who is to be erased all the same: frontdesk lead erase CODE"
        )
    if found.unclear:
        yield (
            f"Their erasure was begun, and nobody knows whether it was done: {_codes(found.unclear)}. If they asked "
            f"for it: frontdesk lead erase CODE. If not, take the line out of {erasures.file}."
        )


def never_here(missing: Iterable[Entry]) -> str:
    """Whom this database never knew: it cannot say whether a CRM still holds them."""
    return (
        f"On the list and never in this copy: {_codes(missing)}. They came and were erased after it was made. Whether "
        "each CRM has erased them is not known here any more: look there for the code, and delete what is found."
    )


def _codes(leads: Iterable[Lead | Entry]) -> str:
    return ", ".join(lead.code for lead in leads)
