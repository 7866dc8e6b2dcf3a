"""Building a wheel, and looking into it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def make_wheel(sources: Path, folder: Path) -> Path:
    """Build the wheel from these sources."""
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", "-w", folder, sources], check=True)
    return next(folder.glob("*.whl"))


def names_in(wheel: Path) -> set[str]:
    """What it puts beside its own description."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
