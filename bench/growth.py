"""`python -m bench.growth`: what a store of millions costs, beside one of ten thousand with the same enquiries a day.

With --leads and --data it fills a store of that size there, or goes on with one, and writes bench/growth.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import requests
from sqlalchemy import delete, event, select, update

from bench import machine
from bench.installation import ROOT, program, resident, scratch
from bench.report import Row, table
from leads.demo.bulk import A_DAY, count_leads, fill, prepare
from leads.store import outbox
from leads.store.models import Connection, Lead, Site, User
from leads.store.outbox import Health, Outcome
from leads.store.people import person_of
from leads.store.queries.signs import signs
from leads.store.schema import open_vault, upgrade
from leads.store.session import Database
from leads.store.staff import add_user
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from leads.upkeep.alerts import conditions
from leads.upkeep.retention import slices
from tests.factory import send
from tests.programs import free_port

SMALL, _AT_MOST = 10_000, 1.5
_BATCH = 20  # deliveries
_A_SECOND = 2500  # leads that are invented in a second at the least
_TOKEN = "growth-bench-token"  # noqa: S105 - of a server that only this run sees
_ROUNDS = 15


@dataclass
class Store:
    """A filled store of one size, with its web program running."""

    folder: Path
    leads: int
    url: str = field(init=False)
    database: Database = field(init=False)
    vault: Vault = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.url = f"sqlite:///{self.folder / 'frontdesk.sqlite3'}"
        self.database = Database(self.url)
        upgrade(self.database)
        self.vault = open_vault(self.database, self.folder / "keys.json")

    def make(self, seed: int) -> None:
        """Fill it up to its size."""
        made = self.folder / "made"  # what was measured there since has taken some away and added others
        if not made.exists():
            here = count_leads(self.database)
            setup = Setup(self.database, self.vault, Limits(60, 5), "bench")
            plan = prepare(setup, self.leads, self.leads / A_DAY, seed)
            for _ in fill(self.database, self.folder / "keys.json", plan, here):
                pass
            made.touch()

    def warm(self) -> None:
        """Read it once from end to end, as far as the memory holds it: an enquiry touches its indexes at random."""
        for file in self.folder.glob("frontdesk.sqlite3*"):
            with file.open("rb", buffering=0) as opened:
                while opened.read(2**24):
                    pass

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in self.folder.glob("frontdesk.sqlite3*"))

    @property
    def environ(self) -> dict[str, str]:
        return {
            "FRONTDESK_DATA_DIR": str(self.folder),
            "FRONTDESK_DATABASE_URL": self.url,
            "FRONTDESK_MIN_FREE_MB": "0",
            "FRONTDESK_METRICS_TOKEN": _TOKEN,
        }

    @contextmanager
    def served(self) -> Iterator[Visitor]:
        """The web program runs, and somebody has signed in."""
        port = free_port()
        with program(
            "leads", "web", port=port, log=self.folder / "web.log", **self.environ, FRONTDESK_PORT=str(port)
        ) as web:
            yield Visitor(self, f"http://127.0.0.1:{port}", web.pid)


class Visitor:
    """Staff at a browser. Only the programs' own time counts: one request after the other on one kept connection."""

    def __init__(self, store: Store, address: str, pid: int) -> None:
        self.pid, self._address, self._session = pid, address, requests.Session()
        with store.database.write() as session:
            session.execute(delete(User).where(User.name == "bench"))
            user, password = add_user(session, "bench", "admin", store.database.now(session))
            user.one_time = False
        self._post("/desk/sign-in", {"name": "bench", "password": password}, self.get("/desk/sign-in"))
        self._form = self.get("/desk/leads")

    def get(self, path: str) -> str:
        answer = self._session.get(self._address + path, headers={"Authorization": f"Bearer {_TOKEN}"}, timeout=300)
        answer.raise_for_status()
        return answer.text

    def search(self, typed: str) -> None:
        self._post("/desk/leads", {"q": typed}, self._form)

    def _post(self, path: str, form: Mapping[str, str], page: str) -> None:
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        data = {**form, "csrf_token": token[1] if token else ""}
        self._session.post(self._address + path, data=data, timeout=300).raise_for_status()


class Loop:
    """The steps of the worker's loop for one connection, without a CRM."""

    def __init__(self, store: Store, connection_id: UUID) -> None:
        self._database, self._vault = store.database, store.vault
        with self._database.write() as session:
            free = {"state": "working", "lease_until": None, "wait_until": None, "probe_at": None}
            session.execute(update(Connection).values(**free))
            connection = session.get_one(Connection, connection_id)
            self._site = session.get_one(Site, connection.site_id)
        lane = outbox.lease(self._database, connection_id, "bench", 3600)
        if lane is None:
            raise RuntimeError("the connection cannot be had")
        self._lane, self._claimed = lane, list[outbox.Claimed]()

    def fill(self) -> None:
        """Something to claim."""
        for number in range(_BATCH):
            send(self._database, self._vault, self._site, email=f"{number}-{time.monotonic_ns()}@example.com")

    def ready(self) -> None:
        with self._database.read() as session:
            outbox.ready(session, self._database.now(session))

    def claim(self) -> None:
        self._claimed = outbox.claim(self._database, self._lane, _BATCH, 3600)

    def finish(self) -> None:
        now = self._database.time()
        later = now + timedelta(hours=1)
        sent = {"due_at": now, "counts": True, "verdict": "sent", "started_at": now, "milliseconds": 5}
        outcomes = [
            Outcome(one, "sent", remote_id=f"r-{one.lead.code}", check_at=later, **sent)  # type: ignore[arg-type]
            for one in self._claimed
        ]
        outbox.finish(self._database, self._lane, outcomes, Health("working", 0, 0))

    def to_check(self) -> None:
        outbox.to_check(self._database, self._lane, _BATCH)

    def end(self) -> None:
        outbox.release(self._database, self._lane)


@contextmanager
def _steps(store: Store) -> Iterator[tuple[Loop, dict[str, Callable[[], Any]], int]]:
    """What is timed, with the loop that it needs filled, and the web program's process id."""
    database, vault = store.database, store.vault
    with database.read() as session:
        known = select(Lead).where(Lead.known)
        lead = session.scalars(known.order_by(Lead.last_event_at, Lead.id).offset(5000).limit(1)).one()
        newest = session.scalars(known.order_by(Lead.last_event_at.desc(), Lead.id.desc()).limit(1)).one()
        site, email = session.get_one(Site, lead.site_id), person_of(vault, lead)["email"]
        now = database.now(session)
        connection_id = session.scalars(select(Connection.id).order_by(Connection.id)).all()[0]
    since, long_ago = (now - timedelta(days=6)).date(), now - timedelta(days=365 * 100)
    loop = Loop(store, connection_id)
    with store.served() as visitor:
        yield (
            loop,
            {
                "home page": lambda: visitor.get("/desk/"),
                "list of leads": lambda: visitor.get("/desk/leads"),
                "list of those that need somebody": lambda: visitor.get("/desk/leads?state=needs_you"),
                "page of the newest lead": lambda: visitor.get(f"/desk/leads/{newest.id}"),
                "page of an old lead": lambda: visitor.get(f"/desk/leads/{lead.id}"),
                "page of a connection": lambda: visitor.get(f"/desk/connections/{connection_id}"),
                "search by reference code": lambda: visitor.search(lead.code),
                "search by e-mail": lambda: visitor.search(email),
                "search by name": lambda: visitor.search("Zoë"),
                "daily balance of a week": lambda: visitor.get(f"/desk/balance?from={since}"),
                "/metrics": lambda: visitor.get("/metrics"),
                "intake": lambda: send(database, vault, site, email=f"{time.monotonic_ns()}@example.com"),
                "what is ready": loop.ready,
                f"claim of {_BATCH}": loop.claim,
                f"finish of {_BATCH}": loop.finish,
                "what is to be read back": loop.to_check,
                "the watch looks": lambda: _watch(database),
                "retention, when nobody is old": lambda: list(slices(database, long_ago, threading.Event())),
            },
            visitor.pid,
        )
    loop.end()


def times(stores: Sequence[Store], rounds: int) -> list[tuple[dict[str, list[float]], int]]:
    """Of each store: what is timed → seconds, one per round; and the bytes that its web program holds afterwards.

    Each step is done in one store right after the other, so that they see the same machine.
    """
    found: list[dict[str, list[float]]] = [defaultdict(list) for _ in stores]
    with ExitStack() as stack:
        opened = [stack.enter_context(_steps(store)) for store in stores]
        for number in range(rounds + 2):
            for loop, _, _ in opened:
                loop.fill()
            for name in opened[0][1]:
                for (_, steps, _), taken in zip(opened, found, strict=True):
                    start = time.perf_counter()
                    steps[name]()
                    if number >= 2:  # the first two fill caches
                        taken[name].append(time.perf_counter() - start)
        held = [resident(pid) for _, _, pid in opened]
    return list(zip(found, held, strict=True))


def _watch(database: Database) -> None:
    with database.read() as session:
        conditions(signs(session, database.now(session)), timedelta(minutes=15))


def measure(seconds: float, seed: int) -> Iterable[Row]:
    """Ten thousand leads beside as many as can be invented in the time."""
    with scratch() as folder:
        small, large = Store(folder / "small", SMALL), Store(folder / "large", max(int(seconds * _A_SECOND), 5 * SMALL))
        for store in (small, large):
            store.make(seed)
        (few, _), (many, held) = times((small, large), _ROUNDS)
        yield from rows(few, many, large.leads)
        yield _memory("web", held)


def rows(few: Mapping[str, Sequence[float]], many: Mapping[str, Sequence[float]], leads: int) -> Iterator[Row]:
    """Each as the ratio of its median times."""
    for name, those in many.items():
        ratio, before = median(those) / median(few[name]), median(few[name]) * 1000
        note = f"{median(those) * 1000:.3g} ms, with {SMALL:,} leads {before:.3g} ms"
        yield Row(f"Growth: {leads:,} leads beside {SMALL:,}", name, "times", [ratio], at_most=_AT_MOST, note=note)
    for name in ("home page", "page of the newest lead", "page of an old lead"):
        milliseconds = [one * 1000 for one in many[name]]
        yield Row(f"Growth: {leads:,} leads", name, "ms", milliseconds, at_most=100)


def _memory(what: str, held: int) -> Row:
    return Row("Growth: memory", f"{what}, resident", "MB", [held / 2**20], at_most=200)


def worker_memory(store: Store, seconds: float = 45) -> int:
    """The most bytes that a worker holds in its first while: it looks for work, walks its rounds and tries to send."""
    command = [sys.executable, "-m", "leads", "worker"]
    with (store.folder / "worker.log").open("ab") as log:
        worker = subprocess.Popen(command, cwd=ROOT, env=os.environ | store.environ, stdout=log, stderr=log)
    most, until = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < until and worker.poll() is None:
            most = max(most, resident(worker.pid))
            time.sleep(0.5)
        if worker.poll() is not None:
            raise RuntimeError("the worker ended by itself")
    finally:
        worker.terminate()
        worker.wait(30)
    return most


def longest_slices(store: Store, number: int = 50) -> Iterator[Row]:
    """The longest transaction of retention, and of looking at a connection's everything: rows are locked so long."""
    database, held = store.database, list[float]()
    began: dict[int, float] = {}

    def begin(connection: Any) -> None:
        began[id(connection)] = time.perf_counter()

    def commit(connection: Any) -> None:
        if connection.get_execution_options().get("write"):
            held.append(time.perf_counter() - began[id(connection)])

    event.listen(database.engine, "begin", begin)
    event.listen(database.engine, "commit", commit)
    with database.read() as session:
        before = database.now(session) - timedelta(days=store.leads / A_DAY * 0.75)
        connection_id = session.scalars(select(Connection.id).order_by(Connection.id)).all()[0]
    for _ in itertools.islice(slices(database, before, threading.Event()), number):
        pass
    yield _longest("a slice of retention", held)
    held.clear()
    outbox.check_all(database, connection_id, 30)
    yield _longest("a slice of looking at everything", held)


def _longest(name: str, held: Sequence[float]) -> Row:
    milliseconds = [one * 1000 for one in held]
    return Row("Growth: how long a lock is held", name, "ms", milliseconds, note=f"longest {max(milliseconds):.0f} ms")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--leads", type=int, nargs="*", default=[], help="sizes, such as 1000000 10000000")
    arguments.add_argument("--data", type=Path, help="where the stores are kept, to go on with another time")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    if not given.leads:
        print(table(measure(60, given.seed)))
        return
    small = Store(given.data / "small", SMALL)
    small.make(given.seed)
    parts = []
    for leads in given.leads:
        store = Store(given.data / str(leads), leads)
        store.make(given.seed)
        store.warm()
        (few, _), (many, web) = times((small, store), _ROUNDS)
        found = [*rows(few, many, leads), _memory("web", web), *longest_slices(store)]
        parts.append((leads, store.size, table([*found, _memory("worker", worker_memory(store))])))
    page = "\n".join(f"## {leads:,} leads ({size / 2**30:.1f} GB)\n\n{text}" for leads, size, text in parts)
    facts = "".join(f"| {name} | {value} |\n" for name, value in machine.facts().items())
    (ROOT / "bench" / "growth.md").write_text(_PAGE.format(facts=facts, parts=page, small=SMALL, day=A_DAY))


_PAGE = """# What growth costs

Written by `python -m bench.growth --leads ... --data FOLDER`. Each ratio compares the median time with that in a
store of {small:,} leads with the same {day:,} enquiries a day, on SQLite, measured in the same run. Pages are those of
the real web program over HTTP; intake, claim and finish are the real functions with their commits. Each is done in the
small store right before the large one. The large one was read from end to end before: an enquiry touches some pages of
its indexes at random, which a store that is in use has in memory, as far as they fit.

| | |
|---|---|
{facts}
{parts}"""

if __name__ == "__main__":
    main()
