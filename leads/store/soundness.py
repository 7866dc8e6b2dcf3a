"""Is the database that is there the one that was? A file that is damaged or gone stops the start, and nothing is made
anew in its place."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pysqlite3.dbapi2
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from leads.store.owner import barring, whose
from leads.store.schema import current
from leads.store.session import Database, sqlite_file

_QUICK = 64 * 1024 * 1024  # bytes that are read through at a start in well below a second
_HEADER = struct.Struct(">16sHBBBBBBII")  # sqlite.org/fileformat.html: up to the size in pages
_RESTORE = (
    "Stop Frontdesk, move the data folder away, restore the last backup (database and keys together; keep erased.txt), "
    "run frontdesk db restored and frontdesk lead erase-again, and start again."
)
_NEW = "Only if this is a new installation with a key of your own, run once: frontdesk db upgrade --new"


class DamagedError(Exception):
    """The database is not whole. The text says what to do."""


def require_sound(database: Database, keys_file: Path, *, make: bool, thorough: bool = False) -> None:
    """Raises DamagedError when the database is damaged, or gone while its keys are still there.

    make: whether a new one may be made where there is neither database nor key. thorough: read it through, however
    large it is.
    """
    file = sqlite_file(database.engine.url.render_as_string(hide_password=False))
    if file is None:
        if make and _is_there(keys_file) and current(database) is None:
            raise DamagedError(
                f"The database is empty, but the key file {keys_file} is there. Is FRONTDESK_DATABASE_URL the right "
                f"one? If the data is lost, restore it from your backup. {_NEW}"
            )
        return
    if not _is_there(file) or file.stat().st_size == 0:
        _require_new(file, keys_file, make=make)
        return
    _require_header(file)
    _require_wal(file)
    if trouble := inspect(database, thorough=thorough or file.stat().st_size <= _QUICK):
        raise DamagedError(f"The database file {file} is damaged ({trouble}). {_RESTORE}")


def _require_new(file: Path, keys_file: Path, *, make: bool) -> None:
    if _is_there(keys_file):
        raise DamagedError(
            f"The database file {file} is missing or empty, but its key file {keys_file} is there. {_RESTORE} {_NEW}"
        )
    if not make:
        raise DamagedError(f"There is no database at {file}. For a new installation run: frontdesk db upgrade")


def _is_there(file: Path) -> bool:
    """What may not even be looked at is not gone, and says so."""
    if barring(file):
        raise DamagedError(f"Whether {file} is there may not be looked at. {whose(file)}")
    return file.exists()


def _require_header(file: Path) -> None:
    for right, what in ((os.R_OK, "read"), (os.W_OK, "written to")):
        if not os.access(file, right):
            raise DamagedError(f"The database file {file} may not be {what}. {whose(file)}")
    with file.open("rb") as opened:
        start = opened.read(_HEADER.size)
    if len(start) < _HEADER.size or not start.startswith(b"SQLite format 3\x00"):
        raise DamagedError(f"The file {file} is damaged or no database of Frontdesk. {_RESTORE}")
    _, page, *_, pages = _HEADER.unpack(start)
    # The header tells of pages that have been copied back from the -wal file, so all of them must be there.
    if file.stat().st_size < pages * (65536 if page == 1 else page) and not _beside(file, "-wal").exists():
        raise DamagedError(f"The database file {file} has been cut off. {_RESTORE}")


def _require_wal(file: Path) -> None:
    """SQLite makes -wal before -shm and removes it after, so -shm alone means that somebody took the other away."""
    for _ in range(3):  # a program that starts or ends just now may be half-way
        if _beside(file, "-wal").exists() or not _beside(file, "-shm").exists():
            return
        time.sleep(0.1)
    raise DamagedError(
        f"The file {file.name}-wal beside {file} is missing, and the latest enquiries were in it. Put it back. "
        f"If it is lost: {_RESTORE} To go on without those enquiries, remove {file.name}-shm first."
    )


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)


def inspect(database: Database, *, thorough: bool) -> str:
    """What is wrong with an SQLite file; empty when it is sound. thorough: read it through."""
    try:
        with database.read() as session:
            session.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one()
            found = session.scalars(text("PRAGMA quick_check(1)")).first() if thorough else "ok"
    except DatabaseError as error:
        if _is_damage(error.orig):
            return "it cannot be read as a database"
        raise
    return "" if found == "ok" else "a page of it is not what was written"


def _is_damage(error: BaseException | None) -> bool:
    name = str(getattr(error, "sqlite_errorname", ""))
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or type(error) is pysqlite3.dbapi2.DatabaseError
