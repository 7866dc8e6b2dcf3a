"""A database that is gone, frozen, full, locked, read-only or cut off in a commit: an error in seconds, then well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, exc, func, make_url, select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from leads.store import outbox
from leads.store.models import Event, Meta, Site, Worker
from leads.store.nudge import Nudge
from leads.store.postgres import unhurried
from leads.store.session import Database
from leads.store.space import Space
from leads.store.vault import Vault
from leads.store.write_lock import WriteLock
from leads.upkeep.health import readiness
from tests.conftest import only_postgres, only_sqlite
from tests.database.lanes import delivery_of, finished, leased
from tests.factory import make_connection, make_site, send
from tests.proxy import Proxy

MB = 2**20


def stored(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Event)) or 0


def seconds(call: Callable[[], Any]) -> float:
    """How long it takes to fail."""
    began = time.monotonic()
    with pytest.raises(SQLAlchemyError):
        call()
    return time.monotonic() - began


@pytest.fixture
def site(database: Database) -> Site:
    return make_site(database)


@pytest.fixture
def wire(database_url: str) -> Iterator[Proxy]:
    proxy = Proxy(f"{make_url(database_url).query['host']}/.s.PGSQL.5432")
    yield proxy
    proxy.close()


def through(wire: Proxy, database_url: str, *more: str) -> str:
    """The address of the same database at the other end of the wire."""
    url = make_url(database_url)
    hosts = [*more, f"127.0.0.1:{wire.port}"]
    return url.set(query={"host": hosts}).render_as_string(hide_password=False)


@pytest.fixture
def wired(wire: Proxy, database_url: str) -> Iterator[Database]:
    database = Database(through(wire, database_url))
    yield database
    database.close()


# Commits of unknown outcome


@only_postgres
@pytest.mark.parametrize(("moment", "repeated"), [("before", False), ("after", True)])
def test_a_connection_lost_in_the_commit_stores_the_event_once(
    wired: Database, wire: Proxy, database: Database, vault: Vault, site: Site, moment: str, repeated: bool
) -> None:
    send(wired, vault, site)
    wire.cut_commit = moment
    accepted = send(wired, vault, site, client_id="the-same", email="a@example.com")
    assert wire.cuts == 1
    assert accepted.repeated is repeated, "whether the commit had taken place"
    assert stored(database) == 2


@only_postgres
def test_a_connection_that_is_lost_again_and_again_is_an_error(wired: Database, wire: Proxy, vault: Vault) -> None:
    site = make_site(wired)
    wire.cut_commit = "before"

    def cut_again() -> None:
        while wire.cuts < 1:
            time.sleep(0.001)
        wire.cut_commit = "before"

    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(cut_again)
        assert seconds(lambda: send(wired, vault, site)) < 30
        again.result()
    assert stored(wired) == 0
    assert send(wired, vault, site).reference


@only_postgres
@pytest.mark.parametrize("code", ["40001", "40P01"], ids=["serialization failure", "deadlock"])
def test_two_in_each_others_way_are_tried_again(database: Database, vault: Vault, site: Site, code: str) -> None:
    fail_once(database, code, "INSERT ON event")
    assert send(database, vault, site).repeated is False
    assert stored(database) == 1


@only_postgres
@pytest.mark.parametrize("code", ["40001", "40P01"], ids=["serialization failure", "deadlock"])
def test_what_the_crm_took_is_written_down_though_another_was_in_the_way(
    database: Database, vault: Vault, site: Site, code: str
) -> None:
    connection = make_connection(database, vault, site)
    sent = send(database, vault, site).event_id
    lane = leased(database, connection)
    claimed = outbox.claim(database, lane, 10, 60)
    fail_once(database, code, "INSERT ON attempt")
    assert finished(database, lane, claimed) == 0
    assert delivery_of(database, sent).state == "sent"


def fail_once(database: Database, code: str, when: str) -> None:
    """The first transaction that does this is broken off."""
    with database.write() as session:
        session.execute(text("CREATE SEQUENCE tries"))
        session.execute(
            text(
                "CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"IF nextval('tries') = 1 THEN RAISE EXCEPTION 'crossed' USING ERRCODE = '{code}'; END IF; "
                "RETURN NEW; END $$"
            )
        )
        session.execute(text(f"CREATE TRIGGER t BEFORE {when} FOR EACH ROW EXECUTE FUNCTION fail_once()"))


# PostgreSQL that does not answer


@only_postgres
def test_a_frozen_server_is_given_up_on_within_seconds_and_is_back_by_itself(
    wired: Database, wire: Proxy, vault: Vault
) -> None:
    site = make_site(wired)
    wire.freeze()
    frozen = seconds(lambda: send(wired, vault, site))
    assert frozen < 30, "it would be for ever; the ten seconds are kept on a machine that is not busy"
    assert seconds(lambda: send(wired, vault, site)) < frozen, "a new connection is not waited for as long"
    wire.thaw()
    assert send(wired, vault, site).reference


@only_postgres
def test_a_lock_that_is_not_given_back_is_not_waited_for(database: Database, vault: Vault, site: Site) -> None:
    with database.write() as other:
        other.execute(text("LOCK TABLE event"))
        assert seconds(lambda: send(database, vault, site)) < 30
    assert send(database, vault, site).reference


@only_postgres
def test_out_of_connections_is_an_error_at_once(database_url: str, database: Database, vault: Vault) -> None:
    with database.write() as session:
        role = f"app_{make_url(database_url).database}"
        session.execute(text(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 IN ROLE pg_read_all_data"))
    app = Database(make_url(database_url).set(username=role).render_as_string(hide_password=False))
    with app.read() as session:
        session.execute(text("SELECT 1"))
        assert seconds(lambda: stored(app)) < 5, "our own pool is waited for as long"
    assert stored(app) == 0, "it is well again by itself"
    app.close()
    with database.write() as session:
        session.execute(text(f"DROP ROLE {role}"))


@only_postgres
def test_as_many_connections_as_are_used_at_once_stay_open(database: Database) -> None:
    def use() -> None:
        with database.engine.connect():
            together.wait(60)

    together, opened = threading.Barrier(20), list[object]()
    event.listen(database.engine, "connect", lambda raw, _record: opened.append(raw))
    for _ in range(2):
        with ThreadPoolExecutor(20) as pool:
            for one in [pool.submit(use) for _ in range(20)]:
                one.result()
    assert len(opened) <= 20, "what is opened anew for each use costs more than the use"


@only_postgres
def test_our_own_pool_is_not_waited_for_long(database: Database) -> None:
    held = [database.engine.connect() for _ in range(20)]
    assert seconds(lambda: stored(database)) < 30
    for connection in held:
        connection.close()
    assert stored(database) == 0


@only_postgres
def test_a_server_that_became_read_only_is_not_used_again(database: Database, vault: Vault, site: Site) -> None:
    for _ in range(3):  # as after a failover: what the pool holds is connected to the old primary
        with database.engine.connect() as connection:
            connection.execute(text("SET SESSION default_transaction_read_only = on"))
            connection.commit()
    assert send(database, vault, site).reference
    assert stored(database) == 1


@only_postgres
def test_of_several_hosts_one_that_takes_writes_is_found(wire: Proxy, database_url: str) -> None:
    url = through(wire, database_url, "127.0.0.1:1") + "&target_session_attrs=read-write"
    database = Database(url)
    make_site(database)
    with database.engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        assert raw.info.get_parameters()["target_session_attrs"] == "read-write"
        assert raw.info.port == wire.port
    database.close()


@only_postgres
def test_a_migration_may_take_its_time(database: Database) -> None:
    def limit(connection: Connection) -> str:
        names = ("statement_timeout", "idle_in_transaction_session_timeout")
        return " ".join(str(connection.execute(text(f"SHOW {name}")).scalar()) for name in names)

    with database.engine.connect() as connection, connection.begin():
        raw: Any = connection.connection.dbapi_connection
        with unhurried(connection):
            assert (limit(connection), raw.patience) == ("0 0", None)
        assert raw.patience
    with database.engine.connect() as connection:
        assert limit(connection) == "5500ms 15s"
        connection.execute(text("SET statement_timeout = '100ms'"))
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT pg_sleep(6.5)"))


def listen_until_cut(database: Database) -> None:
    with Nudge(database) as nudge:
        with database.engine.connect() as other:
            listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN frontdesk'"
            other.execute(text(listening))
        while True:
            nudge.wait(0.3, threading.Event())


@only_postgres
def test_listening_ends_with_an_error_that_is_understood_and_leaves_no_listener(database: Database) -> None:
    stop = threading.Event()
    with pytest.raises(SQLAlchemyError):
        listen_until_cut(database)
    with Nudge(database) as nudge:
        assert not nudge.wait(0.1, stop)
        with database.write() as session:
            database.nudge(session)
        assert nudge.wait(30, stop)
    for _ in range(3):
        with database.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM pg_listening_channels()")).scalar() == 0


def test_what_many_commit_one_after_another_wakes_nobody_each_time(database: Database) -> None:
    def commit() -> None:
        for number in range(60):
            with database.write() as session:
                now = database.now(session)
                session.add(Worker(id=f"w{number}", started_at=now, seen_at=now))
                database.nudge(session)

    stop, heard = threading.Event(), 0
    with Nudge(database) as nudge, ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        writing = pool.submit(commit)
        while not writing.done():
            heard += nudge.wait(0.3, stop)
        heard += nudge.wait(0.3, stop)
        took = time.monotonic() - began
        writing.result()
    assert 1 <= heard <= took / 0.05 + 1


# SQLite


def send_many(database: Database, vault: Vault, site: Site) -> None:
    for number in range(200):
        send(database, vault, site, email=f"p{number}@example.com", message="x" * 2000)


@only_sqlite
def test_a_full_file_takes_nothing_and_throws_the_ballast_out(
    database: Database, vault: Vault, site: Site, tmp_path: Path
) -> None:
    database.space = Space(tmp_path, 1)
    database.space.look()
    assert (tmp_path / "ballast").exists()
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    database.engine.dispose()

    def limit(raw: Any, _record: Any) -> None:
        raw.execute(f"PRAGMA max_page_count={pages}")

    event.listen(database.engine, "connect", limit)
    with pytest.raises(OperationalError, match="full"):
        send_many(database, vault, site)
    before = stored(database)
    assert not (tmp_path / "ballast").exists()
    event.remove(database.engine, "connect", limit)
    database.engine.dispose()
    assert send(database, vault, site).reference
    assert stored(database) == before + 1


def test_a_line_of_writers_is_told_together_and_the_next_ones_at_once() -> None:
    lock = WriteLock(patience=1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.held():
            held.set()
            done.wait()

    def wait() -> float:
        began = time.monotonic()
        with pytest.raises(exc.TimeoutError), lock.held():
            pass
        return time.monotonic() - began

    with ThreadPoolExecutor(9) as pool:
        holder = pool.submit(hold)
        held.wait()
        waited = list(pool.map(lambda _: wait(), range(8)))
        done.set()
        holder.result()
    assert 1 <= min(waited) <= max(waited) < 6, "one after the other would be eight seconds"
    with lock.held() as left:
        assert 0 < left <= 1000


@only_sqlite
def test_a_write_after_a_hurried_one_waits_as_long_as_ever(database: Database) -> None:
    for _ in range(2):
        with database.write() as session:
            assert session.execute(text("PRAGMA busy_timeout")).scalar_one() == 10000
            session.merge(Meta(name="x", value=b"1"))


@only_sqlite
def test_a_file_that_was_taken_away_or_replaced_takes_no_more_enquiries(
    database: Database, vault: Vault, site: Site, tmp_path: Path
) -> None:
    """SQLite would write on into a file that no longer has a name: acknowledged, and lost at the next start."""
    send(database, vault, site)
    file, away = tmp_path / "frontdesk.sqlite3", tmp_path / "away"
    file.rename(away)
    with pytest.raises(SQLAlchemyError, match="not the file"):
        send(database, vault, site)
    file.write_bytes(b"")
    with pytest.raises(SQLAlchemyError, match="not the file"):
        send(database, vault, site)
    assert readiness(database)["database"] == "its file was replaced: start Frontdesk again"
    away.rename(file)
    assert send(database, vault, site).reference
    assert stored(database) == 2
