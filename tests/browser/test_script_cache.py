"""The website script while Frontdesk is away, with a browser's own cache between them."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser
from sqlalchemy import func, select

from config.settings import load_settings
from leads.app import create_app
from leads.store.models import Event
from leads.store.session import Database
from leads.store.vault import Vault
from tests.browser.conftest import served
from tests.factory import make_site
from tests.programs import free_port, wait_for

_PAGE = """<!doctype html><title>Clinic</title><a href="tel:1" onclick="return false">Call</a>
<script defer src="{url}/f/static/website.js" data-site="demo"></script>"""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_tap_while_frontdesk_is_away_arrives_once_it_is_back(
    chromium: Browser, database_url: str, database: Database, vault: Vault, tmp_path: Path
) -> None:
    make_site(database)
    frontdesk = create_app(load_settings({}, database_url=database_url, data_dir=str(tmp_path)))
    clinic, port, clinics_port = Flask("clinic"), free_port(), free_port()
    clinic.add_url_rule("/<_path>", "page", lambda _path: _PAGE.format(url=f"http://127.0.0.1:{port}"))
    context = chromium.new_context()
    page = context.new_page()

    def visit(path: str) -> None:
        page.goto(f"http://127.0.0.1:{clinics_port}/{path}")

    def taps() -> int:
        with database.read() as session:
            return session.scalar(select(func.count()).select_from(Event)) or 0

    with served(clinic, clinics_port):
        with served(frontdesk, port):
            visit("first")
        visit("second")
        page.get_by_role("link").click()
        page.wait_for_timeout(300)
        assert taps() == 0
        with served(frontdesk, port):
            visit("third")
            wait_for(lambda: page.wait_for_timeout(20) or taps() == 1)
    context.close()
