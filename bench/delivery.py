"""Delivery: how fast a backlog drains beside a bare loop that posts the same batches, and how well a pace is kept.

`python -m bench.delivery` measures this part alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
from sqlalchemy import exists, select, update

from bench.installation import CORES, GENERATOR, SERVERS, fresh_database, on_cores, postgres, scratch
from bench.report import Row, run_alone
from leads.store import outbox
from leads.store.models import Connection, Delivery, Site, new_id
from leads.store.outbox import Health, Outcome
from leads.store.schema import upgrade
from leads.store.session import Database
from tests.factory import send_in_groups
from tests.programs import KEY, Process, Programs, frozen, wait_for
from tests.statements import statements

PART = "Delivery"
BATCH = 50  # what the connector of the sandbox CRM takes at once
ROUNDS = 5
PACE = 20.0  # calls a second
_CALLS = 2  # per batch: the people, and what they asked for
_SECOND = 1.0


def measure(seconds: float, _seed: int) -> Iterator[Row]:
    """Each database in turn; the bare loop right before and right after each drain."""
    with scratch() as folder, ExitStack() as stack:
        url = fresh_database(stack.enter_context(postgres(folder / "postgres", set(CORES))), "delivery")
        for name, own in (("SQLite", f"sqlite:///{folder / 'delivery.sqlite3'}"), ("PostgreSQL", url)):
            upgrade(Database(own))
            with _programs(folder / name, own) as (programs, crm):
                yield from _drain(programs, crm, name, number=int(seconds * 84) // BATCH * BATCH)
                yield from _statements(programs, name)
                for workers in (1, 3):
                    yield from _pace(programs, name, workers, seconds / 12)


@contextmanager
def _programs(folder: Path, url: str) -> Iterator[tuple[Programs, Process]]:
    """Ours, and the sandbox CRM among them."""
    folder.mkdir()
    with Programs(folder, url, log_level="error", lease_seconds="120", crm_timeout="20") as programs:
        crm = programs.sandbox()
        programs.connect()
        yield programs, crm


def _drain(programs: Programs, crm: Process, name: str, number: int) -> Iterator[Row]:
    """Sent, and then read back: what is to be sent goes first.

    Whoever calls the CRM has the other cores, and we look on from its own: left to the scheduler, whoever is called
    comes to sit on the caller's core, and worker and CRM wait for each other while the other core is idle."""
    ours, proof, bare = [], [], []
    with _moved(crm, GENERATOR), on_cores(GENERATOR):
        with on_cores(SERVERS):
            worker = programs.worker()
        time.sleep(2)
        bare.append(_bare_loop(programs.crm, number))
        for _ in range(ROUNDS):
            with frozen(programs.database, [worker]):
                send_in_groups(programs.database, programs.vault, _site(programs.database), number)
            began = time.perf_counter()
            wait_for(lambda: not _waiting(programs.database), 120, every=0.05)
            ours.append(number / (time.perf_counter() - began))
            began = time.perf_counter()
            wait_for(lambda: not _any(programs.database, Delivery.state == "sent"), 120, every=0.05)
            proof.append(number / (time.perf_counter() - began))
            bare.append(_bare_loop(programs.crm, number))
        worker.terminate()
        worker.wait(20)
    limits = [(before + after) / 2 for before, after in pairwise(bare)]
    limit = "a bare loop of requests"
    yield Row(PART, f"{name}, a backlog of {number:,}, no pace", "enquiries/s", ours, limits, limit, least=0.7)
    yield Row(PART, f"{name}, all of it read back", "enquiries/s", proof, limits, limit)


@contextmanager
def _moved(process: Process, cores: set[int]) -> Iterator[None]:
    """The threads that it begins, as for each call, begin there."""
    os.sched_setaffinity(process.pid, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(process.pid, set(CORES))


def _bare_loop(crm: str, number: int) -> float:
    """The same calls with the same contents, one after the other on one connection. Returns enquiries per second."""
    batches = [[_person() for _ in range(BATCH)] for _ in range(number // BATCH)]
    with on_cores(SERVERS), requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {KEY}"
        began = time.perf_counter()
        for batch in batches:
            made = session.post(f"{crm}/v1/contacts/batch/upsert", json={"inputs": batch}, timeout=20).json()["results"]
            activities = [_activity(one["id"]) for one in made]
            session.post(
                f"{crm}/v1/activities/batch/upsert", json={"inputs": activities}, timeout=20
            ).raise_for_status()
        return number / (time.perf_counter() - began)


def _person() -> dict[str, Any]:
    """What the CRM is told of one of `send_in_groups`."""
    details = {"first_name": "Maria", "last_name": "Example", "email": f"maria.{new_id()}@example.com"}
    return {"external_id": str(new_id()), "properties": details | {"reference": "K7Q-2MX"}}


def _activity(contact: str) -> dict[str, Any]:
    """As above."""
    about = {"preferred_time": "weekday mornings", "reference": "K7Q-2MX", "site": "Sunrise", "source": "website"}
    return {
        "external_id": str(new_id()),
        "contact_id": contact,
        "kind": "consultation_request",
        "occurred_at": "2026-01-01T00:00:00.123456+00:00",
        "title": "Consultation request",
        "properties": about | {"consent": "given, wording 1"},
    }


def _statements(programs: Programs, name: str) -> Iterator[Row]:
    """What is sent to the database for one claim and for one finish, of one enquiry and of a full batch."""
    claims, finishes = zip(*(_one_batch(programs, size) for size in (1, BATCH)), strict=True)
    for what, (one, many) in {"claim": claims, "finish": finishes}.items():
        note = f"{one:.0f} for one enquiry; begin and commit not counted"
        yield Row(PART, f"{name}, statements to {what} {BATCH}", "", [many], at_most=one, note=note)


def _one_batch(programs: Programs, size: int) -> tuple[int, int]:
    database = programs.database
    send_in_groups(database, programs.vault, _site(database), size)
    with database.read() as session:
        connection = session.scalars(select(Connection)).one()
    lane = outbox.lease(database, connection.id, "bench", 60)
    if lane is None:
        raise RuntimeError("somebody else has the lane")
    with statements(database) as to_claim:
        claimed = outbox.claim(database, lane, BATCH, 60)
    outcomes = [
        Outcome(one, "confirmed", one.delivery.due_at, True, "sent", one.delivery.due_at, 5, remote_id=str(uuid4()))
        for one in claimed
    ]
    well = Health("working", 0, 0)
    with statements(database) as to_finish:
        outbox.finish(database, lane, outcomes, well)
    outbox.release(database, lane)
    return len(to_claim), len(to_finish)


def _pace(programs: Programs, name: str, workers: int, seconds: float) -> Iterator[Row]:
    """A backlog that lasts for so many seconds at the pace. Calls are counted by the CRM."""
    database = programs.database
    with database.write() as session:
        session.execute(update(Connection).values(pace=PACE, pace_at=None))
    number = int(PACE * seconds / _CALLS) * BATCH
    running = [programs.worker() for _ in range(workers)]
    time.sleep(2)
    with frozen(database, running):
        send_in_groups(database, programs.vault, _site(database), number)
        since = time.time()
    wait_for(lambda: not _waiting(database), seconds * 3 + 30)
    until = time.time()
    for process in running:
        process.terminate()
        process.wait(20)
    calls = [one["at"] for one in requests.get(f"{programs.crm}/calls.json", timeout=20).json()["recent"]]
    calls = sorted(at for at in calls if since <= at <= until)
    whole = int(calls[-1] - calls[0])  # seconds: calls come unevenly within one
    kept = sum(at < calls[0] + whole for at in calls) / whole
    most = max(sum(at <= other < at + _SECOND for other in calls) for at in calls)
    by = f"{name}, {workers} worker{'s' if workers > 1 else ''}"
    yield Row(PART, f"{by}, a pace of {PACE:.0f}", "calls/s", [kept], [PACE], "the pace", least=0.95)
    yield Row(PART, f"{by}, most calls within any second", "", [float(most)], at_most=PACE, note=f"{len(calls)} calls")
    with database.write() as session:
        session.execute(update(Connection).values(pace=None, pace_at=None))


def _site(database: Database) -> Site:
    with database.read() as session:
        return session.scalars(select(Site)).one()


def _waiting(database: Database) -> bool:
    return _any(database, Delivery.state.in_(("waiting", "sending")))


def _any(database: Database, which: Any) -> bool:
    """To count them all, twenty times a second, would take part of what is measured."""
    with database.read() as session:
        return bool(session.scalar(select(exists().where(which))))


if __name__ == "__main__":
    run_alone(measure)
