"""`frontdesk db backup`: a copy that can be restored, beside its key file."""

from __future__ import annotations

import shutil
from pathlib import Path

from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk, as_json
from tests.conftest import only_postgres, only_sqlite
from tests.factory import make_site, send


@only_sqlite
def test_a_copy_made_while_somebody_writes_can_be_restored(
    frontdesk: Frontdesk, database: Database, vault: Vault, tmp_path: Path
) -> None:
    site, copy, elsewhere = make_site(database), tmp_path / "copy.sqlite3", tmp_path / "elsewhere"
    send(database, vault, site)
    with database.write():
        frontdesk("db", "backup", str(copy))
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
    assert "could not be made" in frontdesk("db", "backup", str(tmp_path / "nowhere" / "copy"), code=1).stderr


@only_postgres
def test_postgres_has_tools_of_its_own(frontdesk: Frontdesk, tmp_path: Path) -> None:
    assert "pg_dump" in frontdesk("db", "backup", str(tmp_path / "copy"), code=1).stderr
