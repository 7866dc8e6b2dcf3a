"""Room on the disk: enquiries are turned away before it is full, and a ballast makes room when it is full after all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from leads.store.models import Event
from leads.store.session import Database
from leads.store.space import NoRoomError, Space
from leads.store.vault import Vault
from tests.factory import make_site, send

MB = 2**20


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Disk:
    """A disk of which only the ballast and others take room."""

    def __init__(self, folder: Path, free: int) -> None:
        self.folder, self.free = folder, free

    def __call__(self, _folder: Path) -> Usage:
        ballast = self.folder / "ballast"
        return Usage(0, 0, self.free - (ballast.stat().st_size if ballast.exists() else 0))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path, 100 * MB)
    monkeypatch.setattr(shutil, "disk_usage", disk)
    monkeypatch.setattr("leads.store.space._LOOK", 0)
    return disk


def test_the_ballast_comes_and_goes_and_counts_as_taken_all_the_time(tmp_path: Path, disk: Disk) -> None:
    space = Space(tmp_path, 50 * MB)
    ballast = tmp_path / "ballast"
    assert not space.is_short()
    assert ballast.stat().st_blocks * 512 >= 16 * MB, "it holds its room, not only its length"
    disk.free = 66 * MB - 1
    assert space.is_short()
    assert ballast.exists(), "it is kept for worse"
    disk.free = 20 * MB
    assert space.is_short()
    assert not ballast.exists()
    disk.free = 66 * MB - 1
    assert space.is_short(), "the room it made is not for enquiries"
    assert not ballast.exists()
    disk.free = 66 * MB
    assert not space.is_short()
    assert ballast.exists()


def test_without_a_floor_there_is_no_ballast_and_no_look(tmp_path: Path, disk: Disk) -> None:
    disk.free = 0
    for space in (Space(tmp_path, 0), Space(None, 50 * MB)):
        space.look()
        space.throw_out()
        assert not space.is_short()
    assert list(tmp_path.iterdir()) == []


def test_the_disk_is_looked_at_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: looks.append(1) or Usage(0, 0, 100 * MB))
    space = Space(tmp_path, 50 * MB)
    for _ in range(100):
        space.require()
    assert len(looks) <= 4


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_new_is_taken_before_the_disk_is_full_and_all_else_goes_on(
    database: Database, vault: Vault, disk: Disk, tmp_path: Path
) -> None:
    site = make_site(database)
    database.space = Space(tmp_path, 50 * MB)
    disk.free = 40 * MB
    with pytest.raises(NoRoomError):
        send(database, vault, site)
    with database.read() as session:
        assert session.query(Event).count() == 0
    make_site(database, key="still-written")
    disk.free = 80 * MB
    assert send(database, vault, site).reference
