"""Many rows in one statement, past the ORM and past the compiler: the ways that every enquiry takes go so.

One statement for all of them is one call into the driver. A call for each row lets go of the interpreter each time, and
whoever writes for a whole group then waits for it behind all the threads that wait for him.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, cast

from sqlalchemy import Dialect, LargeBinary, String, Table
from sqlalchemy.orm import InstrumentedAttribute, Session

from leads.store.models import Base, UTCDateTime

Row = Mapping[str, Any]
_Convert = Callable[[Any], Any]
_MOST = 100  # rows in one statement: SQLite takes 32,766 values


class _Plan(NamedTuple):
    """How rows of a table are written. pick: their values in order. converters: by position. marks: of one row."""

    head: str
    marks: str
    tail: str
    pick: Callable[[Row], tuple[Any, ...]]
    converters: Sequence[tuple[int, _Convert]]

    def sql(self, rows: int) -> str:
        return f"{self.head} {','.join([self.marks] * rows)} {self.tail}"

    def values(self, row: Row) -> list[Any]:
        values = list(self.pick(row))
        for place, convert in self.converters:
            values[place] = convert(values[place])
        return values


def insert_all(session: Session, table: type[Base], rows: Sequence[Row]) -> None:
    """Write new rows. They must all name the same columns, and every one that has no default in the database."""
    upsert(session, table, rows, ())


def upsert(session: Session, table: type[Base], rows: Sequence[Row], update: Collection[str]) -> None:
    """Write rows; of one whose primary key is there already, only the columns named in `update`.

    No two of them may have the same primary key: PostgreSQL refuses that.
    """
    if not rows:
        return
    plan = _plan(session.get_bind().dialect, table, tuple(rows[0]), tuple(update))
    for start in range(0, len(rows), _MOST):
        some = rows[start : start + _MOST]
        values = tuple(chain.from_iterable(map(plan.values, some)))
        session.connection().exec_driver_sql(plan.sql(len(some)), values)


def update_all(
    session: Session, model: type[Base], key: Sequence[str], rows: Sequence[Row], also: str = "", where: str = ""
) -> set[Any]:
    """Change many rows, each to values of its own. key: the columns by which a row is found, its id first; all others
    are changed. also: what is the same for all of them, and where: what must hold besides, in SQL.

    Returns the ids of those that were found.
    """
    if len(rows) > _MOST:
        first, rest = rows[:_MOST], rows[_MOST:]
        return update_all(session, model, key, first, also, where) | update_all(session, model, key, rest, also, where)
    if not rows:
        return set()
    dialect, table, names = session.get_bind().dialect, cast("Table", model.__table__), tuple(rows[0])
    quote = dialect.identifier_preparer.quote
    changes = [f"{quote(name)} = given.{quote(name)}" for name in names if name not in key]
    found = [f"{table.name}.{quote(name)} = given.{quote(name)}" for name in key]
    sql = (  # names of ours, and marks
        f"WITH given ({', '.join(map(quote, names))}) AS (VALUES {_typed(dialect, table, names, len(rows))}) "  # noqa: S608
        f"UPDATE {table.name} SET {', '.join(filter(None, [*changes, also]))} FROM given "
        f"WHERE {' AND '.join(filter(None, [*found, where]))} RETURNING {table.name}.{key[0]}"
    )
    values = tuple(chain.from_iterable(map(_plan(dialect, model, names, ()).values, rows)))
    restored = table.c[key[0]].type.dialect_impl(dialect).result_processor(dialect, None) or (lambda value: value)
    return {restored(id_) for (id_,) in session.connection().exec_driver_sql(sql, values)}


def _typed(dialect: Dialect, table: Table, names: Sequence[str], rows: int) -> str:
    """The marks of all rows. PostgreSQL takes the types of a list of values from its first row."""
    mark = "?" if dialect.name == "sqlite" else "%s"
    plain = f"({','.join([mark] * len(names))})"
    if dialect.name == "sqlite":
        return ",".join([plain] * rows)
    first = ",".join(f"CAST({mark} AS {table.c[name].type.compile(dialect)})" for name in names)
    return ",".join([f"({first})", *[plain] * (rows - 1)])


def any_there(session: Session, column: InstrumentedAttribute[Any], values: Collection[bytes | str]) -> bool:
    """Whether one of these stands in an indexed column of bytes or words: most enquiries are of people not seen before,
    and for them nothing else needs to be asked."""
    if not values:
        return False
    table, name = column.class_.__tablename__, column.key
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    among = f"IN ({','.join('?' * len(values))})" if is_sqlite else "= ANY(%s)"
    sql = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {name} {among})"  # noqa: S608 - names of ours, and marks
    given = tuple(map(_plain, values)) if is_sqlite else (list(values),)
    return bool(session.connection().exec_driver_sql(sql, given).scalar())


@cache
def _plan(dialect: Dialect, model: type[Base], names: tuple[str, ...], update: tuple[str, ...]) -> _Plan:
    table = cast("Table", model.__table__)
    quote = dialect.identifier_preparer.quote
    mark = "?" if dialect.name == "sqlite" else "%s"
    changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in update)
    key = ", ".join(quote(column.name) for column in table.primary_key)
    converters = [(place, _converter(dialect, table, name)) for place, name in enumerate(names)]
    return _Plan(
        head=f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, names))}) VALUES",
        marks=f"({','.join([mark] * len(names))})",
        tail=f"ON CONFLICT ({key}) DO UPDATE SET {changes}" if update else "",
        pick=itemgetter(*names),
        converters=[(place, convert) for place, convert in converters if convert is not None],
    )


def _converter(dialect: Dialect, table: Table, name: str) -> _Convert | None:
    """None: the driver takes it as it is."""
    kind = table.c[name].type
    if isinstance(kind, String):  # so are words (Enum)
        return None
    if isinstance(kind, LargeBinary):
        return _plain if dialect.name == "sqlite" else None
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    # One moment stands in nine places of an enquiry.
    return lru_cache(64)(convert) if convert and isinstance(kind, UTCDateTime) else convert


def _plain(value: bytes | str | None) -> bytearray | str | None:
    """Of `bytes` the driver for SQLite asks first, at length, whether they are something else."""
    return bytearray(value) if isinstance(value, bytes) else value
