"""How many statements a batch takes: the same number for one enquiry as for fifty."""

from __future__ import annotations

from sqlalchemy import select

from leads.store import outbox
from leads.store.models import Connection, Delivery, RemoteRecord, Site
from leads.store.outbox import Claimed, Look
from leads.store.session import Database
from leads.store.vault import Vault
from tests.conftest import only_postgres
from tests.database.lanes import WELL, delivered, finished, leased, outcome
from tests.factory import send_in_groups
from tests.statements import statements


def _of_a_batch(database: Database, vault: Vault, site: Site, connection: Connection, size: int) -> tuple[int, int]:
    send_in_groups(database, vault, site, size)
    lane = leased(database, connection)
    with statements(database) as to_claim:
        claimed = outbox.claim(database, lane, 50, 60)
    assert len(claimed) == size
    with statements(database) as to_finish:
        fenced = finished(database, lane, claimed)
    assert fenced == 0
    outbox.release(database, lane)
    return len(to_claim), len(to_finish)


def test_a_batch_takes_as_many_statements_as_one_enquiry(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    one = _of_a_batch(timed, vault, site, connection, 1)
    assert _of_a_batch(timed, vault, site, connection, 50) == one
    assert max(one) <= 7


def test_a_group_of_enquiries_takes_as_many_as_one(timed: Database, vault: Vault, site: Site) -> None:
    counts = []
    for size in (1, 32):
        with statements(timed) as sent:
            send_in_groups(timed, vault, site, size)
        counts.append(len(sent))
    assert counts[0] == counts[1]


def test_reading_back_takes_as_many_statements_for_fifty_as_for_one(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    counts = []
    for size in (1, 50):
        send_in_groups(timed, vault, site, size)
        delivered(timed, connection)
        lane = leased(timed, connection)
        with statements(timed) as to_check:
            claimed = outbox.to_check(timed, lane, 50)
        assert len(claimed) == size
        with statements(timed) as to_write:
            outbox.checked(timed, lane, [_seen(one) for one in claimed], WELL)
        outbox.release(timed, lane)
        counts.append((len(to_check), len(to_write)))
    assert counts[0] == counts[1]
    assert max(counts[1]) <= 9
    with timed.read() as session:
        assert {*session.scalars(select(Delivery.state))} == {"confirmed"}
        assert {*map(str, session.scalars(select(RemoteRecord.seen_fields)))} == {"{'email': 'ab'}"}


def _seen(one: Claimed) -> Look:
    return Look(outcome(one, "confirmed", remote_id=one.remote_id), {"email": "ab"})


@only_postgres
def test_the_connection_is_locked_before_its_deliveries(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    """As by whoever removes it: the other way round the two would wait for each other."""
    send_in_groups(timed, vault, site, 1)
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 50, 60)
    with statements(timed) as to_finish:
        finished(timed, lane, claimed)
    [one] = outbox.to_check(timed, lane, 50)
    with statements(timed) as to_check:
        outbox.checked(timed, lane, [_seen(one)], WELL)
    for sent in (to_finish, to_check):
        locks = [one for one in sent if " FOR " in one or one.startswith(("UPDATE", "WITH", "INSERT"))]
        assert "FROM connection" in locks[0], locks[0]
