"""Room on the disk of the SQLite file. A full disk lets nothing be written, not even a deletion.

So new enquiries are turned away while there is still some room, and a file that is nothing but ballast is thrown out
when the disk fills up all the same: what is here already goes on to the CRM, and people can clean up.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger()

BALLAST = 16 * 1024 * 1024  # bytes
_LOOK = 1.0  # seconds between looks at the disk


class NoRoomError(SQLAlchemyError):
    """The disk is almost full, so nothing new is taken."""


class Space:
    """folder: of the SQLite file; None where the database is elsewhere. min_free: bytes; 0: no care is taken."""

    def __init__(self, folder: Path | None, min_free: int, ballast: int = BALLAST) -> None:
        self._folder = folder if min_free else None
        self.min_free = min_free
        self._size = ballast
        self._looked = float("-inf")
        self._free = min_free

    @property
    def free(self) -> int:
        """Bytes that enquiries may still fill: what is free, less the ballast where it is thrown out."""
        if time.monotonic() - self._looked >= _LOOK:
            self.look()
        return self._free

    def is_short(self) -> bool:
        """Whether new enquiries are turned away."""
        return self._folder is not None and self.free < self.min_free

    def require(self) -> None:
        """Raises NoRoomError when nothing new may be taken."""
        if self.is_short():
            raise NoRoomError("the disk is almost full")

    def look(self) -> None:
        """Look at the disk; throw the ballast out or take it in again. Every process may do so at any time."""
        if self._folder is None:
            return
        self._looked = time.monotonic()
        try:
            free, held = self._measure(self._folder)
            if free < self._size // 2 and held:
                self.throw_out()
            elif held < self._size and free - self._size >= self.min_free:
                self._take_in(self._folder / "ballast")
            free, held = self._measure(self._folder)
        except OSError as error:
            log.error("the disk cannot be looked at", errno=error.errno)
            return
        self._free = free - (self._size - held)

    def throw_out(self) -> None:
        """Free the ballast's room at once: the disk is full."""
        if self._folder is not None and (ballast := self._folder / "ballast").exists():
            log.error("the disk is full; the ballast goes", bytes=self._size)
            ballast.unlink(missing_ok=True)

    def _measure(self, folder: Path) -> tuple[int, int]:
        ballast = folder / "ballast"
        held = ballast.stat().st_blocks * 512 if ballast.exists() else 0
        return shutil.disk_usage(folder).free, min(held, self._size)

    def _take_in(self, ballast: Path) -> None:
        handle = os.open(ballast, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.posix_fallocate(handle, 0, self._size)
        except OSError:
            ballast.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
