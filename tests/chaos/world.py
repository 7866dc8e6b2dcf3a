"""A clinic with all its programs, forked from a zygote, on a database of its own."""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

import requests

from leads.store.schema import upgrade
from leads.store.session import Database
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from tests.chaos.postgres import Postgres, url_of
from tests.chaos.zygote import Zygote
from tests.programs import KEY, Process, Programs, _answers, free_port, wait_for

# All faults but those that are meant to end with a person: a wrong key, a refused phone, a CRM that says yes and
# forgets. `late_write` does what was asked after our time-out (1 s), `late_answer` before it.
FAULTS = ("down", "throttled", "late_write", "late_answer", "cut", "garbage", "hang_up", "error_500", "no_id", "slow")
SETTLE = 2.5  # seconds that tier B waits before it looks: longer than the CRM may be late
MISBEHAVIOUR: dict[str, Any] = {
    "faults": list(FAULTS),
    "rate": 0.3,
    "retry_after": 1,
    "slow_seconds": 0.7,
    "late_seconds": 1.3,
}
_MIGRATING = Lock()
LIMITS = {"lease_seconds": "2", "crm_timeout": "1", "log_level": "error"}


class World(Programs):
    """Web, workers and sandbox CRMs that count. Its own folder, whose log is the first to read after a failure.

    crms: the addresses of the CRMs; the first one has unique keys (tier A).
    """

    def __init__(self, folder: Path, database_url: str, **more: Any) -> None:
        super().__init__(folder, database_url, allowed_private_hosts="127.0.0.1", **more)
        self.crms = [self.crm]

    def sandbox(self) -> Process:
        process = self.start("tests.chaos.crm", str(self.sandbox_port), KEY)
        wait_for(lambda: _answers(f"{self.crm}/healthz"))
        return process

    def add_tier_b(self, settle: float) -> None:
        """Connect to a second CRM, without unique keys. settle: seconds after which what it was told can be seen."""
        port = free_port()
        crm = f"http://127.0.0.1:{port}"
        self.start("tests.chaos.crm", str(port), KEY, "--no-unique")
        wait_for(lambda: _answers(f"{crm}/healthz"))
        setup = Setup(self.database, self.vault, Limits(6, 2, frozenset({"127.0.0.1"})), by="test")
        options = {"url": crm, "key": KEY, "tier": "B", "settle": str(settle)}
        setup.create("demo", "sandbox", "CRM without keys", options)
        self.crms.append(crm)

    def end(self, *programs: Process) -> None:
        """Tell them to stop, and wait. One that does not writes into the log where its threads are."""
        for program in programs:
            program.terminate()
        for program in programs:
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.send_signal(signal.SIGUSR1)
                raise

    def pushes(self) -> dict[str, int]:
        """Event id → how many calls wanted to write it, by the first CRM's own count."""
        return dict(requests.get(f"{self.crm}/pushes.json", timeout=30).json())

    def calls(self) -> Counter[str]:
        """What became of the calls to the CRMs: outcome → how many."""
        outcomes: Counter[str] = Counter()
        for crm in self.crms:
            outcomes.update(requests.get(f"{crm}/calls.json", timeout=30).json()["outcomes"])
        return outcomes

    def wait_until_up(self) -> None:
        """A worker that finds no database when it starts ends, and here nobody starts it again."""
        wait_for(lambda: requests.get(f"{self.url}/readyz", timeout=5).ok, 60)

    def logged(self, text: str) -> int:
        """How often this stands in what the programs have printed."""
        return (self.folder / "programs.log").read_text(errors="replace").count(text)


def fresh_database(stack: ExitStack, folder: Path, kind: str) -> str:
    """The address of an empty database that ends with the stack. kind: sqlite or postgres."""
    return fresh_databases(stack, folder, kind, ["frontdesk"])[0]


def fresh_databases(stack: ExitStack, folder: Path, kind: str, names: Sequence[str]) -> list[str]:
    """As many, on one server."""
    if kind == "sqlite":
        return [f"sqlite:///{folder}/{name}.sqlite3" for name in names]
    cluster = stack.enter_context(Postgres()).started(databases=names)
    return [url_of(cluster, database=name) for name in names]


def open_world(stack: ExitStack, folder: Path, url: str, zygote: Zygote, **settings: str) -> World:
    """A world on an empty database, with a CRM and a connection to it. It ends with the stack."""
    with _MIGRATING:  # Alembic keeps what it works on in globals
        database = Database(url)
        upgrade(database)
        database.close()
    world = stack.enter_context(World(folder, url, zygote=zygote, **(LIMITS | settings)))
    world.sandbox()
    world.connect()
    return world


def misbehave(world: World, dice: random.Random) -> None:
    """From now on the CRMs fail in 30 % of their calls."""
    for crm in world.crms:
        world.faults(crm, **MISBEHAVIOUR, seed=dice.randrange(2**31))


def behave(world: World) -> None:
    """The CRMs are well again."""
    for crm in world.crms:
        world.faults(crm)
