"""Encryption at rest and keyed hashes, and the file that holds the keys.

A sealed value is `version (1 byte) | key id (4 bytes) | nonce (12) | AES-256-GCM ciphertext`. Table, column and row are
bound in, so a value copied to another place does not open. Each purpose has a key of its own, derived by HKDF.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"\x01"
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_DECODE = json.JSONDecoder().decode


class VaultError(Exception):
    """A key is missing or does not fit the data. The text says what to do."""


class Vault:
    """keys: key id (4 bytes) → 32-byte master key; the last one seals, all of them open.

    root: 32 bytes behind the hashes and the signing key, which do not change when the sealing key does.
    """

    def __init__(self, keys: Mapping[bytes, bytes], root: bytes) -> None:
        self._ciphers = {kid: AESGCM(_derive(key, b"seal")) for kid, key in keys.items()}
        self._current = list(self._ciphers)[-1]
        self._hash_key = _derive(root, b"hash")
        self.signing_key = _derive(root, b"sign")

    def seal(self, value: Any, table: str, column: str, row: UUID | str) -> bytes:
        """Encrypt any JSON value for this place."""
        nonce = secrets.token_bytes(12)
        plain = _ENCODE(value).encode()
        cipher = self._ciphers[self._current]
        return _VERSION + self._current + nonce + cipher.encrypt(nonce, plain, _place(table, column, row))

    def open(self, sealed: bytes, table: str, column: str, row: UUID | str) -> Any:
        """Decrypt. Raises VaultError when the key is missing or the value is not from this place."""
        version, kid, nonce, body = sealed[:1], sealed[1:5], sealed[5:17], sealed[17:]
        cipher = self._ciphers.get(kid)
        if version != _VERSION or cipher is None:
            raise VaultError("The data was encrypted with a key that is not in the key file.")
        try:
            return _DECODE(cipher.decrypt(nonce, body, _place(table, column, row)).decode())
        except InvalidTag as error:
            raise VaultError("The data does not fit its key or its place.") from error

    def digest(self, kind: str, *parts: object) -> bytes:
        """A keyed hash, 16 bytes: equal inputs give equal hashes, and nobody without the key can guess them."""
        text = "\x1f".join([kind, *map(str, parts)]).encode("utf-8", "surrogatepass")
        return hmac.digest(self._hash_key, text, hashlib.sha256)[:16]


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"frontdesk " + purpose).derive(key)


def _place(table: str, column: str, row: UUID | str) -> bytes:
    return f"{table}|{column}|{row}".encode()


def load_vault(path: Path) -> Vault:
    """Read the key file. Raises VaultError naming the file when it is missing or damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        keys = {bytes.fromhex(kid): base64.b64decode(key, validate=True) for kid, key in data["keys"].items()}
        root = base64.b64decode(data["root"], validate=True)
    except FileNotFoundError as error:
        raise VaultError(
            f"The key file {path} is missing. Restore it from your backup: without it no enquiry can be read."
        ) from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise VaultError(f"The key file {path} cannot be read. Restore it from your backup.") from error
    if not keys or len(root) != 32 or any(len(kid) != 4 or len(key) != 32 for kid, key in keys.items()):
        raise VaultError(f"The key file {path} is damaged. Restore it from your backup.")
    return Vault(keys, root)


def create_keys(path: Path) -> None:
    """Write a new key file, readable by its owner only. Raises FileExistsError: a key is never made anew."""
    keys = {secrets.token_hex(4): base64.b64encode(secrets.token_bytes(32)).decode()}
    text = json.dumps({"keys": keys, "root": base64.b64encode(secrets.token_bytes(32)).decode()}, indent=2)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
