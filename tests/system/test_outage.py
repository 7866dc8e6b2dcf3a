"""A CRM that is down for days, in simulated time: our clock is moved, the CRM and its sockets are real."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from werkzeug.serving import WSGIRequestHandler, make_server

from leads.store import outbox
from leads.store.models import Attempt, Connection, Delivery, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Context, Limits
from leads.sync.deliver import run_lane
from leads.sync.retry import Policy
from leads.sync.setup import Setup
from sandbox_crm.app import create_app
from sandbox_crm.faults import Faults
from sandbox_crm.house import House
from sandbox_crm.store import Store
from tests.factory import make_site, send

LEADS = 500
SCHEDULE = (0, 5, 60, 300, 1800, 7200, 18000, 36000, 36000, *[86400] * 6)


class Clock:
    """A time that only we move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 27, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture
def crm() -> Iterator[tuple[str, House]]:
    """A sandbox CRM on a real socket, and its inside."""
    app = create_app(Store(), "key")
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}", app.extensions["house"]
    server.shutdown()
    thread.join()
    server.server_close()


class Clinic:
    """A site with a connection to the CRM, and a worker whose clock we move."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, crm_url: str) -> None:
        limits = Limits(120, 5, frozenset({"127.0.0.1"}))
        policy = Policy(tuple(timedelta(seconds=wait) for wait in SCHEDULE))
        self.context = Context(database, vault, "worker", limits, policy)
        self.setup = Setup(database, vault, limits, by="test")
        self.database, self.vault, self.clock = database, vault, clock
        self.site: Site = make_site(database)
        self.connection_id = self.setup.create("demo", "sandbox", "Sandbox", {"url": crm_url, "key": "key"}).id

    def send(self, number: int) -> None:
        """As many enquiries, each by somebody else."""
        for one in range(number):
            send(self.database, self.vault, self.site, first_name=f"P{one}", email=f"p{one}@example.com")

    def tick(self) -> int:
        """What the worker does when its clock ticks: a lane per connection that is ready. Returns how many."""
        with self.database.read() as session:
            ready = outbox.ready(session, self.clock())
        for connection_id in ready:
            run_lane(self.context, connection_id)
        return len(ready)

    def pass_time(self, whole: timedelta, step: timedelta) -> None:
        until = self.clock.now + whole
        while self.clock.now < until:
            self.clock.now += step
            self.tick()

    def connection(self) -> Connection:
        with self.database.read() as session:
            return session.get_one(Connection, self.connection_id)

    def deliveries(self) -> list[Delivery]:
        with self.database.read() as session:
            return list(session.scalars(select(Delivery)))


@pytest.fixture
def clinic(database_url: str, tmp_path: object, crm: tuple[str, House], vault: Vault) -> Iterator[Clinic]:
    clock = Clock()
    database = Database(database_url, clock)
    yield Clinic(database, vault, clock, crm[0])
    database.close()


def test_all_leads_arrive_once_after_three_days_without_the_crm(clinic: Clinic, crm: tuple[str, House]) -> None:
    inside = crm[1]
    inside.switchboard.turn_to(Faults(("down",)))
    clinic.send(LEADS)
    clinic.pass_time(timedelta(days=3), timedelta(minutes=10))
    down = clinic.connection()
    assert (down.state, down.code) == ("failing", "unavailable")
    assert down.sentence == "The CRM is not working just now (status 503)."
    assert {row.state for row in clinic.deliveries()} == {"waiting"}
    assert max(row.attempts for row in clinic.deliveries()) <= 5, "an outage costs the enquiries no attempts"
    one_by_one = inside.calls.summary()["total"]
    assert one_by_one < 3 * 24 * 6 + 20, "more than one probe per look"

    inside.switchboard.turn_to(Faults())
    clinic.pass_time(timedelta(minutes=3), timedelta(seconds=10))
    assert clinic.connection().state == "working"
    assert {row.state for row in clinic.deliveries()} == {"confirmed"}
    assert inside.store.count() == (LEADS, LEADS)


@pytest.mark.parametrize("resumed_by", ["itself", "a button"])
def test_a_wrong_key_pauses_the_connection_and_burns_no_attempt(
    clinic: Clinic, crm: tuple[str, House], resumed_by: str
) -> None:
    inside = crm[1]
    clinic.send(LEADS)
    inside.switchboard.turn_to(Faults(("wrong_key",)))
    clinic.pass_time(timedelta(days=1), timedelta(minutes=10))
    wrong = clinic.connection()
    assert (wrong.state, wrong.code) == ("failing", "bad_key")
    assert wrong.sentence == "The CRM does not accept the key. Enter a new one."
    assert {(row.state, row.attempts) for row in clinic.deliveries()} == {("waiting", 0)}

    inside.switchboard.turn_to(Faults())
    if resumed_by == "a button":
        clinic.setup.resume(clinic.connection_id)
        clinic.tick()
    else:
        clinic.pass_time(timedelta(minutes=6), timedelta(minutes=1))
    clinic.tick()
    assert clinic.connection().state == "working"
    assert {(row.state, row.attempts) for row in clinic.deliveries()} == {("confirmed", 1)}
    assert inside.store.count() == (LEADS, LEADS)
    with clinic.database.read() as session:
        assert session.scalars(select(Attempt).where(Attempt.verdict == "Misconfigured").limit(1)).one()
