"""A disk that fills up under the running programs, and a file that another program keeps locked."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pysqlite3.dbapi2 as sqlite
import pytest
import requests
from sqlalchemy import func, select

from leads.store.models import Event, Worker
from leads.store.schema import upgrade
from leads.store.session import Database
from tests.factory import make_site
from tests.programs import Programs, wait_for

MB = 2**20
SIZE = 48  # MiB: a floor of 4, a ballast of 16, and some for the database


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, held in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def programs(small_disk: Path) -> Iterator[Programs]:
    """Web and worker with their data on the small disk."""
    url = f"sqlite:///{small_disk / 'frontdesk.sqlite3'}"
    database = Database(url)
    upgrade(database)
    database.close()
    with Programs(small_disk, url, min_free_mb="4") as programs:
        make_site(programs.database)
        yield programs


def post(programs: Programs) -> requests.Response:
    answers = {"site": "demo", "id": f"{time.monotonic_ns()}", "email": "jane@example.com", "consent": True}
    return requests.post(f"{programs.url}/api/v1/consultations", json=answers, timeout=60)


def events(programs: Programs) -> int:
    with programs.database.read() as session:
        return session.scalar(select(func.count()).select_from(Event)) or 0


def fill(folder: Path, leave: int) -> Path:
    """Somebody else's file, so large that `leave` bytes are left."""
    path = folder / "film.mkv"
    with path.open("ab") as film:
        while (room := shutil.disk_usage(folder).free - leave) > 0:
            film.write(b"x" * min(room, MB))
            film.flush()
    return path


def write_until_full(folder: Path, stop: Callable[[], bool]) -> Path:
    """Somebody else, who takes every byte as soon as there is one."""
    path = folder / "log.txt"
    with path.open("ab", buffering=0) as log:
        while not stop():
            try:
                log.write(b"x" * 4096)
            except OSError:
                time.sleep(0.01)
    return path


def test_a_disk_that_fills_up_turns_enquiries_away_and_all_else_goes_on(programs: Programs, small_disk: Path) -> None:
    programs.web()
    programs.worker()
    desk = programs.desk()
    ballast = small_disk / "ballast"
    wait_for(ballast.exists)
    taken = 0

    def is_taken() -> bool:
        nonlocal taken
        answer = post(programs)
        taken += answer.status_code == 201
        assert answer.status_code in (201, 503)
        assert answer.status_code == 201 or answer.headers["Retry-After"] == "10"
        return answer.status_code == 201

    assert is_taken()
    film = fill(small_disk, leave=3 * MB)
    wait_for(lambda: not is_taken(), every=0.5)  # below the floor of 4 MiB, and looked at once a second
    form = requests.get(f"{programs.url}/f/demo/consultation", timeout=30)
    assert form.status_code == 200
    typed = {"id": "as-typed", "email": "jane@example.com", "message": "I typed this", "consent": "yes"}
    later = requests.post(f"{programs.url}/f/demo/consultation", data=typed, timeout=30)
    assert (later.status_code, later.headers["Retry-After"]) == (503, "10")
    assert "I typed this" in later.text
    ready = requests.get(f"{programs.url}/readyz", timeout=30)
    assert (ready.status_code, ready.json()["checks"]["disk"][:11]) == (503, "almost full")
    assert "disk is almost full" in desk.get(f"{programs.url}/desk/", timeout=30).text
    assert "turned away" in programs.frontdesk("doctor").stdout

    # The room that the ballast made is for the worker and for people, not for new enquiries.
    wait_for(lambda: not ballast.exists())
    assert not is_taken()
    before = _heartbeat(programs)
    wait_for(lambda: _heartbeat(programs) > before)
    assert (
        programs.frontdesk(
            "site", "add", "second", "--name", "Second", "--region", "US", "--time-zone", "America/New_York"
        ).returncode
        == 0
    )

    film.unlink()
    wait_for(is_taken)
    wait_for(ballast.exists)
    assert events(programs) == taken


def _heartbeat(programs: Programs) -> float:
    with programs.database.read() as session:
        seen = session.scalar(select(func.max(Worker.seen_at)))
    return seen.timestamp() if seen else 0


def test_at_the_last_byte_nothing_is_promised_that_is_not_kept(programs: Programs, small_disk: Path) -> None:
    """Without a floor the disk really runs full: SQLITE_FULL at whatever byte it comes."""
    programs.web(min_free_mb="0")
    full = threading.Event()
    taken = sum(post(programs).status_code == 201 for _ in range(3))
    fill(small_disk, leave=256 * 1024)
    others = threading.Thread(target=write_until_full, args=(small_disk, full.is_set))
    others.start()
    try:
        answers = [post(programs) for _ in range(60)]
        refused = [answer for answer in answers if answer.status_code != 201]
        taken += len(answers) - len(refused)
        assert refused, "the disk did not run full"
        assert {(answer.status_code, answer.headers["Retry-After"]) for answer in refused} == {(503, "10")}
        assert requests.get(f"{programs.url}/f/demo/consultation", timeout=30).status_code == 200
        assert requests.get(f"{programs.url}/healthz", timeout=30).status_code == 200
    finally:
        full.set()
        others.join()
    assert events(programs) == taken
    (small_disk / "log.txt").unlink()
    wait_for(lambda: post(programs).status_code == 201)
    assert events(programs) == taken + 1
    with programs.database.read() as session:
        assert session.connection().exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_a_full_disk_can_be_started_on_and_says_so(programs: Programs, small_disk: Path) -> None:
    fill(small_disk, leave=2 * MB)
    programs.web()
    assert post(programs).status_code == 503
    assert requests.get(f"{programs.url}/readyz", timeout=30).json()["checks"]["disk"].startswith("almost full")


def test_a_file_that_another_program_locks_ends_in_503_within_seconds(programs: Programs, small_disk: Path) -> None:
    programs.web()
    assert post(programs).status_code == 201
    other = sqlite.connect(str(small_disk / "frontdesk.sqlite3"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def timed(_: object = None) -> tuple[int, float]:
        began = time.monotonic()
        return post(programs).status_code, time.monotonic() - began

    with ThreadPoolExecutor(24) as pool:  # more than the server has threads
        took = list(pool.map(timed, range(24)))
    assert {status for status, _ in took} == {503}
    assert max(seconds for _, seconds in took) < 20, "ten seconds for the first ones; nobody waits as long in line"
    status, seconds = timed()
    assert (status, seconds < 8) == (503, True), "as long as it is locked the next ones are told at once"
    other.execute("ROLLBACK")
    other.close()
    assert post(programs).status_code == 201
    assert events(programs) == 2
