"""Public pages, and the desk when something is wrong: axe-core finds nothing, and nothing sticks out at 360 px."""

from __future__ import annotations

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import Demo, accessibility_troubles, overflow
from tests.programs import wait_for

PUBLIC = [
    "/demo/",
    "/f/demo/consultation",
    "/f/demo/thanks?reference=K7Q-2MX",
    "/api/docs",
    "/nowhere",
    "/desk/sign-in",
]


def _look_at(page: Page, url: str) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two literals
        for width in (1200, 360):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(url)
            assert accessibility_troubles(page) == [], f"{url}, {scheme}, {width} px"
            assert overflow(page) == 0, f"{url} is wider than {width} px"


@pytest.mark.parametrize("path", PUBLIC)
def test_public_pages(demo: Demo, chromium: Browser, path: str) -> None:
    context = chromium.new_context()
    _look_at(context.new_page(), demo.url + path)
    context.close()


def test_the_sandbox(demo: Demo, chromium: Browser) -> None:
    context = chromium.new_context()
    page = context.new_page()
    _look_at(page, demo.crm)
    _post(demo, "Sandy")
    contact = wait_for(lambda: requests.get(f"{demo.crm}/contacts.json", timeout=30).json()["contacts"])[0]
    _look_at(page, demo.crm)
    _look_at(page, f"{demo.crm}/contacts/{contact['id']}")
    context.close()


def test_pages_that_have_something_to_tell(demo: Demo, signed_in: BrowserContext) -> None:
    """A lead that was refused, one held as spam, one that waits, and the connection that has a problem."""
    page = signed_in.new_page()
    demo.faults(faults=["refuse_phone"])
    refused = _post(demo, "Rita", phone="(201) 555-0142")
    held = _post(demo, "Sam", website="http://spam.example")
    wait_for(lambda: demo.state(refused) == "refused")
    demo.faults(faults=["wrong_key"])
    waiting = _post(demo, "Walt")
    wait_for(lambda: demo.connection_state() == "failing")
    for reference in (refused, held, waiting):
        _look_at(page, demo.lead_url(reference))
    _look_at(page, f"{demo.url}/desk/")
    page.goto(f"{demo.url}/desk/connections")
    page.get_by_role("link", name="Sandbox CRM").first.click()
    page.wait_for_url("**/desk/connections/*")
    connection = page.url
    for part in ("", "/options", "/remove"):
        _look_at(page, connection + part)
    demo.faults()
    page.close()


def test_on_a_phone_the_rest_of_a_long_list_opens_by_a_press_and_stays_open(
    demo: Demo, signed_in: BrowserContext
) -> None:
    for number in range(6):
        for message in ("Monday?", "Tuesday?"):
            _post(demo, f"Twice{number}", message=message)
    page = signed_in.new_page()
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{demo.url}/desk/")
    last = page.get_by_role("button", name="Compare 6")
    expect(last).to_be_hidden()
    page.get_by_text("Show 2 more").click()
    with page.expect_response("**/desk/live"), page.expect_response("**/desk/live"):
        page.wait_for_timeout(2500)
    expect(last).to_be_visible()
    _look_at(page, f"{demo.url}/desk/")
    page.close()


def _post(demo: Demo, name: str, **more: str) -> str:
    """An enquiry by the API; its reference code."""
    body = {"site": "demo", "id": f"looks-{name}", "first_name": name, "email": f"{name}@example.com", "consent": True}
    answer = requests.post(f"{demo.url}/api/v1/consultations", json=body | more, timeout=30)
    return str(answer.json()["reference"])
