"""`frontdesk lead erase-again`: a copy from before an erasure is restored, and whoever was erased goes again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from leads.store import failpoint
from leads.store.erasure_list import ErasureList
from leads.store.failpoint import Failpoint
from leads.store.models import Action, Connection, Erasure, Lead, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Context, Limits
from leads.sync.deliver import run_lane
from tests.cli.conftest import Frontdesk, as_json
from tests.conftest import only_sqlite
from tests.database.lanes import delivered
from tests.database.loop import POLICY
from tests.factory import make_connection, make_site, send
from tests.sandbox import Sandbox, sandbox

JANE = {"first_name": "Zyxwina", "last_name": "Quorbleton", "email": "zyx.quorb@example.com"}


@dataclass
class Clinic:
    """Jane and Joe are in the CRM, and a copy was made then."""

    frontdesk: Frontdesk
    folder: Path
    crm: Sandbox
    jane: str
    joe: str

    def restore(self, *, with_list: bool = True) -> dict[str, str]:
        """As the page on restoring says. Returns the settings with which commands work on it."""
        new = self.folder / "new"
        new.mkdir(mode=0o700)
        (self.folder / "copy.sqlite3").rename(new / "frontdesk.sqlite3")
        for name in ["keys.json", *(["erased.txt"] if with_list else [])]:
            shutil.copy(self.folder / name, new)
        return {"data_dir": str(new), "database_url": f"sqlite:///{new / 'frontdesk.sqlite3'}"}

    def sync(self, database_url: str) -> None:
        """What the worker does."""
        database = Database(database_url)
        vault = Vault(self.folder / "keys.json")
        limits = Limits(60, 5, frozenset({"127.0.0.1"}))
        with database.read() as session:
            connection_id = session.scalars(select(Connection.id)).one()
        run_lane(Context(database, vault, "w1", limits, POLICY), connection_id)
        database.close()

    def people(self) -> list[str]:
        """Whom the CRM holds, by first name."""
        return sorted(contact["properties"]["first_name"] for contact in self.crm.store.newest())


def _name(frontdesk: Frontdesk, code: str, **settings: str) -> str:
    person: dict[str, Any] = as_json(frontdesk("lead", "show", code, "--json", **settings))["person"]
    return str(person.get("first_name", ""))


@pytest.fixture
def clinic(frontdesk: Frontdesk, database: Database, vault: Vault, tmp_path: Path) -> Any:
    with sandbox() as crm:
        site = make_site(database)
        make_connection(database, vault, site, crm.options)
        jane = send(database, vault, site, **JANE).reference
        joe = send(database, vault, site, first_name="Joe", email="joe@example.com").reference
        clinic = Clinic(frontdesk, tmp_path, crm, jane, joe)
        clinic.sync(database.engine.url.render_as_string(hide_password=False))
        frontdesk("db", "backup", str(tmp_path / "copy.sqlite3"))
        yield clinic


@only_sqlite
def test_a_copy_from_before_the_erasure_is_restored_and_she_goes_again(clinic: Clinic, database_url: str) -> None:
    frontdesk, jane = clinic.frontdesk, clinic.jane
    assert clinic.people() == ["Joe", "Zyxwina"]
    frontdesk("lead", "erase", jane, "--yes")
    clinic.sync(database_url)
    assert clinic.people() == ["Joe"]
    assert "Nobody on the list of erasures is here again. Erased: 1." in frontdesk("doctor", code=1).stdout
    restored = clinic.restore()
    assert _name(frontdesk, jane, **restored) == "Zyxwina"
    told = frontdesk("doctor", code=1, **restored).stdout
    assert "wrong 1 person is here again, though erased on request." in told
    assert "frontdesk lead erase-again" in told
    assert _name(frontdesk, jane, **restored) == "Zyxwina", "the doctor changes nothing"
    asked = frontdesk("lead", "erase-again", stdin="n\n", code=1, **restored).stdout
    assert "On the list: 1 person. Here again, and to be erased: 1." in asked
    assert f"Erase {jane} for good" in asked
    assert _name(frontdesk, jane, **restored) == "Zyxwina"
    assert "Erased again: 1." in frontdesk("lead", "erase-again", "--yes", **restored).stdout
    assert "To be looked up before it is sent: 0 enquiries." in frontdesk("db", "restored", "--yes", **restored).stdout
    assert "put back a copy of the database" in frontdesk("actions", **restored).stdout
    assert (_name(frontdesk, jane, **restored), _name(frontdesk, clinic.joe, **restored)) == ("", "Joe")
    clinic.sync(restored["database_url"])
    [erasure] = as_json(frontdesk("lead", "show", jane, "--json", **restored))["erasures"]
    assert (erasure["state"], clinic.people()) == ("done", ["Joe"])
    assert f"command line erased the personal data of the enquiry {jane}" in frontdesk("actions", **restored).stdout
    assert "erased on request" not in frontdesk("doctor", code=1, **restored).stdout
    again = frontdesk("lead", "erase-again", "--yes", **restored).stdout
    assert "to be erased: 0." in again
    assert "Erased again" not in again


@pytest.mark.parametrize("doubted_first", [True, False])
@only_sqlite
def test_what_had_not_gone_out_when_the_copy_was_made_is_erased_in_the_crm_too(
    clinic: Clinic, database: Database, vault: Vault, database_url: str, doubted_first: bool
) -> None:
    frontdesk, copy = clinic.frontdesk, clinic.folder / "copy.sqlite3"
    with database.read() as session:
        site = session.scalars(select(Site)).one()
    nina = send(database, vault, site, first_name="Nina", email="nina@example.com").reference
    copy.unlink()
    frontdesk("db", "backup", str(copy))
    clinic.sync(database_url)
    assert "Nina" in clinic.people()
    frontdesk("lead", "erase", nina, "--yes")
    restored = clinic.restore()
    steps = [("db", "restored", "--yes"), ("lead", "erase-again", "--yes")]
    for step in steps if doubted_first else reversed(steps):
        frontdesk(*step, **restored)
    clinic.sync(restored["database_url"])
    [erasure] = as_json(frontdesk("lead", "show", nina, "--json", **restored))["erasures"]
    assert (erasure["state"], clinic.people()) == ("done", ["Joe", "Zyxwina"])


@only_sqlite
def test_the_list_of_the_folder_before_is_taken_over(clinic: Clinic) -> None:
    clinic.frontdesk("lead", "erase", clinic.jane, "--yes")
    restored = clinic.restore(with_list=False)
    assert "erase-again" not in clinic.frontdesk("doctor", code=1, **restored).stdout, "it cannot know"
    before = str(clinic.folder / "erased.txt")
    assert "Erased again: 1." in clinic.frontdesk("lead", "erase-again", "--yes", before, **restored).stdout
    mine = ErasureList(clinic.folder / "new")
    assert [entry.code for entry in mine.read().erased] == [clinic.jane]
    told = mine.file.read_bytes()
    clinic.frontdesk("lead", "erase-again", "--yes", before, **restored)
    assert mine.file.read_bytes() == told


def test_other_lists_are_read_and_who_is_unknown_is_passed_over(
    frontdesk: Frontdesk, database: Database, vault: Vault, tmp_path: Path
) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site)
    code = send(database, vault, site, **JANE).reference
    delivered(database, connection)
    with database.read() as session:
        lead = session.scalars(select(Lead)).one()
    other = tmp_path / "other"
    later = "2100-01-01T00:00:00+00:00"
    other.write_text(
        f"{later} erased {code} {lead.id}\n"
        f"{later} erased AAA-AAA 00000000-0000-0000-0000-000000000007\n"
        f"{later} erased BBB-BBB 00000000-0000-00"
    )
    assert "Here again, and to be erased: 0." in frontdesk("lead", "erase-again", "--yes").stdout
    told = frontdesk("lead", "erase-again", "--yes", str(other)).stdout
    assert "On the list: 2 people. Here again, and to be erased: 1." in told
    assert "never in this copy: AAA-AAA. They came and were erased after it was made." in told
    assert _name(frontdesk, code) == ""
    with database.read() as session:
        assert session.scalars(select(Action.user_name).where(Action.what == "erased")).all() == ["command line"]
        assert session.scalars(select(Erasure.state)).all() == ["waiting"]
    assert "to be erased: 0." in frontdesk("lead", "erase-again", str(other)).stdout
    assert "does not exist" in frontdesk("lead", "erase-again", str(tmp_path / "nowhere"), code=2).stderr


def test_who_wrote_since_is_told_and_left_alone(
    frontdesk: Frontdesk, database: Database, vault: Vault, tmp_path: Path
) -> None:
    code = send(database, vault, make_site(database), **JANE).reference
    with database.read() as session:
        lead = session.scalars(select(Lead)).one()
    (tmp_path / "erased.txt").write_text(f"2020-01-01T00:00:00+00:00 erased {code} {lead.id}\n")
    told = frontdesk("lead", "erase-again", "--yes", code=1)
    assert "to be erased: 0." in told.stdout
    assert f"not as they were: {code}." in told.stderr
    assert f"look  Erased on request, here again, and not as they were: {code}." in frontdesk("doctor", code=1).stdout
    assert _name(frontdesk, code) == "Zyxwina"


def test_what_was_begun_and_is_not_known_is_told(
    frontdesk: Frontdesk, database: Database, vault: Vault, tmp_path: Path
) -> None:
    code = send(database, vault, make_site(database), **JANE).reference
    failpoint.arm("forget.written:raise")
    assert isinstance(frontdesk("lead", "erase", code, "--yes", code=1).exception, Failpoint)
    told = frontdesk("doctor", code=1).stdout
    assert f"look  Their erasure was begun, and nobody knows whether it was done: {code}." in told
    assert f"was done: {code}" in frontdesk("lead", "erase-again", "--yes", code=1).stderr
    assert _name(frontdesk, code) == "Zyxwina"
    frontdesk("lead", "erase", code, "--yes")
    assert "was begun" not in frontdesk("doctor", code=1).stdout


def test_a_list_that_cannot_be_written_is_told_and_fails_no_erasure(
    frontdesk: Frontdesk, database: Database, vault: Vault, tmp_path: Path
) -> None:
    code = send(database, vault, make_site(database), **JANE).reference
    (tmp_path / "erased.txt").mkdir()
    told = frontdesk("lead", "erase", code, "--yes")
    assert "could not be written" in told.stderr
    assert _name(frontdesk, code) == ""
    assert f"wrong The list of erasures {tmp_path / 'erased.txt'} cannot be read" in frontdesk("doctor", code=1).stdout
    assert "cannot be read" in frontdesk("lead", "erase-again", code=1).stderr
    (tmp_path / "erased.txt").rmdir()
    assert "look  1 erased person does not stand on the list of erasures" in frontdesk("doctor", code=1).stdout
    frontdesk("lead", "erase-again")
    assert "Nobody on the list of erasures is here again. Erased: 1." in frontdesk("doctor", code=1).stdout


def test_where_nobody_was_erased_the_doctor_says_nothing_of_it(frontdesk: Frontdesk, database: Database) -> None:
    make_site(database)
    assert "rasure" not in frontdesk("doctor", code=1).stdout
