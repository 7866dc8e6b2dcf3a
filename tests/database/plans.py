"""Every statement that runs, with the plan that the database has for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from leads.store.session import Database

GROWING = {"lead", "identity", "event", "resubmission", "unreadable", "delivery", "attempt", "remote_record", "drift"}
_LIST = re.compile(r"ORDER BY [^()]*\sLIMIT \? OFFSET \?$")
_PLANNED = re.compile(r"\s*(SELECT|UPDATE|DELETE|WITH|INSERT)", re.IGNORECASE)


class Seen:
    """The statements of a run: SQL → the values of its first use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.statements: dict[str, Any] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note all that runs within."""
        event.listen(self._database.engine, "before_cursor_execute", self._note)
        try:
            yield
        finally:
            event.remove(self._database.engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if _PLANNED.match(statement):
            self.statements.setdefault(statement, values[0] if many else values)

    def scans(self) -> dict[str, str]:
        """Statement → what of its plan reads a growing table from end to end."""
        with self._database.engine.connect() as opened:
            found = {sql: self._scan(opened, sql, values) for sql, values in self.statements.items()}
        return {sql: plan for sql, plan in found.items() if plan}

    def plans(self) -> dict[str, str]:
        """Statement → its plan."""
        with self._database.engine.connect() as opened:
            return {sql: "; ".join(self._plan(opened, sql, values)) for sql, values in self.statements.items()}

    def _plan(self, opened: Any, sql: str, values: Any) -> list[str]:
        explain = "EXPLAIN QUERY PLAN " if self._database.is_sqlite else "EXPLAIN "
        return [str(row[-1]) for row in opened.exec_driver_sql(explain + sql, values)]

    def _scan(self, opened: Any, sql: str, values: Any) -> str:
        lines = self._plan(opened, sql, values)
        after = [*lines[1:], ""]
        return "; ".join(
            line.strip() for line, more in zip(lines, after, strict=False) if self._reads_through(line, more, sql)
        )

    def _reads_through(self, line: str, more: str, sql: str) -> bool:
        if self._database.is_sqlite:
            if part := re.match(r"SEARCH (\w+) USING .*INDEX (\w+) \((connection_id|site_id)=\?\)$", line):
                # All of a clinic is nearly all there is, unless it gives the order of a list that is cut off.
                return _table(part[1], sql) in GROWING and part[2] not in FEW and not _LIST.search(sql)
            scan = re.match(r"SCAN (\w+)( USING (COVERING )?INDEX (\w+))?", line)
            # An index over few rows only may be read from end to end, and so may one that gives the order of a LIMIT.
            return bool(
                scan and _table(scan[1], sql) in GROWING and scan[4] not in FEW and not (scan[2] and "LIMIT" in sql)
            )
        scan = re.search(r"(?:(Seq) Scan|Index (?:Only )?Scan(?: Backward)? using (\w+)) on \"?(\w+)", line)
        if not scan or scan[3] not in GROWING or "Index Cond" in more or scan[2] in FEW:
            return False
        return bool(scan[1]) or "LIMIT" not in sql


# Partial indexes: the rows in them are few.
FEW = {
    "ix_event_is_test",
    "ix_resubmission_unseen",
    "ix_remote_record_retiring",
    "ix_lead_merged_into",
    "ix_lead_erased",
}


def _table(name: str, sql: str) -> str:
    """The table behind an alias."""
    alias = re.search(rf"(\w+) AS \"?{name}\"?\b", sql)
    return alias[1] if alias and name not in GROWING else name
