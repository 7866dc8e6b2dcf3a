"""A clinic with all its programs, forked from a zygote, on a database of its own."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from leads.store.schema import upgrade
from leads.store.session import Database
from tests.chaos.postgres import Postgres, url_of
from tests.chaos.zygote import Zygote
from tests.programs import KEY, Process, Programs, _answers, wait_for

# "slow" does what was asked after our time-out, "late_answer" before it; both answer when nobody listens any more.
MISBEHAVIOUR: dict[str, Any] = {
    "faults": ["down", "throttled", "slow", "late_answer", "cut", "garbage", "hang_up", "error_500"],
    "rate": 0.3,
    "retry_after": 1,
    "slow_seconds": 1.3,
    "late_seconds": 1.3,
}
LIMITS = {"lease_seconds": "2", "crm_timeout": "1", "log_level": "error"}


class World(Programs):
    """Web, workers and a sandbox CRM that counts. Its own folder, whose log is the first to read after a failure."""

    def sandbox(self) -> Process:
        process = self.start("tests.chaos.crm", str(self.sandbox_port), KEY)
        wait_for(lambda: _answers(f"{self.crm}/healthz"))
        return process

    def pushes(self) -> dict[str, int]:
        """Event id → how many calls wanted to write it, by the CRM's own count."""
        return dict(requests.get(f"{self.crm}/pushes.json", timeout=30).json())

    def calls(self) -> dict[str, int]:
        """What became of the calls to the CRM: outcome → how many."""
        return dict(requests.get(f"{self.crm}/calls.json", timeout=30).json()["outcomes"])

    def logged(self, text: str) -> int:
        """How often this stands in what the programs have printed."""
        return (self.folder / "programs.log").read_text(errors="replace").count(text)


def fresh_database(stack: ExitStack, folder: Path, kind: str) -> str:
    """The address of a database that ends with the stack. kind: sqlite or postgres."""
    if kind == "postgres":
        return url_of(stack.enter_context(Postgres()).started())
    return f"sqlite:///{folder}/frontdesk.sqlite3"


def open_world(stack: ExitStack, folder: Path, url: str, zygote: Zygote, **settings: str) -> World:
    """A world on an empty database, with a CRM and a connection to it. It ends with the stack."""
    database = Database(url)
    upgrade(database)
    database.close()
    world = stack.enter_context(World(folder, url, zygote=zygote, **(LIMITS | settings)))
    world.sandbox()
    world.connect()
    return world


def misbehave(world: World, dice: random.Random) -> None:
    """From now on the CRM fails in 30 % of its calls."""
    world.faults(**MISBEHAVIOUR, seed=dice.randrange(2**31))
