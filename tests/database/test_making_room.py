"""A lane with a long backlog makes room: for other connections, and for what it is to go by from now on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import pytest
from sqlalchemy import select

from integrations.core.base import Connector, Item, Result
from leads.store import outbox
from leads.store.models import Connection, Delivery
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Context, Limits
from leads.sync.deliver import run_lane
from leads.sync.retry import Policy
from leads.sync.worker import Dispatcher
from tests.database.loop import Loop
from tests.factory import make_connection, make_site, send
from tests.fakes import FakeCrm
from tests.programs import wait_for


@pytest.fixture
def backlog(loop: Loop) -> Loop:
    loop.monkeypatch.setattr("leads.sync.deliver._TURN", 0)
    for number in range(25):
        loop.send(f"P{number}")
    return loop


@pytest.mark.parametrize("change", [{"mapping": [{"to": "tel", "from": "phone"}]}, {"pace": 1000.0}])
def test_what_is_left_goes_by_what_staff_changed_meanwhile(backlog: Loop, change: dict[str, object]) -> None:
    class Changed(FakeCrm):
        def push(self, batch: Sequence[Item]) -> list[Result]:
            if not self.written:
                backlog.set_connection(**change)
            pushed.append(batch)
            return super().push(batch)

    pushed: list[Sequence[Item]] = []
    backlog.use(Changed())
    assert run_lane(backlog.context, backlog.connection_id), "it says that something may be left"
    assert 0 < len(backlog.crm.written) < 25
    assert not run_lane(backlog.context, backlog.connection_id)
    assert len(set(backlog.crm.written)) == len(backlog.crm.written) == 25
    if "mapping" in change:
        assert set(pushed[0][0].in_full().record) != {"tel"}
        assert set(pushed[-1][0].in_full().record) <= {"tel"}


def test_a_backlog_gives_way_where_others_wait_and_else_goes_on(backlog: Loop) -> None:
    assert run_lane(backlog.context, backlog.connection_id, lambda: True)
    sent = len(backlog.crm.written)
    assert 0 < sent < 25
    assert not run_lane(backlog.context, backlog.connection_id, lambda: False)
    assert len(backlog.crm.written) == 25


@pytest.mark.parametrize("others_wait", [False, True])
def test_who_is_to_be_erased_does_not_wait_for_the_end_of_a_backlog(backlog: Loop, others_wait: bool) -> None:
    gone = backlog.row(backlog.send("Gone")).lead_id
    backlog.tick()
    for number in range(25):
        backlog.send(f"Q{number}")
    outbox.erase(backlog.database, backlog.vault, backlog.erasures, gone, "anna")
    backlog.clock.forward(minutes=1)
    backlog.monkeypatch.setattr("leads.sync.deliver._LONGEST", 3600 if others_wait else 0)
    assert run_lane(backlog.context, backlog.connection_id, lambda: others_wait), "there is more to send"
    assert len(backlog.crm.erased) == 1


def test_more_backlogs_than_lanes_do_not_hold_up_one_more(
    database: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(FakeCrm):
        batch_size = 1

        def push(self, batch: Sequence[Item]) -> list[Result]:
            stop.wait(0.02)
            return super().push(batch)

    def opened(_context: Context, connection: Connection) -> Connector:
        return FakeCrm() if connection.id == quick.id else Slow()

    def sent(connection_id: UUID) -> list[datetime]:
        with database.read() as session:
            here = (Delivery.connection_id == connection_id, Delivery.sent_at.is_not(None))
            return [at for at in session.scalars(select(Delivery.sent_at).where(*here)) if at]

    monkeypatch.setattr("leads.sync.deliver._TURN", 0.2)
    monkeypatch.setattr("leads.sync.deliver.open_connector", opened)
    stop = threading.Event()
    slow = []
    for number in range(3):
        site = make_site(database, f"busy-{number}")
        slow.append(make_connection(database, vault, site).id)
        for enquiry in range(100):
            send(database, vault, site, email=f"p{enquiry}@example.com")
    site = make_site(database, "quiet")
    quick = make_connection(database, vault, site)
    dispatcher = Dispatcher(Context(database, vault, "w1", Limits(60, 5), Policy(()), stop), 1)
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    try:
        wait_for(lambda: any(map(sent, slow)))
        send(database, vault, site, email="late@example.com")
        wait_for(lambda: all(len(sent(one)) == 100 for one in slow) and sent(quick.id), 150)
        assert max(sent(quick.id)) < min(max(sent(one)) for one in slow), "it waited for a whole backlog"
    finally:
        stop.set()
        thread.join(60)
