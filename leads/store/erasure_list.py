"""Who was erased on request, in a file beside the database: whoever restores an older copy of that must be told again.

A line is `TIME WHAT CODE ID [ID…]`, and nothing personal. `begun` is written before the commit and `erased` after it,
so nobody who was erased is missing, whatever breaks off in between. Only `erased` counts: of somebody `begun` alone
nobody knows whether they were erased, and to erase whom nobody wanted erased would be a loss.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import UUID

import structlog

log = structlog.get_logger()

NAME = "erased.txt"
_LINE = re.compile(r"(\S+) (begun|erased) (\S+) ([0-9a-f-]{36}(?: [0-9a-f-]{36})*)")


class Entry(NamedTuple):
    """Somebody on the list. leads: the person's id, then those of callers who turned out to be them."""

    at: datetime
    code: str
    leads: tuple[UUID, ...]


class Listed(NamedTuple):
    """Who was erased, and of whom it was only begun as far as the list knows."""

    erased: list[Entry]
    begun: list[Entry]


class ErasureList:
    """The list of this host. folder: the data folder, which is not made: a process that needs no other file of it may
    have none."""

    def __init__(self, folder: Path) -> None:
        self.file = folder.absolute() / NAME

    def add(self, what: Literal["begun", "erased"], entry: Entry) -> bool:
        """Write a line, for good when this returns. False: it cannot be written, and no erasure fails for that."""
        line = " ".join([entry.at.isoformat(), what, entry.code, *map(str, entry.leads)])
        try:
            _append(self.file, f"{line}\n".encode())
        except OSError as error:
            log.warning("the list of erasures cannot be written", file=str(self.file), error=error.strerror)
            return False
        return True

    def is_writable(self) -> bool:
        """Whether a line can be added, as far as rights tell."""
        return os.access(self.file if self.file.exists() else self.file.parent, os.W_OK)

    def read(self, *others: Path) -> Listed:
        """What stands in it, and in other lists. Raises OSError when one is there and cannot be read, or is no list."""
        return _listed(line for file in (self.file, *others) for line in _lines(file))


def _append(file: Path, line: bytes) -> None:
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(handle).st_size
        # A line that a power cut tore must not swallow the next one.
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(handle, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
    finally:
        os.close(handle)
    if not size:
        _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    """A new file may be gone after a power cut unless its folder is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lines(file: Path) -> Iterator[tuple[str, Entry]]:
    """The lines that are whole. Raises OSError when it cannot be read, or is something else."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    lines = text.splitlines()
    # Not as if nobody had been erased.
    if not any(_LINE.fullmatch(line.strip()) for line in lines) and not _is_torn(text):
        raise OSError(errno.EINVAL, "it is no list of erasures", str(file))
    for line in lines:
        if not (found := _LINE.fullmatch(line.strip())):
            continue
        try:
            at, leads = datetime.fromisoformat(found[1]), tuple(map(UUID, found[4].split()))
        except ValueError:
            continue
        if at.tzinfo:
            yield found[2], Entry(at, found[3], leads)


def _is_torn(text: str) -> bool:
    """Whether it may be what a power cut left of the first line."""
    return text.isascii() and (text.isprintable() or not text.strip())


def _listed(lines: Iterable[tuple[str, Entry]]) -> Listed:
    """Each person once, as they were erased last: what came from them before that is to go."""
    erased: dict[UUID, Entry] = {}
    begun: dict[UUID, Entry] = {}
    for what, entry in lines:
        known, person = erased if what == "erased" else begun, entry.leads[0]
        before = known.get(person, entry)
        leads = tuple(dict.fromkeys([*before.leads, *entry.leads]))
        known[person] = max(before, entry)._replace(leads=leads)
    return Listed(list(erased.values()), [entry for person, entry in begun.items() if person not in erased])
