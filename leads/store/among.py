"""Lists that stay one parameter, however long they are.

SQLAlchemy's `in_` writes a mark for each value, anew at each run, and the database reads a new statement for each
length.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import ARRAY, Dialect, LargeBinary, Text, TypeDecorator, Uuid, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


class among(FunctionElement[bool]):  # noqa: N801 - reads as a condition
    """Whether a column holds one of the values that the statement is run with under this name."""

    inherit_cache = True  # of no type: of a Boolean, SQLAlchemy asks SQLite whether it `= 1`, which no index can serve

    def __init__(self, column: InstrumentedAttribute[Any], name: str) -> None:
        super().__init__(column, bindparam(name, type_=_List(column.type)))


class _List(TypeDecorator[Collection[Any]]):
    """PostgreSQL has lists. SQLite reads one out of JSON, which has no bytes: they go in as hexadecimal text."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text() if dialect.name == "sqlite" else ARRAY(self.item)

    def process_bind_param(self, value: Collection[Any] | None, dialect: Dialect) -> Any:
        given = list(value or ())
        if dialect.name != "sqlite":
            return given
        if isinstance(self.item, Uuid):
            return json.dumps([one.hex for one in given])
        return json.dumps([one.hex() for one in given] if isinstance(self.item, LargeBinary) else given)


@compiles(among)
def _any(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(among, "sqlite")
def _in_json(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = element.clauses
    value = "unhex(value)" if isinstance(column.type, LargeBinary) else "value"
    mine, given = (compiler.process(part, **options) for part in (column, values))
    return f"{mine} IN (SELECT {value} FROM json_each({given}))"  # noqa: S608 - a column of ours, and a mark
