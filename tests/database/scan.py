"""Every byte that a database holds, to look for what must not be in it."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from sqlalchemy import Text, cast, inspect, literal_column, select, table

from leads.store.session import Database, sqlite_file


def found_in(database: Database, marks: Iterable[str]) -> list[str]:
    """Those marks that stand anywhere in the database: as they are, as hexadecimal or as base64."""
    content = _content(database).lower()
    return [mark for mark in marks if any(form in content for form in _forms(mark))]


def _forms(mark: str) -> list[bytes]:
    plain = mark.encode()
    whole = len(plain) // 3 * 3  # what follows changes the last letters of base64
    return [plain.lower(), plain.hex().encode(), base64.b64encode(plain[:whole]).lower()]


def _content(database: Database) -> bytes:
    file = sqlite_file(database.engine.url.render_as_string(hide_password=False))
    if file is not None:
        beside = [file.with_name(file.name + end) for end in ("", "-wal", "-shm")]
        return b"".join(path.read_bytes() for path in beside if path.exists())
    with database.read() as session:
        tables = [table(name) for name in inspect(database.engine).get_table_names()]
        rows = [
            session.scalars(select(cast(literal_column(f'"{each.name}"'), Text)).select_from(each)).all()
            for each in tables
        ]
    return "\n".join(row for found in rows for row in found).encode()
