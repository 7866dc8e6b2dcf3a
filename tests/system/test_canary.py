"""The canary with real processes: through the form into the sandbox CRM, seen, removed there, and counted nowhere."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from leads.store import canary
from leads.store.models import CanaryRun, Delivery, Event, Lead
from leads.store.queries.leads import LeadFilter, lead_by_code, leads
from leads.store.queries.overview import overview, worker_lives
from leads.store.sites import find_site
from tests.chaos.zygote import Zygote
from tests.programs import Process, Programs, wait_for


@pytest.fixture
def programs(tmp_path: Path, database_url: str, zygote: Zygote) -> Iterator[Programs]:
    """All but the worker."""
    with Programs(tmp_path, database_url, zygote=zygote, canary_patience="60s") as running:
        running.sandbox()
        running.connect()
        running.web()
        yield running


def _run(programs: Programs) -> CanaryRun:
    """The last run."""
    with programs.database.read() as session:
        return session.scalars(select(CanaryRun).order_by(CanaryRun.started_at.desc())).all()[0]


def _start(programs: Programs) -> None:
    with programs.database.write() as session:
        site = find_site(session, "demo")
        assert site is not None
        canary.start(session, site, "anna", programs.database.now(session))


def _worker(programs: Programs, **settings: str) -> Process:
    """One that lives."""
    worker = programs.worker(**settings)
    wait_for(lambda: _lives(programs))
    return worker


def _lives(programs: Programs) -> bool:
    with programs.database.read() as session:
        return worker_lives(session, programs.database.now(session))


def _watch(programs: Programs, seen: list[str], stop: threading.Event) -> None:
    """Whom the CRM holds, looked at all the time."""
    while not stop.wait(0.01):
        seen += [contact["properties"]["email"] for contact in programs.contacts()]


def test_a_test_enquiry_goes_the_whole_way_and_is_counted_nowhere(programs: Programs) -> None:
    _worker(programs)
    seen, stop = [], threading.Event()
    watcher = threading.Thread(target=_watch, args=(programs, seen, stop))
    watcher.start()
    answer = programs.frontdesk("canary", "run", "demo", "--wait")
    stop.set()
    watcher.join()
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.startswith("Waiting until ")
    run = _run(programs)
    assert run.state == "ok"
    assert run.stored_at is not None
    assert run.seen_at is not None
    assert run.removed_at is not None
    assert run.started_at <= run.stored_at <= run.seen_at <= run.removed_at
    assert set(seen) == {f"canary-{run.id.hex}@example.com"}, "it was in the CRM, and nobody else"
    assert programs.contacts() == []
    with programs.database.read() as session:
        event, lead = session.scalars(select(Event)).one(), session.scalars(select(Lead)).one()
        assert (event.is_test, lead.is_test, event.hold_code) == (True, True, None)
        assert session.scalars(select(Delivery.state)).all() == ["erased"]
        state = overview(session, programs.database.now(session))
        assert (state.any_event, dict(state.waiting), state.checking) == (False, {}, 0)
        assert [(day.events, dict(day.places)) for day in state.today] == [(0, {})]
        assert leads(session, programs.vault, LeadFilter()).rows == []
        assert lead_by_code(session, lead.code) is None
    desk = programs.desk()
    assert "This is a test." in desk.get(f"{programs.url}/desk/leads/{lead.id}", timeout=30).text
    assert "removed again" in desk.get(f"{programs.url}/desk/", timeout=30).text


def test_a_crm_that_is_down_is_told_and_the_next_test_is_well(programs: Programs) -> None:
    programs.faults(down=True)
    impatient = _worker(programs, canary_patience="10s")
    answer = programs.frontdesk("canary", "run", "demo", "--wait")
    assert answer.returncode == 1
    assert "“Sandbox CRM” did not show it within 10 seconds. The CRM is not working just now" in answer.stderr
    assert _run(programs).code == "not_seen"
    programs.faults()
    impatient.terminate()
    impatient.wait()
    _worker(programs)  # the machine may be too busy for the other one
    assert programs.frontdesk("canary", "run", "demo", "--wait").returncode == 0
    assert programs.contacts() == []


@pytest.mark.parametrize("after", [0.3, 1.0])
def test_a_killed_worker_goes_on_where_it_was(programs: Programs, after: float) -> None:
    programs.faults(slow=0.25)
    worker = programs.worker()
    wait_for(lambda: "worker started" in (programs.folder / "programs.log").read_text())
    _start(programs)
    time.sleep(after)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    programs.worker()
    wait_for(lambda: _run(programs).state == "ok")
    with programs.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 1
    assert programs.contacts() == []
