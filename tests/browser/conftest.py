"""A whole demo as a newcomer starts it, and a real Chromium to visit it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from werkzeug.serving import make_server

from tests.needs import browser as find_browser
from tests.programs import ROOT, free_port, wait_for

expect.set_options(
    timeout=30_000
)  # a busy machine may stand still for seconds; what is never so, is not so then either
PASSWORD = "correct horse battery staple"
_FLAGS = [
    "--no-sandbox",  # Chromium refuses to run as root with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Demo:
    """What `frontdesk serve --demo` printed. crm: the sandbox's address."""

    url: str
    crm: str
    one_time_password: str
    environ: dict[str, str]

    def faults(self, **faults: object) -> None:
        """Switch exactly these on in the sandbox."""
        requests.put(f"{self.crm}/faults", json=faults, timeout=30).raise_for_status()

    def ask(self, *arguments: str) -> Any:
        """What a `frontdesk` command that reads prints as JSON."""
        command = [sys.executable, "-m", "leads", *arguments, "--json"]
        return json.loads(subprocess.check_output(command, cwd=ROOT, env=self.environ))

    def state(self, reference: str) -> str:
        """Where a lead's first delivery stands."""
        return str(self.ask("lead", "show", reference)["events"][0]["deliveries"][0]["state"])

    def connection_state(self) -> str:
        """How the first connection is."""
        return str(self.ask("connection", "list")[0]["state"])

    def lead_url(self, reference: str) -> str:
        """The desk's page of a lead."""
        return f"{self.url}/desk/leads/{self.ask('lead', 'show', reference)['id']}"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, started with the one command that the README names, ended by Ctrl-C."""
    folder = tmp_path_factory.mktemp("demo")
    port, sandbox_port = free_port(), free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FRONTDESK_")} | {
        "FRONTDESK_PORT": str(port),
        "FRONTDESK_SANDBOX_PORT": str(sandbox_port),
        "FRONTDESK_DATA_DIR": str(folder / "data"),
    }
    printed = folder / "printed.log"
    with printed.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "leads", "serve", "--demo"], cwd=ROOT, env=environ, stdout=log, stderr=log
        )
    try:
        found = wait_for(lambda: re.search(r"one-time password (\S+)", printed.read_text()), 120)
        yield Demo(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}", found[1], environ)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's own browser."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_browser(), args=_FLAGS)
        yield running
        running.close()


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Page]:
    """Somebody who has switched JavaScript off."""
    context = chromium.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, demo: Demo) -> Iterator[BrowserContext]:
    """A member of staff who has just set their own password."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{demo.url}/desk/")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(demo.one_time_password)
    page.get_by_role("button", name="Sign in").click()
    page.locator("input[name=new]").fill(PASSWORD)
    page.locator("input[name=again]").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button").click()
    page.wait_for_url(f"{demo.url}/desk/")
    page.close()
    yield context
    context.close()


@pytest.fixture
def desk(signed_in: BrowserContext) -> Iterator[Page]:
    """A page of the signed-in browser that must not show an error in its console."""
    page = signed_in.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if _is_trouble(message) else None)
    yield page
    page.close()
    assert troubles == []


def _is_trouble(message: ConsoleMessage) -> bool:
    """A form that is shown again with its errors has the status 422, which the browser notes as well."""
    return message.type == "error" and "422" not in message.text


def accessibility_troubles(page: Page) -> list[str]:
    """What axe-core finds on the page as it is shown now."""
    page.wait_for_load_state("load")  # styles too
    page.evaluate(_AXE)
    found = page.evaluate("axe.run()")
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def send_request(page: Page, demo: Demo, **fields: str) -> str:
    """Fill in the demo clinic's form and send it. Returns the reference code on the thank-you page."""
    page.goto(f"{demo.url}/demo/")
    for name, value in fields.items():
        page.locator(f"#{name}").fill(value)
    page.locator("#consent").check()
    page.get_by_role("button", name="Send request").click()
    return page.locator(".reference").inner_text()


@contextmanager
def served(app: Flask, port: int) -> Iterator[None]:
    """Answer at this port of this machine."""
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()
