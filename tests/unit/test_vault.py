"""Encryption at rest: a value opens at its own place with its own key, and the key file is guarded."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from leads.store.models import new_id
from leads.store.vault import Vault, VaultError, create_keys, load_vault

ROW = new_id()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_keys(tmp_path / "keys.json")
    return tmp_path / "keys.json"


@pytest.fixture
def vault(path: Path) -> Vault:
    return load_vault(path)


def test_what_is_sealed_opens_again(vault: Vault, path: Path) -> None:
    value = {"first_name": "Zoë", "extra": {"a": [1, None, True]}}
    sealed = vault.seal(value, "lead", "person", ROW)
    assert vault.open(sealed, "lead", "person", ROW) == value
    assert load_vault(path).open(sealed, "lead", "person", ROW) == value


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
        load_vault(tmp_path / "other.json").open(vault.seal("Jane", "lead", "person", ROW), "lead", "person", ROW)


def test_with_a_new_key_beside_it_the_old_value_still_opens(vault: Vault, path: Path) -> None:
    before = vault.seal("Jane", "lead", "person", ROW)
    data = json.loads(path.read_text())
    data["keys"]["0badcafe"] = base64.b64encode(b"n" * 32).decode()
    path.write_text(json.dumps(data))
    rotated = load_vault(path)
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
        load_vault(tmp_path / "other.json").digest("email", "site", "jane"),
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
        load_vault(tmp_path / "gone.json")


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
    ],
)
def test_a_damaged_key_file_is_told_with_its_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(VaultError, match=r"keys\.json") as caught:
        load_vault(path)
    assert "backup" in str(caught.value)


def test_no_master_key_is_in_an_error_or_a_repr(vault: Vault, path: Path) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "root": "AAAA"}))
    with pytest.raises(VaultError) as caught:
        load_vault(path)
    for key in data["keys"].values():
        assert key not in str(caught.value) + repr(vault)
