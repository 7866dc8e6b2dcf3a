"""An enquiry comes in while something happens to the connection that it is for. (SQLite has one writer at a time.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.orm import Session

from leads.store import outbox
from leads.store.models import Connection, Site
from leads.store.outbox import Health, lanes, outcomes
from leads.store.outbox.outcomes import report
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from tests.conftest import only_postgres
from tests.database.lanes import delivery_of, leased, outcome
from tests.factory import make_connection, make_site, send

pytestmark = only_postgres


@pytest.fixture
def site(database: Database) -> Site:
    return make_site(database)


@pytest.fixture
def connection(database: Database, vault: Vault, site: Site) -> Connection:
    return make_connection(database, vault, site)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.mark.parametrize(("does", "code"), [(outbox.remove, "removed"), (outbox.pause, "paused")])
def test_it_never_comes_to_wait_where_nobody_will_send_it(
    database: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    does: Callable[[Session, Connection, Any], object],
    code: str,
) -> None:
    def staff() -> None:
        with database.write() as session:
            row = session.get_one(Connection, connection.id, with_for_update=True)
            does(session, row, database.now(session))

    def meanwhile(*given: Any) -> Iterator[Any]:
        at_once.append(pool.submit(staff))
        with pytest.raises(TimeoutError):
            at_once[0].result(0.5)
        yield from deliveries(*given)

    at_once: list[Future[None]] = []
    deliveries = outbox.arrivals._deliveries  # type: ignore[attr-defined]
    monkeypatch.setattr(outbox.arrivals, "_deliveries", meanwhile)  # type: ignore[attr-defined]
    event_id = send(database, vault, site).event_id
    at_once[0].result(10)
    row = delivery_of(database, event_id)
    assert (row.state, row.code) == ("held", code)


def test_it_goes_to_the_first_connection_that_is_made_meanwhile(
    database: Database, vault: Vault, site: Site, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def staff() -> Connection:
        options = {"url": "https://crm.example.com", "key": "k"}
        return Setup(database, vault, Limits(60, 20), "anna").create(site.key, "sandbox", "", options)

    def meanwhile(*given: Any) -> Any:
        seen = ways(*given)
        made.append(pool.submit(staff))
        with pytest.raises(TimeoutError):
            made[0].result(0.5)
        return seen

    made: list[Future[Connection]] = []
    ways = outbox.arrivals._ways  # type: ignore[attr-defined]
    monkeypatch.setattr(outbox.arrivals, "_ways", meanwhile)  # type: ignore[attr-defined]
    event_id = send(database, vault, site).event_id
    connection = made[0].result(10)
    assert delivery_of(database, event_id).connection_id == connection.id


def test_it_need_not_wait_for_a_lane_that_tells_how_the_connection_is(
    database: Database, vault: Vault, site: Site, connection: Connection, pool: ThreadPoolExecutor
) -> None:
    lane = leased(database, connection)
    with database.write() as session:
        report(session, lane, Health("failing", 1, 0), database.now(session))
        session.flush()
        assert pool.submit(send, database, vault, site).result(5).reference


def test_a_connection_is_removed_while_its_lane_writes_down_and_claims(
    database: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meanwhile(where: str) -> None:
        if where == "finish.written":
            at_once.append(pool.submit(setup.remove, connection.id))
            with pytest.raises(TimeoutError):
                at_once[0].result(0.5)

    at_once: list[Future[int]] = []
    setup = Setup(database, vault, Limits(60, 20), "anna")
    first, second = (send(database, vault, site, email=f"{name}@example.com") for name in ("jane", "tom"))
    lane = leased(database, connection)
    claimed = outbox.claim(database, lane, 1, 60)
    monkeypatch.setattr(outcomes, "reach", meanwhile)
    fenced, more = outbox.finish_and_claim(
        database, lane, [outcome(claimed[0], "refused", code="too_long")], None, 1, 60
    )
    assert (fenced, len(more), at_once[0].result(10)) == (0, 1, 2)
    assert delivery_of(database, first.event_id).code == "removed"
    assert delivery_of(database, second.event_id).code == "unknown_outcome"


def test_of_a_caller_who_becomes_known_while_a_lane_claims_only_one_is_claimed(
    database: Database, vault: Vault, site: Site, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile() -> Any:
        send(database, vault, site, visitor_id="v", email="jane@example.com")
        return details()

    details = lanes._details_of
    send(database, vault, site, "call_click", visitor_id="v", tel="+12025550142")
    send(database, vault, site, email="jane@example.com")
    lane = leased(database, connection)
    monkeypatch.setattr(lanes, "_details_of", meanwhile)
    assert len(outbox.claim(database, lane, 10, 60)) == 1
