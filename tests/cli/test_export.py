"""`frontdesk lead export`: what stands in the file, and what a spreadsheet cannot be made to run."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from errno import ENOSPC
from io import StringIO
from pathlib import Path

import pytest
from sqlalchemy import select

from leads import spreadsheet
from leads.spreadsheet import SEPARATORS
from leads.store.models import Action, Event, Lead, Site
from leads.store.queries.export import exported
from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk
from tests.factory import make_connection, make_site, send


@pytest.fixture
def site(database: Database, vault: Vault) -> Site:
    site = make_site(database)
    make_connection(database, vault, site)
    return site


def _rows(text: str, separator: str = ",") -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(StringIO(text[1:], newline=""), delimiter=separator))


def test_each_enquiry_has_its_own_code_and_that_of_its_person(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    first, second = (send(database, vault, site, email="jane@example.com").reference for _ in range(2))
    rows = _rows(frontdesk("lead", "export", "--csv", "-").stdout)
    assert [(row["reference"], row["person_reference"]) for row in rows] == [(first, first), (second, first)]


def test_all_enquiries_stand_in_the_file_and_only_its_owner_may_read_it(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site, tmp_path: Path
) -> None:
    other = make_site(database, "other")
    jane = send(database, vault, site, first_name="Jane", email="jane@example.com", message='It, "hurts"\nhere')
    send(database, vault, site, "call_click", tel="12015550100", label="Call Us")
    send(
        database,
        vault,
        other,
        first_name="Zoë",
        email="z@example.com",
        consent=False,
        wording=None,
        extra={"insurer": "Acme"},
    )
    file = tmp_path / "all.csv"
    told = frontdesk("lead", "export", "--csv", str(file)).stderr
    assert "Enquiries written: 3." in told
    assert "health" in told
    assert file.stat().st_mode & 0o777 == 0o600
    first, click, last = _rows(file.read_bytes().decode())
    shown = {
        name: first[name] for name in ("reference", "site", "kind", "first_name", "message", "consent", "standing")
    }
    assert shown == {
        "reference": jane.reference,
        "site": "demo",
        "kind": "consultation_request",
        "first_name": "Jane",
        "message": 'It, "hurts"\nhere',
        "consent": "given",
        "standing": "Sandbox CRM: waiting",
    }
    assert [row["consent_wording"] for row in (first, click, last)] == ["1", "", "of the form itself"]
    assert (click["kind"], click["tel"], click["consent"]) == ("call_click", "12015550100", "")
    assert (last["first_name"], last["consent"], last["standing"]) == ("Zoë", "not given on the form", "no connection")
    assert last["other_answers"] == "insurer: Acme"
    assert "already" in frontdesk("lead", "export", "--csv", str(file), code=1).stderr
    [row] = _rows(frontdesk("lead", "export", "--csv", "-", "--site", "other").stdout)
    assert row == last
    assert "no site" in frontdesk("lead", "export", "--csv", "-", "--site", "nowhere", code=1).stderr


@pytest.mark.parametrize("name", ["comma", "semicolon"])
@pytest.mark.parametrize(
    "typed",
    [
        *("=1+1", "+12015550100", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "hi;=1", "hi; +1", 'hi;"=1"', "hi\n-1"),
        *("hi,=1", "hi, +1", 'hi,"=1"', "a; b,=1", "a, b;=1"),
    ],
)
def test_no_cell_is_a_formula(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site, typed: str, name: str
) -> None:
    send(database, vault, site, first_name="Jane", message=typed, extra={typed: "x"})
    told = frontdesk("lead", "export", "--csv", "-", "--separator", name).stdout
    [row] = _rows(told, SEPARATORS[name])
    assert row["message"].replace("'", "") == typed
    for separator in ",;\t":  # a spreadsheet takes the one of its country
        cells = [cell for line in csv.reader(told.splitlines(), delimiter=separator) for cell in line]
        assert not [cell for cell in cells if cell.strip(' "').startswith(("=", "+", "-", "@"))]


def test_excel_set_to_most_languages_of_europe_finds_the_columns(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, first_name="Jane", email="jane@example.com", message="Hello; it hurts, badly")
    told = frontdesk("lead", "export", "--csv", "-", "--separator", "semicolon").stdout
    assert told.startswith("\ufeffreference;site;received_local;")
    [row] = _rows(told, ";")
    [same] = _rows(frontdesk("lead", "export", "--csv", "-").stdout)
    assert row == same
    assert row["message"] == "Hello; it hurts, badly"


def test_times_are_the_websites_own_and_where_somebody_came_from_has_columns(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    came = {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "spring", "first_utm_source": "news"}
    sent = send(database, vault, site, email="jane@example.com", attribution=came, extra={"insurer": "Acme"})
    with database.write() as session:
        session.get_one(Event, sent.event_id).received_at = datetime(2026, 7, 1, 2, 30, tzinfo=UTC)
    [row] = _rows(frontdesk("lead", "export", "--csv", "-").stdout)
    assert (row["received_local"], row["time_zone"]) == ("2026-06-30 22:30:00", "America/New_York")
    assert row["received_utc"] == "2026-07-01 02:30:00"
    assert [row[name] for name in ("source", "utm_source", "utm_medium", "utm_campaign")] == [
        *("website", "google", "cpc", "spring")
    ]
    assert row["other_answers"] == "first_utm_source: news; insurer: Acme", "each once"


def test_the_file_may_be_in_the_home_folder_and_a_folder_is_no_file(
    frontdesk: Frontdesk, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    frontdesk("lead", "export", "--csv", "~/all.csv")
    assert (tmp_path / "all.csv").is_file()
    assert f"'{tmp_path}' is a directory" in frontdesk("lead", "export", "--csv", "~", code=2).stderr


def test_that_it_was_done_is_written_down(frontdesk: Frontdesk, database: Database, site: Site) -> None:
    frontdesk("lead", "export", "--csv", "-", "--site", "demo")
    with database.read() as session:
        assert session.scalars(select(Action.what)).all() == ["exported"]
    assert "command line wrote the enquiries of demo into a file." in frontdesk("actions").stdout.replace("\n", " ")


def test_what_a_full_disk_has_no_room_for_is_told_and_no_half_a_file_is_left(
    frontdesk: Frontdesk, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Iterator[str]:
        yield "reference"
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(spreadsheet, "lines", full)
    file = tmp_path / "all.csv"
    told = frontdesk("lead", "export", "--csv", str(file), code=1).stderr
    assert told == f"{file} cannot be written: No space left on device. What was written of it was deleted.\n"
    assert not file.exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_ends_it_leaves_no_half_a_file(
    frontdesk: Frontdesk, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def broken(*_: object) -> Iterator[str]:
        yield "reference"
        raise error

    monkeypatch.setattr(spreadsheet, "lines", broken)
    file = tmp_path / "all.csv"
    frontdesk("lead", "export", "--csv", str(file), code=1)
    assert not file.exists()


def test_one_damaged_enquiry_takes_no_other_away(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    names = ("Jane", "Tom", "Zoë")
    sent = [send(database, vault, site, first_name=name, email=f"{name}@example.com", message=name) for name in names]
    with database.write() as session:
        jane, tom = (session.get_one(Event, one.event_id) for one in sent[:2])
        session.get_one(Lead, jane.lead_id).person_sealed = b"damaged"
        tom.answers_sealed = b"damaged"
    rows = _rows(frontdesk("lead", "export", "--csv", "-").stdout)
    assert [row["reference"] for row in rows] == [one.reference for one in sent]
    told, damaged = [(row["first_name"], row["message"]) for row in rows], "Cannot be decrypted"
    assert told == [(damaged, "Jane"), ("Tom", damaged), ("Zoë", "Zoë")]


def test_a_store_is_read_in_slices_and_each_enquiry_once(database: Database, vault: Vault, site: Site) -> None:
    sent = [send(database, vault, site, email=f"p{number}@example.com").event_id for number in range(5)]
    for size in (2, 5, 500):
        assert [row.event.id for row in exported(database, vault, size=size)] == sent
