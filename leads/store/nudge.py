"""Waiting for work: a worker sleeps here until somebody commits, so that a new event goes out at once."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, cast

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from leads.store.session import Database

_LOOK = 0.05  # seconds between two looks: what many commit within it is heard as one


class Nudge:
    """`wait` returns when another connection has committed, or after a time-out."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # A transaction would freeze what this connection sees, so it stays outside of any.
        self._connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not database.is_sqlite:
            self._connection.execute(text("LISTEN frontdesk"))
        self._version = self._data_version() if database.is_sqlite else 0
        self._next_look = 0.0

    def __enter__(self) -> Nudge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._database.is_sqlite:
            self._connection.invalidate()  # it listens, which the next user of the pool must not pay for
        self._connection.close()

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Sleep until there may be work. False: nothing was heard within `seconds`, or `stop` was set."""
        until = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < until:
            stop.wait(self._next_look - time.monotonic())
            heard = self._heard()
            self._next_look = time.monotonic() + _LOOK
            if heard:
                return True
        return False

    def _heard(self) -> bool:
        if self._database.is_sqlite:
            before, self._version = self._version, self._data_version()
            return self._version != before
        raw = cast("psycopg.Connection[Any]", self._connection.connection.dbapi_connection)
        try:
            heard = any(list(raw.notifies(timeout=0.25, stop_after=1)))
            while heard and any(list(raw.notifies(timeout=0))):
                pass  # each of them would be heard as one more
            return heard
        except psycopg.Error as error:
            raise OperationalError("LISTEN", None, error, connection_invalidated=True) from None

    def _data_version(self) -> int:
        raw = cast("Any", self._connection.connection.dbapi_connection)  # twenty times a second, so past SQLAlchemy
        return int(raw.execute("PRAGMA data_version").fetchone()[0])
