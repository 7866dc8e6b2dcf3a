"""“Export”: who may, what is said before, and that it is the command's own file, in pieces, written down."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask
from sqlalchemy import select, update

from leads.cli import main
from leads.desk import export
from leads.store.models import Action, Event, Site
from leads.store.queries import export as queries
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_site, send
from tests.statements import statements
from tests.web.conftest import Outage
from tests.web.desk import Person, decisions, plain, signed_in

JANE = {"first_name": "Zyxwina", "last_name": "Quorbleton", "email": "zyx.quorb@example.com", "phone": "+12015550147"}


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


@pytest.fixture
def enquiries(database: Database, vault: Vault, site: Site) -> None:
    """Three, one of them of another website; and one of our own tests."""
    send(database, vault, site, message='=It, "hurts"\nhere', **JANE)
    send(database, vault, site, "call_click", tel="12015550100")
    send(database, vault, make_site(database, "other"), first_name="Zoë", email="z@example.com")
    test = send(database, vault, site, email="canary@example.com").event_id
    with database.write() as session:
        session.execute(update(Event).where(Event.id == test).values(is_test=True))


def _by_command(database_url: str, folder: Path, *options: str) -> bytes:
    environ = {"FRONTDESK_DATABASE_URL": database_url, "FRONTDESK_DATA_DIR": str(folder)}
    file = folder / "by-command.csv"
    result = CliRunner().invoke(main, ["lead", "export", "--csv", str(file), *options], env=environ)
    assert result.exit_code == 0, result.output
    return file.read_bytes()


@pytest.mark.usefixtures("enquiries")
def test_it_is_the_file_that_the_command_writes(
    anna: Person, database: Database, database_url: str, tmp_path: Path
) -> None:
    answer = anna.post("/desk/export", 200)
    assert answer.data == _by_command(database_url, tmp_path)
    assert answer.data.decode().count("\r\n") == 4
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    today = datetime.now(UTC).date()
    assert answer.headers["Content-Disposition"] == f"attachment; filename=enquiries-{today}.csv"
    assert answer.headers["Cache-Control"] == "no-store"
    with database.read() as session:
        [mine, _] = session.scalars(decisions()).all()
    assert (mine.user_name, mine.what) == ("anna", "exported")
    assert "anna wrote the enquiries of every website into a file." in plain(anna.get("/desk/actions"))


@pytest.mark.usefixtures("enquiries")
def test_of_one_website_alone(anna: Person, database_url: str, tmp_path: Path) -> None:
    assert 'href="/desk/export?site=demo"' in anna.get("/desk/leads?site=demo&state=needs_you")
    page = anna.get("/desk/export?site=demo")
    told = plain(page)
    for said in ("Export the enquiries of Sunrise?", "with 2 enquiries: all of Sunrise", "is not encrypted"):
        assert said in told
    found = re.search(r'<form method="post" action="(/desk/export[^"]+)"', page)
    assert found
    answer = anna.post(found[1], 200)
    assert answer.data == _by_command(database_url, tmp_path, "--site", "demo")
    assert "filename=enquiries-demo-20" in answer.headers["Content-Disposition"]
    assert "anna wrote the enquiries of demo into a file." in plain(anna.get("/desk/actions"))
    anna.get("/desk/export?site=nowhere", 404)
    anna.post("/desk/export?site=nowhere", 404)


@pytest.mark.usefixtures("enquiries")
def test_semicolons_for_an_excel_that_wants_them(
    anna: Person, database: Database, database_url: str, tmp_path: Path
) -> None:
    def chosen() -> list[str]:
        return re.findall(r'value="(comma|semicolon)" checked', anna.get("/desk/export?site=demo"))

    assert chosen() == ["comma"]
    with database.write() as session:
        session.execute(update(Site).where(Site.key == "demo").values(language="de"))
    assert chosen() == ["semicolon"], "as Excel in that language wants them"
    answer = anna.post("/desk/export", 200, separator="semicolon")
    assert answer.data == _by_command(database_url, tmp_path, "--separator", "semicolon")
    assert answer.text.startswith("\ufeffreference;site;")
    assert anna.post("/desk/export", 200, separator="tab").text.startswith("\ufeffreference,site,")


@pytest.mark.usefixtures("enquiries")
def test_it_asks_first_and_says_how_many(anna: Person, database: Database) -> None:
    assert 'href="/desk/export"' in anna.get("/desk/leads")
    assert "with 3 enquiries: all of every website" in plain(anna.get("/desk/export"))
    with database.read() as session:
        assert session.scalars(decisions()).all() == []


def test_without_an_enquiry_there_is_nothing_to_download(anna: Person) -> None:
    page = anna.get("/desk/export?site=demo")
    assert "There is no enquiry of Sunrise yet." in plain(page)
    assert "Download" not in page
    assert "There is no enquiry yet." in plain(anna.get("/desk/export"))


@pytest.mark.usefixtures("enquiries")
def test_nobody_but_an_admin_may_and_not_without_a_token(app: Flask, anna: Person, database: Database) -> None:
    sam = signed_in(app, database, "sam", "staff")
    assert "/desk/export" not in sam.get("/desk/leads")
    sam.get("/desk/export", 403)
    assert b"Zyxwina" not in sam.post("/desk/export", 403).data
    assert anna.client.post("/desk/export").status_code in (302, 303, 400)
    assert Person(app).client.get("/desk/export").status_code in (302, 303)
    with database.read() as session:
        assert session.scalars(select(Action).where(Action.what == "exported")).all() == []


@pytest.mark.usefixtures("enquiries")
def test_it_comes_in_pieces_and_each_slice_is_read_when_it_is_wanted(
    anna: Person, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_LINES", 2)
    monkeypatch.setattr(queries.exported, "__defaults__", (None, 2))
    answer = anna.client.post("/desk/export", data={"csrf_token": anna.token()})
    pieces = answer.iter_encoded()
    first = next(pieces)
    with statements(database) as seen:
        rest = list(pieces)
    assert (first.count(b"\r\n"), len(rest)) == (2, 1)
    assert any("FROM event" in statement for statement in seen), "the second slice, after the first piece was sent"


@pytest.mark.usefixtures("enquiries")
def test_a_file_that_breaks_off_says_so_at_its_end(
    anna: Person, database: Database, monkeypatch: pytest.MonkeyPatch, outage: Outage
) -> None:
    monkeypatch.setattr(export, "_LINES", 2)
    monkeypatch.setattr(queries.exported, "__defaults__", (None, 2))
    answer = anna.client.post("/desk/export", data={"csrf_token": anna.token()})
    with outage():
        *_, last = answer.data.decode().splitlines()
    assert last.startswith("THIS FILE IS NOT COMPLETE")
    assert "NOT COMPLETE" not in anna.post("/desk/export", 200).text


@pytest.mark.usefixtures("enquiries")
def test_nothing_personal_stands_in_the_log_or_in_who_did_what(
    anna: Person, database: Database, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = anna.post("/desk/export", 200)
    assert b"Zyxwina" in answer.data
    told = caplog.text + "".join(capfd.readouterr()) + anna.get("/desk/actions") + str(answer.headers)
    assert not any(detail in told for detail in JANE.values())
