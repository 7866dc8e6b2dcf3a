"""A site with one connection, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.core.oauth import Token
from leads.store.erasure_list import ErasureList
from leads.store.models import Connection, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.contract.connection import build
from tests.database.lanes import Clock
from tests.database.loop import Loop
from tests.factory import make_connection, make_site
from tests.fakes import FakeCrm
from tests.pretend import pretend_crms
from tests.pretend.server import PretendCrm

KINDS = {kind: crm for kind, crm in pretend_crms().items() if kind != "webhook"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(database_url: str, database: Database, clock: Clock) -> Iterator[Database]:
    """The database, going by the clock of the test."""
    opened = Database(database_url, clock)
    yield opened
    opened.close()


@pytest.fixture
def site(timed: Database) -> Site:
    return make_site(timed)


@pytest.fixture
def connection(timed: Database, vault: Vault, site: Site) -> Connection:
    return make_connection(timed, vault, site)


@pytest.fixture
def erasures(tmp_path: Path) -> ErasureList:
    """The list of this host, which is empty."""
    return ErasureList(tmp_path)


@pytest.fixture
def loop(
    timed: Database,
    vault: Vault,
    clock: Clock,
    site: Site,
    connection: Connection,
    erasures: ErasureList,
    monkeypatch: pytest.MonkeyPatch,
) -> Loop:
    """The worker's loop, with a CRM of tier A that behaves."""
    return Loop(timed, vault, clock, site, connection.id, FakeCrm(), erasures, monkeypatch)


@pytest.fixture(params=sorted(KINDS))
def crm(request: pytest.FixtureRequest, loop: Loop) -> Iterator[PretendCrm]:
    """The loop's connection goes to each kind of CRM that can be read."""
    more = {"lag": 0} if request.param in ("gohighlevel", "pipedrive") else {}
    with KINDS[request.param](**more) as crm:
        loop.set_connection(kind=crm.kind)
        token = Token.load(crm.token) if crm.token else None
        loop.use(build(crm.kind, crm.settings(), token, allowed_private_hosts=frozenset({"127.0.0.1"}), deadline=60))
        yield crm
