"""A mapping as a file: exported, checked, brought in; and a dry run, which sends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from leads.store.models import Action, Connection, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk
from tests.factory import make_connection, make_site, send
from tests.sandbox import Sandbox, sandbox

NAME = "Sandbox CRM"
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "mapping.md"
JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com", "message": "My tooth"}


@pytest.fixture(scope="module")
def crm() -> Iterator[Sandbox]:
    with sandbox() as crm:
        yield crm


@pytest.fixture
def site(database: Database, vault: Vault, crm: Sandbox) -> Site:
    site = make_site(database)
    make_connection(database, vault, site, crm.options)
    return site


@pytest.fixture(autouse=True)
def _allowed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CRM is on this machine."""
    monkeypatch.setenv("FRONTDESK_ALLOWED_PRIVATE_HOSTS", "127.0.0.1")


def stored(database: Database) -> Connection:
    with database.read() as session:
        return session.scalars(select(Connection)).one()


def test_what_is_exported_can_be_brought_in_again(frontdesk: Frontdesk, tmp_path: Path, database: Database) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(frontdesk("connection", "mapping", "export", NAME).stdout, encoding="utf-8")
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert given["mapping"][0] == {"to": "first_name", "from": "first_name", "write": "when_empty"}
    assert given["share"] == ["preferred_time"]
    assert "# What “Sandbox CRM” gets" in file.read_text(encoding="utf-8")
    assert "in use like this already" in frontdesk("connection", "mapping", "import", NAME, str(file)).stdout
    assert stored(database).mapping is None, "nothing was changed, so nothing is stored"


def test_the_sample_of_the_guide_is_brought_in(frontdesk: Frontdesk, tmp_path: Path, database: Database) -> None:
    sample = GUIDE.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    file = tmp_path / "mapping.yaml"
    file.write_text(sample, encoding="utf-8")
    assert frontdesk("connection", "mapping", "check", NAME, str(file)).stdout.endswith(
        "ok    The CRM has all these fields, and takes what is written into them.\n"
    )
    told = frontdesk("connection", "mapping", "import", NAME, str(file)).stdout
    assert "In use from now on." in told
    given, row = yaml.safe_load(sample), stored(database)
    assert (row.mapping, row.share) == (given["mapping"], given["share"])
    with database.read() as session:
        action = session.scalars(select(Action)).one()
    assert (action.what, action.user_name) == ("mapping_changed", "command line")


def test_a_check_says_what_would_differ_and_shows_nobody(
    frontdesk: Frontdesk,
    tmp_path: Path,
    database: Database,
    vault: Vault,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = send(database, vault, site, **JANE).reference
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mapping.yaml").write_text("mapping: [{to: notes, from: message}]\nshare: []", encoding="utf-8")
    told = frontdesk("connection", "mapping", "check", NAME, "~/mapping.yaml").stdout
    assert "note  Health data goes into the CRM: Message into the field notes." in told
    assert "New: Message → notes, only when empty." in told
    assert f"{code}  notes: nothing → ‹Message›, only when empty" in told
    assert f"{code}  email: ‹E-mail›, only when empty → nothing" in told
    assert "tooth" not in told
    assert "jane@" not in told
    assert stored(database).mapping is None


def test_what_is_wrong_with_a_file_is_told_in_sentences(frontdesk: Frontdesk, database: Database) -> None:
    for text, sentence in [
        ("mapping: [", "The file is not YAML, line 1"),
        ("a: \x07", "The file is not YAML, line 1, column 4: a character that cannot be printed."),
        ("mapping:\n  - to: a\n    value: b: c", "line 3, column 13: no colon is expected here."),
        ("mapping:\n\t- to: a", "line 2, column 1: a tab. Indent with spaces."),
        ("mapping:\n  - to: @a", "line 2, column 9: a value cannot begin with such a character."),
        ("mapping:\n  - to: a\n   from: b", "line 3, column 4: this does not fit the lines above."),
        ("mapping: [a, b\nshare: []", "line 2, column 6: a bracket of line 1 is not closed"),
        ('mapping:\n  - to: "a\n', "the quotes that are opened in line 2 are not closed."),
        ("mapping:\n  - value: 2026-02-31", "line 2, column 12: this looks like a date or a number, and is none."),
        ("mapping:\n  - to: a\n    from: b\n    to: c", "line 4, column 5: “to” stands here again, after line 2."),
        ("mapping: []\nshare: []\nmapping: []", "line 3, column 1: “mapping” stands here again, after line 1."),
        ("<<: a", "line 1, column 5: this cannot be understood (expected a mapping"),
        ("{mapping: [{to: a, from: mail}, {from: email}], share: []}", "Rule 1 (a), our field: We have no such field."),
        ("{mapping: [{to: a, from: mail}, {from: email}], share: []}", "Rule 2, field of the CRM: Say which field"),
    ]:
        for command in ("check", "import"):
            assert sentence in frontdesk("connection", "mapping", command, NAME, "-", stdin=text, code=1).stderr
    assert stored(database).mapping is None


def test_what_the_crm_does_not_have_is_not_brought_in(frontdesk: Frontdesk, database: Database) -> None:
    text = "mapping: [{to: shoe_size, from: email}, {to: lead_source, value: web}]\nshare: []"
    bring_in = ("connection", "mapping", "import", NAME, "-")
    told = frontdesk(*bring_in, stdin=text, code=1).stdout
    assert "wrong Rule 1: the CRM has no field “shoe_size”." in told
    assert "wrong Rule 2: “web” cannot be chosen. “Lead source” takes only: website, phone, event, other." in told
    assert frontdesk("connection", "mapping", "check", NAME, "-", stdin=text, code=1).stdout.count("wrong") == 2
    assert stored(database).mapping is None
    assert "In use from now on." in frontdesk(*bring_in, "--anyway", stdin=text).stdout
    assert [rule["to"] for rule in stored(database).mapping or []] == ["shoe_size", "lead_source"]


def test_a_crm_that_cannot_be_asked_is_no_yes(frontdesk: Frontdesk, database: Database, vault: Vault) -> None:
    make_connection(
        database, vault, make_site(database, "other"), {"url": "http://127.0.0.1:1", "key": "k"}, name="Gone"
    )
    text = "mapping: [{to: shoe_size, from: email}]\nshare: []"
    told = frontdesk("connection", "mapping", "check", "Gone", "-", stdin=text, code=1).stdout
    assert "wrong The CRM could not be asked for its fields:" in told


def test_a_dry_run_shows_the_requests_and_sends_nothing(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site, crm: Sandbox
) -> None:
    code = send(database, vault, site, **JANE, preferred_time="after five").reference
    told = frontdesk("connection", "dry-run", NAME, "--lead", code.lower()).stdout
    assert "/v1/contacts/batch/upsert" in told
    assert '"first_name": "‹First name›"' in told
    assert '"preferred_time": "‹Preferred time›"' in told
    assert not any(text in told for text in ("Jane", "Doe", "jane@", "after five", "sandbox-key", "tooth"))
    with database.read() as session:
        assert session.scalars(select(Action)).all() == []
    told = frontdesk("connection", "dry-run", NAME, "--lead", code, "--reveal").stdout
    assert '"first_name": "Jane"' in told
    assert "tooth" not in told, "the message goes only where it is mapped"
    with database.read() as session:
        action = session.scalars(select(Action)).one()
    assert action.what == "details_revealed"
    assert vault.open(action.note_sealed, "action", "note", action.id) == code
    assert crm.store.count() == (0, 0)
    assert "gets no enquiry of a lead" in frontdesk("connection", "dry-run", NAME, "--lead", "AAA-AAA", code=1).stderr
