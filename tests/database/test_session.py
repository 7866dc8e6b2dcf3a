"""How the database is opened: durable, strict, with one writer, in UTC, and silent about what it holds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from leads.store.models import Meta, Site, Worker, new_id
from leads.store.session import Database
from tests.conftest import PRAGMAS, only_postgres, only_sqlite
from tests.factory import make_site

MARK = "Zyxwvut"


def beat(worker: str, at: datetime) -> Worker:
    return Worker(id=worker, started_at=at, seen_at=at)


@only_sqlite
@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 1), ("busy_timeout", 10000)],
)
def test_sqlite_is_set_up_to_lose_nothing(
    database: Database, pragma: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.store.session._PRAGMAS", PRAGMAS)
    for opened in (database.read, database.write):
        with opened() as session:
            assert session.execute(text(f"PRAGMA {pragma}")).scalar_one() == value


@only_postgres
@pytest.mark.parametrize(
    ("set_to", "kept"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
)
def test_postgresql_writes_to_the_disk_before_it_answers(
    database: Database, database_url: str, set_to: str, kept: str
) -> None:
    own = database.engine.url.database
    with database.glance() as connection:
        connection.execute(text(f'ALTER DATABASE "{own}" SET synchronous_commit = {set_to}'))
    other = Database(database_url)
    with other.write() as session:
        assert session.execute(text("SHOW synchronous_commit")).scalar_one() == kept
    other.close()


@only_sqlite
def test_sqlite_is_new_enough_not_to_corrupt_a_shared_wal(database: Database) -> None:
    with database.read() as session:
        version = session.execute(text("SELECT sqlite_version()")).scalar_one()
    assert tuple(map(int, version.split("."))) > (3, 51, 2)


@only_sqlite
def test_a_writing_transaction_has_the_lock_before_it_reads(database: Database, database_url: str) -> None:
    other = Database(database_url)
    entered = threading.Event()

    def write_elsewhere() -> None:
        with other.write() as session:
            session.get(Meta, "here")
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            session.get(Meta, "here")
            elsewhere = pool.submit(write_elsewhere)
            assert not entered.wait(0.2)
            session.add(Meta(name="here", value=b"1"))
        elsewhere.result(timeout=60)
    other.close()


def test_a_reader_neither_waits_for_a_writer_nor_sees_what_is_not_committed(database: Database) -> None:
    with database.write() as writing:
        writing.add(Meta(name="x", value=b"1"))
        writing.flush()
        with database.read() as reading:
            assert reading.get(Meta, "x") is None
    with database.read() as reading:
        assert reading.get(Meta, "x") is not None


def test_an_exception_takes_everything_back(database: Database) -> None:
    def fail_half_way() -> None:
        with database.write() as session:
            session.add(Meta(name="x", value=b"1"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with database.read() as session:
        assert session.get(Meta, "x") is None


def test_writers_in_many_threads_lose_nothing(database: Database) -> None:
    def count_up(_: int) -> None:
        with database.write() as session:
            session.get_one(Meta, "n", with_for_update=True).value += b"1"

    with database.write() as session:
        session.add(Meta(name="n", value=b""))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(40)))
    with database.read() as session:
        assert session.get_one(Meta, "n").value == b"1" * 40


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="a time without a zone"), database.write() as session:
        session.add(beat("w", datetime(2026, 3, 2, 9, 0)))  # noqa: DTZ001 - that is the point


def test_times_come_back_in_utc_to_the_microsecond(database: Database) -> None:
    there = datetime(2026, 3, 2, 9, 0, 0, 123456, tzinfo=timezone(timedelta(hours=-5)))
    with database.write() as session:
        session.add(beat("w", there))
    with database.read() as session:
        seen = session.get_one(Worker, "w").seen_at
    assert seen == there
    assert seen.utcoffset() == timedelta(0)


def test_the_clock_is_aware_and_right(database: Database) -> None:
    before = datetime.now(UTC)
    with database.write() as session:
        now = database.now(session)
    assert now.tzinfo is UTC
    assert before - timedelta(seconds=1) < now < datetime.now(UTC) + timedelta(seconds=1)


def test_the_clock_goes_on_within_a_transaction(database: Database) -> None:
    with database.write() as session:
        first = database.now(session)
        assert database.now(session) > first


def test_a_database_error_does_not_say_what_was_asked(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught, database.read() as session:
        session.execute(text("SELECT * FROM nowhere WHERE name = :name"), {"name": MARK})
    assert "nowhere" in str(caught.value)
    assert MARK not in str(caught.value)


def test_a_row_that_belongs_to_nothing_is_refused(database: Database) -> None:
    with pytest.raises(DBAPIError), database.write() as session:
        session.execute(
            text("INSERT INTO consent_text (site_id, version, text, created_at) VALUES (:id, '1', 'x', :at)"),
            {"id": new_id().hex, "at": datetime(2026, 3, 2, tzinfo=UTC)},
        )


def test_a_site_that_is_used_cannot_vanish(database: Database) -> None:
    site = make_site(database)
    with pytest.raises(IntegrityError), database.write() as session:
        session.delete(session.get_one(Site, site.id))
