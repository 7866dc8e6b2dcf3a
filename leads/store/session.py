"""The database: one engine, sessions that read, sessions that write, and its clock.

SQLite comes from the `pysqlite3` wheel: the system's library up to 3.51.2 can corrupt a WAL file that two processes
write (sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import psycopg
import pysqlite3.dbapi2
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session

from leads.store.postgres import crossed, postgres_engine, unhurried
from leads.store.space import NoRoomError, Space
from leads.store.write_lock import WriteLock

Written = TypeVar("Written")
# It is gone, locked, full or not to be had: whatever was to be written is not to blame.
NO_DATABASE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, InvalidRequestError, NoRoomError)
_NOT_ITSELF = (exc.InternalError, exc.DisconnectionError)  # no longer the primary, or its connection was taken away
# For `with_for_update`: whoever stores an enquiry that refers to the row meanwhile need not wait.
KEEPS_ITS_KEY: dict[str, Any] = {"key_share": True}
# For the same: it may change, but not be removed before the commit.
ONLY_STAYS: dict[str, Any] = {"read": True, "key_share": True}
# The rows of a sorted subquery come in its order, and so do the locks.
_LOCK = text("SELECT pg_advisory_xact_lock(key) FROM (SELECT unnest(CAST(:keys AS bigint[])) AS key ORDER BY 1) keys")
_NUDGE = "SELECT pg_notify('frontdesk', ''), pg_logical_emit_message(true, 'frontdesk', '')"
_BUSY = 10000  # milliseconds that a statement waits for another program
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # NORMAL loses acknowledged rows at a power cut
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",
    f"PRAGMA busy_timeout={_BUSY}",
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Database:
    """One database. url: as SQLAlchemy writes it. clock: only tests that simulate days give one.

    min_free: bytes that must be free beside an SQLite file for new enquiries to be taken; 0: whatever is free.
    """

    def __init__(self, url: str, clock: Callable[[], datetime] | None = None, min_free: int = 0) -> None:
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._clock = clock
        self._write_lock = WriteLock()
        self._file = sqlite_file(url)
        self._opened: int | None = None  # the file's inode
        self.space = Space(self._file.absolute().parent if self._file else None, min_free)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; nothing of it is kept."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One writing transaction: committed at the end, rolled back on an exception.

        Raises sqlalchemy.exc.SQLAlchemyError within seconds when it cannot be had: then nothing is written, unless the
        connection was lost in the commit (see `once_more`).
        """
        with self._turn() as patience, self._connected(patience) as session:
            yield session
            session.commit()

    def make_file(self) -> None:
        """Make an SQLite file where there is none, for nobody else to read: by itself SQLite lets everybody."""
        if self._file is not None and not self._file.exists():
            os.close(os.open(self._file, os.O_CREAT | os.O_WRONLY, 0o600))

    def require_intake(self) -> None:
        """Raises sqlalchemy.exc.SQLAlchemyError when nothing new may be taken."""
        self.space.require()
        if self.was_replaced():
            raise InvalidRequestError("this is not the file that was opened")

    def was_replaced(self) -> bool:
        """Whether an SQLite file was taken away under us: then we would write on into one that has no name."""
        if self._file is None:
            return False
        inode = self._file.stat().st_ino if self._file.is_file() else 0
        self._opened = self._opened or inode
        return inode != self._opened

    @contextmanager
    def _turn(self) -> Iterator[int]:
        if not self.is_sqlite:
            yield 0
            return
        try:
            with self._write_lock.held() as patience:
                yield patience
        except DBAPIError as error:
            if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_FULL":
                self.space.throw_out()
            raise

    @contextmanager
    def _connected(self, patience: int) -> Iterator[Session]:
        options = {"write": True, "patience": patience}
        with (
            self.engine.connect().execution_options(**options) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session

    def now(self, session: Session) -> datetime:
        """The time that leases and due times go by: the database's where it is shared, else this host's."""
        return self._own_time() or _clock_of(session.connection())

    def time(self) -> datetime:
        """The same, for whoever has nothing else to ask."""
        if own := self._own_time():
            return own
        with self.glance() as connection:
            return _clock_of(connection)

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """For a single question: a transaction around it would be two more calls to the database."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    def _own_time(self) -> datetime | None:
        if self._clock is not None:
            return self._clock()
        return _utc_now() if self.is_sqlite else None

    def lock(self, session: Session, digests: Collection[bytes]) -> None:
        """Hold other writers of the same ids off until the commit. SQLite has one writer anyway."""
        if self.is_sqlite:
            return
        # One order for all, so that two requests never wait for each other.
        keys = sorted(int.from_bytes(digest[:8], signed=True) for digest in digests)
        session.connection().execute(_LOCK, {"keys": keys})

    def nudge(self, session: Session) -> None:
        """Tell waiting workers at commit that there is work. With SQLite they see the commit itself.

        The message in the log is for a synchronous standby: a commit that wrote nothing does not wait for it, so a
        primary that was cut off would thank again for what only it has.
        """
        if not self.is_sqlite:
            session.connection().exec_driver_sql(_NUDGE)

    def close(self) -> None:
        """Close what no session has in hand; whoever asks again gets a fresh connection."""
        self.engine.dispose()


def _clock_of(connection: Connection) -> datetime:
    now: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return now.astimezone(UTC)


@contextmanager
def at_leisure(session: Session, seconds: int = 0) -> Iterator[None]:
    """Inside, a statement may take so long; 0: as long as it takes. For what reads a whole table through: of some
    millions of rows it takes longer than anybody else may."""
    connection = session.connection()
    with nullcontext() if connection.dialect.name == "sqlite" else unhurried(connection, seconds):
        yield


def once_more(write: Callable[[], Written]) -> Written:
    """What `write` returns; on a fresh connection where two were in each other's way or the connection was lost.

    It may have been lost in the commit, and then nobody knows whether it took place: only for what is safe to do twice.
    """
    try:
        return write()
    except DBAPIError as error:
        if not (error.connection_invalidated or crossed(error.orig)):
            raise
        return write()


def shown_address(url: str | URL) -> str:
    """The database's address without its password, which may also stand behind the question mark."""
    parts = make_url(url)
    return parts.difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def is_away(error: exc.SQLAlchemyError) -> bool:
    """Whether the database did not do its part, so that the same may work in a moment."""
    is_damaged = type(error) is exc.DatabaseError  # what SQLite says of a file that it cannot read
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return isinstance(error, (*NO_DATABASE, *_NOT_ITSELF)) or is_damaged or is_lost


def why_no_connection(error: exc.SQLAlchemyError) -> str:
    """What PostgreSQL or its driver says of a connection that could not be had, in one line; empty for all else.

    That names hosts and users, and nothing of what was to be stored.
    """
    cause = error.orig if isinstance(error, DBAPIError) and error.statement is None else None
    if not isinstance(cause, psycopg.Error) or cause.sqlstate:  # an answer to a statement has a code
        return ""
    return " ".join(str(cause).split()).rstrip(".")


def is_unfit(error: exc.SQLAlchemyError) -> bool:
    """Whether a value is one that no database can hold, such as a NUL or a time before the first year."""
    return isinstance(error, exc.DataError) or (
        isinstance(error, exc.StatementError) and isinstance(error.orig, ValueError | OverflowError)
    )


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return postgres_engine(url)
    # hide_parameters: a database error must not carry a patient's name.
    engine = create_engine(
        url,
        hide_parameters=True,
        module=pysqlite3.dbapi2,
        connect_args={"cached_statements": 512},  # each number of rows that are written together is one of its own
        pool_size=20,
        max_overflow=20,
        pool_use_lifo=True,
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, see _begin_sqlite
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote meanwhile, whatever the time-out.
    options = connection.get_execution_options()
    if options.get("isolation_level") == "AUTOCOMMIT":
        return
    if not options.get("write"):
        connection.exec_driver_sql("BEGIN")
        return
    raw = cast("pysqlite3.dbapi2.Connection", connection.connection.dbapi_connection)
    raw.execute(f"PRAGMA busy_timeout={options.get('patience', _BUSY)}")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        raw.execute(f"PRAGMA busy_timeout={_BUSY}")


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
