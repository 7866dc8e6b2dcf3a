"""Intake: all that it does for an enquiry, beside a bare app that does next to nothing, under the same server.

`python -m bench.intake` measures this part alone.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.bodies import enquiries, forms, spam
from bench.installation import (
    GENERATOR,
    Installation,
    fresh_database,
    on_cores,
    postgres,
    program,
    resident,
    scratch,
)
from bench.load import Generator, Load
from bench.report import Row, run_alone
from tests.programs import free_port

PART = "Intake"
CLIENTS = 32
ROUNDS = 3
FLOOD = 50_000  # or as many as there is time for
_FEW = 50.0  # honest enquiries per second beside the flood
_VALIDATING, _SQLITE, _POSTGRES = "bare, JSON and marshmallow", "Frontdesk, SQLite", "Frontdesk, PostgreSQL"
_BARE = {
    "bare, 202 only": ("nothing", ""),
    _VALIDATING: ("validating", ""),
    "bare, and one durable INSERT, SQLite": ("sqlite", "bare.sqlite3"),
    "bare, and one durable INSERT, PostgreSQL": ("postgres", "postgres"),
}
_LEAST = {_SQLITE: 0.5, _POSTGRES: 0.35}


@dataclass(frozen=True, slots=True)
class _Server:
    """One server that is up. request: makes what is sent to it."""

    name: str
    port: int
    pid: int
    generator: Generator


def measure(seconds: float, seed: int) -> Iterator[Row]:
    """Every server in every round, one after the other, so that all of them see the same machine."""
    with scratch() as folder, ExitStack() as stack, on_cores(GENERATOR):
        url = stack.enter_context(postgres(folder / "postgres"))
        servers = [*_bare(stack, folder, url, seed), *_ours(stack, folder, url, seed)]
        # Each round: every server at 32 clients, ours at three other numbers and open; a third is for the flood.
        each = seconds * 0.6 / (ROUNDS * (len(servers) + 2 * 5))
        yield _fsync(folder, each)
        rates = defaultdict(list)
        for _ in range(ROUNDS):
            for server in servers:
                rates[server.name].append(server.generator.closed(CLIENTS, each))
        yield from _rates(rates)
        yield from _other_loads(servers, rates, each)
        for server in servers:
            if server.name in _LEAST:
                yield from _burst(server)
        yield from _flood(next(one for one in servers if one.name == _SQLITE), seed, seconds * 0.3)


def _bare(stack: ExitStack, folder: Path, url: str, seed: int) -> Iterator[_Server]:
    for name, (kind, database) in _BARE.items():
        port = free_port()
        where = {"": "", "postgres": url.replace("+psycopg", "")}.get(database, str(folder / database))
        command = ("bench.bare", kind, "ours", str(port), *([where] if where else []))
        process = stack.enter_context(program(*command, port=port, log=folder / "bare.log"))
        yield _Server(name, port, process.pid, Generator(port, enquiries(f"{kind}{seed}")))


def _ours(stack: ExitStack, folder: Path, url: str, seed: int) -> Iterator[_Server]:
    for name, own in ((_SQLITE, ""), (_POSTGRES, fresh_database(url, "intake"))):
        installation = Installation(folder / name[-6:], own)
        process = stack.enter_context(installation.web(log_level="error"))
        yield _Server(name, installation.port, process.pid, Generator(installation.port, enquiries(f"ours{seed}")))


def _fsync(folder: Path, seconds: float) -> Row:
    """How often this disk makes four kilobytes durable."""
    rates = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(ROUNDS):
            number, began = 0, time.perf_counter()
            while time.perf_counter() - began < min(seconds, 1.0):
                file.write(b"x" * 4096)
                os.fdatasync(file.fileno())
                number += 1
            rates.append(number / (time.perf_counter() - began))
    return Row(PART, "the disk alone: 4 kB written and synced", "/s", rates)


def _rates(rates: dict[str, list[Load]]) -> Iterator[Row]:
    limit = [load.rate for load in rates[_VALIDATING]]
    for name, loads in rates.items():
        compared = [] if name == _VALIDATING else limit
        values = [load.rate for load in loads]
        yield Row(PART, f"{name}, {CLIENTS} clients", "/s", values, compared, _VALIDATING, least=_LEAST.get(name))
    for name in _LEAST:
        late = [load.percentile(0.99) for load in rates[name]]
        yield Row(PART, f"{name}, {CLIENTS} clients, p99", "ms", late, at_most=100)
        bad = [float(load.bad) for load in rates[name]]
        yield Row(PART, f"{name}, {CLIENTS} clients, not answered well", "", bad, at_most=0)


def _other_loads(servers: list[_Server], rates: dict[str, list[Load]], seconds: float) -> Iterator[Row]:
    for server in servers:
        if server.name not in _LEAST:
            continue
        for clients in (1, 8, 128):
            loads = [server.generator.closed(clients, seconds) for _ in range(ROUNDS)]
            late = max(load.percentile(0.99) for load in loads)
            values = [load.rate for load in loads]
            yield Row(PART, f"{server.name}, {clients} clients", "/s", values, note=f"p99 {late:.0f} ms at worst")
        due = 0.7 * sorted(load.rate for load in rates[server.name])[ROUNDS // 2]
        loads = [server.generator.open(due, seconds) for _ in range(ROUNDS)]
        late_when_due = [load.percentile(0.99) for load in loads]
        name = f"{server.name}, {due:.0f}/s whether answered or not, p99"
        yield Row(PART, name, "ms", late_when_due, at_most=100, note="70 % of its rate, from when it was due")
        plain = Generator(server.port, forms(f"form{server.pid}"))
        loads = [plain.closed(CLIENTS, seconds) for _ in range(ROUNDS)]
        yield Row(PART, f"{server.name}, the plain form, {CLIENTS} clients", "/s", [load.rate for load in loads])


def _burst(server: _Server) -> Iterator[Row]:
    """500 in one second, each on a connection of its own if need be."""
    loads = [server.generator.open(500, 1.0, clients=500) for _ in range(ROUNDS)]
    lost = [float(load.bad) for load in loads]
    yield Row(PART, f"{server.name}, 500 in one second, not answered well", "", lost, at_most=0)
    yield Row(PART, f"{server.name}, 500 in one second, p99", "ms", [load.percentile(0.99) for load in loads])


def _flood(server: _Server, seed: int, seconds: float) -> Iterator[Row]:
    """Robots that fill in the trap, each from an address of its own, and a few honest visitors among them."""
    before = resident(server.pid)
    robots = Generator(server.port, spam(f"spam{seed}"))
    number = min(FLOOD, int(robots.closed(CLIENTS, 1).rate * 0.8 * seconds))
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(robots.counted, number, CLIENTS)
        honest = []
        while not flood.done():
            honest.append(server.generator.open(_FEW, 1.0, clients=CLIENTS))
    load = flood.result()
    grown = (resident(server.pid) - before) / 2**20
    name = f"{number:,} spam posts"
    yield Row(PART, f"{name}, answered", "/s", [load.rate], note=f"{load.seconds:.0f} s; {load.bad} not answered well")
    yield Row(PART, f"{name}, memory of web grown by", "MB", [grown], at_most=50)
    turned_away = float(sum(one.bad for one in honest))
    yield Row(PART, f"{name}, honest visitors not let in", "", [turned_away], at_most=0)
    late = [one.percentile(0.99) for one in honest]
    yield Row(PART, f"{name}, honest visitors' p99", "ms", late, note=f"{_FEW:.0f}/s beside the flood")


if __name__ == "__main__":
    run_alone(measure)
