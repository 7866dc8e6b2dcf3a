"""Connections that somebody has to sign in for: the command line says where, since it has no browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from leads.commands import connection
from leads.store.models import Connection
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync import sign_in
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from tests.cli.conftest import Frontdesk, as_json
from tests.factory import make_site
from tests.pretend.oauth import CLIENT_ID, CLIENT_SECRET, PretendSignIn, register

PUBLIC = "https://frontdesk.clinic.example"
BACK = f"{PUBLIC}/desk/oauth/callback"
SETTINGS = {"public_url": PUBLIC, "allowed_private_hosts": "127.0.0.1"}


@pytest.fixture
def crm(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendSignIn]:
    register(monkeypatch)
    monkeypatch.setattr(connection._KIND, "choices", ("tiny",))
    with PretendSignIn(BACK) as server:
        assert isinstance(server, PretendSignIn)
        yield server


def _row(database: Database) -> Connection:
    with database.read() as session:
        return session.scalars(select(Connection)).one()


def _add(frontdesk: Frontdesk, database: Database, crm: PretendSignIn, *more: str) -> str:
    make_site(database)
    given = ("--set", f"url={crm.url}", "--set", f"client_id={CLIENT_ID}", "--file", "client_secret=-", *more)
    return frontdesk("connection", "add", "tiny", "--site", "demo", *given, stdin=CLIENT_SECRET, **SETTINGS).stdout


def _sign_in(database: Database, vault: Vault, crm: PretendSignIn) -> None:
    setup = Setup(database, vault, Limits(60, 5, frozenset({"127.0.0.1"})), by="anna")
    way = sign_in.begin(setup, _row(database), BACK)
    code = crm.allow(way.address).partition("code=")[2].partition("&")[0]
    sign_in.complete(setup, _row(database).id, BACK, code, way.verifier)


def test_it_says_where_to_sign_in(frontdesk: Frontdesk, database: Database, vault: Vault, crm: PretendSignIn) -> None:
    printed = _add(frontdesk, database, crm)
    assert f"Enter this redirect address for the app in the CRM: {BACK}" in printed
    assert f"press “Sign in” at the desk: {PUBLIC}/desk/connections/{_row(database).id}" in printed
    tested = frontdesk("connection", "test", "Tiny CRM", code=1, **SETTINGS).stdout
    assert "wrong Nobody has signed in at the CRM yet." in tested
    assert BACK in tested
    shown = as_json(frontdesk("connection", "list", "--json", **SETTINGS))[0]
    assert (shown["state"], shown["signed_in"], shown["ends"]) == ("failing", False, None)
    _sign_in(database, vault, crm)
    assert frontdesk("connection", "test", "Tiny CRM", **SETTINGS).stdout == "ok    Tiny CRM lets us in.\n"
    shown = as_json(frontdesk("connection", "list", "--json", **SETTINGS))[0]
    assert (shown["state"], shown["signed_in"]) == ("working", True)
    assert f"{shown['ends']:.10}" in frontdesk("connection", "list", **SETTINGS).stdout


def test_a_new_secret_keeps_the_sign_in_and_another_app_does_not(
    frontdesk: Frontdesk, database: Database, vault: Vault, crm: PretendSignIn
) -> None:
    _add(frontdesk, database, crm)
    _sign_in(database, vault, crm)
    rotate = ("connection", "rotate", "Tiny CRM")
    assert "Nothing to replace was given." in frontdesk(*rotate, code=2, **SETTINGS).stderr
    assert "wrong " in frontdesk(*rotate, "--file", "client_secret=-", stdin="typo", code=1, **SETTINGS).stdout
    crm.secret = "canary-new-secret"
    printed = frontdesk(*rotate, "--file", "client_secret=-", stdin=crm.secret, **SETTINGS).stdout
    assert "Replaced. What waited is sent now." in printed
    printed = frontdesk(*rotate, "--set", "client_id=another", **SETTINGS).stdout
    assert "press “Sign in” at the desk" in printed
    assert "Replaced." not in printed
    assert _row(database).tokens_sealed is None


def test_a_program_needs_nobody(frontdesk: Frontdesk, database: Database, vault: Vault, crm: PretendSignIn) -> None:
    printed = _add(frontdesk, database, crm, "--set", "way=program")
    assert "ok    Tiny CRM lets us in." in printed
    assert "Sign in" not in printed
