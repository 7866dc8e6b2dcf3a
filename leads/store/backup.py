"""A copy of the SQLite file, made while it is in use: for a backup, and before the tables change."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.orm import Session

from leads.store import tasks
from leads.store.resealing import TASK as RESEALED
from leads.store.schema import KEY_CHECK
from leads.store.vault import key_id

TASK = "backup"  # under this name it stands when the last one was made
OLD = timedelta(days=2)  # of a copy that is made each night one may fail
_KEPT = 3  # copies from before a change of the tables


class NoSpaceError(OSError):
    """There is no room for a copy. needed, free: in bytes."""

    def __init__(self, needed: int, free: int) -> None:
        super().__init__("no room for a copy")
        self.needed, self.free = needed, free


def back_up(source: Path, target: Path) -> None:
    """Copy the database as it stands at one moment; nobody who writes has to wait. Only its owner can read the copy.

    Raises FileExistsError: a copy is never written over. OSError, sqlite3.Error: there is none, it could not be made.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite.connect(str(source))) as original, closing(sqlite.connect(str(target))) as copy:
            original.backup(copy)
    except BaseException:
        for left in (target, target.with_name(target.name + "-journal")):  # SQLite leaves its own on a full disk
            left.unlink(missing_ok=True)
        raise


def copy_before_upgrade(source: Path, folder: Path, revision: str, spare: int) -> Path:
    """Copy the database into `folder` and remove all copies of this kind but the latest three. Returns the copy.

    revision: what the tables are before they change. spare: bytes that must stay free. Raises NoSpaceError; also
    OSError and sqlite3.Error as `back_up` does.
    """
    needed = sum(file.stat().st_size for file in (source, source.with_name(source.name + "-wal")) if file.is_file())
    free = shutil.disk_usage(folder).free
    if free < needed + spare:
        raise NoSpaceError(needed + spare, free)
    copy = folder / f"before-upgrade-{revision}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.sqlite3"
    back_up(source, copy)
    for old in sorted(folder.glob("before-upgrade-*.sqlite3"))[:-_KEPT]:
        old.unlink()
    return copy


def copies_sealed_with(folder: Path, kid: bytes, live: Path | None) -> list[Path]:
    """Which copies of the database there cannot be read without this key. kid: its id. live: the database itself."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and _is_sqlite(file)]
    copies = [copy for copy in files if live is None or not copy.samefile(live)]
    return [copy for copy in copies if _key_of(copy) == kid]


def is_before_rotation(session: Session) -> bool:
    """Whether all copies that were made here need a key from before the last rotation, or there are none."""
    resealed, copied = tasks.ran_at(session, RESEALED), tasks.ran_at(session, TASK)
    return resealed is not None and (copied is None or copied < resealed)


def _is_sqlite(file: Path) -> bool:
    """By its first bytes (sqlite.org/fileformat.html), since nobody has to keep to our names."""
    try:
        with file.open("rb") as opened:
            return opened.read(16) == b"SQLite format 3\x00"
    except OSError:
        return False


def _key_of(copy: Path) -> bytes:
    """The id of the key that it needs: the key-check value is sealed anew last. Empty: it cannot be told."""
    try:
        with closing(sqlite.connect(f"file:{quote(str(copy))}?immutable=1", uri=True)) as opened:
            row = opened.execute("SELECT value FROM meta WHERE name = ?", [KEY_CHECK]).fetchone()
    except sqlite.Error:
        return b""
    return key_id(row[0]) if row and isinstance(row[0], bytes) else b""
