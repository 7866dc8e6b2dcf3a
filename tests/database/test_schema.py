"""The tables: migrations and models agree, an unfit schema or key is refused, and nothing is made anew over data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Column, MetaData, delete, func, insert, inspect, select, table, text, update

from leads.store import callers, schema
from leads.store.holds import HELD_BY_REMOVAL, HOLD_SENTENCES
from leads.store.models import Base, Delivery, Identity, Lead, Meta, RemoteRecord
from leads.store.schema import SchemaError, current, head, open_vault, require_current, upgrade
from leads.store.session import Database
from leads.store.vault import Vault, VaultError
from leads.upkeep.health import readiness
from tests.database.loop import Loop
from tests.factory import make_connection, make_site, send

SCRIPTS = ScriptDirectory.from_config(schema._config())


@pytest.fixture
def empty(database_url: str, database: Database) -> Iterator[Database]:
    """A database without any table."""
    with database.write() as session:
        session.execute(text("DROP TABLE alembic_version"))
        Base.metadata.drop_all(session.connection())
    opened = Database(database_url)
    yield opened
    opened.close()


def revision_becomes(database: Database, revision: str) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def go_back(database: Database, revision: str) -> None:
    """The tables as they were after this migration."""
    with database.engine.connect().execution_options(write=True) as connection, connection.begin():
        command.downgrade(schema._config(connection), revision)


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_an_empty_database_becomes_current(empty: Database) -> None:
    assert current(empty) is None
    with pytest.raises(SchemaError, match="frontdesk db upgrade"):
        require_current(empty)
    upgrade(empty)
    require_current(empty)
    assert current(empty) == head()
    assert set(Base.metadata.tables) <= set(inspect(empty.engine).get_table_names())


def test_asking_whether_it_is_current_reads_no_migrations_again(database: Database) -> None:
    """Strangers may ask: /readyz does so each time."""
    assert head() == ScriptDirectory.from_config(schema._config()).get_current_head()
    with patch.object(ScriptDirectory, "from_config", side_effect=AssertionError("read again")):
        assert current(database) == head()


def test_upgrading_again_changes_nothing(database: Database) -> None:
    make_site(database)
    upgrade(database)
    make_site(database, key="other")


def _fill(database: Database) -> Counter[str]:
    """A row in each table as it stands, whatever its columns. Returns how many each has."""
    tables = MetaData()
    tables.reflect(database.engine)
    known = [one for one in tables.sorted_tables if one.name != "alembic_version"]
    rows: dict[str, dict[str, Any]] = {}
    with database.write() as session:
        for one in known:
            filled = [column for column in one.columns if not column.nullable and column.server_default is None]
            rows[one.name] = {column.name: _value(column, rows) for column in filled}
            session.execute(insert(one).values(rows[one.name]))
    return _counted(database, [one.name for one in known])


def _counted(database: Database, tables: Iterable[str]) -> Counter[str]:
    rows = {name: select(func.count()).select_from(table(name)) for name in tables}
    with database.read() as session:
        return Counter({name: session.scalar(counted) for name, counted in rows.items()})


def _value(column: Column[Any], rows: Mapping[str, Mapping[str, Any]]) -> Any:
    for key in column.foreign_keys:
        return rows[key.column.table.name][key.column.name]
    values = {
        str: uuid4().hex,  # as SQLite keeps ids
        UUID: uuid4(),
        bytes: bytes(16),
        datetime: datetime.now(UTC),
        date: date(2026, 3, 2),
        object: {},
    }
    kind = column.type.python_type
    value = values[kind] if kind in values else kind()
    return value[: getattr(column.type, "length", None)] if isinstance(value, str) else value


@pytest.mark.parametrize(
    "revision", [one.revision for one in SCRIPTS.walk_revisions() if one.down_revision is not None]
)
def test_a_database_that_was_in_use_is_upgraded_over_each_step(empty: Database, revision: str) -> None:
    before = SCRIPTS.get_revision(revision).down_revision
    with empty.engine.connect().execution_options(write=True) as connection, connection.begin():
        command.upgrade(schema._config(connection), str(before))
    filled = _fill(empty)
    assert min(filled.values()) == 1
    upgrade(empty)
    assert _counted(empty, filled) == filled | Counter(meta=2), "from where on programs work on these tables is new"


def test_two_upgrades_at_once_wait_for_each_other(empty: Database, database_url: str) -> None:
    databases = [Database(database_url) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(upgrade, databases))
    for opened in databases:
        require_current(opened)
        opened.close()


def test_what_a_removed_connection_held_in_an_older_version_says_why_it_is_held(
    database: Database, vault: Vault
) -> None:
    site = make_site(database)
    make_connection(database, vault, site)
    events = {
        send(database, vault, site, email=f"{name}@example.com", **held).event_id: (code, sentence)
        for name, held, code, sentence in [
            ("jane", {}, "removed", HOLD_SENTENCES["removed"]),
            ("sam", {"suspicion": "trap"}, "spam", HOLD_SENTENCES["spam"]),
            ("nora", {"consent": False}, "no_consent", HOLD_SENTENCES["no_consent"]),
        ]
    }
    with database.write() as session:
        session.execute(update(Delivery).values(**HELD_BY_REMOVAL))
    reasons = import_module("leads.store.migrations.versions.0006_reasons")
    with database.engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        reasons.upgrade()
    with database.read() as session:
        rows = session.scalars(select(Delivery)).all()
    assert {row.event_id: (row.code, row.sentence) for row in rows} == events


def test_what_an_older_version_learned_from_held_enquiries_alone_is_told_apart(
    database: Database, vault: Vault
) -> None:
    site = make_site(database)
    send(database, vault, site, email="jane@example.com", visitor_id="v1")
    send(database, vault, site, "call_click", visitor_id="v2")
    send(database, vault, site, consent=False, email="nora@example.com", phone="+12015550123", visitor_id="v3")
    with database.write() as session:
        session.execute(update(Identity).values(trusted=True))
    trusted = import_module("leads.store.migrations.versions.0013_trusted_identity")
    with database.engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        trusted.tell_apart()
    with database.read() as session:
        told = sorted((row.kind, row.trusted) for row in session.scalars(select(Identity)))
    assert told == [("email", False), ("email", True), ("phone", False), *[("visitor", True)] * 3]


def test_who_was_merged_into_themselves_is_there_again_and_their_record_stays(loop: Loop) -> None:
    event = loop.send(visitor_id="v1")
    loop.tick()
    with loop.database.write() as session:
        jane = session.scalars(select(Lead)).one()
        callers.merge(session, jane, jane.id, loop.clock())  # as an earlier version did, and sent it without end
    go_back(loop.database, "0015")
    upgrade(loop.database)
    require_current(loop.database)
    with loop.database.read() as session:
        assert session.execute(select(Lead.merged_into, RemoteRecord.retire).join(RemoteRecord)).one() == (None, False)
    for _ in range(3):
        loop.tick(minutes=5)
    assert (loop.row(event).state, loop.verdicts().count("sent")) == ("confirmed", 2)


def test_the_schema_of_a_newer_version_that_says_nothing_is_refused(database: Database) -> None:
    with database.write() as session:
        session.execute(delete(Meta))
    revision_becomes(database, "9999")
    for step in (upgrade, require_current):
        with pytest.raises(SchemaError, match="newer Frontdesk"):
            step(database)


def test_a_version_works_on_newer_tables_that_say_so(database: Database) -> None:
    """Whoever goes back, and a program that dies in an upgrade without a stop, has to start again."""
    upgrade(database)
    before = current(database)
    revision_becomes(database, "9999")
    require_current(database)
    upgrade(database)
    assert (before, current(database), schema.upgrades_from(database)) == (head(), "9999", None)
    checks = readiness(database)
    assert (checks["migrations"], checks["worker"]) == ("ok", "no worker is running")


def test_newer_tables_that_leave_this_version_behind_are_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "WORKS_FROM", "9999")
    upgrade(database)
    revision_becomes(database, "9999")
    for step in (upgrade, require_current, schema.upgrades_from):
        with pytest.raises(SchemaError, match="newer Frontdesk"):
            step(database)
    assert readiness(database)["migrations"] == "run: frontdesk db upgrade"


def test_what_the_tables_say_that_they_work_from_is_one_of_our_migrations() -> None:
    assert schema.WORKS_FROM in {one.revision for one in SCRIPTS.walk_revisions()}


def test_a_migration_that_fails_leaves_no_half_of_it(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with empty.write() as session:
        session.execute(text("CREATE TABLE worker (id INTEGER)"))  # in the way of the first migration
    with pytest.raises(Exception, match="worker"):
        upgrade(empty)
    assert inspect(empty.engine).get_table_names() in (["worker"], ["alembic_version", "worker"])
    assert current(empty) is None


def test_keys_are_made_for_a_new_database_and_kept(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first = open_vault(database, path)
    before = path.read_bytes()
    assert open_vault(database, path).digest("x") == first.digest("x")
    assert path.read_bytes() == before


def test_keys_that_are_there_already_are_taken(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    schema.create_keys(path)
    before = path.read_bytes()
    open_vault(database, path)
    assert path.read_bytes() == before


def test_without_its_keys_a_database_is_not_opened_and_no_key_is_made(database: Database, tmp_path: Path) -> None:
    open_vault(database, tmp_path / "keys.json")
    (tmp_path / "keys.json").unlink()
    with pytest.raises(VaultError, match="is missing"):
        open_vault(database, tmp_path / "keys.json")
    assert not (tmp_path / "keys.json").exists()


def test_the_keys_of_another_database_are_refused(database: Database, tmp_path: Path) -> None:
    open_vault(database, tmp_path / "keys.json")
    schema.create_keys(tmp_path / "other.json")
    with pytest.raises(VaultError, match=r"other\.json does not belong to this database"):
        open_vault(database, tmp_path / "other.json")
