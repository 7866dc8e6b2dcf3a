"""A clinic's page of another origin: the hosted form in a frame, and a form that its own script sends. In a real
browser, which heeds who may frame and read what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, FrameLocator, Page, expect

from config.settings import load_settings
from leads.app import create_app
from leads.store.session import Database, sqlite_file
from leads.store.vault import Vault
from tests.browser.conftest import served
from tests.factory import make_site
from tests.programs import free_port
from tests.web.conftest import file_away

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def frontdesk(
    database_url: str, database: Database, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    # One engine for the application and the test, which closes it.
    monkeypatch.setattr("leads.app.Database", lambda _url, **_: database)
    port = free_port()
    with served(create_app(load_settings({}, database_url=database_url, data_dir=str(tmp_path))), port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def clinic(frontdesk: str) -> Iterator[str]:
    """A website with one page."""
    page, port = Flask("clinic"), free_port()
    page.add_url_rule("/", "home", lambda: f'<iframe src="{frontdesk}/f/demo/consultation" height=900></iframe>')
    with served(page, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def _send(frame: FrameLocator) -> None:
    frame.get_by_label("E-mail").fill("jane@example.com")
    frame.get_by_role("button").click()


@pytest.mark.parametrize("listed", [True, False])
def test_a_clinic_shows_the_form_and_the_thanks_within_its_page(
    database: Database, clinic: str, page: Page, listed: bool
) -> None:
    make_site(database, origins=[clinic] if listed else [])
    page.goto(clinic)
    frame = page.frame_locator("iframe")
    frame.get_by_role("button").click()
    expect(frame.get_by_role("alert")).to_contain_text("Please check")
    _send(frame)
    expect(frame.get_by_role("heading", name="Thank you")).to_be_visible()
    if listed:
        with page.expect_navigation(url=f"{clinic}/"):
            frame.get_by_role("link", name="Back to").click()


def test_a_script_of_the_page_sends_its_form_and_reads_that_it_is_here(
    database: Database, frontdesk: str, clinic: str, page: Page
) -> None:
    make_site(database, origins=[clinic], thank_you_urls=[f"{clinic}/thanks"])
    page.goto(clinic)
    read = """async ([url, email]) => {
        const form = new FormData();
        form.set("email", email);
        const answer = await fetch(url, { method: "POST", body: form });
        return [answer.status, await answer.text()];
    }"""
    status, text = page.evaluate(read, [f"{frontdesk}/f/demo/consultation", "jane@example.com"])
    assert (status, "Thank you" in text) == (200, True)
    status, text = page.evaluate(read, [f"{frontdesk}/f/demo/consultation", "jane@"])
    assert (status, "Please check" in text) == (422, True)
    assert page.evaluate(f"import('{frontdesk}/f/static/website.js').then(() => 'read')") == "read"


def test_without_the_database_the_frame_shows_what_to_do_and_then_the_thanks(
    database: Database, database_url: str, clinic: str, page: Page
) -> None:
    make_site(database, origins=[clinic])
    page.goto(clinic)
    frame = page.frame_locator("iframe")
    file = sqlite_file(database_url)
    assert file is not None
    database.close()
    with file_away(file):
        _send(frame)
        expect(frame.get_by_role("heading", name="Please send it once more")).to_be_visible()
        database.close()
    frame.get_by_role("button").click()
    expect(frame.get_by_role("heading", name="Thank you")).to_be_visible()


def test_nobody_else_frames_the_form(database: Database, clinic: str, page: Page) -> None:
    make_site(database, origins=["https://another.example"])
    with page.expect_event("console", lambda message: "frame-ancestors" in message.text):
        page.goto(clinic)
    assert page.frame_locator("iframe").get_by_role("button").count() == 0
