"""A worker at work while the wall clock jumps: the next sync within seconds, nothing twice, nothing purged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import select
from werkzeug.serving import WSGIRequestHandler, make_server

from leads.store.clock import purging_allowed
from leads.store.models import Attempt, Connection, Delivery, Worker
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.clock import Ticker
from leads.sync.connect import Context, Limits
from leads.sync.retry import Policy
from leads.sync.setup import Setup
from leads.sync.worker import Dispatcher
from sandbox_crm.app import create_app
from sandbox_crm.faults import Faults
from sandbox_crm.house import House
from sandbox_crm.store import Store
from tests.factory import make_site, send
from tests.programs import wait_for

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WITHIN = 40.0  # seconds: ten, and what a busy machine needs; unseen, a jump would cost an hour and more


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture
def crm() -> Iterator[tuple[str, House]]:
    """A sandbox CRM on a real socket, and its inside."""
    app = create_app(Store(), "key")
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.port}", app.extensions["house"]
    server.shutdown()
    thread.join()
    server.server_close()
    app.extensions["house"].store.close()


class Clinic:
    """A worker that runs, by a wall clock that the test moves, and a CRM on a real socket."""

    def __init__(self, database: Database, vault: Vault, crm: tuple[str, House], quick: bool) -> None:
        limits = Limits(60, 5, frozenset({"127.0.0.1"}))
        self.stop = threading.Event()
        policy = Policy(tuple(timedelta(seconds=wait) for wait in (0, *[2] * 40)))
        context = Context(database, vault, "w1", limits, policy, self.stop)
        self.dispatcher = Dispatcher(context, 2)
        if quick:
            self.dispatcher._ticker = Ticker(self.dispatcher._ticker._jobs, silent=1.5)
        self.database, self.vault, self.house = database, vault, crm[1]
        self.site = make_site(database)
        Setup(database, vault, limits, by="test").create("demo", "sandbox", "Sandbox", {"url": crm[0], "key": "key"})
        self.sent = 0

    def enquire(self, *, crm_is_down: bool) -> None:
        """One more enquiry; when the CRM is down, it waits for its next try."""
        self.house.switchboard.turn_to(Faults(("down",)) if crm_is_down else Faults())
        send(self.database, self.vault, self.site, email=f"p{self.sent}@example.com")
        self.sent += 1
        if crm_is_down:
            wait_for(self._tried)
            self.house.switchboard.turn_to(Faults())

    def _tried(self) -> bool:
        with self.database.read() as session:
            newest = session.scalars(select(Delivery).order_by(Delivery.id.desc()).limit(1)).one()
            return newest.attempts > 0 and newest.state == "waiting"

    def all_is_there(self) -> bool:
        """everything that was sent is confirmed"""
        with self.database.read() as session:
            states = session.scalars(select(Delivery.state)).all()
        return len(states) == self.sent and set(states) == {"confirmed"}

    def assert_sane(self) -> None:
        """Nothing twice, nothing given up, nobody forgotten, nothing that may be purged."""
        assert self.house.store.count() == (self.sent, self.sent)
        with self.database.read() as session:
            verdicts = session.scalars(select(Attempt.verdict)).all()
            assert verdicts.count("sent") == self.sent
            assert session.scalars(select(Worker.id)).all() == ["w1"]
            assert session.scalars(select(Connection.state)).one() == "working"
            assert not purging_allowed(session, self.database.now(session))


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> bool:
    return False


@pytest.fixture
def clinic(
    database_url: str, vault: Vault, crm: tuple[str, House], quick: bool, tmp_path: Path
) -> Iterator[tuple[Clinic, time_machine.Traveller]]:
    with time_machine.travel(NOON, tick=True) as traveller:
        # PostgreSQL's own clock cannot be set by a test, so both kinds go by this process's.
        database = Database(database_url, lambda: datetime.now(UTC))
        clinic = Clinic(database, vault, crm, quick)
        thread = threading.Thread(target=clinic.dispatcher.run)
        thread.start()
        yield clinic, traveller
        clinic.stop.set()
        thread.join(60)
        assert not thread.is_alive()
        database.close()


JUMPS = {"an hour back": timedelta(hours=-1), "a year forward": timedelta(days=365)}


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS.keys())
def test_the_next_sync_comes_within_seconds_after_a_jump(
    clinic: tuple[Clinic, time_machine.Traveller], jump: timedelta
) -> None:
    here, traveller = clinic
    here.enquire(crm_is_down=True)
    traveller.shift(jump)
    jumped = time.monotonic()
    wait_for(here.all_is_there, WITHIN)
    here.enquire(crm_is_down=False)
    wait_for(here.all_is_there, WITHIN)
    here.assert_sane()
    assert time.monotonic() - jumped < 2 * WITHIN


# One worker sees them all, one after the other. Zones, leap days and 2038 only matter to somebody who does not count
# in UTC or counts in 32 bits.
TRAVELS = {
    "a year back": datetime(2025, 3, 2, 12, tzinfo=UTC),
    "before the clocks go forward in Europe": datetime(2026, 3, 29, 0, 59, 58, tzinfo=UTC),
    "before they go back in America": datetime(2026, 11, 1, 5, 59, 58, tzinfo=UTC),
    "before a leap day": datetime(2028, 2, 28, 23, 59, 58, tzinfo=UTC),
    "before seconds need more than 31 bits": datetime(2038, 1, 19, 3, 14, 5, tzinfo=UTC),
    "home again": NOON,
}


@pytest.mark.parametrize("quick", [True], indirect=True)
def test_all_kinds_of_moments_are_lived_through(
    clinic: tuple[Clinic, time_machine.Traveller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    here, traveller = clinic
    try:
        for name, moment in TRAVELS.items():
            here.enquire(crm_is_down=True)
            traveller.move_to(moment)
            wait_for(here.all_is_there, WITHIN)
            assert here.all_is_there(), name
        here.assert_sane()
    finally:
        monkeypatch.undo()
        time.tzset()
