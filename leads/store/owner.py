"""Whose a file is that may not be used, and as whom we run: else it looks lost, and is restored for nothing."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

_ANOTHER = "Run this as the user that Frontdesk runs as, or give that user the right with chown or chmod."
_READ_ONLY = (
    "That would do, so the file system is read-only here: see how it is mounted, and the service's ReadWritePaths."
)


def barring(path: Path) -> Path | None:
    """The folder on the way to it that may not be entered. None: whether it is there can be seen."""
    for folder in reversed(path.resolve().parents):
        if not os.access(folder, os.X_OK):
            return folder if folder.is_dir() else None
    return None


def whose(path: Path) -> str:
    """Who owns what is in the way, and what helps. Of what is not there yet: who owns the folder for it."""
    path = path.resolve()
    place = barring(path) or next(there for there in (path, *path.parents) if there.exists())
    found = place.stat()
    it, owner, mode = "It" if place == path else place, _name(found.st_uid), stat.S_IMODE(found.st_mode)
    all_of_it = 0o700 if place.is_dir() else 0o600
    may = os.geteuid() == 0 or (os.geteuid() == found.st_uid and mode & all_of_it == all_of_it)
    helps = _READ_ONLY if may else _ANOTHER
    return f"{it} belongs to {owner} (mode {mode:o}), and this runs as {_name(os.geteuid())}. {helps}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
