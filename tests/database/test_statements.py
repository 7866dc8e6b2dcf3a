"""How many statements a batch takes: the same number for one enquiry as for fifty."""

from __future__ import annotations

from leads.store import outbox
from leads.store.models import Connection, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.database.lanes import finished, leased
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
