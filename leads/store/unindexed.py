"""Conditions on rows that are found another way, said so that no index serves them.

A planner that knows a table as small, or, as SQLite's without statistics, not at all, takes any index to be as good as
the right one. It would find what is asked for by its id or its lead by going through all that waits, or all of a
connection, instead.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid, func, literal
from sqlalchemy.orm import InstrumentedAttribute


def same(column: InstrumentedAttribute[Any], value: Any) -> ColumnElement[bool]:
    """Whether a column of ids holds this one, or what another column holds."""
    holds: ColumnElement[bool] = func.coalesce(column, literal(UUID(int=0), Uuid)) == value
    return holds


def one_of(column: InstrumentedAttribute[Any], values: Collection[UUID] | Select[UUID]) -> ColumnElement[bool]:
    """Whether a column of ids holds one of these. PostgreSQL knows of how many rows that is so; of a `coalesce` it
    would take it to be one in two hundred, and make a list that is soon full by sorting all there is."""
    return column.in_(values).is_(True)


def word(column: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """A column that holds a word, to be compared."""
    return func.coalesce(column, "")
