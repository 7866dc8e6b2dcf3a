"""The second factor of a user on the server: seen, taken away, and kept through new keys, a backup and its restore."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from leads.commands import keys as commands
from leads.store import vault as store_vault
from leads.store.models import User
from leads.store.second_factor import Passed, pass_with
from leads.store.session import Database
from leads.store.vault import Vault, read_keys
from tests.cli.conftest import Frontdesk, as_json
from tests.conftest import only_sqlite
from tests.web.desk import SECRET, code_now, give_second_factor


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_vault, "LOOK", 0.1)
    monkeypatch.setattr(commands, "_NOTICED", 0.2)


@pytest.fixture
def codes(frontdesk: Frontdesk, database: Database, vault: Vault) -> list[str]:
    """The recovery codes of anna, who has a second factor."""
    for name in ("anna", "bert"):
        frontdesk("user", "add", name, "--role", "admin")
    return give_second_factor(database, vault)


def _passed(database: Database, vault: Vault, typed: str) -> Passed | None:
    with database.write() as session:
        anna = session.scalars(select(User).where(User.name == "anna")).one()
        return pass_with(session, vault, anna, typed, datetime.now(UTC))


def _who_has_one(frontdesk: Frontdesk) -> dict[str, bool]:
    return {row["name"]: row["second_factor"] for row in as_json(frontdesk("user", "list", "--json"))}


def test_it_is_taken_away_when_the_phone_is_lost(frontdesk: Frontdesk, database: Database, codes: list[str]) -> None:
    assert _who_has_one(frontdesk) == {"anna": True, "bert": False}
    assert "Second factor" in frontdesk("user", "list").stdout
    with database.read() as session:
        before = session.scalars(select(User.session).where(User.name == "anna")).one()
    told = frontdesk("user", "reset-second-factor", "Anna").stdout
    assert told == "anna has no second factor any more. They can sign in with the password and set it up again.\n"
    assert _who_has_one(frontdesk) == {"anna": False, "bert": False}
    with database.read() as session:
        assert session.scalars(select(User.session).where(User.name == "anna")).one() != before
    done = as_json(frontdesk("actions", "--json"))[0]
    assert done["sentence"] == "command line took the second factor of anna away."
    assert "anna has no second factor." in frontdesk("user", "reset-second-factor", "anna", code=1).stderr
    assert "no user called nora" in frontdesk("user", "reset-second-factor", "nora", code=1).stderr


def test_it_goes_on_under_new_keys(frontdesk: Frontdesk, database: Database, codes: list[str], tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    old = read_keys(file).sealing
    frontdesk("keys", "rotate", "--yes")
    with database.read() as session:
        sealed = session.scalars(select(User.totp_sealed).where(User.name == "anna")).one()
    assert store_vault.key_id(sealed or b"") == read_keys(file).sealing != old
    opened = Vault(file)
    assert _passed(database, opened, code_now()) == Passed(None)
    assert _passed(database, opened, codes[0]) == Passed(9)


@only_sqlite
def test_it_is_in_a_backup_and_works_after_the_restore(
    frontdesk: Frontdesk, database: Database, codes: list[str], tmp_path: Path
) -> None:
    copy, elsewhere = tmp_path / "copy.sqlite3", tmp_path / "elsewhere"
    frontdesk("db", "backup", str(copy))
    assert SECRET.encode() not in copy.read_bytes()
    elsewhere.mkdir(mode=0o700)
    shutil.copy(tmp_path / "keys.json", elsewhere)
    copy.rename(elsewhere / "frontdesk.sqlite3")
    restored = Database(f"sqlite:///{elsewhere / 'frontdesk.sqlite3'}")
    opened = Vault(elsewhere / "keys.json")
    assert _passed(restored, opened, code_now()) == Passed(None)
    assert _passed(restored, opened, codes[0]) == Passed(9)
    restored.close()
