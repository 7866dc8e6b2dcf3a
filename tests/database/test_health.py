"""A connection's health: it opens on repeated failure, is probed by one, and closes by itself."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from integrations.core.base import Finding, Item, Pushed, Result
from integrations.core.errors import Misconfigured, Throttled, TryLater
from leads.store.clock import heartbeat
from leads.store.keyfile import add_key, seal_with
from leads.store.models import Connection, Event
from leads.store.session import Database
from leads.store.vault import UnknownKeyError, Vault
from leads.sync.connect import Context, open_connector
from leads.sync.deliver import run_lane
from leads.sync.pace import wait_turn
from tests.database.loop import Loop
from tests.factory import make_connection, make_site, send
from tests.fakes import FakeCrm

DOWN = TryLater("unavailable", "The CRM is not working.")


def fail(loop: Loop, times: int) -> None:
    """The CRM is down until it is out of use."""
    loop.crm.answers = [DOWN] * times
    for _ in range(times):
        loop.tick(hours=3)


def test_it_opens_after_repeated_failure_and_is_probed_by_one(loop: Loop) -> None:
    for number in range(30):
        loop.send(f"P{number}")
    sizes: list[int] = []

    def down(batch: Any) -> Any:
        sizes.append(len(batch))
        raise DOWN

    loop.crm.answers = [down] * 20
    for _ in range(8):
        loop.tick(minutes=10)
    assert loop.connection().state == "failing"
    assert sizes[-3:] == [1, 1, 1]
    loop.crm.answers = []
    loop.tick(minutes=1)
    assert loop.connection().state == "working"
    assert len(loop.crm.written) == 30, "the rest goes as soon as the probe has arrived"


def test_at_a_quiet_clinic_it_is_known_to_be_down_after_a_minute_and_what_waits_goes_a_minute_after_it_is_back(
    loop: Loop,
) -> None:
    def seconds_until(done: Callable[[], bool]) -> int:
        for second in range(600):
            if done():
                return second
            loop.tick(seconds=1)
        raise AssertionError

    loop.crm.answers = [DOWN] * 600
    loop.crm.findings = [Finding(False, "Down.")]
    loop.send()
    assert seconds_until(lambda: loop.connection().state == "failing") <= 80
    loop.tick(seconds=300)
    loop.crm.answers, loop.crm.findings = [], [Finding(True, "Well.")]
    assert seconds_until(lambda: loop.row().state == "confirmed") <= 61


def test_a_wrong_key_opens_at_once_and_costs_no_attempt(loop: Loop) -> None:
    loop.crm.answers = [Misconfigured("bad_key", "The CRM does not accept the key.")] * 3
    loop.send()
    for _ in range(3):
        loop.tick(minutes=10)
    assert (loop.connection().state, loop.connection().code) == ("failing", "bad_key")
    assert (loop.row().state, loop.row().attempts) == ("waiting", 0)
    loop.tick(minutes=10)
    assert (loop.row().state, loop.row().attempts) == ("confirmed", 1)


@pytest.mark.parametrize("code", ["no_database", "too_many_requests"])
def test_a_probe_that_has_to_wait_does_not_show_that_it_works(loop: Loop, code: str) -> None:
    wrong = Misconfigured("bad_key", "The CRM does not accept the key.")
    loop.crm.answers = [wrong, Throttled(code, "Not just now.", retry_after=30), wrong]
    loop.send()
    loop.tick()
    loop.tick(minutes=1)
    assert (loop.connection().state, loop.connection().code) == ("failing", "bad_key")
    assert not loop.tick(seconds=29)
    loop.tick(seconds=2)
    assert (loop.connection().state, loop.row().attempts) == ("failing", 0)
    loop.tick(minutes=10)
    assert (loop.connection().state, loop.row().state) == ("working", "confirmed")


def test_with_nothing_left_to_send_its_own_check_closes_it(loop: Loop) -> None:
    event_id = loop.send()
    fail(loop, 3)
    with loop.database.write() as session:
        session.merge(loop.row(event_id)).state = "handled"
    loop.crm.findings = [Finding(False, "The key lacks a right.")]
    loop.tick(minutes=1)
    assert (loop.connection().state, loop.connection().sentence) == ("failing", "The key lacks a right.")
    loop.crm.findings = [Finding(True, "Well.")]
    loop.tick(minutes=10)
    assert loop.connection().state == "working"
    assert loop.crm.checks == 2
    assert not loop.tick(minutes=10), "a connection that works is not asked for nothing"


def test_a_look_is_the_probe_when_only_looks_are_due(loop: Loop) -> None:
    loop.send()
    loop.tick()
    loop.set_connection(state="failing", failures=5, probes=1, probe_at=loop.clock())
    loop.crm.looked.clear()
    loop.night()
    assert (loop.connection().state, loop.connection().failures) == ("working", 0)
    assert len(loop.crm.looked) == 1
    assert loop.crm.checks == 0


def test_no_enquiry_is_the_probe_of_a_crm_that_cannot_be_asked(loop: Loop) -> None:
    loop.use(FakeCrm("C", readable=False))
    loop.send()
    fail(loop, 3)
    loop.crm.findings = [Finding(False, "Still down.")]
    loop.tick(minutes=1)
    assert (loop.crm.checks, loop.crm.written, loop.row().state) == (1, [], "waiting")
    loop.crm.findings = [Finding(True, "Well.")]
    loop.tick(minutes=10)
    assert (loop.connection().state, loop.row().state) == ("working", "sent")


def test_quiet_is_kept_as_long_as_the_crm_asks_also_by_looks(loop: Loop) -> None:
    loop.send("Ann")
    loop.tick()
    loop.crm.answers = [Throttled("busy", "Slow down.", retry_after=7200)]
    loop.crm.looked.clear()
    loop.clock.forward(hours=23)
    loop.send("Bob")
    loop.tick()
    assert not loop.tick(minutes=119)
    assert loop.crm.looked == []
    assert loop.tick(minutes=2)
    assert loop.connection().wait_until is None


def test_quiet_is_kept_also_by_what_tidies_up(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's record, which nothing needs any more, stays until the CRM may be called again."""
    erased: list[str] = []
    monkeypatch.setattr(loop.crm, "erase", erased.extend)
    loop.crm.batch_size = 1  # type: ignore[misc]  # of its kind for real connectors
    loop.send("Ann")
    send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")
    loop.crm.answers = [_by_person, _by_person]
    loop.tick()
    loop.send("Ann", visitor_id="v1")
    loop.send("Bob")
    loop.crm.answers = [_by_person, _by_person, Throttled("busy", "Slow down.", retry_after=60)]
    loop.tick()
    assert (loop.crm.answers, erased) == ([], [])
    loop.tick(seconds=61)
    assert len(erased) == 1


def _by_person(batch: Sequence[Item]) -> list[Result]:
    """A record for each lead, as CRMs have it."""
    return [Pushed(f"r-{item.lead_id}") for item in batch]


def _take_turns(url: str, connection_id: UUID, calls: int, rate: float, starts: Any) -> None:
    database = Database(url)
    starts.put(time.time())
    for _ in range(calls):
        wait_turn(database, connection_id, rate)
        starts.put(time.time())
    database.close()


@pytest.mark.timeout(180)
def test_the_pace_is_shared_by_all_workers(database: Database, database_url: str, vault: Vault) -> None:
    rate, calls, workers = 20.0, 10, 2
    connection: Connection = make_connection(database, vault, make_site(database), pace=rate)
    spawn = multiprocessing.get_context("spawn")
    starts = spawn.Queue()
    processes = [
        spawn.Process(target=_take_turns, args=(database_url, connection.id, calls, rate, starts))
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    moments = sorted(starts.get(timeout=150) for _ in range((calls + 1) * workers))
    for process in processes:
        process.join()
    took = timedelta(seconds=moments[-1] - moments[0])
    assert took >= timedelta(seconds=(calls * workers - 1) / rate) * 0.9, "two workers went at twice the pace"


@pytest.fixture
def stale(loop: Loop, tmp_path: Path) -> Path:
    """A second host that was forgotten when the keys were rotated: its worker runs with this key file."""
    file, copy = tmp_path / "keys.json", tmp_path / "stale.json"
    shutil.copy(file, copy)
    loop.context = replace(loop.context, vault=Vault(copy))
    seal_with(file, add_key(file))
    loop.vault.look()
    return copy


def test_a_host_without_the_key_waits_for_it_and_refuses_nobody(loop: Loop, stale: Path) -> None:
    before = loop.send("Ann")
    for _ in range(4):
        loop.tick(minutes=1)
    row = loop.row(before)
    assert (row.state, row.code, loop.crm.written) == ("waiting", "lacks_key", [])
    assert "copies the key file" in (row.sentence or "")
    shutil.copy(stale.with_name("keys.json"), stale)
    loop.tick(hours=2)
    assert loop.row(before).state == "confirmed"


def test_one_enquiry_whose_key_is_gone_holds_up_no_other(loop: Loop) -> None:
    lost, well = loop.send("Ann"), loop.send("Bob")
    with loop.database.write() as session:
        session.execute(update(Event).where(Event.id == lost).values(answers_sealed=b"\x01lost" + bytes(40)))
    loop.tick()
    assert (loop.row(lost).state, loop.row(lost).code) == ("waiting", "lacks_key")
    assert (loop.row(well).state, loop.connection().state) == ("confirmed", "working")
    for _ in range(9):
        loop.tick(days=1)
    assert (loop.row(lost).state, loop.row(lost).code) == ("expired", "lacks_key"), "a person is told"


@pytest.mark.parametrize("code", ["lacks_key", "bad_options"])
def test_a_connection_that_cannot_be_opened_says_why_and_is_not_tried_each_second(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    loop.send()
    monkeypatch.setattr("leads.sync.deliver.open_connector", open_connector)
    key = b"lost" if code == "lacks_key" else loop.vault.sealing
    loop.set_connection(options_sealed=b"\x01" + key + bytes(40))
    with capture_logs() as logged:
        ran = [loop.tick(seconds=1) for _ in range(60)]
    assert sum(ran) < 6
    assert [line["code"] for line in logged] == [code]
    assert (loop.connection().state, loop.connection().code) == ("failing", code)
    assert (loop.row().state, loop.row().attempts) == ("waiting", 0)


def test_a_host_without_the_key_of_a_connection_leaves_it_to_one_that_has_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.send()

    def opened(context: Context, _: Connection) -> FakeCrm:
        if context.worker == "w1":
            raise UnknownKeyError
        return loop.crm

    monkeypatch.setattr("leads.sync.deliver.open_connector", opened)
    heartbeat(loop.database, "w2")
    with capture_logs() as logged:
        loop.tick(seconds=1)
        loop.tick(seconds=1)
    assert [line["code"] for line in logged] == ["lacks_key"]
    assert loop.connection().state == "working"
    run_lane(replace(loop.context, worker="w2"), loop.connection_id)
    assert loop.row().state == "confirmed"


def test_a_connector_that_was_taken_away_is_told_once_and_used_again_when_it_is_back(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.send()
    monkeypatch.setattr("leads.sync.deliver.open_connector", open_connector)
    loop.set_connection(kind="former")
    with capture_logs() as logged:
        ran = [loop.tick(seconds=1) for _ in range(60)]
    assert sum(ran) < 6, "it is not looked at every second"
    assert [line["code"] for line in logged] == ["no_connector"]
    connection = loop.connection()
    assert (connection.state, connection.code) == ("failing", "no_connector")
    assert (connection.sentence or "").startswith("Frontdesk has no connector for its kind, “former”, any more.")
    assert (loop.row().state, loop.row().attempts) == ("waiting", 0)
    loop.set_connection(kind="sandbox")
    loop.use(loop.crm)
    loop.tick(minutes=5)
    assert (loop.connection().state, len(loop.crm.written)) == ("working", 1)
