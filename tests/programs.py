"""Runs the real programs as processes of their own: web, worker and the sandbox CRM, on free ports of this machine."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from sqlalchemy.exc import OperationalError

from leads.store.schema import open_vault
from leads.store.session import Database
from leads.store.staff import add_user, change_password
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from tests.chaos.zygote import Child, Zygote
from tests.factory import make_site

Process = subprocess.Popen[bytes] | Child

ROOT = Path(__file__).parent.parent
PASSWORD = "correct horse battery staple"
KEY = "canary-sandbox-key-7f3a"
# Enough tries for ten minutes of faults: on a slow machine a scene of two takes as long as that, and then a day's wait.
QUICK = f"0s,1s,1s,1s,2s,2s,2s,3s,3s,3s,3s,3s,5s,5s,5s,5s,5s,5s,{60 * '10s,'}1d"


def free_port() -> int:
    """A port of this machine that nobody uses now, and that no other test is given while this process lives.

    Below those that outgoing connections take, and marked by a socket's name: a program that a test starts again must
    not find another test's program at its address.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0frontdesk-test-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        _marks.append(mark)
        return port


_marks: list[socket.socket] = []


def wait_for(what: Callable[[], Any], seconds: float = 60, every: float = 0.05) -> Any:
    """The first true answer of `what`. Fails the test when there is none in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := what():
            return answer
        time.sleep(every)
    raise AssertionError(f"not within {seconds} seconds: {what.__doc__ or what.__name__}")


@contextmanager
def frozen(database: Database, processes: Sequence[Process]) -> Iterator[None]:
    """Until the block ends these stand still, none of them in the middle of a transaction: SQLite has one writer."""

    def all_stand() -> bool:
        """none was stopped while it held SQLite's lock"""
        _send_all(processes, signal.SIGSTOP)
        wait_for(lambda: all(map(_stands, processes)))  # a thread inside a system call comes out of it first
        if _is_writable(database):
            return True
        _send_all(processes, signal.SIGCONT)
        return False

    wait_for(all_stand)
    try:
        yield
    finally:
        _send_all(processes, signal.SIGCONT)


def _send_all(processes: Sequence[Process], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)


def _stands(process: Process) -> bool:
    """Whether each of its threads is stopped."""
    try:
        stats = [path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/stat")]
    except OSError:  # one has just ended
        return False
    return all(stat.rpartition(")")[2].split()[0] in "TZ" for stat in stats)


def _is_writable(database: Database) -> bool:
    """Whether nobody holds SQLite's one lock for long. PostgreSQL has none."""
    with database.engine.connect().execution_options(write=True, patience=200) as opened:
        try:
            opened.exec_driver_sql("SELECT 1")
        except OperationalError:
            return False
    return True


class Programs:
    """All that runs in one test. Everything it starts it ends."""

    def __init__(self, folder: Path, database_url: str, *, zygote: Zygote | None = None, **settings: str) -> None:
        """zygote: forks the programs instead of starting them cold. settings: environment variables of them all."""
        self.folder, self._zygote = folder, zygote
        self.port, self.sandbox_port = free_port(), free_port()
        self.url, self.crm = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.sandbox_port}"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("FRONTDESK_")} | {
            "FRONTDESK_PORT": str(self.port),
            "FRONTDESK_DATA_DIR": str(folder),
            "FRONTDESK_DATABASE_URL": database_url,
            "FRONTDESK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{self.sandbox_port}",
            "FRONTDESK_FORM_MIN_SECONDS": "0",
            "FRONTDESK_MIN_FREE_MB": "0",  # no ballast in the folder of every test
            "FRONTDESK_CRM_TIMEOUT": "2",
            "FRONTDESK_LEASE_SECONDS": "6",
            "FRONTDESK_RETRY_SCHEDULE": QUICK,
            "TMPDIR": str(folder),
        }
        self.environ |= {f"FRONTDESK_{name.upper()}": value for name, value in settings.items()}
        self.database = Database(database_url)
        self.vault: Vault = open_vault(self.database, folder / "keys.json")
        self._running: list[Process] = []

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self.database.close()

    def start(self, *command: str, **settings: str) -> Process:
        """Start a program of ours. settings: environment variables without their prefix."""
        environ = self.environ | {f"FRONTDESK_{name.upper()}": value for name, value in settings.items()}
        process: Process
        if self._zygote:
            process = self._zygote.start(command, environ, self.folder / "programs.log")
        else:
            with (self.folder / "programs.log").open("ab") as log:
                whole = [sys.executable, "-m", *command]
                process = subprocess.Popen(whole, cwd=ROOT, env=environ, stdout=log, stderr=log)
        self._running.append(process)
        return process

    def sandbox(self, *options: str) -> Process:
        process = self.start("sandbox_crm", "--port", str(self.sandbox_port), "--key", KEY, *options)
        wait_for(lambda: _answers(f"{self.crm}/healthz"))
        return process

    def web(self, **settings: str) -> Process:
        process = self.start("leads", "web", **settings)
        wait_for(lambda: _answers(f"{self.url}/healthz") or process.poll() is not None)
        return process

    def worker(self, **settings: str) -> Process:
        return self.start("leads", "worker", **settings)

    def frontdesk(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one `frontdesk` command to its end."""
        command = [sys.executable, "-m", "leads", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environ, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    def connect(self, site: str = "demo", **options: str) -> None:
        """A site and its connection to the sandbox. options: further ones of the connector."""
        make_site(self.database, site)
        setup = Setup(self.database, self.vault, Limits(6, 2), by="test")
        setup.create(site, "sandbox", "", {"url": self.crm, "key": KEY} | options)

    def desk(self, role: str = "staff") -> requests.Session:
        """A browser that has signed in at the desk."""
        with self.database.write() as session:
            user, _ = add_user(session, "reception", role, self.database.now(session))
            change_password(user, PASSWORD)
        browser = requests.Session()
        form = browser.get(f"{self.url}/desk/", timeout=30).text
        token = re.search(r'name="csrf_token" value="([^"]+)"', form)
        assert token
        signed = {"csrf_token": token[1], "name": "reception", "password": PASSWORD}
        browser.post(f"{self.url}/desk/sign-in", data=signed, timeout=30).raise_for_status()
        return browser

    def faults(self, crm: str | None = None, **faults: Any) -> None:
        """Switch exactly these faults on."""
        requests.put(f"{crm or self.crm}/faults", json=faults, timeout=30).raise_for_status()

    def contacts(self, crm: str | None = None) -> list[dict[str, Any]]:
        """What the sandbox CRM holds. crm: the address of another one."""
        answer = requests.get(f"{crm or self.crm}/contacts.json", timeout=30)
        answer.raise_for_status()
        return list(answer.json()["contacts"])

    def activities(self) -> dict[str, dict[str, Any]]:
        """Event id → the contact that holds it. Fails when one stands in the CRM twice."""
        found: dict[str, dict[str, Any]] = {}
        for contact in self.contacts():
            for activity in contact["activities"]:
                assert activity["external_id"] not in found, "an event is in the CRM twice"
                found[activity["external_id"]] = contact
        return found


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code < 500
    except requests.RequestException:
        return False
