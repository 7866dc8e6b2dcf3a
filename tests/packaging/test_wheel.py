"""What is shipped: everything that runs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.programs import ROOT

SHIPPED = {"config", "integrations", "leads", "sandbox_crm", "wsgi.py"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sources as they are."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", "-w", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


def test_everything_that_runs_is_in_it_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
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
