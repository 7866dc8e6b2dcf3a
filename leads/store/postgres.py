"""PostgreSQL that is gone, frozen, full or read-only: an error within seconds, and a fresh connection afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from psycopg import errors
from psycopg.abc import RV, PQGen
from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry

_ANSWER = 6.0  # seconds for the server to answer at all; its own limits are below, so that it can say why
# The server watches us as well: whoever was cut off in the middle of a transaction holds the locks of all others.
_LIMITS = (
    "SET statement_timeout = '5500ms'; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '15s'; "
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; "
    "SET tcp_user_timeout = '4s'"
)
# A plan is kept as long as its connection: one that was made while a table was small would read it from end to end when
# it has grown. Every statement has an index to go by (tests/database/test_plans.py), so that is what it goes by.
_PLANS = "SET enable_seqscan = off; SET jit = off"
# Some hosts turn it off for speed, and a crash of the server then loses what a visitor was thanked for.
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)
_CONNECT = {
    "connect_timeout": 2,  # seconds, for each host of the URL; psycopg takes no less
    "keepalives_idle": 5,  # a server that vanished from the network is noticed also while we only listen
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 4000,  # milliseconds until what was sent is at least received; slow answers have longer
}
_FRESH = 1.0  # seconds: a connection that was used so lately is not asked whether it is still there
# Being shut down, starting up, or no longer the primary: such a server takes no writes, so the connection goes.
_UNFIT = {"25006", "57P01", "57P02", "57P03"}
_CROSSED = {"40001", "40P01"}  # serialization failure, deadlock


class Bounded(psycopg.Connection[Any]):
    """A connection that gives up on a server that stays silent: one that is frozen keeps its socket open for ever."""

    patience: float | None = _ANSWER

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        if timeout is not None or self.patience is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError("the server did not answer in time") from None


def postgres_engine(url: str) -> Engine:
    """An engine that never waits long. Several hosts in the URL, with target_session_attrs=read-write, are tried."""
    engine = create_engine(
        url,
        hide_parameters=True,  # a database error must not carry a patient's name
        pool_use_lifo=True,  # the one that was used last has the statements of the intake prepared
        pool_size=20,
        max_overflow=0,  # those beyond a pool's size are opened for each use, which costs more than the use
        pool_timeout=5,
    )
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "handle_error", _drop_unfit)
    event.listen(engine, "checkin", _note_use)

    def ask_the_idle(raw: Any, record: ConnectionPoolEntry, _fairy: Any) -> None:
        if time.monotonic() - record.info.get("used", time.monotonic()) > _FRESH:
            try:
                engine.dialect.do_ping(raw)
            except psycopg.Error:
                raise exc.InvalidatePoolError from None  # the pool takes another one, and none of the others

    event.listen(engine, "checkout", ask_the_idle)
    return engine


def _note_use(_raw: Any, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _connect(_dialect: Any, _record: Any, args: list[Any], options: dict[str, Any]) -> Bounded:
    connection = Bounded.connect(*args, **(_CONNECT | options))
    try:
        connection.autocommit = True
        connection.execute(cast("Any", f"{_LIMITS}; {_PLANS}; {_DURABLE}"))
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    return connection


def _drop_unfit(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) in _UNFIT:
        context.is_disconnect = True


@contextmanager
def unhurried(connection: Connection, seconds: int = 0) -> Iterator[None]:
    """Inside, a statement may take so long; 0: as long as it takes, as migrations do."""
    raw = cast("Bounded", connection.connection.dbapi_connection)
    raw.patience = seconds + 0.5 if seconds else None  # the server says first why
    for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"SET LOCAL {limit} = '{seconds}s'"))
    try:
        yield
    finally:
        raw.patience = _ANSWER


def crossed(error: BaseException | None) -> bool:
    """Whether two transactions were in each other's way, so that the same again will do."""
    return getattr(error, "sqlstate", None) in _CROSSED
