"""Many rows in one statement, past the ORM: the ways that every enquiry takes are written like this."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Insert, Table, insert, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from leads.store.models import Base


def insert_all(session: Session, rows: Sequence[Base]) -> None:
    """Write new rows of one table as they stand. Defaults are not filled in."""
    if rows:
        session.connection().execute(_insert(type(rows[0])), [_values(row) for row in rows])


def upsert(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]], update: Collection[str]) -> None:
    """Write rows; of one whose primary key is there already, only the columns named in `update`."""
    if rows:
        session.connection().execute(_upsert(session.get_bind().dialect.name, table, tuple(update)), rows)


@cache
def _insert(table: type[Base]) -> Insert:
    return insert(_table(table))


@cache
def _upsert(dialect: str, table: type[Base], update: tuple[str, ...]) -> Insert:
    statement = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(_table(table))
    keys = inspect(table).primary_key
    return statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in update}
    )


def _values(row: Base) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in _table(type(row)).columns}


def _table(model: type[Base]) -> Table:
    return cast("Table", model.__table__)
