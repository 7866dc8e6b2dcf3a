"""The faults, one after the other, while visitors come. Each tells when it began and from when recovery counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from bench.hosts.database import Server
from bench.hosts.island import Island
from bench.hosts.machines import LEASE, ROOT, Fleet
from bench.hosts.network import Host

_ONE = 1  # a lane makes one call at a time
_HELD = "SELECT lease_worker FROM connection WHERE lease_until > now()"


@dataclass(slots=True)
class Fault:
    """began, counts_from, over: seconds since 1970; recovery counts from `counts_from`, and what came until `over` is
    this fault's. lost: the address whose own work does not count as recovery. healed_by: what made it well. held_up:
    how many calls to a CRM it delays on their way, so that they come beside those whose turn it is. paced: whether all
    workers keep the pace as this version does."""

    name: str
    healed_by: str
    began: float = field(default_factory=time.time)
    counts_from: float = 0.0
    over: float = 0.0
    lost: str = ""
    held_up: int = 0
    paced: bool = True

    def __post_init__(self) -> None:
        self.counts_from = self.counts_from or self.began


class Faults:
    """What is done to the fleet. dice: which host it hits. say: one line for the screen."""

    def __init__(self, fleet: Fleet, servers: list[Server], dice: Random, say: Callable[[str], None]) -> None:
        self._fleet, self._servers, self._dice, self._say = fleet, servers, dice, say
        self.island = Island(fleet, servers[0])

    def run(self) -> Iterator[Fault]:
        for fault in (
            self._rolling_upgrade,
            self._nothing,
            self._web_cut,
            self._worker_cut,
            self._worker_killed,
            self._crm_cut,
            self._primary_lost,
            self._primary_returns,
        ):
            one = fault()
            one.over = time.time()
            self._say(f"{one.name} ({one.over - one.began:.0f} s)")
            yield one

    def _nothing(self) -> Fault:
        fault = Fault("none, for comparison", "–")
        time.sleep(8)
        return fault

    def _rolling_upgrade(self) -> Fault:
        """The tables first, then one program after the other: the version before works on the new tables."""
        by = "each ends in order and is started again"
        fault = Fault("rolling upgrade of two webs and three workers", by, paced=False)
        time.sleep(4)
        self._fleet.version = ROOT
        self._fleet.run(self._fleet.webs[0], "db", "upgrade")
        for host in [*self._fleet.webs, *self._fleet.workers]:
            self._fleet.stop(host)
            self._fleet.start(host)
        time.sleep(3)
        return fault

    def _web_cut(self) -> Fault:
        host = self._dice.choice(self._fleet.webs)
        fault = Fault("a web host cut off for 8 s", "the other one", lost=host.address)
        _cut(host, 8)
        time.sleep(6)
        return fault

    def _worker_cut(self) -> Fault:
        """It keeps running with what it holds, a zombie, until after its lease."""
        host = self._busiest_worker()
        seconds = LEASE + 4
        fault = Fault(
            f"a worker host cut off for {seconds:.0f} s",
            f"its lease of {LEASE:.0f} s ends",
            lost=host.address,
            held_up=_ONE,
        )
        _cut(host, seconds)
        time.sleep(6)
        return fault

    def _worker_killed(self) -> Fault:
        host = self._busiest_worker()
        fault = Fault("a worker host killed", f"its lease of {LEASE:.0f} s ends", lost=host.address)
        self._fleet.lose_power(host)
        time.sleep(LEASE + 4)
        self._fleet.start(host)
        return fault

    def _busiest_worker(self) -> Host:
        """The one that has most connections in its hands: the loss of an idle one would be felt by nobody."""
        while not (names := self._servers[0].sql(_HELD, "frontdesk").split()):
            time.sleep(0.02)
        hosts = [host for name in names if (host := self._fleet.host_of(name))]
        return max(hosts, key=hosts.count, default=self._dice.choice(self._fleet.workers))

    def _crm_cut(self) -> Fault:
        fault = Fault("the CRM cut off for 10 s", "the cable is back", held_up=_ONE)
        _cut(self._fleet.hosts["crm"], 10)
        fault.counts_from = time.time()
        time.sleep(16)
        return fault

    def _primary_lost(self) -> Fault:
        """Whoever promotes (Patroni, a cloud, a person) takes time. One machine alone acknowledges nothing."""
        primary, standby, reserve = self._servers
        self.island.settle()
        fault = Fault("the database's primary cut off", "promotion after 5 s, and a new standby for the new primary")
        primary.host.cut()
        self.island.visit("before the promotion")
        time.sleep(max(fault.began + 5 - time.time(), 0))
        standby.promote()
        reserve.follow(standby)
        reserve.start()
        standby.until_in_step()
        fault.counts_from = time.time()
        primary.crash()
        primary.start()
        self.island.visit("after a crash of the cut-off primary")
        time.sleep(6)
        return fault

    def _primary_returns(self) -> Fault:
        """The worst that an operator can do: the network is back, and the old primary still believes it is the one."""
        primary, standby, _ = self._servers
        fault = Fault(
            "the old primary back on the network, still a primary, for 6 s", "it is stopped and made a standby"
        )
        self.island.leave()
        primary.host.restore()
        time.sleep(6)
        primary.stop("immediate")
        primary.follow(standby)
        primary.start()
        fault.counts_from = time.time()
        time.sleep(6)
        return fault


def _cut(host: Host, seconds: float) -> None:
    host.cut()
    time.sleep(seconds)
    host.restore()
