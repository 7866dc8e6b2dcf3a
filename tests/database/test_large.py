"""Whole tables are read through however long that takes, where a statement that anybody waits for is cut off.

A statement is made slow by a lock that somebody else holds for longer than the limit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import OperationalError

from leads.store import postgres, resealing
from leads.store.keyfile import add_key, seal_with
from leads.store.models import Base, Lead
from leads.store.outbox.replays import Chosen, start_replay
from leads.store.queries.replays import reasons
from leads.store.resealing import reseal, values_by_key
from leads.store.retention import Old, count_old
from leads.store.session import Database
from leads.store.vault import Vault
from tests.conftest import only_postgres
from tests.factory import make_connection, make_site, send

pytestmark = only_postgres
_LIMITS = "SET statement_timeout = '1s'; SET lock_timeout = '1s'"


def _leads(database: Database, _: Vault) -> object:
    with database.read() as session:
        return session.scalar(select(func.count(Lead.id)))


def _keys(database: Database, _: Vault) -> object:
    return values_by_key(database).total() > 3


def _reseal(database: Database, vault: Vault) -> object:
    return sum(slice_.looked_at for slice_ in reseal(database, vault)) > 3


def _purge(database: Database, _: Vault) -> object:
    with database.read() as session:
        return count_old(session, database.now(session) + timedelta(days=1)) == Old(1, 0, {})


def _reasons(database: Database, _: Vault) -> object:
    with database.read() as session:
        return [one.number for one in reasons(session, Chosen("waiting"), database.now(session))] == [1]


def _replay(database: Database, vault: Vault) -> object:
    with database.write() as session:
        return start_replay(session, vault, Chosen("waiting"), "anna", database.now(session)).total == 1


@pytest.fixture
def large(database: Database, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """One enquiry, in tables that take longer to be read than the limit."""
    site = make_site(database)
    make_connection(database, vault, site)
    send(database, vault, site, email="jane@example.com")
    kid = add_key(tmp_path / "keys.json")
    seal_with(tmp_path / "keys.json", kid)
    vault.look()
    monkeypatch.setattr(postgres, "_LIMITS", _LIMITS)
    monkeypatch.setattr(resealing, "_BREATH", 0.0)
    database.close()
    other = create_engine(database.engine.url)
    names = ", ".join(f'"{name}"' for name in Base.metadata.tables)
    with other.connect() as holder:
        holder.execute(text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))
        release = threading.Timer(2.5, holder.rollback)
        release.start()
        yield database
        release.join()
    other.dispose()


def test_what_anybody_waits_for_is_cut_off(large: Database, vault: Vault) -> None:
    with pytest.raises(OperationalError):
        _leads(large, vault)


@pytest.mark.parametrize("read", [_keys, _reseal, _purge, _reasons, _replay])
def test_what_reads_a_table_through_is_not(
    large: Database, vault: Vault, read: Callable[[Database, Vault], object]
) -> None:
    assert read(large, vault)
    with large.read() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "1s", "and what comes next is"
