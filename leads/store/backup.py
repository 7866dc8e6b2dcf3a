"""A copy of the SQLite file, made while it is in use."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite


def back_up(source: Path, target: Path) -> None:
    """Copy the database as it stands at one moment; nobody who writes has to wait. Only its owner can read the copy.

    Raises FileExistsError: a copy is never written over. OSError, sqlite3.Error: there is none, it could not be made.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite.connect(str(source))) as original, closing(sqlite.connect(str(target))) as copy:
            original.backup(copy)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
