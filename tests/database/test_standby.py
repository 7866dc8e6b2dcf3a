"""What is acknowledged is on two machines, where PostgreSQL is told to wait for a standby."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from leads.store.schema import open_vault, upgrade
from leads.store.session import Database
from tests.chaos.postgres import Cluster, Postgres, url_of
from tests.factory import make_site, send
from tests.programs import wait_for


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Postgres() as place:
        yield place.started()


def wait_for_standby(cluster: Cluster, names: str) -> None:
    cluster.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    cluster.sql("SELECT pg_reload_conf()")


def test_a_repeated_enquiry_is_not_confirmed_by_one_machine_alone(cluster: Cluster, tmp_path: Path) -> None:
    """The first answer may have been held back for the standby; the second must not be given without it either."""
    database = Database(url_of(cluster))
    upgrade(database)
    vault, site = open_vault(database, tmp_path / "keys.json"), make_site(database)
    stored = send(database, vault, site, client_id="one")
    wait_for_standby(cluster, "*")
    with ThreadPoolExecutor(1) as visitor:
        again = visitor.submit(send, database, vault, site, client_id="one")
        try:
            wait_for(lambda: cluster.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), 5)
            assert not again.done()
        finally:
            wait_for_standby(cluster, "")
        assert again.result().event_id == stored.event_id
    database.close()
