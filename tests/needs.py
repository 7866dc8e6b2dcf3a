"""`python -m tests.needs`: fetch what the tests need and pip cannot give. Does nothing when it is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """A program. names: any of these will do. packages: of Debian and Ubuntu, the first that they know."""

    what: str
    names: Sequence[str]
    packages: Sequence[str]

    def find(self) -> str | None:
        """Its path; None where it is missing."""
        return next((path for name in self.names if (path := shutil.which(name))), None)


BROWSER = Need("Chromium", ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"), ("chromium",))
REDIS = Need("Redis or Valkey", ("redis-server", "valkey-server"), ("redis-server", "valkey-server"))


def browser() -> str | None:
    """The path of a browser that Playwright can drive."""
    return BROWSER.find()


def main() -> None:
    """Install by apt where nobody has to be asked for a password."""
    for need in (BROWSER, REDIS):
        if not need.find():
            _fetch(need)


def _fetch(need: Need) -> None:
    hint = (
        f"The tests need {need.what}. Install it (Debian, Ubuntu: apt install {need.packages[0]}) and run them again."
    )
    if not shutil.which("apt-get"):
        sys.exit(hint)
    print(f"Installing {need.what} for the tests (once) ...", flush=True)
    if not any(_install(package) for package in need.packages):
        _apt("update")
        any(_install(package) for package in need.packages)
    if not need.find():
        sys.exit(hint)


def _install(package: str) -> bool:
    return _apt("install", "-y", "--no-install-recommends", package)


def _apt(*command: str) -> bool:
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environ = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # no server is started
    done = subprocess.run([*sudo, "apt-get", *command, "-qq"], env=environ, stdout=subprocess.DEVNULL, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    main()
