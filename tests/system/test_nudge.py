"""A worker that is told of work while it still has the connection in its hands."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import select

from leads.store import outbox
from leads.store.models import Delivery
from leads.store.outbox import Lane
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.clock import Ticker
from leads.sync.connect import Context, Limits
from leads.sync.retry import Policy
from leads.sync.worker import Dispatcher
from tests.factory import make_connection, make_site, send
from tests.fakes import FakeCrm
from tests.programs import wait_for

FOREVER = 600.0  # seconds: nothing happens by the tick


def test_what_comes_while_a_lane_ends_does_not_wait_for_the_tick(
    database: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(database)
    make_connection(database, vault, site)
    send(database, vault, site, email="first@example.com")
    release, looks = outbox.release, []
    dispatch = Dispatcher.dispatch

    def count(dispatcher: Dispatcher) -> None:
        dispatch(dispatcher)
        looks.append(dispatcher)

    def release_late(database: Database, lane: Lane) -> None:
        """Only after another enquiry has come, and the worker has looked for it in vain."""
        if not late:
            late.append(lane)
            seen = len(looks)
            send(database, vault, site, email="second@example.com")
            wait_for(lambda: len(looks) > seen)
            time.sleep(0.3)  # a look that had begun before may be the one that was counted
        release(database, lane)

    late: list[Lane] = []
    monkeypatch.setattr(Dispatcher, "dispatch", count)
    monkeypatch.setattr("leads.sync.deliver.outbox.release", release_late)
    monkeypatch.setattr("leads.sync.deliver.open_connector", lambda _context, _connection: FakeCrm())
    stop = threading.Event()
    dispatcher = Dispatcher(Context(database, vault, "w1", Limits(60, 5), Policy(()), stop), 2)
    dispatcher._ticker = Ticker([(dispatcher.dispatch, FOREVER)], silent=FOREVER)
    thread = threading.Thread(target=dispatcher.run)
    thread.start()

    def both_are_sent() -> bool:
        with database.read() as session:
            states = session.scalars(select(Delivery.state)).all()
        return len(states) == 2 and set(states) <= {"sent", "confirmed"}

    try:
        wait_for(both_are_sent)
    finally:
        stop.set()
        thread.join(60)
