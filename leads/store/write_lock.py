"""SQLite has one writer at a time: those of this process take turns here, and nobody waits without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

_PATIENCE = 10.0  # seconds that a writer waits for others, in this process and in other programs together
_HURRIED = 1.0  # the same after somebody waited in vain: a line of requests shall not wait ten seconds each


class WriteLock:
    """Contending for SQLite's own lock costs half a second at p99, so the writers of one process queue here first."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._lock = threading.Lock()
        self._patience = patience
        self._stuck = False  # whether the last writer waited in vain

    @contextmanager
    def held(self) -> Iterator[int]:
        """One writer's turn. Gives the milliseconds that it may still wait for other programs.

        Raises sqlalchemy.exc.TimeoutError when the turn does not come.
        """
        patience = min(_HURRIED, self._patience) if self._stuck else self._patience
        until = time.monotonic() + patience
        if not self._lock.acquire(timeout=patience):
            self._stuck = True
            raise exc.TimeoutError("the writers before this one took too long")
        try:
            yield max(int((until - time.monotonic()) * 1000), 0)
            self._stuck = False
        except exc.OperationalError as error:
            self._stuck = str(getattr(error.orig, "sqlite_errorname", "")).startswith("SQLITE_BUSY")
            raise
        finally:
            self._lock.release()
