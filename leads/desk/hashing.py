"""Turns to hash a password: each takes 64 MiB and all of the processor for a moment, so few are hashed at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore


class BusyError(Exception):
    """Too many passwords are being looked at just now: in a moment there is a turn again."""


class Hashing:
    """Lets a few passwords be hashed at once, and a few more wait: the public form needs the threads and the memory."""

    def __init__(self, at_once: int = 2, waiting: int = 6, patience: float = 3.0) -> None:
        """waiting: how many may wait for their turn, and no longer than `patience`, in seconds."""
        self._turns = BoundedSemaphore(at_once)
        self._places = BoundedSemaphore(at_once + waiting)
        self._patience = patience

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Take it before a writing transaction and not within: others would wait for the database. Raises BusyError."""
        with _taken(self._places, 0), _taken(self._turns, self._patience):
            yield


@contextmanager
def _taken(semaphore: BoundedSemaphore, patience: float) -> Iterator[None]:
    if not semaphore.acquire(timeout=patience):
        raise BusyError
    try:
        yield
    finally:
        semaphore.release()
