"""Freshness: from the visitor's click to the record in a healthy CRM, by the CRM's own book.

`python -m bench.freshness` measures this part alone.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from uuid import uuid4

import requests
from werkzeug.serving import make_server

from bench.hosts.crm import keep_book
from bench.installation import fresh_database, postgres, scratch
from bench.report import Row, run_alone
from leads.store.models import Connection
from leads.store.schema import upgrade
from leads.store.session import Database
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from sandbox_crm.__main__ import _Handler  # as the real one: callers keep their connection
from sandbox_crm.app import create_app
from sandbox_crm.store import Store
from tests.factory import make_site
from tests.programs import KEY, Programs, free_port, wait_for
from tests.sessions import ThreadSessions

PART = "Freshness"
MANY = 50
_AT_REST, _LOADED = 4.0, 15.0  # enquiries per second, of all sites together
_SLOW = 5.0  # seconds that the slow CRM takes for each call
_THREADS = 16
_ROUNDS = 3


@dataclass(slots=True)
class _Crm:
    """A CRM in this process. Nothing answers at `nowhere`."""

    url: str

    def book(self) -> dict[str, float]:
        """Event → when it was written, seconds since 1970."""
        written = requests.get(f"{self.url}/book.json", timeout=20).json()
        return {one: at for at, _, events in reversed(written) for one in events}

    def take(self, seconds: float) -> None:
        """From now on each call takes so long."""
        faults: dict[str, object] = {"slow": seconds} if seconds else {"faults": []}
        requests.put(f"{self.url}/faults", json=faults, timeout=20).raise_for_status()


def measure(seconds: float, seed: int) -> Iterator[Row]:
    """One connection, then fifty, then fifty of which one is slow, then down."""
    dice = Random(seed)
    with scratch() as folder, ExitStack() as stack:
        url = fresh_database(stack.enter_context(postgres(folder / "postgres")), "freshness")
        well, other = stack.enter_context(_crm()), stack.enter_context(_crm())
        for name, own in (("SQLite", f"sqlite:///{folder / 'freshness.sqlite3'}"), ("PostgreSQL", url)):
            upgrade(Database(own))
            with _programs(folder / name, own, well, other) as programs:
                yield from _measured(programs, name, well, other, seconds / 14, dice)


def _measured(programs: Programs, name: str, well: _Crm, other: _Crm, seconds: float, dice: Random) -> Iterator[Row]:
    for sites, whose in (([1], "one connection"), (range(1, MANY), f"{MANY} connections")):
        rest = _clicks(programs, well, sites, _AT_REST, seconds, dice)
        yield from _rows(f"{name}, {whose}, at rest", rest, at_most=2000)
        yield from _rows(f"{name}, {whose}, {_LOADED:.0f}/s", _clicks(programs, well, sites, _LOADED, seconds, dice))
    yield from _beside_a_broken_one(programs, name, well, other, seconds * 6 / (4 * _ROUNDS + 1), dice)


def _beside_a_broken_one(
    programs: Programs, name: str, well: _Crm, other: _Crm, seconds: float, dice: Random
) -> Iterator[Row]:
    """The others beside one that is slow, or down, and with all well right before and right after: the machine's own
    pace changes from one half minute to the next by more than what is looked for."""

    def clicks() -> list[float]:
        return _clicks(programs, well, range(1, MANY), _LOADED, seconds, dice)

    broken = {"slow": _slow, "down": _down}
    usual, late = [clicks()], defaultdict[str, list[float]](list)
    changed = defaultdict[str, list[float]](list)
    for what, breaks in [*broken.items()] * _ROUNDS:
        with breaks(programs, other):
            _post(programs.url, 0)
            found = clicks()
        usual.append(clicks())
        changed[what].append(statistics.median(found) / statistics.median(usual[-2] + usual[-1]))
        late[what] += found
    before = _percentile(list(chain(*usual)), 0.99)
    for what, times in changed.items():
        note = f"p99 {before:.0f} ms without, {_percentile(late[what], 0.99):.0f} ms with it"
        yield Row(PART, f"{name}, one of {MANY} {what}: the others' median", "times", times, at_most=1.1, note=note)


def _rows(name: str, late: Sequence[float], at_most: float | None = None) -> Iterator[Row]:
    for share in (0.5, 0.95, 0.99):
        asked = at_most if share == 0.99 else None
        note = f"{len(late)} clicks" if share == 0.5 else ""
        yield Row(PART, f"{name}, p{share * 100:.0f}", "ms", [_percentile(late, share)], at_most=asked, note=note)


def _percentile(late: Sequence[float], share: float) -> float:
    return sorted(late)[min(int(len(late) * share), len(late) - 1)]


def _clicks(
    programs: Programs, crm: _Crm, sites: Sequence[int], rate: float, seconds: float, dice: Random
) -> list[float]:
    """Visitors at an even rate. Returns the milliseconds from each click to the record."""
    number, began = int(rate * seconds), time.time() + 0.2
    due = [began + index / rate for index in range(number)]
    chosen = [dice.choice(sites) for _ in due]
    with ThreadPoolExecutor(_THREADS) as pool:

        def click(index: int) -> str:
            time.sleep(max(due[index] - time.time(), 0))
            return _post(programs.url, chosen[index])

        events = list(pool.map(click, range(number)))
    wait_for(lambda: set(events) <= crm.book().keys(), 60, every=0.5)
    book = crm.book()
    return [(book[event] - at) * 1000 for event, at in zip(events, due, strict=True)]


def _post(url: str, site: int) -> str:
    mark = str(uuid4())
    person = {"first_name": "Maria", "last_name": "Example", "email": f"maria.{mark}@example.com"}
    body = {"site": f"site{site}", "id": mark, "consent": True, "message": "I would like an appointment."} | person
    answer = _sessions.mine().post(f"{url}/api/v1/consultations", json=body, timeout=20)
    answer.raise_for_status()
    return str(answer.json()["id"])


_sessions = ThreadSessions()


@contextmanager
def _crm() -> Iterator[_Crm]:
    port, app = free_port(), create_app(Store(), KEY)
    keep_book(app)
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield _Crm(f"http://127.0.0.1:{port}")
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _programs(folder: Path, url: str, well: _Crm, other: _Crm) -> Iterator[Programs]:
    """Web, worker and fifty sites; the first one's CRM is `other`."""
    folder.mkdir()
    hosts = ",".join(crm.url.removeprefix("http://") for crm in (well, other))
    with Programs(
        folder, url, log_level="error", allowed_private_hosts=hosts, crm_timeout="20", lease_seconds="120"
    ) as programs:
        setup = Setup(programs.database, programs.vault, Limits(120, 20), by="bench")
        for number in range(MANY):
            make_site(programs.database, f"site{number}")
            options = {"url": (well if number else other).url, "key": KEY}
            setup.create(f"site{number}", "sandbox", f"CRM {number}", options)
        programs.web()
        programs.worker()
        time.sleep(2)
        yield programs


@contextmanager
def _slow(_: Programs, other: _Crm) -> Iterator[None]:
    other.take(_SLOW)
    yield
    other.take(0)


@contextmanager
def _down(programs: Programs, other: _Crm) -> Iterator[None]:
    """Its address leads nowhere: each call is refused at once, and the connection is probed by itself."""
    setup = Setup(programs.database, programs.vault, Limits(120, 20), by="bench")
    with programs.database.read() as session:
        first = session.query(Connection).filter(Connection.name == "CRM 0").one()
    setup.replace(first.id, {"url": "http://127.0.0.1:9", "key": KEY})
    yield
    setup.replace(first.id, {"url": other.url, "key": KEY})


if __name__ == "__main__":
    run_alone(measure)
