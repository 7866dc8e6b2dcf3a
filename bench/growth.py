"""Growth: the same pages and the same statements of the loop, in a small store and in a large one.

`python -m bench.growth` measures this part alone. `python -m bench.growth FOLDER...` measures stores that are there
already (`make demo-data`), the smallest first, and writes bench/growth.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import requests
from sqlalchemy import delete, func, select, update

from bench.installation import resident, scratch
from bench.machine import facts
from bench.report import Row, run_alone
from leads.commands.demo_data import prepare
from leads.demo.data import fill
from leads.store import outbox
from leads.store.models import Connection, Lead, Site, User
from leads.store.outbox import Health, Outcome
from leads.store.queries.signs import signs
from leads.store.retention import forget_slice
from leads.store.schema import open_vault, upgrade
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from tests.factory import send_in_groups
from tests.programs import Programs

PART = "Growth"
PAGE = Path(__file__).with_name("growth.md")
SMALL = 10_000
_A_SECOND = 500  # leads that are invented in one second, with room to spare
_TIMES = 15  # each is done; the median counts
_TOKEN = "metrics-token-for-the-bench"  # noqa: S105 - it opens nothing
_MUCH, _SLOW, _HEAVY = 1.5, 100.0, 200.0  # times; milliseconds; MB

_HEAD = """# A store that grows

Written by `python -m bench.growth FOLDER...` on stores that `frontdesk demo-data` and copies of its rows have filled:
3,000 enquiries on each day, so that a larger store reaches further back; ten websites; SQLite. The median of 15 times
each, pages over HTTP from a program that runs.
"""

Times = Mapping[str, float]  # what → milliseconds


def measure(seconds: float, seed: int) -> Iterator[Row]:
    """Ten thousand leads, and as many as can be invented in half of the time."""
    large = max(int(seconds * 0.5 * _A_SECOND), 2 * SMALL)
    with scratch() as folder:
        found = []
        for number in (SMALL, large):
            store = folder / str(number)
            _invent(store, number, seed)
            found.append(_measured(store))
    (small, _), (big, memory) = found
    for what, late in big.items():
        times = late / small[what]
        note = f"{small[what]:.1f} ms with {SMALL:,}, {late:.1f} ms with {large:,}"
        yield Row(PART, what, "times", [times], at_most=_MUCH, note=note)
    for what, size in memory.items():
        yield Row(PART, f"{what}, resident", "MB", [size], at_most=_HEAVY, note=f"with {large:,}")


def _invent(folder: Path, number: int, seed: int) -> None:
    folder.mkdir()
    database = Database(f"sqlite:///{folder / 'frontdesk.sqlite3'}")
    upgrade(database)
    vault = open_vault(database, folder / "keys.json")
    prepare(database, Setup(database, vault, Limits(120, 20), by="bench"))
    for _ in fill(database, vault, number, seed):
        pass
    database.close()


def _measured(folder: Path) -> tuple[Times, Times]:
    """Milliseconds of each page and statement, and the resident MB of each program afterwards."""
    url = f"sqlite:///{folder / 'frontdesk.sqlite3'}"
    _without_users(url)
    with Programs(folder, url, log_level="error", metrics_token=_TOKEN) as programs:
        web, worker = programs.web(), programs.worker()
        times = {name: _median(do) for name, do in _pages(programs).items()}
        memory = {"web": resident(web.pid) / 2**20, "worker": resident(worker.pid) / 2**20}
        worker.terminate()
        worker.wait(20)
        return {**times, **_statements(programs.database, programs.vault)}, memory


def _without_users(url: str) -> None:
    """So that somebody new can sign in."""
    database = Database(url)
    with database.write() as session:
        session.execute(delete(User))
    database.close()


def _median(do: Callable[[], object]) -> float:
    spent = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        do()
        spent.append(time.perf_counter() - began)
    return median(spent) * 1000


def _pages(programs: Programs) -> dict[str, Callable[[], object]]:
    with programs.database.read() as session:
        lead = session.scalars(select(Lead).order_by(Lead.last_event_at.desc()).limit(1)).one()
        middle = session.scalars(select(Lead).order_by(Lead.last_event_at).limit(1)).one()
        connection = session.scalars(select(Connection.id).limit(1)).one()
        site = session.scalars(select(Site.key).limit(1)).one()
    desk, visitor = programs.desk(), requests.Session()
    visitor.trust_env = False

    def page(path: str) -> Callable[[], object]:
        return lambda: desk.get(f"{programs.url}{path}", timeout=60).raise_for_status()

    def post() -> None:
        mark = str(uuid4())
        body = {"site": site, "id": mark, "first_name": "Maria", "email": f"{mark}@example.com", "consent": True}
        visitor.post(f"{programs.url}/api/v1/consultations", json=body, timeout=60).raise_for_status()

    def metrics() -> None:
        head = {"Authorization": f"Bearer {_TOKEN}"}
        visitor.get(f"{programs.url}/metrics", headers=head, timeout=60).raise_for_status()

    return {
        "home page": page("/desk/"),
        "lead page, the newest": page(f"/desk/leads/{lead.id}"),
        "lead page, the oldest": page(f"/desk/leads/{middle.id}"),
        "list of leads": page("/desk/leads"),
        "list of those that need somebody": page("/desk/leads?state=needs_you"),
        "search by reference code": page(f"/desk/leads?q={lead.code}"),
        "search by e-mail": page("/desk/leads?q=person5%40example.com"),
        "search by name": page("/desk/leads?q=Maria"),
        "connection page": page(f"/desk/connections/{connection}"),
        "daily balance": page("/desk/balance"),
        "metrics": metrics,
        "an enquiry comes in": post,
    }


def _statements(database: Database, vault: Vault) -> Times:
    """Of the loop, the watch and retention, each as the worker calls it."""
    with database.write() as session:
        connection = session.scalars(select(Connection).limit(1)).one()
        session.execute(update(Connection).where(Connection.id == connection.id).values(state="working"))
        site = session.get_one(Site, connection.site_id)
    spent: dict[str, list[float]] = {}

    def timed(name: str, do: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = do()
        spent.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return answer

    for _ in range(_TIMES):
        send_in_groups(database, vault, site, 1)
        with database.read() as session:
            now = database.now(session)
            timed("look for what is due", partial(outbox.ready, session, now))
            timed("the watch looks", partial(signs, session, now))
        lane = outbox.lease(database, connection.id, "bench", 60)
        if lane is None:
            raise RuntimeError("somebody else has the lane")
        claimed = timed("claim", partial(outbox.claim, database, lane, 50, 60))
        outcomes = [_sent(one) for one in claimed]
        timed("finish", partial(outbox.finish, database, lane, outcomes, Health("working", 0, 0)))
        timed("look for what to read back", partial(outbox.to_check, database, lane, 50))
        outbox.release(database, lane)
        timed("retention, when nobody is old", partial(forget_slice, database, now - timedelta(days=36500)))
    return {name: median(some) for name, some in spent.items()}


def _sent(one: outbox.Claimed) -> Outcome:
    at = one.delivery.due_at
    return Outcome(one, "confirmed", at, True, "sent", at, 5, remote_id=str(uuid4()))


def _write(folders: list[Path]) -> None:
    """Measure stores that are there, and write the page."""
    found = {folder: _measured(folder) for folder in folders}
    sizes = [_leads(folder) for folder in folders]
    smallest = found[folders[0]][0]
    lines = [["", *(f"{size:,} leads" for size in sizes), "times"], ["---", *["---:"] * (len(sizes) + 1)]]
    for what in smallest:
        each = [times[what] for times, _ in found.values()]
        lines.append([what, *(f"{late:.1f} ms" for late in each), f"{each[-1] / each[0]:.2f}"])
    for what in ("web", "worker"):
        each = [memory[what] for _, memory in found.values()]
        lines.append([f"{what}, resident", *(f"{size:.0f} MB" for size in each), ""])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    machine = "\n".join(f"| {name} | {value} |" for name, value in facts().items())
    PAGE.write_text(f"{_HEAD}\n| | |\n|---|---|\n{machine}\n\n{table}\n", encoding="utf-8")
    print(table)


def _leads(folder: Path) -> int:
    database = Database(f"sqlite:///{folder / 'frontdesk.sqlite3'}")
    with database.read() as session:
        number = session.scalar(select(func.count()).select_from(Lead)) or 0
    database.close()
    return number


if __name__ == "__main__":
    if sys.argv[1:]:
        _write([Path(name) for name in sys.argv[1:]])
    else:
        run_alone(measure)
