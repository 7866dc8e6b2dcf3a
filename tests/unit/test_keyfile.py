"""The key file is changed in steps that are whole, by one program at a time, and stays its owner's."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from leads.store.keyfile import add_key, create_keys, drop_key, seal_with
from leads.store.vault import VaultError, read_keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_keys(tmp_path / "keys.json")
    return tmp_path / "keys.json"


def test_a_key_is_added_then_seals_then_the_old_one_goes(path: Path) -> None:
    first = read_keys(path)
    kid = add_key(path)
    added = read_keys(path)
    assert (added.sealing, added.next, added.root) == (first.sealing, kid, first.root)
    seal_with(path, kid)
    sealing = read_keys(path)
    assert (sealing.sealing, sealing.next, sealing.keys) == (kid, None, added.keys)
    drop_key(path, first.sealing)
    assert read_keys(path).keys == {kid: added.keys[kid]}


def test_each_step_may_be_repeated(path: Path) -> None:
    first, kid = read_keys(path).sealing, add_key(path)
    assert add_key(path) == kid
    for step, key in ((seal_with, kid), (drop_key, first)):
        step(path, key)
        before = path.read_bytes()
        step(path, key)
        assert path.read_bytes() == before


def test_who_comes_late_does_not_begin_another_rotation(path: Path) -> None:
    seal_with(path, add_key(path))
    before = path.read_bytes()
    with pytest.raises(VaultError, match="the old one is still there"):
        add_key(path)
    assert path.read_bytes() == before


def test_the_version_before_seals_with_the_same_key(path: Path) -> None:
    def last() -> bytes:
        return bytes.fromhex(list(json.loads(path.read_text())["keys"])[-1])

    first, kid = last(), add_key(path)
    assert last() == first
    seal_with(path, kid)
    assert last() == kid


def test_a_file_whose_keys_were_sorted_means_the_same(path: Path) -> None:
    for step in (add_key, lambda path: seal_with(path, add_key(path))):
        step(path)
        before = read_keys(path)
        data = json.loads(path.read_text())
        for backwards in (False, True):
            keys = dict(sorted(data["keys"].items(), reverse=backwards))
            path.write_text(json.dumps({**data, "keys": keys}))
            assert read_keys(path) == before


def test_the_key_that_seals_is_not_dropped_and_no_other_key_seals(path: Path) -> None:
    first, kid = read_keys(path).sealing, add_key(path)
    with pytest.raises(VaultError, match="is the one that seals"):
        drop_key(path, first)
    seal_with(path, kid)
    before = path.read_bytes()
    with pytest.raises(VaultError, match="not the next one any more"):
        seal_with(path, first)
    assert path.read_bytes() == before


def test_a_key_that_was_added_in_vain_can_be_dropped(path: Path) -> None:
    before = read_keys(path)
    drop_key(path, add_key(path))
    assert read_keys(path) == before


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_owner_and_mode_stay(path: Path, mode: int) -> None:
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    add_key(path)
    after = path.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (mode, before.st_uid, before.st_gid)


def test_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    kid = add_key(link)
    assert (link.is_symlink(), read_keys(path).next) == (True, kid)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file grows beyond 100 bytes, as on a disk that fills up then."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_of_keys_that_cannot_be_written_nothing_is_left(tmp_path: Path, full_disk: None) -> None:
    with pytest.raises(OSError, match="File too large"):
        create_keys(tmp_path / "keys.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [add_key, lambda path: drop_key(path, read_keys(path).next or b"")])
def test_a_file_that_cannot_be_written_stays_as_it_was(path: Path, step: Callable[[Path], object]) -> None:
    if step is not add_key:
        add_key(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a disk that fills up after so many bytes
    try:
        with pytest.raises(VaultError, match=r"keys\.json could not be changed: File too large\. No key was lost"):
            step(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])


def test_a_file_that_is_not_there_or_damaged_is_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(VaultError, match=r"gone\.json could not be changed"):
        add_key(tmp_path / "gone.json")
    path.write_text("{}")
    with pytest.raises(VaultError, match=r"keys\.json cannot be read"):
        add_key(path)
    assert path.read_text() == "{}"


def test_those_who_add_at_once_wait_for_each_other_and_add_one(path: Path) -> None:
    before, handle = path.read_bytes(), os.open(path.parent, os.O_RDONLY)
    with ThreadPoolExecutor(4) as pool:
        fcntl.flock(handle, fcntl.LOCK_EX)  # as another program that is changing it
        adding = [pool.submit(add_key, path) for _ in range(4)]
        try:
            assert wait(adding, 0.3).done == set()
            assert path.read_bytes() == before
        finally:
            os.close(handle)
        added = {one.result(timeout=60) for one in adding}
    assert added == {read_keys(path).next}
    assert len(read_keys(path).keys) == 2
