"""The whole way in a real browser: add a CRM, sign in there on its own site, come back, and the enquiry is sent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select
from werkzeug.serving import make_server

from config.settings import load_settings
from leads.app import create_app
from leads.store.models import Connection, Delivery, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Context, Limits
from leads.sync.deliver import run_lane
from leads.sync.retry import Policy
from tests.browser.conftest import accessibility_troubles, overflow
from tests.factory import make_site, send
from tests.pretend.oauth import CLIENT_ID, CLIENT_SECRET, PretendSignIn, register
from tests.programs import free_port
from tests.web.desk import PASSWORD, make_user

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def site(database: Database, vault: Vault) -> Site:
    return make_site(database)


@pytest.fixture
def address(database_url: str, database: Database, site: Site, tmp_path: Path) -> Iterator[str]:
    """The desk, on another site than the CRM: a browser takes `localhost` and `127.0.0.1` for two."""
    make_user(database)
    port = free_port()
    public = f"http://localhost:{port}"
    more = {"data_dir": str(tmp_path), "public_url": public, "allowed_private_hosts": "127.0.0.1"}
    app = create_app(load_settings({}, database_url=database_url, **more))
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield public
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def crm(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendSignIn]:
    register(monkeypatch)
    with PretendSignIn(f"{address}/desk/oauth/callback") as server:
        assert isinstance(server, PretendSignIn)
        yield server


def _look(page: Page, name: str) -> None:
    """Nothing for axe-core to find, and nothing sticks out; kept as a picture where somebody wants to see it."""
    for width in (360, 1200):
        page.set_viewport_size({"width": width, "height": 800})
        assert accessibility_troubles(page) == [], f"{name}, {width} px"
        assert overflow(page) == 0, f"{name} is wider than {width} px"
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)


def test_sign_in_at_a_crm(
    chromium: Browser, address: str, database: Database, vault: Vault, site: Site, crm: PretendSignIn
) -> None:
    send(database, vault, site, email="jane@example.com")
    context = chromium.new_context(base_url=address)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto("/desk/connections/new/tiny")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_label("API address").fill(crm.url)
    page.get_by_label("Client ID").fill(CLIENT_ID)
    page.get_by_label("Client secret").fill(CLIENT_SECRET)
    _look(page, "add")
    page.get_by_role("button", name="Test and save").click()
    page.wait_for_url(f"{crm.url}/authorize?*")
    page.get_by_role("link", name="Deny").click()
    expect(page.get_by_text("The CRM was told not to let Frontdesk in.")).to_be_visible()
    _look(page, "denied")
    page.get_by_role("link", name="Back to Tiny CRM").click()
    expect(page.get_by_text("Nobody has signed in yet.")).to_be_visible()
    _look(page, "nobody")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{crm.url}/authorize?*")
    page.get_by_role("link", name="Allow").click()
    expect(page.get_by_text("Tested: everything is as it should be.")).to_be_visible()
    expect(page.get_by_text("Signed in; the sign-in ends in 59 days.")).to_be_visible()
    assert page.url.startswith(f"{address}/desk/connections/")
    _look(page, "signed-in")
    _deliver(database, vault)
    with database.read() as session:
        assert session.scalars(select(Delivery.state)).all() == ["confirmed"]
    crm.end_sign_in()
    page.get_by_role("button", name="Test").first.click()
    expect(page.get_by_role("status")).to_contain_text("Press “Sign in again”")
    _look(page, "ended")
    page.goto("/desk/connections")
    _look(page, "list")
    assert [text for text in complaints if "400" not in text] == [], "the browser refused something"
    context.close()


def test_the_page_on_the_way_there(chromium: Browser, address: str, crm: PretendSignIn, database: Database) -> None:
    """Where a browser does not go on by itself, there is a link."""
    context = chromium.new_context(base_url=address)
    page = context.new_page()
    page.route(f"{crm.url}/**", lambda route: route.abort())
    page.goto("/desk/connections/new/tiny")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("API address")).to_be_visible()
    html = context.request.get("/desk/connections/new/tiny").text()
    token = html.partition('name="csrf_token" value="')[2].partition('"')[0]
    options = {"option-url": crm.url, "option-client_id": CLIENT_ID, "option-client_secret": CLIENT_SECRET}
    form = {"csrf_token": token, "site": "demo", "name": "Tiny", "option-way": "person", **options}
    shown = context.request.post("/desk/connections/new/tiny", form=form).text()
    still = shown.replace('http-equiv="refresh"', "")
    page.route("**/shown", lambda route: route.fulfill(body=still, content_type="text/html"))
    page.goto("/shown")
    expect(page.get_by_role("button", name="Go to the CRM")).to_be_visible()
    _look(page, "on-the-way")
    context.close()


def _deliver(database: Database, vault: Vault) -> None:
    """What the worker does."""
    with database.read() as session:
        found = session.scalars(select(Connection.id)).one()
    run_lane(Context(database, vault, "w", Limits(60, 5, frozenset({"127.0.0.1"})), Policy(())), found)
