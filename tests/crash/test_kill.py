"""Programs are stopped, broken and killed for real, at every named point between commit and finish."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import func, select

from leads.store.failpoint import ACTIONS, POINTS
from leads.store.models import Delivery, Event
from tests.programs import Programs, wait_for

WEB_POINTS = [point for point in POINTS if point.startswith("accept.")]
WORKER_POINTS = [point for point in POINTS if not point.startswith("accept.")]
LEASE = {"lease_seconds": "2", "crm_timeout": "1"}


def _body(number: int) -> dict[str, Any]:
    return {
        "site": "demo",
        "id": f"form-{number}",
        "first_name": f"First{number}",
        "email": f"person{number}@example.com",
        "consent": True,
    }


def _post(programs: Programs, number: int) -> None:
    answer = requests.post(f"{programs.url}/api/v1/consultations", json=_body(number), timeout=10)
    assert answer.status_code == 201


def _all_confirmed(programs: Programs, number: int) -> bool:
    with programs.database.read() as session:
        events = session.scalar(select(func.count()).select_from(Event))
        states = session.scalars(select(Delivery.state)).all()
    return events == number and len(states) == number and set(states) == {"confirmed"}


def _exactly_once(programs: Programs, number: int) -> None:
    wait_for(lambda: _all_confirmed(programs, number), 30)
    emails = sorted(contact["properties"]["email"] for contact in programs.contacts())
    assert emails == sorted(f"person{one}@example.com" for one in range(1, number + 1))
    assert len(programs.activities()) == number


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


@pytest.mark.timeout(200)
def test_nothing_is_lost_or_doubled_wherever_a_program_stops(tmp_path: Path, database_url: str) -> None:
    visited = set()
    number = 0
    with Programs(tmp_path, database_url, **LEASE) as programs:
        programs.sandbox()
        programs.connect()
        for point in WEB_POINTS:
            number += 1
            web = programs.web(fail_at=f"{point}:kill")
            with suppress(requests.ConnectionError):
                _post(programs, number)  # the visitor sees no answer, so the browser sends it again
            assert web.wait(10) == -signal.SIGKILL
            visited.add(point)
            web = programs.web()
            _post(programs, number)
            web.kill()
            web.wait()
        programs.web()
        for point in WORKER_POINTS:
            number += 1
            worker = programs.worker(fail_at=f"{point}:kill")
            _post(programs, number)
            wait_for(lambda process=worker: _has_ended(process), 20)
            assert worker.returncode == -signal.SIGKILL
            visited.add(point)
            worker = programs.worker()
            _exactly_once(programs, number)
            worker.terminate()
            assert worker.wait(20) == 0
    assert visited == set(POINTS), "a named point was never reached"


@pytest.mark.timeout(200)
@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "kill"])
def test_a_worker_that_is_stopped_broken_or_slow_loses_nothing(tmp_path: Path, database_url: str, action: str) -> None:
    with Programs(tmp_path, database_url, **LEASE) as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        for number, point in enumerate(WORKER_POINTS, 1):
            worker = programs.worker(fail_at=f"{point}:{action}")
            _post(programs, number)
            if action == "term":
                wait_for(lambda process=worker: _has_ended(process), 20)
                assert worker.returncode == 0
                worker = programs.worker()
            _exactly_once(programs, number)
            worker.terminate()
            worker.wait(20)


def test_a_web_that_is_told_to_stop_finishes_the_request(tmp_path: Path, database_url: str) -> None:
    with Programs(tmp_path, database_url, **LEASE) as programs:
        programs.sandbox()
        programs.connect()
        for number, point in enumerate(WEB_POINTS, 1):
            web = programs.web(fail_at=f"{point}:term")
            _post(programs, number)
            wait_for(lambda process=web: _has_ended(process), 20)
            assert web.returncode == 0
        programs.worker()
        _exactly_once(programs, len(WEB_POINTS))


def test_a_late_answer_of_a_stopped_worker_is_fenced_off(tmp_path: Path, database_url: str) -> None:
    with Programs(tmp_path, database_url, **LEASE) as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        zombie = programs.worker(fail_at="push.answered:pause")
        _post(programs, 1)
        wait_for(programs.contacts)
        zombie.send_signal(signal.SIGSTOP)  # it holds the CRM's answer in its hands
        programs.worker()
        _exactly_once(programs, 1)
        zombie.send_signal(signal.SIGCONT)
        log = tmp_path / "programs.log"
        wait_for(lambda: '"fenced": 1' in log.read_text(), 20)
        _exactly_once(programs, 1)


def test_two_workers_at_once_push_nothing_twice(tmp_path: Path, database_url: str) -> None:
    with Programs(tmp_path, database_url, **LEASE) as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        programs.worker()
        programs.worker()
        for number in range(1, 41):
            _post(programs, number)
        _exactly_once(programs, 40)
        with programs.database.read() as session:
            assert set(session.scalars(select(Delivery.attempts))) == {1}
