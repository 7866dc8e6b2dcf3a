"""Encryption at rest and keyed hashes, and reading the file that holds the keys. `keyfile.py` makes and changes it.

A sealed value is `version (1 byte) | key id (4 bytes) | nonce (12) | AES-256-GCM ciphertext`. Table, column and row are
bound in, so a value copied to another place does not open. Each purpose has a key of its own, derived by HKDF.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leads.store.owner import whose

log = structlog.get_logger()

LOOK = 2.0  # seconds after which a changed key file is noticed by who seals
_VERSION = b"\x01"
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_DECODE = json.JSONDecoder().decode


class VaultError(Exception):
    """A key is missing or does not fit the data. The text says what to do."""


class UnknownKeyError(VaultError):
    """The key is not in the key file: it may be in that of another host, or in a copy that is kept safe."""


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What the key file holds.

    keys: key id (4 bytes) → 32-byte master key; all of them open. root: 32 bytes behind the hashes and the signing key,
    which do not change when the sealing key does. sealing: the key that seals. next: the one that is to seal next.
    """

    keys: Mapping[bytes, bytes]
    root: bytes
    sealing: bytes
    next: bytes | None = None


class Vault:
    """Seals and opens with the keys of a file, which may be rotated meanwhile: whoever seals notices it within `LOOK`
    seconds, whoever opens as soon as a key is unknown. Any number of threads may use it at once."""

    def __init__(self, path: Path) -> None:
        """Raises VaultError naming the file when it is missing or damaged."""
        self._path = path
        self._looking = threading.Lock()
        self._mark = _mark(path)  # before it is read: what changes in between is seen at the next look
        self._unread = False
        self._look_at = time.monotonic() + LOOK
        keys = read_keys(path)
        self._take(keys)
        self._root = keys.root
        self._hash_key = _derive(keys.root, b"hash")
        self.signing_key = _derive(keys.root, b"sign")

    @property
    def sealing(self) -> bytes:
        """The id of the key that seals."""
        return self._sealing[0]

    def seal(self, value: Any, table: str, column: str, row: UUID | str) -> bytes:
        """Encrypt any JSON value for this place."""
        if time.monotonic() >= self._look_at:
            self.look()
        return self._encrypted(_ENCODE(value).encode(), _place(table, column, row))

    def open(self, sealed: bytes, table: str, column: str, row: UUID | str) -> Any:
        """Decrypt. Raises VaultError when the key is missing or the value is not from this place."""
        return _DECODE(self._decrypted(sealed, _place(table, column, row)).decode())

    def reseal(self, sealed: bytes, table: str, column: str, row: UUID | str) -> bytes:
        """The same value, sealed with the key that seals now. Raises VaultError as `open` does."""
        place = _place(table, column, row)
        return self._encrypted(self._decrypted(sealed, place), place)

    def hidden(self, text: str, user_id: UUID) -> str:
        """Encrypt a text for an address, which logs and histories keep; it tells nobody but this user."""
        sealed = self._encrypted(_ENCODE(text).encode(), _place("address", "text", user_id))
        return base64.urlsafe_b64encode(sealed).decode()

    def shown(self, hidden: str, user_id: UUID) -> str:
        """What `hidden` gave for this user. Raises VaultError when it is not that, as where it was copied in part."""
        try:
            sealed = base64.urlsafe_b64decode(hidden.encode())
            return str(_DECODE(self._decrypted(sealed, _place("address", "text", user_id)).decode()))
        except ValueError as error:
            raise VaultError("The address is not one of ours.") from error

    def look(self) -> None:
        """Take over what was changed in the key file. As long as that cannot be read, all stays as it is."""
        with self._looking:
            due, mark = time.monotonic() >= self._look_at, _mark(self._path)
            self._look_at = time.monotonic() + LOOK
            changed = mark != self._mark
            if not changed and not (self._unread and due):
                return
            self._mark, self._unread = mark, True
            try:
                keys = read_keys(self._path)
            except VaultError as error:
                if changed:
                    log.error("the changed key file cannot be read; the keys read before go on", reason=str(error))
                return
            if keys.root != self._root:
                log.error("the key file is of another installation now; the keys read before go on")
                return
            self._take(keys)
            self._unread = False

    def _take(self, keys: Keys) -> None:
        self._ciphers = {kid: AESGCM(_derive(key, b"seal")) for kid, key in keys.keys.items()}
        self._sealing = (keys.sealing, self._ciphers[keys.sealing])

    def _encrypted(self, plain: bytes, place: bytes) -> bytes:
        kid, cipher = self._sealing
        nonce = secrets.token_bytes(12)
        return _VERSION + kid + nonce + cipher.encrypt(nonce, plain, place)

    def _decrypted(self, sealed: bytes, place: bytes) -> bytes:
        version, kid, nonce, body = sealed[:1], key_id(sealed), sealed[5:17], sealed[17:]
        if version == _VERSION and kid not in self._ciphers:
            self.look()
        cipher = self._ciphers.get(kid)
        if version != _VERSION or cipher is None:
            raise UnknownKeyError("The data was encrypted with a key that is not in the key file.")
        try:
            return cipher.decrypt(nonce, body, place)
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


def _mark(path: Path) -> tuple[int, int, int] | None:
    """By what a changed file is told. None: it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def key_id(sealed: bytes) -> bytes:
    """The id of the key that a value was sealed with."""
    return sealed[1:5]


def read_keys(path: Path) -> Keys:
    """What the key file holds. Raises VaultError naming the file when it is missing, damaged or not for us to read.

    Where the file does not say which key seals, the last one does: so older versions wrote it, and read it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        keys = {bytes.fromhex(kid): base64.b64decode(key, validate=True) for kid, key in data["keys"].items()}
        root = base64.b64decode(data["root"], validate=True)
        sealing = bytes.fromhex(data.get("sealing", next(reversed(data["keys"]), "")))
        to_come = bytes.fromhex(data["next"]) if "next" in data else None
    except FileNotFoundError as error:
        raise VaultError(
            f"The key file {path.absolute()} is missing. Restore it from your backup, or copy it from another host of "
            "this installation: without it no enquiry can be read."
        ) from error
    except PermissionError as error:
        raise VaultError(f"The key file {path} may not be read. {whose(path)}") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise VaultError(f"The key file {path} cannot be read. Restore it from your backup.") from error
    sizes_fit = len(root) == 32 and all(len(kid) == 4 and len(key) == 32 for kid, key in keys.items())
    if not sizes_fit or sealing not in keys or to_come not in {None, *keys} - {sealing}:
        raise VaultError(f"The key file {path} is damaged. Restore it from your backup.")
    return Keys(keys, root, sealing, to_come)
