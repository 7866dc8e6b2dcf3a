"""`docs/how-to/add-a-crm.md` is followed word for word, in a copy: its CRM passes, and everything knows it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from tests.programs import ROOT

_FILE = re.compile(r"^`([^`\s]+)`:\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
_PARTS = ("config", "docs", "integrations", "leads", "sandbox_crm", "tests")
_ON_THE_DESK = '''
"""Whether the desk has found the new CRM."""

import pytest

from tests.web.desk import signed_in


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_desk_draws_its_form(app, database):
    person = signed_in(app, database)
    assert "/desk/connections/new/ledger" in person.get("/desk/connections/new")
    form = person.get("/desk/connections/new/ledger")
    assert "Ledger CRM" in form
    assert 'type="password"' in form and "In Ledger: Settings, Keys." in form
'''


def _files() -> dict[str, str]:
    """Path → text of every file that the page tells to write."""
    page = (ROOT / "docs" / "how-to" / "add-a-crm.md").read_text(encoding="utf-8")
    return dict(_FILE.findall(page))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with what the page adds."""
    folder = tmp_path_factory.mktemp("project")
    for part in _PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, text in _files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def _run(copy: Path, *command: str) -> str:
    whole = [sys.executable, "-m", *command]
    done = subprocess.run(whole, cwd=copy, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_adds_files_and_edits_none() -> None:
    added = {PurePosixPath(path) for path in _files()}
    assert {path.parent.as_posix() for path in added} == {"integrations", "tests/crm", "tests/fixtures/ledger"}
    assert [path for path in added if (ROOT / path).exists()] == []
    assert sum(path.suffix == ".py" for path in added) == 2


def test_it_is_written_as_the_others_are(copy: Path) -> None:
    python = [path for path in _files() if path.endswith(".py")]
    _run(copy, "ruff", "check", *python)
    _run(copy, "ruff", "format", "--check", *python)


def test_it_passes_the_contract_suite_and_its_own_tests(copy: Path) -> None:
    printed = _run(copy, "pytest", "-n", "0", "-k", "ledger", "tests/contract", "tests/crm/test_ledger.py")
    scenarios = sum(path.startswith("tests/fixtures/") for path in _files()) - 1  # without connection.json
    passed = re.search(r"(\d+) passed, 0 failed", printed)
    assert passed
    assert int(passed[1]) >= scenarios + 4, "scenarios, completeness, dry run, and its own two tests"


def test_the_desk_the_command_line_and_the_reference_know_it(copy: Path) -> None:
    (copy / "tests" / "web" / "test_ledger.py").write_text(_ON_THE_DESK, encoding="utf-8")
    assert "1 passed" in _run(copy, "pytest", "-n", "0", "tests/web/test_ledger.py")
    assert "ledger" in _run(copy, "leads", "connection", "add", "--help")
    _run(copy, "docs.generate")
    assert "## Ledger CRM (`ledger`)" in (copy / "docs" / "reference" / "connectors.md").read_text(encoding="utf-8")
