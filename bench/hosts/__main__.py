"""`python -m bench.hosts`: Frontdesk on ten hosts, made of network namespaces, and what becomes of it when they fail.

Environment: SEED (which hosts are hit; a new one each time). Writes bench/hosts.md. Exit code 1 when an invariant
breaks, 2 where network namespaces cannot be made.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from bench.hosts.database import Server, url_of
from bench.hosts.faults import Faults
from bench.hosts.judge import Recovery, Verdict, judge, judge_pace, read_books, recoveries, wait_until_delivered
from bench.hosts.machines import PACE, ROOT, SITES, Fleet, previous_version
from bench.hosts.network import missing, network
from bench.hosts.report import page, table
from bench.hosts.visitors import Visitors
from tests.asked import seed as a_seed
from tests.chaos.postgres import Postgres

HOSTS = {"web1": 11, "web2": 12, "worker1": 21, "worker2": 22, "worker3": 23}
DATABASES = {"db1": 31, "db2": 32, "db3": 33}
OTHERS = {"crm": 41, "outside": 51}
RATE = 12.0  # visitors per second
_THANKED_WITHIN, _DELIVERED_WITHIN = 30.0, 90.0  # seconds after the last fault


def main() -> int:
    """Run it once. Returns the exit code."""
    if reason := missing():
        print(reason, file=sys.stderr)
        return 2
    seed = a_seed()
    print(f"SEED={seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    began = time.monotonic()
    with ExitStack() as stack:
        felt, verdict = _run(stack, folder, Random(seed))
    verdict.numbers["seconds of the whole run"] = round(time.monotonic() - began)
    print(table(felt))
    (ROOT / "bench" / "hosts.md").write_text(page(seed, felt, verdict), encoding="utf-8")
    for sentence in verdict.broken:
        print(f"BROKEN {sentence}")
    if verdict.broken:
        print(f"What the programs have logged is kept in {folder}.")
    else:
        shutil.rmtree(folder)
    return 1 if verdict.broken else 0


def _run(stack: ExitStack, folder: Path, dice: Random) -> tuple[list[Recovery], Verdict]:
    hosts = stack.enter_context(network(HOSTS | DATABASES | OTHERS))
    hosts["outside"].enter()
    postgres = stack.enter_context(Postgres())
    servers = [postgres.keep(Server(postgres.base, hosts[name])) for name in DATABASES]
    _start_databases(*servers)
    old = previous_version(folder / "previous")
    fleet = Fleet(hosts, folder, url_of(servers), old or ROOT)
    fleet.start_crm()
    fleet.install()
    servers[0].sql(f"UPDATE connection SET pace = {PACE}", "frontdesk")  # noqa: S608 - a number of ours
    for host in [*fleet.webs, *fleet.workers]:
        fleet.start(host)
    _say("all hosts are up")
    visitors = Visitors(hosts["outside"], [fleet.url(host) for host in fleet.webs], SITES, RATE, dice)
    visitors.start()
    faults = Faults(fleet, servers, dice, _say)
    suffered = list(faults.run())
    unthanked = visitors.finish(_THANKED_WITHIN)
    drained = wait_until_delivered(fleet, visitors.thanks, _DELIVERED_WITHIN)
    books = read_books(fleet)
    verdict = judge(visitors.thanks, books)
    judge_pace(verdict, suffered, books)
    verdict.must_be_none("visitors never thanked", unthanked)
    verdict.must_be_none("thanked by the cut-off primary", len(faults.island.thanked))
    verdict.must_be_none("programs that ended by themselves", len(fleet.ended()))
    verdict.numbers["posts that failed and were sent again"] = visitors.failed
    verdict.numbers["posts to the cut-off primary"] = faults.island.posts
    verdict.numbers["commits that waited there and were acknowledged to nobody"] = faults.island.waiting
    verdict.numbers["seconds until the last enquiry was in the CRM, after the last visitor"] = round(drained)
    if not faults.island.waiting:
        verdict.broken.append("no commit waited on the cut-off primary: the run proves nothing")
    return recoveries(suffered, visitors.thanks, books), verdict


def _start_databases(primary: Server, standby: Server, _reserve: Server) -> None:
    primary.init()
    primary.start()
    primary.sql("CREATE DATABASE frontdesk")
    standby.follow(primary)
    standby.start()
    primary.wait_for_each_other()


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
