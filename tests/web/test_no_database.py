"""A PostgreSQL that is frozen: everything that visitors, probes and staff can ask for answers 503, and soon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import make_url

from config.settings import load_settings
from leads.app import create_app
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_site
from tests.proxy import Proxy

FORM = {"id": "one", "email": "jane@example.com", "message": "I typed this", "consent": "yes"}
ASKED = (
    ("GET", "/readyz", None),
    ("GET", "/f/demo/consultation", None),
    ("POST", "/f/demo/consultation", {"data": FORM}),
    ("POST", "/api/v1/consultations", {"json": FORM | {"site": "demo", "consent": True}}),
    ("POST", "/api/v1/call-clicks", {"json": {"site": "demo", "id": "two", "tel": "+12015550123"}}),
    ("OPTIONS", "/api/v1/consultations", {"headers": {"Origin": "https://clinic.example"}}),
    ("GET", "/desk/sign-in", None),
)


@pytest.fixture
def wire(database_url: str) -> Iterator[Proxy]:
    proxy = Proxy(f"{make_url(database_url).query['host']}/.s.PGSQL.5432")
    yield proxy
    proxy.close()


@pytest.fixture
def app(
    database_url: str, database: Database, vault: Vault, wire: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    make_site(database)
    url = make_url(database_url).set(query={"host": f"127.0.0.1:{wire.port}"}).render_as_string(hide_password=False)
    wired = Database(url)
    monkeypatch.setattr("leads.app.Database", lambda _url, **_: wired)
    yield create_app(load_settings({}, database_url=url, data_dir=str(tmp_path)))
    wired.close()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_frozen_database_is_503_within_seconds_everywhere_and_well_again_by_itself(app: Flask, wire: Proxy) -> None:
    def ask(one: tuple[str, str, dict[str, object] | None]) -> tuple[str, int, float, str, str]:
        method, path, more = one
        began = time.monotonic()
        answer = app.test_client().open(path, method=method, **(more or {}))  # type: ignore[arg-type]
        took = time.monotonic() - began
        return path, answer.status_code, took, answer.headers.get("Retry-After", ""), answer.text

    wire.freeze()
    with ThreadPoolExecutor(len(ASKED)) as pool:
        answers = list(pool.map(ask, ASKED))
    for path, status, took, again, body in answers:
        if path == "/desk/sign-in":
            assert status in (200, 503)
            continue
        assert (path, status) == (path, 503)
        assert took < 30, path
        assert again == "10" or path == "/readyz"
        if path.startswith("/f/") and "send it once more" in body:
            assert "I typed this" in body
    assert sum("I typed this" in body for *_, body in answers) == 1
    wire.thaw()
    assert ask(ASKED[3])[1] == 201
