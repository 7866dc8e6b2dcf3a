"""Many rows in one statement, past the ORM and past the compiler: the ways that every enquiry takes go so.

One statement for all of them is one call into the driver. A call for each row lets go of the interpreter each time, and
whoever writes for a whole group then waits for it behind all the threads that wait for him.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, cast

from sqlalchemy import Dialect, LargeBinary, String, Table
from sqlalchemy.orm import InstrumentedAttribute, Session

from leads.store.models import Base, UTCDateTime

Row = Mapping[str, Any]
_Convert = Callable[[Any], Any]
Asked = tuple[InstrumentedAttribute[Any], Collection[bytes | str]]  # a column of bytes or words, and values
_MOST = 100  # rows in one statement for SQLite, which takes 32,766 values


class _Plan(NamedTuple):
    """How rows of a table are handed over. pick: their values in order. converters: by position."""

    names: str
    pick: Callable[[Row], tuple[Any, ...]]
    converters: Sequence[tuple[int, _Convert]]
    arrays: str
    marks: str

    def given(self, rows: Sequence[Row]) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """The rows in SQL, and the values for it: as many statements as the database needs.

        PostgreSQL gets a list for each column: the statement is the same for any number of rows, so it is parsed and
        planned once. It gets it as bytes (%b), since a list in words is escaped item by item. SQLite has no lists.
        """
        columns = list(map(list, zip(*map(self.pick, rows), strict=True)))
        for place, convert in self.converters:
            columns[place] = list(map(convert, columns[place]))
        if self.arrays:
            yield self.arrays, tuple(columns)
            return
        whole = list(zip(*columns, strict=True))
        for start in range(0, len(whole), _MOST):
            some = whole[start : start + _MOST]
            yield f"VALUES {','.join([self.marks] * len(some))}", tuple(chain.from_iterable(some))


def insert_all(session: Session, table: type[Base], rows: Sequence[Row]) -> None:
    """Write new rows. They must all name the same columns, and every one that has no default in the database."""
    upsert(session, table, rows, ())


def upsert(session: Session, table: type[Base], rows: Sequence[Row], update: Collection[str]) -> None:
    """Write rows; of one whose primary key is there already, only the columns named in `update`.

    No two of them may have the same primary key: PostgreSQL refuses that.
    """
    if not rows:
        return
    dialect = session.get_bind().dialect
    plan, tail = _plan(dialect, table, tuple(rows[0])), _on_conflict(dialect, table, tuple(update))
    for source, values in plan.given(rows):
        sql = f"INSERT INTO {table.__tablename__} ({plan.names}) {source}{tail}"
        session.connection().exec_driver_sql(sql, values)


def update_all(
    session: Session, model: type[Base], key: Sequence[str], rows: Sequence[Row], also: str = "", where: str = ""
) -> set[Any]:
    """Change many rows, each to values of its own. key: the columns by which a row is found, its id first; all others
    are changed. also: what is the same for all of them, and where: what must hold besides, in SQL.

    Returns the ids of those that were found.
    """
    if not rows:
        return set()
    dialect, table, names = session.get_bind().dialect, cast("Table", model.__table__), tuple(rows[0])
    quote, plan = dialect.identifier_preparer.quote, _plan(dialect, model, names)
    changes = [f"{quote(name)} = given.{quote(name)}" for name in names if name not in key]
    found = [f"{table.name}.{quote(name)} = given.{quote(name)}" for name in key]
    written = dict(plan.converters).get(names.index(key[0]), lambda value: value)
    known = {written(row[key[0]]): row[key[0]] for row in rows}  # reading an id takes longer than writing it
    ids: set[Any] = set()
    for source, values in plan.given(rows):
        sql = (  # names of ours, and marks
            f"WITH given ({plan.names}) AS ({source}) "  # noqa: S608
            f"UPDATE {table.name} SET {', '.join(filter(None, [*changes, also]))} FROM given "
            f"WHERE {' AND '.join(filter(None, [*found, where]))} RETURNING {table.name}.{key[0]}"
        )
        ids |= {known[id_] for (id_,) in session.connection().exec_driver_sql(sql, values)}
    return ids


def any_there(session: Session, column: InstrumentedAttribute[Any], values: Collection[bytes | str]) -> bool:
    """Whether one of these stands in an indexed column of bytes or words: most enquiries are of people not seen before,
    and for them nothing else needs to be asked."""
    return bool(values) and are_there(session, (column, values))[0]


def are_there(session: Session, *asked: Asked) -> Sequence[bool]:
    """The same for several columns at once. None of them may be asked for no value."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    parts = [
        f"EXISTS (SELECT 1 FROM {column.class_.__tablename__} WHERE {column.key} "  # noqa: S608 - names, and marks
        + (f"IN ({','.join('?' * len(values))}))" if is_sqlite else "= ANY(%b))")
        for column, values in asked
    ]
    given = chain.from_iterable(map(_plain, some) if is_sqlite else [list(some)] for _, some in asked)
    [row] = session.connection().exec_driver_sql(f"SELECT {', '.join(parts)}", tuple(given))
    return [bool(there) for there in row]


@cache
def _plan(dialect: Dialect, model: type[Base], names: tuple[str, ...]) -> _Plan:
    table = cast("Table", model.__table__)
    converters = [(place, _converter(dialect, table, name)) for place, name in enumerate(names)]
    lists = ",".join(f"CAST(%b AS {table.c[name].type.compile(dialect)}[])" for name in names)
    unnested = f"SELECT * FROM unnest({lists})"  # noqa: S608 - types of ours, and marks
    return _Plan(
        names=", ".join(map(dialect.identifier_preparer.quote, names)),
        pick=itemgetter(*names),
        converters=[(place, convert) for place, convert in converters if convert is not None],
        arrays="" if dialect.name == "sqlite" else unnested,
        marks=f"({','.join('?' * len(names))})",
    )


@cache
def _on_conflict(dialect: Dialect, model: type[Base], update: tuple[str, ...]) -> str:
    quote = dialect.identifier_preparer.quote
    changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in update)
    key = ", ".join(quote(column.name) for column in cast("Table", model.__table__).primary_key)
    return f" ON CONFLICT ({key}) DO UPDATE SET {changes}" if update else ""


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
