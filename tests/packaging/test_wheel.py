"""What is shipped: everything that runs, and nothing else."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

from tests.packaging.wheels import names_in
from tests.programs import ROOT

SHIPPED = {"config", "integrations", "leads", "sandbox_crm", "wsgi.py"}


def test_everything_that_runs_is_in_it_and_nothing_else(wheel: Path) -> None:
    names = names_in(wheel)
    assert {name.split("/")[0] for name in names} == SHIPPED
    tracked = subprocess.check_output(["git", "ls-files", *SHIPPED], cwd=ROOT, text=True).split()
    assert set(tracked) <= names, "a template, a migration or a module is missing"


def test_the_command_is_in_it(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    entry = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "frontdesk = leads.cli:main" in archive.read(entry).decode()


def test_the_pins_name_no_index() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "index-url" not in text
