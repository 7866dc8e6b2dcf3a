"""Values sealed with an older key are sealed anew, slice by slice, so that nobody waits for it.

Stopped at any point it goes on where it was: what is sealed with the key that seals now is not looked at again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, LargeBinary, bindparam, func, select, true, update

from leads.store.models import Base
from leads.store.schema import KEY_CHECK
from leads.store.session import Database, at_leisure, once_more
from leads.store.vault import Vault, VaultError

TASK = "reseal"  # under this name it stands when all was last sealed anew
SLICE = 200  # values in one transaction
_BREATH = 0.05  # seconds between slices in which others write


class Place(NamedTuple):
    """A column of sealed values. row: the column of what is bound in as the row. name: what is bound in as the column.

    only: which of its values are sealed.
    """

    row: ColumnElement[Any]
    sealed: ColumnElement[bytes]
    table: str
    name: str
    only: ColumnElement[bool]


class Slice(NamedTuple):
    """What one transaction did. unreadable: of those `looked_at`, that no key opens; they stay as they are."""

    looked_at: int
    unreadable: int


def places() -> list[Place]:
    """Wherever sealed values are: in each column that is named so, and the key-check value, which comes last."""
    meta = Base.metadata.tables["meta"]
    named = [
        Place(table.c.id, column, table.name, column.name.removesuffix("_sealed"), true())
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.name.endswith("_sealed")
    ]
    return [*named, Place(meta.c.name, meta.c.value, "meta", "value", meta.c.name == KEY_CHECK)]


def values_by_key(database: Database) -> Counter[bytes]:
    """Key id → how many values are sealed with it. Reads every sealed column through."""
    found: Counter[bytes] = Counter()
    with database.read() as session, at_leisure(session):
        for place in places():
            counts = select(_key_id(place).label("key_id"), func.count()).group_by("key_id")
            for kid, count in session.execute(counts.where(place.only, place.sealed.is_not(None))):
                found[bytes(kid)] += count
    return found


def reseal(database: Database, vault: Vault, size: int = SLICE) -> Iterator[Slice]:
    """Seal all that an older key sealed with the one that seals now, each slice as soon as it is done.

    Raises sqlalchemy.exc.SQLAlchemyError when the database cannot be written: what is done stays done.
    """
    for place in places():
        after: Any = None
        while rows := _older(database, vault, place, after, size):
            anew = _anew(vault, place, rows)
            once_more(lambda: _swap(database, place, anew))  # noqa: B023 - called before the next round
            yield Slice(len(rows), len(rows) - len(anew))
            after = rows[-1][0]
            time.sleep(_BREATH)


def _key_id(place: Place) -> ColumnElement[bytes]:
    return func.substr(place.sealed, 2, 4, type_=LargeBinary())


def _older(database: Database, vault: Vault, place: Place, after: Any, size: int) -> Sequence[Any]:
    older = select(place.row, place.sealed).where(place.only, _key_id(place) != vault.sealing)
    if after is not None:
        older = older.where(place.row > after)
    # After a stop, or where most is done, it looks through all of that first.
    with database.read() as session, at_leisure(session):
        return session.execute(older.order_by(place.row).limit(size)).all()


def _anew(vault: Vault, place: Place, rows: Sequence[Any]) -> list[dict[str, Any]]:
    anew = []
    for row, before in rows:
        try:
            sealed = vault.reseal(before, place.table, place.name, row)
        except VaultError:
            continue
        anew.append({"its_row": row, "was": before, "becomes": sealed})
    return anew


def _swap(database: Database, place: Place, anew: Sequence[dict[str, Any]]) -> None:
    """Only where the value is still the one that was read: whoever changed it meanwhile has sealed it himself."""
    if not anew:
        return
    unchanged = (place.row == bindparam("its_row"), place.sealed == bindparam("was"))
    swap = update(Base.metadata.tables[place.table]).where(*unchanged)
    with database.write() as session:
        session.connection().execute(swap.values({place.sealed: bindparam("becomes")}), anew)
