"""What is said of a file that may not be used: whose it is, and as whom we run.

Tests may run as root, to whom every file is open; so the system's answer is given by us.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from leads.store.keyfile import create_keys
from leads.store.owner import barring, whose
from leads.store.vault import VaultError, read_keys

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    create_keys(tmp_path / "keys.json")
    return tmp_path / "keys.json"


def test_of_a_file_its_owner_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    told = whose(file)
    assert told.startswith(f"It belongs to {ME} (mode 600), and this runs as user 4000000. Run this as the user that ")


def test_where_the_rights_would_do_it_is_the_file_system(file: Path) -> None:
    assert "and this runs as" in whose(file)
    assert "the file system is read-only here" in whose(file)


def test_of_a_file_that_is_not_there_its_folder_is_told(tmp_path: Path) -> None:
    assert whose(tmp_path / "no" / "keys.json").startswith(f"{tmp_path} belongs to {ME} (mode 700)")


def test_a_folder_that_may_not_be_entered_is_in_the_way(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert barring(file) is None
    assert barring(file.parent / "no" / "keys.json") is None
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != file.parent)
    assert barring(file) == file.parent
    assert whose(file).startswith(f"{file.parent} belongs to {ME}")


def test_a_user_without_a_name_is_told_by_number(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    assert "and this runs as user 4000000." in whose(file)


def test_a_key_file_that_may_not_be_read_is_not_called_lost(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(VaultError, match=f"may not be read. It belongs to {ME} ") as caught:
        read_keys(file)
    assert "backup" not in str(caught.value)
