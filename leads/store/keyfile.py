"""The key file is made, and changed: a new key that only opens, then one that seals, and in the end one less.

The file is whole at every moment, and only one program changes it at a time.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from leads.store.vault import Keys, VaultError, read_keys


def create_keys(path: Path) -> None:
    """Write a new key file, readable by its owner only. Raises FileExistsError: a key is never made anew.

    Also OSError when it cannot be written: then there is none.
    """
    kid = secrets.token_bytes(4)
    keys = Keys({kid: secrets.token_bytes(32)}, root=secrets.token_bytes(32), sealing=kid)
    with _alone_in(path.parent) as folder:
        _write_new(path, _text(keys))
        os.fsync(folder)


def add_key(path: Path) -> bytes:
    """Put a new key into the file, which opens but does not seal yet; not where one is there already. Returns its id.

    Raises VaultError while an older key is there; also, as the following do, when the file cannot be changed: then it
    holds what it held.
    """

    def with_another(keys: Keys) -> Keys:
        if keys.next:
            return keys
        if len(keys.keys) > 1:
            raise VaultError("The keys were rotated before, and the old one is still there. See: frontdesk keys show")
        kid = _new_id(keys)
        return replace(keys, keys={kid: secrets.token_bytes(32), **keys.keys}, next=kid)

    added = _changed(path, with_another).next
    assert added is not None  # noqa: S101 - for mypy
    return added


def seal_with(path: Path, kid: bytes) -> None:
    """Let the key that was added seal from now on. Safe to repeat. Raises VaultError when it is not there."""

    def with_that(keys: Keys) -> Keys:
        if kid not in (keys.next, keys.sealing):
            raise VaultError(f"The key {kid.hex()} is not the next one any more. See: frontdesk keys show")
        return replace(keys, sealing=kid, next=None if keys.next == kid else keys.next)

    _changed(path, with_that)


def drop_key(path: Path, kid: bytes) -> None:
    """Take a key out for good. Safe to repeat. Raises VaultError for the one that seals."""

    def without(keys: Keys) -> Keys:
        if kid == keys.sealing:
            raise VaultError(f"The key {kid.hex()} is the one that seals. See: frontdesk keys rotate")
        left = {one: key for one, key in keys.keys.items() if one != kid}
        return replace(keys, keys=left, next=None if keys.next == kid else keys.next)

    _changed(path, without)


def _new_id(keys: Keys) -> bytes:
    while (kid := secrets.token_bytes(4)) in keys.keys:
        pass
    return kid


def _changed(path: Path, change: Callable[[Keys], Keys]) -> Keys:
    try:
        file = path.resolve(strict=True)  # a link stays one
        with _alone_in(file.parent) as folder:
            before = read_keys(file)
            after = change(before)
            if after != before:
                _replace(file, _text(after))
                os.fsync(folder)
    except OSError as error:
        raise VaultError(
            f"The key file {path} could not be changed: {error.strerror}. No key was lost. Mend that, as the user that "
            "Frontdesk runs as, and run the command again."
        ) from error
    return after


@contextmanager
def _alone_in(folder: Path) -> Iterator[int]:
    """Others who would change a file in this folder wait. The folder, since the file itself is replaced."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _text(keys: Keys) -> str:
    # The one that seals comes last: so the version before knows it.
    ids = sorted(keys.keys, key=lambda kid: kid == keys.sealing)
    data = {"keys": {kid.hex(): _base64(keys.keys[kid]) for kid in ids}, "root": _base64(keys.root)}
    data["sealing"] = keys.sealing.hex()
    if keys.next:
        data["next"] = keys.next.hex()
    return json.dumps(data, indent=2) + "\n"


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _replace(file: Path, text: str) -> None:
    """Whoever reads meanwhile gets the old file or the new. Owner and mode stay: programs must be able to read it."""
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    _write_new(new, text, like=file.stat())
    try:
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _write_new(file: Path, text: str, like: os.stat_result | None = None) -> None:
    """All of it is on the disk, or there is no such file. like: whose owner and mode it gets; else it is ours alone."""
    handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            if like and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, like.st_uid, like.st_gid)
            if like:
                os.fchmod(handle, like.st_mode & 0o777)
            os.fsync(handle)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
