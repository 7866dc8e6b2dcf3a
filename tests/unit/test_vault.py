"""Encryption at rest: a value opens at its own place with its own key, and the key file is guarded."""

from __future__ import annotations

import base64
import json
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from leads.store import vault as store_vault
from leads.store.keyfile import add_key, create_keys, drop_key, seal_with
from leads.store.models import new_id
from leads.store.vault import Vault, VaultError

ROW = new_id()
KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_keys(tmp_path / "keys.json")
    return tmp_path / "keys.json"


@pytest.fixture
def vault(path: Path) -> Vault:
    return Vault(path)


def test_what_is_sealed_opens_again(vault: Vault, path: Path) -> None:
    value = {"first_name": "Zoë", "extra": {"a": [1, None, True]}}
    sealed = vault.seal(value, "lead", "person", ROW)
    assert vault.open(sealed, "lead", "person", ROW) == value
    assert Vault(path).open(sealed, "lead", "person", ROW) == value


def test_equal_values_do_not_look_equal(vault: Vault) -> None:
    assert vault.seal("x", "lead", "person", ROW) != vault.seal("x", "lead", "person", ROW)


@pytest.mark.parametrize(
    ("table", "column", "row"),
    [("event", "person", ROW), ("lead", "answers", ROW), ("lead", "person", new_id())],
)
def test_a_value_moved_elsewhere_does_not_open(vault: Vault, table: str, column: str, row: object) -> None:
    sealed = vault.seal("Jane", "lead", "person", ROW)
    with pytest.raises(VaultError, match="does not fit its key or its place"):
        vault.open(sealed, table, column, str(row))


@pytest.mark.parametrize("position", [0, 1, 5, 17, -1])
def test_a_value_changed_by_one_bit_does_not_open(vault: Vault, position: int) -> None:
    sealed = bytearray(vault.seal("Jane", "lead", "person", ROW))
    sealed[position] ^= 1
    with pytest.raises(VaultError):
        vault.open(bytes(sealed), "lead", "person", ROW)


@pytest.mark.parametrize("length", [0, 4, 17, 20])
def test_a_value_cut_short_does_not_open(vault: Vault, length: int) -> None:
    with pytest.raises(VaultError):
        vault.open(vault.seal("Jane", "lead", "person", ROW)[:length], "lead", "person", ROW)


def test_another_key_does_not_open_it(vault: Vault, tmp_path: Path) -> None:
    create_keys(tmp_path / "other.json")
    with pytest.raises(VaultError, match="not in the key file"):
        Vault(tmp_path / "other.json").open(vault.seal("Jane", "lead", "person", ROW), "lead", "person", ROW)


def test_with_a_new_key_beside_it_the_old_value_still_opens(vault: Vault, path: Path) -> None:
    before = vault.seal("Jane", "lead", "person", ROW)
    data = json.loads(path.read_text())
    data["keys"]["0badcafe"] = base64.b64encode(b"n" * 32).decode()
    del data["sealing"]  # as older versions wrote it: the last one seals
    path.write_text(json.dumps(data))
    rotated = Vault(path)
    assert rotated.open(before, "lead", "person", ROW) == "Jane"
    assert rotated.seal("Jane", "lead", "person", ROW)[1:5].hex() == "0badcafe"
    assert rotated.digest("email", "jane@example.com") == vault.digest("email", "jane@example.com")


def test_a_digest_depends_on_its_kind_its_parts_and_the_key(vault: Vault, tmp_path: Path) -> None:
    create_keys(tmp_path / "other.json")
    digests = {
        vault.digest("email", "site", "jane"),
        vault.digest("phone", "site", "jane"),
        vault.digest("email", "other", "jane"),
        vault.digest("email", "sitejane"),
        Vault(tmp_path / "other.json").digest("email", "site", "jane"),
    }
    assert len(digests) == 5
    assert vault.digest("email", "site", "jane") in digests


def test_the_keys_are_for_their_owner_only(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_are_never_made_anew(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        create_keys(path)
    assert path.read_bytes() == before


def test_a_missing_key_file_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match=r"gone\.json is missing"):
        Vault(tmp_path / "gone.json")


def test_a_key_file_that_an_editor_put_a_mark_before_is_read(vault: Vault, path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Vault(path).signing_key == vault.signing_key


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"keys": {}, "root": ""}',
        '{"keys": [], "root": ""}',
        '{"keys": {"zz": "AAAA"}, "root": "AAAA"}',
        '{"keys": {"01020304": "not base64!"}, "root": "AAAA"}',
        '{"keys": {"01020304": "AAAA"}, "root": "AAAA"}',
        '{"keys": {"01020304": null}, "root": "AAAA"}',
        f'{{"keys": {{"01020304": "{KEY}"}}, "root": "{KEY}", "sealing": "04030201"}}',
        f'{{"keys": {{"01020304": "{KEY}"}}, "root": "{KEY}", "sealing": null}}',
        f'{{"keys": {{"01020304": "{KEY}"}}, "root": "{KEY}", "next": "04030201"}}',
        f'{{"keys": {{"01020304": "{KEY}"}}, "root": "{KEY}", "next": "01020304"}}',
    ],
)
def test_a_damaged_key_file_is_told_with_its_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(VaultError, match=r"keys\.json") as caught:
        Vault(path)
    assert "backup" in str(caught.value)


def test_no_master_key_is_in_an_error_or_a_repr(vault: Vault, path: Path) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "root": "AAAA"}))
    with pytest.raises(VaultError) as caught:
        Vault(path)
    for key in data["keys"].values():
        assert key not in str(caught.value) + repr(vault)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, path: Path) -> Vault:
    """A vault that looks at its file again after a moment."""
    monkeypatch.setattr(store_vault, "LOOK", 0.05)
    return Vault(path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the file was looked at, and how often it was read."""
    counted = {"_mark": 0, "read_keys": 0}

    def counting(name: str, real: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def call(path: Path) -> Any:
            counted[name] += 1
            time.sleep(0.01 if name == "read_keys" else 0)  # long enough for others to come
            return real(path)

        return call

    for name in counted:
        monkeypatch.setattr(store_vault, name, counting(name, getattr(store_vault, name)))
    return counted


def _rotated(path: Path) -> bytes:
    kid = add_key(path)
    seal_with(path, kid)
    return kid


def test_what_a_newer_key_sealed_opens_at_once_where_the_file_was_read_before(vault: Vault, path: Path) -> None:
    before = vault.seal("Jane", "lead", "person", ROW)
    kid = _rotated(path)
    sealed = Vault(path).seal("Joan", "lead", "person", ROW)
    assert sealed[1:5] == kid
    assert vault.open(sealed, "lead", "person", ROW) == "Joan"
    assert vault.open(before, "lead", "person", ROW) == "Jane"


def test_a_key_that_was_added_does_not_seal_yet(vault: Vault, path: Path) -> None:
    kid = add_key(path)
    vault.look()
    assert Vault(path).sealing == vault.sealing != kid


def test_who_only_seals_notices_the_new_key(quick: Vault, path: Path) -> None:
    kid = _rotated(path)
    time.sleep(0.06)
    assert quick.seal("Jane", "lead", "person", ROW)[1:5] == kid


def test_a_value_sealed_costs_no_look_at_the_file(vault: Vault, calls: dict[str, int]) -> None:
    for _ in range(500):
        vault.seal("Jane", "lead", "person", ROW)
    assert calls["_mark"] <= 1


def test_values_of_an_unknown_key_do_not_have_the_file_read_each_time(vault: Vault, calls: dict[str, int]) -> None:
    sealed = b"\x01none" + vault.seal("Jane", "lead", "person", ROW)[5:]
    for _ in range(20):
        with pytest.raises(VaultError, match="not in the key file"):
            vault.open(sealed, "lead", "person", ROW)
    assert calls["read_keys"] == 0


def test_many_threads_meet_the_new_key_and_the_file_is_read_once(
    vault: Vault, path: Path, calls: dict[str, int]
) -> None:
    _rotated(path)
    sealed = Vault(path).seal("Jane", "lead", "person", ROW)
    calls["read_keys"] = 0
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: vault.open(sealed, "lead", "person", ROW), range(40)))
    assert (set(opened), calls["read_keys"]) == ({"Jane"}, 1)


def test_a_file_that_is_written_half_changes_nothing_until_it_is_whole(quick: Vault, path: Path) -> None:
    before = quick.sealing
    kid = _rotated(path)
    whole = path.read_text()
    for broken in (whole[:40], ""):
        path.write_text(broken)
        time.sleep(0.06)
        assert quick.seal("Jane", "lead", "person", ROW)[1:5] == before
    path.write_text(whole)
    time.sleep(0.06)
    assert quick.seal("Jane", "lead", "person", ROW)[1:5] == kid


def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(quick: Vault, path: Path) -> None:
    kid = _rotated(path)
    whole, changed = path.read_bytes(), time.time_ns()
    for content in (b"?" * len(whole), whole):  # by its look it is the same file
        path.write_bytes(content)
        os.utime(path, ns=(changed, changed))
        time.sleep(0.06)
        quick.seal("Jane", "lead", "person", ROW)
    assert quick.sealing == kid


def test_the_file_of_another_installation_is_not_taken_over(quick: Vault, path: Path) -> None:
    before = quick.sealing
    path.unlink()
    create_keys(path)
    time.sleep(0.06)
    assert quick.seal("Jane", "lead", "person", ROW)[1:5] == before


def test_a_key_that_was_dropped_opens_nothing_any_more(quick: Vault, path: Path) -> None:
    sealed = quick.seal("Jane", "lead", "person", ROW)
    _rotated(path)
    drop_key(path, sealed[1:5])
    time.sleep(0.06)
    quick.seal("x", "lead", "person", ROW)
    with pytest.raises(VaultError, match="not in the key file"):
        quick.open(sealed, "lead", "person", ROW)


def test_what_is_sealed_anew_is_the_same(vault: Vault, path: Path) -> None:
    value = {"message": "Zoë \ud83d 1.0", "at": 1.0}
    sealed = vault.seal(value, "lead", "person", ROW)
    kid = _rotated(path)
    vault.look()
    anew = vault.reseal(sealed, "lead", "person", ROW)
    assert (anew[1:5], vault.open(anew, "lead", "person", ROW)) == (kid, value)
    with pytest.raises(VaultError):
        vault.reseal(sealed, "lead", "person", new_id())
