"""Conditions on rows that are found another way, said so that no index serves them.

PostgreSQL's planner, while it knows a table as small or not at all, takes any index to be as good as the right one. It
would find what is asked for by its id or its lead by going through all that waits, or all of a connection, instead.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import InstrumentedAttribute


def same(column: InstrumentedAttribute[Any], value: Any) -> ColumnElement[bool]:
    """Whether a column holds this value, or what another column holds."""
    return column.is_not_distinct_from(value)


def word(column: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """A column that holds a word, to be compared."""
    return func.coalesce(column, "")
