"""`python -m tests.needs`: fetch what the tests need and pip cannot give: a browser. Does nothing when it is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_HINT = "The tests need Chromium. Install it (Debian, Ubuntu: apt install chromium) and run them again."


def browser() -> str | None:
    """The path of a browser that Playwright can drive."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def main() -> None:
    """Install Chromium by apt where nobody has to be asked for a password."""
    if browser():
        return
    if not shutil.which("apt-get"):
        sys.exit(_HINT)
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    print("Installing Chromium for the browser tests (once) ...", flush=True)
    environ = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    install = [*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
    done = subprocess.run(install, env=environ, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        subprocess.run([*sudo, "apt-get", "update", "-qq"], env=environ, check=False)
        subprocess.run(install, env=environ, stdout=subprocess.DEVNULL, check=False)
    if not browser():
        sys.exit(_HINT)


if __name__ == "__main__":
    main()
