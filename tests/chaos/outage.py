"""A CRM that is down for three days, in virtual time, with two workers and 10,000 enquiries that wait.

All must arrive once afterwards, never above the agreed pace; meanwhile at most one probe at a time may be under way,
with one enquiry. The sockets are real.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from uuid import UUID

from sqlalchemy import func, select, update

from leads.store.models import Connection, Delivery
from leads.store.schema import upgrade
from leads.store.session import Database
from leads.sync.deliver import run_lane
from tests.chaos.plan import Figures, Plan
from tests.chaos.scripts import ALWAYS
from tests.chaos.strange_crm import KEY, Call, Crm, Reply, on_sockets
from tests.chaos.virtual import Clinic, Clock, virtual_time
from tests.chaos.world import fresh_database

LEADS = 10_000
PACE = 5.0  # calls per second that the CRM allows
_DAYS = timedelta(days=3)
_DRAINED = timedelta(minutes=30)
_NOBODY = "nobody@example.com"


def run(plan: Plan) -> Figures:
    """All on one database, by chance, and a tenth on the other; a short run takes only one."""
    figures, kinds = Figures(), plan.dice("database").sample(("sqlite", "postgres"), plan.count(2))
    for kind, leads in zip(kinds, (LEADS, LEADS // 10), strict=False):
        with ExitStack() as stack:
            (folder := plan.folder / kind).mkdir()
            url = fresh_database(stack, folder, kind)
            database = Database(url)
            upgrade(database)
            database.close()
            figures.take(play(url, folder, plan.count(leads, 100), lambda text, kind=kind: plan.say(f"{kind}: {text}")))
    return figures


def play(url: str, folder: Path, leads: int, say: Callable[[str], None] = lambda _: None) -> Figures:
    """The whole outage on an empty database that has all tables. say: one line of progress."""
    clock = Clock()
    down = Down()
    crm = Crm("down", down, ALWAYS, clock, Random(0), poison=_NOBODY)
    with virtual_time(clock), on_sockets({"crm": crm}) as address:
        outage = Outage(url, folder, clock, crm, f"{address}/crm")
        outage.take(leads // 2)
        outage.tick()  # it breaks off while they are being sent
        outage.take(leads - leads // 2)
        outage.settle_down()
        say(f"{leads} enquiries wait")
        outage.last(_DAYS)
        say(f"{len(crm.calls)} probes in {_DAYS.days} days")
        outage.end(down)
        outage.compare(leads, down)
        outage.database.close()
    return outage.figures


class Down:
    """The script of a CRM that is down. records: how many each call was about. most: calls at the same moment."""

    def __init__(self) -> None:
        self.records: list[tuple[datetime, int]] = []
        self.most, self._under_way, self._guard = 0, 0, threading.Lock()

    def __call__(self, call: Call) -> Reply:
        with self._guard:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self.records.append((call.crm.clock(), len(call.json().get("inputs", ()))))
        time.sleep(0.002)  # so that another call at the same moment would be seen
        with self._guard:
            self._under_way -= 1
        return Reply(503)


class Outage(Clinic):
    """A clinic with two workers and one CRM."""

    def __init__(self, url: str, folder: Path, clock: Clock, crm: Crm, address: str) -> None:
        super().__init__(url, folder, clock, timeout=30)
        self.crm, self.figures = crm, Figures()
        self.connection_id = self.connect("sandbox", "Sandbox CRM", {"url": address, "key": KEY})
        with self.database.write() as session:
            session.execute(update(Connection).values(pace=PACE))
        self.workers = [replace(self.context, worker=name) for name in ("one", "other")]
        self._taken = 0

    def take(self, number: int) -> None:
        """So many enquiries, each by somebody else."""
        for _ in range(number):
            self.send(self._taken)
            self._taken += 1

    def tick(self) -> list[UUID]:
        """Both workers' clocks tick at the same moment."""
        ready = self.ready()
        lanes = [threading.Thread(target=run_lane, args=(worker, one)) for one in ready for worker in self.workers]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        return ready

    def last(self, whole: timedelta) -> None:
        """Some probes each made when it is due, then the rest of the time in larger steps."""
        ends = self.clock() + whole
        for _ in range(40):
            self._go_to_next_probe()
        while self.clock() < ends:
            self.clock.now += timedelta(minutes=15)
            self.tick()
        down = self.connection(self.connection_id)
        self.figures.must((down.state, down.code) == ("failing", "unavailable"), f"it is out of use: {down.state}")
        states = self._states()
        self.figures.must(states == {"waiting": self._taken}, f"all wait: {states}")

    def _go_to_next_probe(self) -> None:
        """A second before nobody may call."""
        due, calls = self.connection(self.connection_id).probe_at or self.clock(), len(self.crm.calls)
        self.clock.now = max(self.clock.now, due - timedelta(seconds=1))
        if self.clock() < due:
            self.tick()
            self.figures.must(len(self.crm.calls) == calls, "nobody calls before the probe is due")
        self.clock.now = max(self.clock.now, due)
        self.tick()

    def end(self, down: Down) -> None:
        """The CRM is well again."""
        self.figures.must(down.most == 1, f"one call at a time: {down.most}")
        self.crm.left = 0
        self.figures.add("probes", len(self.crm.calls))
        self.crm.calls.clear()
        begins = self.clock()
        while self._states() != {"confirmed": self._taken} and self.clock() - begins < _DRAINED:
            self.clock.now += timedelta(seconds=1)
            self.tick()
        self.figures.add("drained_in", round((self.clock() - begins).total_seconds()))

    def compare(self, leads: int, down: Down) -> None:
        """What was taken, what arrived and when there were calls."""
        states, kept = self._states(), self.crm.house.store.count()
        self.figures.add("leads", leads)
        self.figures.add("calls", len(self.crm.calls))
        self.figures.must(states == {"confirmed": leads}, f"all are confirmed: {states}")
        self.figures.must(kept == (leads, leads), f"each person and enquiry is there once: {kept}")
        events = Counter(one["external_id"] for contact in self.crm.contacts() for one in contact["activities"])
        self.figures.must(len(events) == leads and set(events.values()) == {1}, "each enquiry is there once")
        with self.database.read() as session:
            attempts = session.scalar(select(func.max(Delivery.attempts)))
        self.figures.must(attempts <= 6, f"an outage costs the enquiries no attempts: {attempts}")
        self._must_keep_the_pace()
        self._must_probe_singly(down)

    def _must_keep_the_pace(self) -> None:
        gap = min(later - earlier for earlier, later in pairwise(self.crm.calls))
        self.figures.must(gap >= timedelta(seconds=1 / PACE) - timedelta(milliseconds=1), f"two calls within {gap}")
        seconds = Counter(call.replace(microsecond=0) for call in self.crm.calls)
        self.figures.add("calls_a_second_most", max(seconds.values()))
        self.figures.must(max(seconds.values()) <= PACE, f"{max(seconds.values())} calls within a second")

    def _must_probe_singly(self, down: Down) -> None:
        """From the fifth failure on the connection is out of use."""
        probes = down.records[5:]
        self.figures.must(all(records <= 1 for _, records in probes), "a probe takes one enquiry")
        waits = [later - earlier for (earlier, _), (later, _) in pairwise(probes)]
        self.figures.must(min(waits) >= timedelta(seconds=5), f"two probes within {min(waits)}")
        self.figures.must(min(waits[10:]) >= timedelta(seconds=60), f"two late probes within {min(waits[10:])}")

    def _states(self) -> dict[str, int]:
        with self.database.read() as session:
            counts = session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all()
        return {row.state: row[1] for row in counts}
