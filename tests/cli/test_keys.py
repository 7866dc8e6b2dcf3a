"""`frontdesk keys`: rotated with one command, which goes on where it was stopped; the old key goes only if told so."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest
from sqlalchemy import select, update

from leads.commands import keys as commands
from leads.store import vault as store_vault
from leads.store.backup import copy_before_upgrade
from leads.store.keyfile import add_key, create_keys, seal_with
from leads.store.models import Action, Lead
from leads.store.people import person_of
from leads.store.session import Database
from leads.store.vault import Vault, read_keys
from tests.cli.conftest import Frontdesk, as_json
from tests.conftest import only_postgres, only_sqlite
from tests.factory import make_connection, make_site, send


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_vault, "LOOK", 0.1)
    monkeypatch.setattr(commands, "_NOTICED", 0.2)


@pytest.fixture
def file(tmp_path: Path, database: Database, vault: Vault) -> Path:
    """The keys of a database that is in use."""
    site = make_site(database)
    make_connection(database, vault, site)
    for name in ("jane", "mia"):
        send(database, vault, site, email=f"{name}@example.com")
    return tmp_path / "keys.json"


def _uses(frontdesk: Frontdesk) -> dict[str, tuple[str, int]]:
    return {row["key"]: (row["use"], row["values"]) for row in as_json(frontdesk("keys", "show", "--json"))}


def _older(file: Path) -> None:
    """As if it had been changed some minutes ago."""
    os.utime(file, (time.time() - 120, time.time() - 120))


def _mails(database: Database, vault: Vault) -> list[str]:
    with database.read() as session:
        return sorted(person_of(vault, lead)["email"] for lead in session.scalars(select(Lead)))


def test_one_command_rotates_and_another_one_drops(
    frontdesk: Frontdesk, database: Database, vault: Vault, file: Path
) -> None:
    old = vault.sealing.hex()
    assert _uses(frontdesk) == {old: ("seals and opens", 6)}
    told = frontdesk("keys", "rotate", stdin="y\n").stdout
    new = read_keys(file).sealing.hex()
    assert f"The key {new} is in {file}. So far nothing is sealed with it." in told
    assert f"Everything is sealed with the key {new}.\nThe key {old} now only opens copies" in told
    assert _uses(frontdesk) == {old: ("opens", 0), new: ("seals and opens", 7)}, "with the note of who did it"
    assert "less than a minute ago" in frontdesk("keys", "drop", old, "--yes", code=1).stderr
    _older(file)
    frontdesk("keys", "drop", old, code=1, stdin="n\n")
    assert old in _uses(frontdesk)
    assert f"The key {old} is no longer in {file}." in frontdesk("keys", "drop", old, stdin="y\n").stdout
    assert list(_uses(frontdesk)) == [new]
    assert _mails(database, Vault(file)) == ["jane@example.com", "mia@example.com"]
    with database.read() as session:
        assert list(session.scalars(select(Action.what).order_by(Action.id))) == ["keys_rotated", "key_dropped"]


def test_no_key_is_shown(frontdesk: Frontdesk, file: Path) -> None:
    told = frontdesk("keys", "show").stdout + frontdesk("keys", "rotate", "--yes").stdout
    told += frontdesk("keys", "show", "--json").stdout
    secrets = [line.split('": "')[1].rstrip('",') for line in file.read_text().splitlines() if '": "' in line]
    assert [secret for secret in secrets if len(secret) > 8 and secret in told] == []


def test_who_says_no_has_a_key_that_does_not_seal_and_goes_on_later(frontdesk: Frontdesk, file: Path) -> None:
    old = read_keys(file).sealing.hex()
    frontdesk("keys", "rotate", code=1, stdin="n\n")
    new = (read_keys(file).next or b"").hex()
    assert _uses(frontdesk) == {new: ("opens; seals next", 0), old: ("seals and opens", 6)}
    frontdesk("keys", "rotate", "--yes")
    assert _uses(frontdesk) == {old: ("opens", 0), new: ("seals and opens", 7)}


def test_stopped_before_all_was_sealed_anew_it_goes_on(frontdesk: Frontdesk, file: Path) -> None:
    old, new = read_keys(file).sealing.hex(), add_key(file)
    seal_with(file, new)
    assert "is the one that seals" in frontdesk("keys", "drop", new.hex(), "--yes", code=1).stderr
    _older(file)
    assert "6 values are still sealed with the key" in frontdesk("keys", "drop", old, "--yes", code=1).stderr
    frontdesk("keys", "rotate")
    assert _uses(frontdesk) == {old: ("opens", 0), new.hex(): ("seals and opens", 6)}
    before = file.read_bytes()
    assert f"frontdesk keys drop {old}\nUntil then" in frontdesk("keys", "rotate").stdout
    assert file.read_bytes() == before


def test_what_cannot_be_read_is_told_and_left(frontdesk: Frontdesk, database: Database, file: Path) -> None:
    with database.write() as session:
        first = session.scalars(select(Lead.id).order_by(Lead.id)).first()
        session.execute(update(Lead).where(Lead.id == first).values(person_sealed=b"\x01lost" + bytes(40)))
    assert "No key of the file opens 1 value: left as it was" in frontdesk("keys", "rotate", "--yes", code=1).stderr
    assert _uses(frontdesk)[b"lost".hex()] == ("not in the key file", 1)


def test_a_file_that_cannot_be_written_stays_and_it_is_said_why(frontdesk: Frontdesk, file: Path) -> None:
    before = file.read_bytes()
    database_is_idle = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, database_is_idle[1]))
    try:
        told = frontdesk("keys", "rotate", "--yes", code=1).stderr
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, database_is_idle)
    assert f"The key file {file} could not be changed: File too large." in told
    assert file.read_bytes() == before


def test_the_key_file_of_another_database_is_not_rotated(frontdesk: Frontdesk, file: Path) -> None:
    file.unlink()
    create_keys(file)
    before = file.read_bytes()
    for command in (["show"], ["rotate", "--yes"], ["drop", "00000000", "--yes"]):
        assert "does not belong to this database" in frontdesk("keys", *command, code=3).stderr
    assert file.read_bytes() == before


def test_a_key_that_is_not_there_is_told(frontdesk: Frontdesk, file: Path) -> None:
    assert "There is no key 00000000" in frontdesk("keys", "drop", "00000000", code=1).stderr


@only_sqlite
def test_a_copy_from_before_an_upgrade_keeps_its_key(frontdesk: Frontdesk, file: Path, tmp_path: Path) -> None:
    old = read_keys(file).sealing.hex()
    copy = copy_before_upgrade(tmp_path / "frontdesk.sqlite3", tmp_path, "0009", 0)
    frontdesk("keys", "rotate", "--yes")
    copy_before_upgrade(tmp_path / "frontdesk.sqlite3", tmp_path, "0010", 0)
    _older(file)
    assert f"still needed to read {copy.name} in" in frontdesk("keys", "drop", old, "--yes", code=1).stderr
    by_hand = copy.rename(tmp_path / "copy-of-friday")
    assert f"still needed to read {by_hand.name} in" in frontdesk("keys", "drop", old, "--yes", code=1).stderr
    by_hand.unlink()
    (tmp_path / "of-something-else.sqlite3").write_bytes(b"no database")
    (tmp_path / "gone.sqlite3").symlink_to(tmp_path / "nowhere")
    frontdesk("keys", "drop", old, "--yes")


@only_sqlite
def test_that_no_copy_does_without_the_old_key_is_told_before_it_is_dropped(
    frontdesk: Frontdesk, file: Path, tmp_path: Path
) -> None:
    old, none = read_keys(file).sealing.hex(), "There is none since: first make one, by frontdesk db backup FILE."
    outside = tmp_path / "safe"
    outside.mkdir()
    frontdesk("db", "backup", str(outside / "friday"))
    needs = "It was made before the keys were rotated, and can only be read with the key file of that time."
    assert needs not in frontdesk("doctor", code=1).stdout
    frontdesk("keys", "rotate", "--yes")
    assert needs in frontdesk("doctor", code=1).stdout
    _older(file)
    told = frontdesk("keys", "drop", old, code=1, stdin="n\n").stdout
    assert f"can only be read with the key {old}: keep {file}, as it is now, with these copies" in told
    assert none in told
    frontdesk("db", "backup", str(outside / "monday"))
    assert needs not in frontdesk("doctor", code=1).stdout
    told = frontdesk("keys", "drop", old, "--yes").stdout
    assert (f"can only be read with the key {old}" in told, none in told) == (True, False)


@only_postgres
def test_where_backups_are_made_in_another_way_one_is_asked_for_before_a_key_is_dropped(
    frontdesk: Frontdesk, file: Path
) -> None:
    old = read_keys(file).sealing.hex()
    frontdesk("keys", "rotate", "--yes")
    _older(file)
    told = frontdesk("keys", "drop", old, "--yes").stdout
    assert "Make a new backup first, where there is none since." in told


@only_postgres
def test_where_there_may_be_more_hosts_it_says_what_to_copy(frontdesk: Frontdesk, file: Path) -> None:
    told = frontdesk("keys", "rotate", "--yes").stdout
    assert told.index("Copy it to every other host") < told.index("Copy the file to the other hosts once more")


def test_doctor_tells_of_a_rotation_that_has_not_ended(frontdesk: Frontdesk, file: Path) -> None:
    assert "keys show" not in frontdesk("doctor", code=1).stdout
    frontdesk("keys", "rotate", "--yes")
    assert "look  The key file holds 2 keys" in frontdesk("doctor", code=1).stdout
