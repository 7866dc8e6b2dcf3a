"""`python -m bench.costs`: what one enquiry costs, in processor time and room, for bench/scaling.py to reckon with.

Each enquiry is for another clinic, so that none shares a batch, a call or a transaction with another one: the dearest
case, and the usual one where many clinics get a few enquiries each. Processor time is what the kernel has counted for
web, worker and all of PostgreSQL, less what they use while nothing comes.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import requests

from leads.store.outbox import ready
from leads.store.schema import upgrade
from leads.store.session import Database
from tests.chaos.postgres import Cluster, Postgres, url_of
from tests.programs import Process, Programs, wait_for

FILE = Path(__file__).with_name("costs.json")
_SITES = 40
_RATE = 20.0  # enquiries per second
_IDLE, _LOADED = 5.0, 20.0  # seconds
_MANY = (1_000, 100_000)  # connections
_COPY = """INSERT INTO connection SELECT (jsonb_populate_record(one,
    jsonb_build_object('id', gen_random_uuid(), 'name', 'copy ' || number))).*
    FROM connection one, generate_series(1, {number}) number WHERE one.id = (SELECT id FROM connection LIMIT 1)"""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Costs:
    """web, worker, database: seconds of processor time per enquiry. idle_worker, idle_database: seconds per second
    while nothing comes, for one worker. bytes: in the database, indexes included. transactions: commits per enquiry.
    sweep_worker, sweep_database: seconds of processor time for each enquiry that is looked at again at night.
    look_small, look_large: seconds in which a worker finds what is due among 1,000 and among 100,000 connections."""

    web: float
    worker: float
    database: float
    idle_worker: float
    idle_database: float
    bytes: float
    transactions: float
    sweep_worker: float
    sweep_database: float
    look_small: float
    look_large: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """Counters so far. at: seconds."""

    at: float
    web: float
    worker: float
    database: float
    size: float
    commits: float


def measure() -> Costs:
    """Run web, worker, PostgreSQL and a sandbox CRM for half a minute."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Postgres()).started()
        database = Database(url_of(cluster))
        upgrade(database)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        programs = stack.enter_context(Programs(folder, url_of(cluster), log_level="error"))
        programs.sandbox()
        for number in range(_SITES):
            programs.connect(f"site{number}")
        web, worker = programs.web(), programs.worker()
        wait_for(lambda: requests.get(f"{programs.url}/readyz", timeout=5).ok)
        time.sleep(2)
        samples = [_sample(cluster, web, worker)]
        time.sleep(_IDLE)
        samples.append(_sample(cluster, web, worker))
        sent = _load(programs.url)
        wait_for(lambda: not _on_the_way(cluster), 60)
        samples.append(_sample(cluster, web, worker))
        cluster.sql("UPDATE delivery SET check_at = now()", "frontdesk")
        wait_for(lambda: cluster.sql("SELECT count(*) FROM delivery WHERE check_at <= now()", "frontdesk") == "0", 60)
        samples.append(_sample(cluster, web, worker))
        worker.terminate()
        worker.wait(20)
        looks = [_look(cluster, database, number) for number in _MANY]
        database.close()
    return _costs(samples, sent, looks)


def _costs(samples: Sequence[_Sample], sent: int, looks: Sequence[float]) -> Costs:
    """samples: at the start, after a rest, after the load, and after all was looked at again."""
    start, idle, end, swept = samples
    rest, worked = idle.at - start.at, end.at - idle.at

    def each(name: str) -> float:
        """Per enquiry, without what would have been used anyway."""
        first, second, third = (float(getattr(sample, name)) for sample in (start, idle, end))
        return (third - second - (second - first) / rest * worked) / sent

    return Costs(
        web=each("web"),
        worker=each("worker"),
        database=each("database"),
        idle_worker=(idle.worker - start.worker) / rest,
        idle_database=(idle.database - start.database) / rest,
        bytes=(end.size - idle.size) / sent,
        transactions=each("commits"),
        sweep_worker=(swept.worker - end.worker) / sent,
        sweep_database=(swept.database - end.database) / sent,
        look_small=looks[0],
        look_large=looks[1],
    )


def _load(url: str) -> int:
    """Visitors at an even rate. Returns how many."""
    number, began = int(_RATE * _LOADED), time.monotonic()
    sessions = [requests.Session() for _ in range(8)]

    def post(one: int) -> None:
        time.sleep(max(began + one / _RATE - time.monotonic(), 0))
        person = {"first_name": f"First{one}", "last_name": "Last", "email": f"p{one}@example.com"}
        asked = {"phone": f"+1212555{one:04}", "message": "I would like an appointment, in the morning if you can."}
        body = {"site": f"site{one % _SITES}", "id": f"visit-{one}", "visitor_id": f"v{one}", "consent": True}
        answer = sessions[one % 8].post(f"{url}/api/v1/consultations", json=body | person | asked, timeout=10)
        answer.raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(post, range(number)))
    for session in sessions:
        session.close()
    return number


def _on_the_way(cluster: Cluster) -> bool:
    return cluster.sql("SELECT count(*) FROM delivery WHERE state != 'confirmed'", "frontdesk") != "0"


def _sample(cluster: Cluster, web: Process, worker: Process) -> _Sample:
    size = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200"
    commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'frontdesk'"
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    spent = _processor(postmaster, buried=True) + sum(_processor(int(child)) for child in children)
    room, done = float(cluster.sql(size, "frontdesk")), float(cluster.sql(commits, "frontdesk"))
    return _Sample(time.monotonic(), _processor(web.pid), _processor(worker.pid), spent, room, done)


def _processor(pid: int, *, buried: bool = False) -> float:
    """Seconds of processor time so far. buried: and those of children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11 : 15 if buried else 13])) / _TICKS


def _look(cluster: Cluster, database: Database, number: int) -> float:
    """How long a worker takes to find that nothing is due at so many connections."""
    cluster.sql(_COPY.format(number=number), "frontdesk")
    cluster.sql("ANALYZE", "frontdesk")
    times = []
    with database.read() as session:
        for _ in range(5):
            now, began = database.now(session), time.perf_counter()
            ready(session, now)
            times.append(time.perf_counter() - began)
    return median(times)


def load() -> Costs:
    """What was measured last."""
    return Costs(**json.loads(FILE.read_text(encoding="utf-8")))


def main() -> None:
    """Measure and write it down."""
    rounded = {name: float(f"{value:.3g}") for name, value in asdict(measure()).items()}
    FILE.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    print(FILE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
