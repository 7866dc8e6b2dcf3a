"""`frontdesk db backup`: a copy that can be restored, beside its key file."""

from __future__ import annotations

import resource
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import select, update

from leads.store import schema, tasks
from leads.store.backup import TASK, back_up
from leads.store.models import Delivery, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk, as_json
from tests.conftest import only_postgres, only_sqlite
from tests.factory import make_connection, make_site, send


@only_sqlite
def test_a_copy_made_while_somebody_writes_can_be_restored(
    frontdesk: Frontdesk, database: Database, vault: Vault, tmp_path: Path
) -> None:
    site, copy, elsewhere = make_site(database), tmp_path / "copy.sqlite3", tmp_path / "elsewhere"
    send(database, vault, site)
    with database.write():
        back_up(tmp_path / "frontdesk.sqlite3", copy)
    send(database, vault, site, email="later@example.com")
    elsewhere.mkdir(mode=0o700)
    shutil.copy(tmp_path / "keys.json", elsewhere)
    copy.rename(elsewhere / "frontdesk.sqlite3")
    restored = {"data_dir": str(elsewhere), "database_url": f"sqlite:///{elsewhere / 'frontdesk.sqlite3'}"}
    assert len(as_json(frontdesk("lead", "list", "--json", **restored))) == 1


@only_sqlite
def test_a_copy_is_its_owners_alone_and_nothing_is_written_over(frontdesk: Frontdesk, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    frontdesk("db", "backup", str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    before = copy.read_bytes()
    assert "there already" in frontdesk("db", "backup", str(copy), code=1).stderr
    assert copy.read_bytes() == before


@only_sqlite
def test_a_copy_that_cannot_be_made_is_told_and_leaves_nothing(frontdesk: Frontdesk, tmp_path: Path) -> None:
    copy = tmp_path / "nowhere" / "copy"
    told = frontdesk("db", "backup", str(copy), code=1).stderr
    assert told == f"The copy {copy} could not be made: No such file or directory.\n"


@only_sqlite
def test_a_copy_may_be_named_from_the_home_folder(
    frontdesk: Frontdesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    frontdesk("db", "backup", "~/copy.sqlite3")
    assert (tmp_path / "copy.sqlite3").is_file()


def test_a_copy_that_there_is_no_room_for_leaves_nothing(tmp_path: Path) -> None:
    source, folder = tmp_path / "source.sqlite3", tmp_path / "full"
    with closing(sqlite.connect(str(source))) as opened:
        opened.execute("CREATE TABLE big AS SELECT zeroblob(3000000)")  # more than SQLite keeps in memory
        opened.commit()
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises((OSError, sqlite.Error)):
            back_up(source, folder / "copy.sqlite3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []


def test_after_a_restore_an_enquiry_for_two_crms_is_one_enquiry(
    frontdesk: Frontdesk, database: Database, vault: Vault
) -> None:
    site = make_site(database)
    for name in ("First", "Second"):
        make_connection(database, vault, site, name=name)
    send(database, vault, site)
    assert frontdesk("db", "restored", "--yes").stdout == "To be looked up before it is sent: 1 enquiry.\n"


def test_nothing_is_doubted_before_somebody_has_said_that_a_copy_was_put_back(
    frontdesk: Frontdesk, database: Database, vault: Vault
) -> None:
    site = make_site(database)
    make_connection(database, vault, site)
    send(database, vault, site)
    for answer in ("", "n\n"):
        asked = frontdesk("db", "restored", code=1, stdin=answer).stdout
        assert asked.startswith("This is only for a copy of the database that was just put back.")
    with database.read() as session:
        assert list(session.scalars(select(Delivery.unknown))) == [False]
    assert "To be looked up before it is sent: 1 enquiry." in frontdesk("db", "restored", stdin="y\n").stdout


@only_postgres
def test_postgres_has_tools_of_its_own(frontdesk: Frontdesk, tmp_path: Path) -> None:
    assert "pg_dump" in frontdesk("db", "backup", str(tmp_path / "copy"), code=1).stderr


@only_sqlite
def test_doctor_tells_how_old_the_last_copy_is(frontdesk: Frontdesk, database: Database, tmp_path: Path) -> None:
    assert "copied" not in frontdesk("doctor", code=1).stdout
    make_site(database)
    assert "copied" not in frontdesk("doctor", code=1).stdout
    with database.write() as session:
        long_ago = database.now(session) - timedelta(days=3)
        session.execute(update(Site).values(created_at=long_ago))
    assert "look  The database was never copied by: frontdesk db backup" in frontdesk("doctor", code=1).stdout
    frontdesk("db", "backup", str(tmp_path / "copy.sqlite3"))
    assert "ok    The last copy of the database is " in frontdesk("doctor", code=1).stdout
    with database.write() as session:
        tasks.done(session, TASK, long_ago)
    assert "look  The last copy of the database is 3 days old." in frontdesk("doctor", code=1).stdout


@only_postgres
def test_of_copies_of_postgres_doctor_says_nothing(frontdesk: Frontdesk, database: Database) -> None:
    make_site(database)
    with database.write() as session:
        session.execute(update(Site).values(created_at=database.now(session) - timedelta(days=3)))
    told = frontdesk("doctor", code=1).stdout
    assert ("copied" in told, "last copy" in told) == (False, False)


@pytest.fixture
def older(database: Database) -> Database:
    """A database as the version before left it."""
    with database.engine.connect().execution_options(write=True) as connection, connection.begin():
        command.downgrade(schema._config(connection), "-1")
    return database


def _copies(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("before-upgrade-*"))


@only_sqlite
def test_before_the_tables_change_they_are_copied(frontdesk: Frontdesk, older: Database, tmp_path: Path) -> None:
    before = schema.current(older)
    for number in range(3):
        (tmp_path / f"before-upgrade-0001-{number}.sqlite3").touch()
    told = frontdesk("db", "upgrade").stdout
    *kept, copy = _copies(tmp_path)
    assert f"How the database was before is kept in {copy}\n" in told
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name[15:21] for path in kept] == ["0001-1", "0001-2"], "the latest three"
    opened = Database(f"sqlite:///{copy}")
    assert (schema.current(opened), schema.current(older)) == (before, schema.head())
    opened.close()
    assert "kept" not in frontdesk("db", "upgrade").stdout, "nothing was left to change"
    assert len(_copies(tmp_path)) == 3


@only_sqlite
def test_without_room_for_a_copy_nothing_changes_unless_told_so(
    frontdesk: Frontdesk, older: Database, tmp_path: Path
) -> None:
    before = schema.current(older)
    told = frontdesk("db", "upgrade", code=3, min_free_mb=str(10**9)).stderr
    assert f"{tmp_path} has no room to copy the database first" in told
    assert (schema.current(older), _copies(tmp_path)) == (before, [])
    frontdesk("db", "upgrade", "--no-copy", min_free_mb=str(10**9))
    assert (schema.current(older), _copies(tmp_path)) == (schema.head(), [])


@only_sqlite
def test_a_new_database_is_not_copied(frontdesk: Frontdesk, tmp_path: Path) -> None:
    new = tmp_path / "new"
    frontdesk("db", "upgrade", data_dir=str(new), database_url=f"sqlite:///{new / 'frontdesk.sqlite3'}")
    assert _copies(new) == []


@only_postgres
def test_postgres_is_upgraded_without_a_copy(frontdesk: Frontdesk, older: Database, tmp_path: Path) -> None:
    frontdesk("db", "upgrade")
    assert (schema.current(older), _copies(tmp_path)) == (schema.head(), [])
