"""Many rows in one statement, past the ORM: the ways that every enquiry takes are written like this."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Insert, Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from leads.store.models import Base


def insert_all(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new rows. They must name every column that has no default in the database."""
    if rows:
        session.connection().execute(_insert(table), rows)


def upsert(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]], update: Collection[str]) -> None:
    """Write rows; of one whose primary key is there already, only the columns named in `update`."""
    if rows:
        session.connection().execute(_upsert(session.get_bind().dialect.name, table, tuple(update)), rows)


@cache
def _insert(model: type[Base]) -> Insert:
    return insert(cast("Table", model.__table__))


@cache
def _upsert(dialect: str, model: type[Base], update: tuple[str, ...]) -> Insert:
    table = cast("Table", model.__table__)
    statement = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table)
    changed = {name: statement.excluded[name] for name in update}
    return statement.on_conflict_do_update(index_elements=table.primary_key, set_=changed)
