"""A damaged or missing database stops the start with a sentence, and nothing is made in its place."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from leads.cli import main
from leads.store.schema import open_vault
from leads.store.session import Database
from leads.store.soundness import DamagedError, require_sound
from tests.conftest import postgres_url
from tests.factory import make_site, send

Damage = Callable[[Path], None]


def flipped_header(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"\xff" * 16)


def flipped_page(file: Path) -> None:
    with file.open("r+b") as opened:
        for page in range(3, 40):
            opened.seek(page * 4096)
            opened.write(random.Random(page).randbytes(64))


def lost_page(file: Path) -> None:
    """Of one index. Of the tables' descriptions a damaged page is told at the start."""
    with sqlite3.connect(file) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_event_code'")
    connection.close()
    with file.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(b"\xff" * 4096)


def cut_off(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2 + 100)


def cut_to_nothing(file: Path) -> None:
    file.write_bytes(b"")


def cut_within_the_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def garbage(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(50_000))


def gone(file: Path) -> None:
    file.unlink()


def another_database(file: Path) -> None:
    file.write_text("<html>not a database</html>" * 100)


DAMAGES = {
    flipped_header: "is damaged or no database",
    flipped_page: "is damaged",
    cut_off: "has been cut off",
    cut_to_nothing: "is missing or empty",
    cut_within_the_header: "has been cut off",
    garbage: "is damaged or no database",
    gone: "is missing or empty",
    another_database: "is damaged or no database",
}


@pytest.fixture
def folder(tmp_path: Path, sqlite_template: Path) -> Path:
    """A data folder with a few enquiries, as it is after an orderly end."""
    file = tmp_path / "frontdesk.sqlite3"
    shutil.copy(sqlite_template, file)
    database = Database(f"sqlite:///{file}")
    vault = open_vault(database, tmp_path / "keys.json")
    site = make_site(database)
    for number in range(5):
        send(database, vault, site, email=f"p{number}@example.com")
    database.close()
    return tmp_path


def frontdesk(folder: Path, *command: str, **settings: str) -> Result:
    environ = {"FRONTDESK_DATA_DIR": str(folder), "FRONTDESK_PORT": "0"} | settings
    return CliRunner().invoke(main, command, env=environ)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_nobody_else_may_read_a_new_file(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert frontdesk(tmp_path, "db", "upgrade").exit_code == 0
        opened = Database(f"sqlite:///{tmp_path / 'frontdesk.sqlite3'}")
        with opened.write() as session:  # what SQLite puts beside it goes by the file itself
            session.execute(text("CREATE TABLE more (id INTEGER)"))
            assert {file.name: file.stat().st_mode & 0o77 for file in tmp_path.glob("frontdesk.sqlite3*")} == {
                f"frontdesk.sqlite3{ending}": 0 for ending in ("", "-wal", "-shm")
            }
        opened.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("command", [("serve",), ("web",), ("worker",), ("db", "upgrade")], ids=" ".join)
def test_the_start_stops_with_instructions_and_touches_nothing(
    folder: Path, damage: Damage, command: tuple[str, ...]
) -> None:
    damage(folder / "frontdesk.sqlite3")
    before = contents(folder)
    result = frontdesk(folder, *command)
    assert result.exit_code == 3, result.output
    assert DAMAGES[damage] in result.stderr
    assert "restore the last backup" in result.stderr
    assert "Traceback" not in result.output
    after = contents(folder)
    assert after.pop("frontdesk.sqlite3", None) == before.pop("frontdesk.sqlite3", None)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(("right", "what"), [(os.R_OK, "read"), (os.W_OK, "written to")])
def test_a_database_of_another_user_stops_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, right: int, what: str
) -> None:
    """Tests may run as root, to whom every file is open; so the system's answer is given by us."""
    monkeypatch.setattr(os, "access", lambda path, asked: not (asked & right and Path(path).is_file()))
    result = frontdesk(folder, "doctor")
    assert result.exit_code == 3
    assert f"frontdesk.sqlite3 may not be {what}. It belongs to " in result.stderr


@pytest.mark.parametrize("command", [("web",), ("doctor",), ("db", "upgrade")], ids=" ".join)
def test_a_database_in_a_folder_that_may_not_be_entered_is_not_called_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, asked: not (asked == os.X_OK and Path(path) == folder.parent))
    result = frontdesk(folder, *command)
    assert (result.exit_code, result.stdout) == (3, "")
    told = f"The data folder {folder} may not be looked into. {folder.parent} belongs to "
    assert result.stderr.startswith(told), result.stderr
    with pytest.raises(DamagedError, match="may not be looked at"):  # as under another WSGI server
        require_sound(Database(f"sqlite:///{folder / 'frontdesk.sqlite3'}"), folder / "keys.json", make=False)


def test_without_database_and_key_only_an_upgrade_makes_one(tmp_path: Path) -> None:
    result = frontdesk(tmp_path, "web")
    assert result.exit_code == 3
    assert "For a new installation run: frontdesk db upgrade" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert frontdesk(tmp_path, "db", "upgrade").exit_code == 0
    assert (tmp_path / "keys.json").exists()


def test_a_new_installation_may_bring_its_own_key(folder: Path) -> None:
    (folder / "frontdesk.sqlite3").unlink()
    keys = (folder / "keys.json").read_bytes()
    refused = frontdesk(folder, "db", "upgrade")
    assert "run once: frontdesk db upgrade --new" in refused.stderr
    assert frontdesk(folder, "db", "upgrade", "--new").exit_code == 0
    assert (folder / "keys.json").read_bytes() == keys
    assert frontdesk(folder, "db", "upgrade").exit_code == 0


def test_a_key_without_its_database_is_told_with_postgresql_too(tmp_path: Path, postgres: object) -> None:
    database = Database(postgres_url(postgres, "postgres"))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE empty_one"))
    database.close()
    url = postgres_url(postgres, "empty_one")
    (tmp_path / "keys.json").write_text("{}")
    result = frontdesk(tmp_path, "db", "upgrade", FRONTDESK_DATABASE_URL=url)
    assert result.exit_code == 3
    assert "Is FRONTDESK_DATABASE_URL the right one?" in result.stderr


def test_a_missing_key_stops_the_start(folder: Path) -> None:
    (folder / "keys.json").unlink()
    result = frontdesk(folder, "serve")
    assert result.exit_code == 3
    assert "is missing. Restore it from your backup" in result.stderr
    assert not (folder / "keys.json").exists()


def test_a_wal_that_was_taken_away_stops_the_start(folder: Path) -> None:
    file = folder / "frontdesk.sqlite3"
    crashed = Database(f"sqlite:///{file}")
    make_site(crashed, key="latest")  # stands in the -wal only
    copy = folder / "copy"
    copy.mkdir()
    for part in folder.glob("frontdesk.sqlite3*"):
        shutil.copy(part, copy)
    shutil.copy(folder / "keys.json", copy)
    crashed.close()
    assert frontdesk(copy, "site", "list").exit_code == 0, "with it all is well: this is what a kill leaves"

    for part in folder.glob("frontdesk.sqlite3*"):
        part.unlink()
    for part in copy.iterdir():
        shutil.copy(part, folder)
    (folder / "frontdesk.sqlite3-shm").write_bytes(b"")
    (folder / "frontdesk.sqlite3-wal").unlink(missing_ok=True)
    result = frontdesk(folder, "site", "list")
    assert result.exit_code == 3
    assert "frontdesk.sqlite3-wal" in result.stderr
    assert "Put it back" in result.stderr


def test_a_copy_that_was_put_back_is_read_through_however_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost_page(folder / "frontdesk.sqlite3")
    monkeypatch.setattr("leads.store.soundness._QUICK", 0)
    assert frontdesk(folder, "lead", "list").exit_code == 0
    told = frontdesk(folder, "db", "restored", "--yes")
    assert (told.exit_code, "is damaged" in told.stderr) == (3, True)


def test_doctor_tells_of_a_damaged_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ok    The database file is sound." in frontdesk(folder, "doctor").stdout
    monkeypatch.setattr("leads.store.soundness._QUICK", 0)  # as with a file too large to be read through at a start
    lost_page(folder / "frontdesk.sqlite3")
    assert "wrong The database file is damaged" in frontdesk(folder, "doctor").stdout
