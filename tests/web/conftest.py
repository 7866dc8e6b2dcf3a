"""The web application on a fresh database of each kind, with one site that has one connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, make_url, text

from config.settings import Settings, load_settings
from leads.app import create_app
from leads.store.models import Site
from leads.store.session import Database, sqlite_file
from leads.store.vault import Vault
from tests.conftest import postgres_url
from tests.factory import make_connection, make_site
from tests.web.pages import ORIGIN, PUBLIC
from tests.web.stored import Stored

Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _same_day() -> None:
    """Begin nothing in the last moments of a day, here or at the clinic: what came today would be of yesterday."""
    for zone in (UTC, ZoneInfo("America/New_York")):
        now = datetime.now(zone)
        left = timedelta(days=1) - timedelta(hours=now.hour, minutes=now.minute, seconds=now.second)
        if left < timedelta(seconds=20):
            time.sleep(left.total_seconds())


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    more = {"data_dir": str(tmp_path), "form_min_seconds": "0.05", "rate_limit": "5", "public_url": PUBLIC}
    return load_settings({}, database_url=database_url, **more)


@pytest.fixture
def site(database: Database, vault: Vault) -> Site:
    """The site `demo`, with one origin and one connection."""
    site = make_site(database, origins=[ORIGIN])
    make_connection(database, vault, site)
    return site


@pytest.fixture
def app(settings: Settings, database: Database, site: Site, monkeypatch: pytest.MonkeyPatch) -> Flask:
    # One engine for the application and the test, which closes it.
    monkeypatch.setattr("leads.app.Database", lambda _url, **_: database)
    return create_app(settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def stored(database: Database, vault: Vault) -> Stored:
    """What is in the database now, decrypted."""
    return Stored(database, vault)


@pytest.fixture
def outage(database: Database, database_url: str, request: pytest.FixtureRequest) -> Outage:
    """`with outage():` the database is gone, under the running application."""

    @contextmanager
    def gone() -> Iterator[None]:
        database.close()
        file = sqlite_file(database_url)
        away = file_away(file) if file else _refusing(request.getfixturevalue("postgres"), database_url)
        with away:
            yield
        database.close()

    return gone


@contextmanager
def file_away(file: Path) -> Iterator[None]:
    hidden = file.with_suffix(".away")
    file.rename(hidden)
    file.mkdir()  # else SQLite makes a new, empty one
    yield
    file.rmdir()
    hidden.rename(file)


@contextmanager
def _refusing(server: object, database_url: str) -> Iterator[None]:
    name = make_url(database_url).database
    admin = create_engine(postgres_url(server, "postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        yield
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    admin.dispose()
