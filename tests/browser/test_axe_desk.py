"""The desk in a real browser: nothing for axe-core to find, on a phone too, and pages that refresh themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright
from sqlalchemy import update
from werkzeug.serving import make_server

from config.settings import load_settings
from leads.app import create_app
from leads.store.corrections import correct
from leads.store.models import Delivery, Event, Lead, Site, Unreadable, User, new_id
from leads.store.outbox.replays import Chosen, start_replay
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_connection, make_site, send
from tests.web.desk import PASSWORD, beat, code_now, lead_of, make_user, set_state

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
# Only what is wrong comes back: all that is right would be more work than looking for it.
_RUN = """async rules => {
  const found = await axe.run(document, {runOnly: rules, resultTypes: ["violations"]});
  return found.violations.map(({id, nodes}) => ({id, where: nodes.map(node => node.target)}));
}"""
_OPEN_ALL = "for (const part of document.querySelectorAll('details')) part.open = true"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com", "phone": "+12015550123"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = {"executable_path": "/usr/bin/chromium", "args": ["--no-sandbox", "--disable-gpu"]}
        opened = playwright.chromium.launch(**options)
        yield opened
        opened.close()


@pytest.fixture
def site(database: Database, vault: Vault) -> Site:
    return make_site(database)


@pytest.fixture
def address(database: Database, vault: Vault, site: Site, database_url: str, tmp_path: Path) -> Iterator[str]:
    """Where the application answers. vault: its keys have to be there first."""
    make_user(database)
    beat(database)
    app = create_app(load_settings({}, database_url=database_url, data_dir=str(tmp_path)))
    with _served(app) as port:
        yield f"http://127.0.0.1:{port}"


class _served:  # noqa: N801 - reads as a word after `with`
    def __init__(self, app: Flask) -> None:
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._server.server_port)

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _page(browser: Browser, address: str, **options: Any) -> Page:
    """A page of somebody who is signed in; a script error or a refused resource fails the test."""
    context = browser.new_context(base_url=address, **options)
    page = context.new_page()
    page.goto("/desk/sign-in")
    page.fill("#name", "anna")
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/desk/")
    return page


def _examine(page: Page, name: str) -> list[str]:
    """What axe-core finds on this page, and whether it has to be scrolled sideways."""
    page.wait_for_load_state("load")  # styles too
    page.evaluate(AXE + "\n;null")
    found = page.evaluate(_RUN, RULES)
    faults = [f"{name}: {fault['id']} {fault['where']}" for fault in found]
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        faults.append(f"{name}: wider than the screen")
    return faults


def _fill(database: Database, vault: Vault, site: Site) -> list[str]:
    """Something in every state. Returns the paths of pages that show it."""
    connection = make_connection(database, vault, site)
    events = [send(database, vault, site, **{**JANE, "email": f"jane{number}@example.com"}) for number in range(6)]
    for event, state in zip(events, ["confirmed", "sent", "refused", "expired", "sending", "handled"], strict=True):
        set_state(database, event.event_id, state, sentence="The CRM does not accept the phone number.")
    events.append(send(database, vault, site, suspicion="A field that people cannot see was filled in.", **JANE))
    events.append(send(database, vault, site, consent=False, first_name="Nora", email="nora@example.com"))
    events.append(send(database, vault, site, "call_click", tel="+12015550100"))
    with database.write() as session:
        row = Unreadable(id=new_id(), body_digest=b"0" * 16, reason="No fields.", received_at=database.now(session))
        row.body_sealed = vault.seal({"text": "x" * 500}, "unreadable", "body", row.id)
        session.add(row)
        replay = start_replay(session, vault, Chosen("refused"), "anna", database.now(session))
    # One phone number, one lead.
    leads = dict.fromkeys(f"/desk/leads/{lead_of(database, event.event_id)}" for event in events)
    replays = ["/desk/replays", f"/desk/replays/{replay.id}"]
    parts = ("", "/options", "/mapping", "/dry-run")
    return [*leads, *replays, *(f"/desk/connections/{connection.id}{part}" for part in parts)]


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site, scheme: str, width: int
) -> None:
    page = _page(browser, address, color_scheme=scheme, viewport={"width": width, "height": 800})
    faults = _examine(page, "empty home")
    filled = _fill(database, vault, site)
    desk = [
        "",
        "balance",
        "leads",
        "leads?state=handled&kind=call_click",
        "export",
        "leads?state=spam",
        "put-aside",
        "consent",
        "connections",
        "connections/new",
        "websites",
        f"websites/{site.key}",
        f"websites/{site.key}/settings",
        f"websites/{site.key}/hook-address",
        f"websites/{site.key}/close",
        "new-website",
        "users",
        "actions",
        "account",
        "account/second-factor",
    ]
    paths = [f"/desk/{path}" for path in (*desk, "connections/new/sandbox", "unreadable")]
    for path in paths + filled:
        page.goto(path)
        page.evaluate(_OPEN_ALL)
        faults += _examine(page, f"{path} {width}")
    assert faults == []
    page.context.close()


_STICKS_OUT = """() => {
  const right = document.querySelector("main").getBoundingClientRect().right;
  return [...document.querySelectorAll("main *")].filter(one => one.getBoundingClientRect().right > right + 1).length;
}"""
_ROWS = "new Set([...document.querySelectorAll('.numbers > div')].map(one => one.offsetTop)).size"


@pytest.mark.parametrize("width", [1200, 768, 320])
def test_tables_fit_where_a_website_is_called_by_its_address(
    browser: Browser, address: str, database: Database, vault: Vault, width: int
) -> None:
    called = make_site(database, "other", name="www.zahnarztpraxismusterstadt.example")
    make_connection(database, vault, called, name="Main CRM")
    make_user(database, "sam", "staff", [called])
    event = send(database, vault, called, first_name="Jürgen", last_name="Schmidt-Rottluff")
    set_state(database, event.event_id, "held", code="spam")
    page = _page(browser, address, viewport={"width": width, "height": 800})
    for path in ("/desk/", "/desk/leads", "/desk/users", "/desk/connections", "/desk/websites"):
        page.goto(path)
        assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), path
    page.context.close()


@pytest.mark.parametrize("width", [1200, 768])
def test_tables_fit_and_the_numbers_of_today_stand_in_one_row(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site, width: int
) -> None:
    _fill(database, vault, site)
    send(database, vault, make_site(database, "other"), first_name="Jürgen", last_name="Schmidt-Rottluff")
    page = _page(browser, address, viewport={"width": width, "height": 800})
    assert page.evaluate(_ROWS) == 2  # one for each site
    for path in ("/desk/", "/desk/leads"):
        page.goto(path)
        assert page.evaluate(_STICKS_OUT) == 0, path
    page.context.close()


# Where the first and the last letter of a text stand on the screen.
_ENDS = """text => {
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode() && !texts.currentNode.data.includes(text));
  const at = texts.currentNode.data.indexOf(text);
  const left = (place) => {
    const range = document.createRange();
    range.setStart(texts.currentNode, place);
    range.setEnd(texts.currentNode, place + 1);
    return range.getBoundingClientRect().left;
  };
  return [left(at), left(at + text.length - 1)];
}"""


def test_a_name_that_is_read_from_the_right_turns_nothing_beside_it_round(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site
) -> None:
    """Also one in which a stranger has put a character that turns round all that follows."""
    make_connection(database, vault, site)
    turned = {"first_name": "\u202eAnna", "last_name": "علي", "message": "Call \u202eme", "phone": "+12015550125"}
    send(database, vault, site, consent=None, **turned)
    send(database, vault, site, suspicion="It was too quick.", **turned | {"phone": "+12015550126"})
    page = _page(browser, address)
    for path, text in (("/desk/consent", "+12015550125"), ("/desk/put-aside", "Consultation request")):
        page.goto(path)
        begins, ends = page.evaluate(_ENDS, text)
        assert begins < ends, path
    page.context.close()


def test_on_a_phone_the_header_takes_two_lines(browser: Browser, address: str) -> None:
    page = _page(browser, address, viewport={"width": 390, "height": 800})
    tops = {page.locator(f".top {part}").bounding_box()["y"] // 20 for part in (".brand", ".account", "nav")}  # type: ignore[index]
    assert len(tops) == 2
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_mapping_is_changed_without_scripts_and_nothing_is_found_on_the_way(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site, scheme: str
) -> None:
    """The CRM cannot be asked here, so its fields are typed. Scripts are off for the page, not for axe-core."""
    connection = make_connection(database, vault, site, share=[])
    send(database, vault, site, **JANE, message="My tooth")
    page = _page(browser, address, color_scheme=scheme, viewport={"width": 360, "height": 800})
    page.route("**/desk/static/**/*.js", lambda route: route.abort())
    page.goto(f"/desk/connections/{connection.id}/mapping")
    page.get_by_role("button", name="Add a rule").click()
    rule = page.get_by_role("group", name="Rule 6", exact=True)
    expect(rule.get_by_label("Our field")).to_be_in_viewport()
    rule.get_by_label("Our field").select_option("Message (health data)")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.get_by_role("alert")).to_contain_text("Rule 6, field of the CRM")
    faults = _examine(page, "with a mistake")
    rule.get_by_label("Field of the CRM").fill("notes")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="What would change in Sandbox CRM")).to_be_visible()
    expect(page.get_by_text("Message into the field notes")).to_be_visible()
    faults += _examine(page, "preview")
    with page.expect_navigation():  # what is examined must be there whole, its styles too
        page.get_by_role("button", name="Show the details").click()
    faults += _examine(page, "revealed")
    page.get_by_role("button", name="Save all the same").click()
    expect(page.get_by_text("Message → notes, only when empty").first).to_be_visible()
    assert faults == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_second_factor_is_set_up_and_asked_for_without_scripts_on_a_phone(
    browser: Browser, address: str, scheme: str
) -> None:
    """Scripts are off for the pages, not for axe-core."""
    page = _page(browser, address, color_scheme=scheme, viewport={"width": 390, "height": 800})
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "Content Security" in message.text else None)
    page.route("**/desk/static/**/*.js", lambda route: route.abort())
    page.goto("/desk/account")
    page.get_by_role("button", name="Set up").click()
    page.get_by_label("Your password once more").fill(PASSWORD)
    page.get_by_role("button", name="Set up").click()
    picture = page.get_by_role("img", name="QR code")
    expect(picture).to_be_in_viewport(ratio=1)
    secret = page.locator(".key").inner_text().replace(" ", "").strip()
    faults = _examine(page, "set up")
    page.get_by_label("The 6 digits").fill("000000")
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_label("The 6 digits")).to_be_focused()
    faults += _examine(page, "set up, a wrong code")
    page.get_by_label("The 6 digits").fill(code_now(secret))
    page.get_by_role("button", name="Turn on").click()
    expect(page.locator(".recovery li")).to_have_count(10)
    codes = page.locator(".recovery li").all_inner_texts()
    faults += _examine(page, "recovery codes")
    page.get_by_role("button", name="I have them").click()
    page.wait_for_url("**/desk/")
    for path in ("/desk/account", "/desk/account/second-factor", "/desk/users"):
        page.goto(path)
        faults += _examine(page, path)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in*")
    page.fill("#name", "anna")
    page.fill("#password", PASSWORD)
    page.click("main button")
    field = page.get_by_label("The 6 digits from the app on your phone")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("autocomplete", "one-time-code")
    expect(field).to_have_attribute("inputmode", "numeric")
    faults += _examine(page, "code")
    page.keyboard.type("123 456")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("was used already")
    expect(field).to_be_focused()
    faults += _examine(page, "a wrong code")
    page.keyboard.type(codes[0])
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("9 are left.")
    assert (faults, refused) == ([], [])
    page.context.close()


def test_axe_finds_nothing_where_a_lost_phone_is_told(browser: Browser, address: str, database: Database) -> None:
    make_user(database, "bert")
    with database.write() as session:
        session.execute(update(User).where(User.name == "bert").values(totp_sealed=b"anything"))
    page = _page(browser, address, viewport={"width": 390, "height": 800})
    page.goto("/desk/users")
    faults = _examine(page, "users")
    page.get_by_role("button", name="Phone lost").click()
    expect(page.get_by_role("heading", name="Take the second factor of bert away?")).to_be_visible()
    assert faults + _examine(page, "lost phone") == []
    page.context.close()


def test_axe_finds_nothing_on_the_way_in(browser: Browser, address: str) -> None:
    context = browser.new_context(base_url=address, viewport={"width": 360, "height": 800})
    page = context.new_page()
    page.goto("/desk/sign-in")
    page.fill("#name", "anna")
    page.fill("#password", "wrong")
    page.click("main button")
    expect(page.get_by_role("alert")).to_contain_text("not right")
    assert _examine(page, "sign-in") == []
    context.close()


def test_home_tells_within_two_seconds_and_steals_no_focus(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    page = _page(browser, address)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
    expect(page.get_by_role("status")).to_have_text("No enquiries yet.")
    page.get_by_role("link", name="Form of Sunrise").focus()
    # On a busy machine a browser that has just started may take seconds for its first question.
    with page.expect_response("**/desk/live"):
        pass
    assert complaints == []
    # And a busy machine may stand still for seconds at any time: a page that asks too seldom is late each time.
    for told in ("1 enquiry is on its way.", "2 enquiries are on their way.", "3 enquiries are on their way."):
        send(database, vault, site, **JANE)
        started = time.monotonic()
        expect(page.get_by_role("status")).to_have_text(told)
        if in_time := time.monotonic() - started < 3.5:  # two seconds, and what the machine needs under load
            break
    assert in_time
    page.get_by_role("link", name="Jane Doe").focus()
    with database.write() as session:
        session.execute(update(Delivery).values(state="confirmed"))
    expect(page.get_by_role("status")).to_have_text("Every enquiry is in the CRM.")
    assert page.evaluate("document.activeElement.textContent") == "Jane Doe"
    assert complaints == []
    page.context.close()


def test_an_opened_part_of_a_lead_stays_open(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    event = send(database, vault, site, **JANE)
    page = _page(browser, address)
    page.goto(f"/desk/leads/{lead_of(database, event.event_id)}")
    page.get_by_text("Consent: given").click()
    set_state(database, event.event_id, "confirmed")
    expect(page.get_by_text("✓ In the CRM")).to_be_visible()
    expect(page.get_by_text("I agree that my details")).to_be_visible()
    page.context.close()


def test_who_it_is_is_refreshed_and_what_somebody_types_stays(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    event = send(database, vault, site, **JANE)
    set_state(database, event.event_id, "refused", code="invalid", sentence="Not this number.", field="phone")
    page = _page(browser, address)
    page.goto(f"/desk/leads/{lead_of(database, event.event_id)}")
    page.get_by_label("Phone").fill("212 555 0142")
    with database.write() as session:  # a colleague is quicker
        lead = session.get_one(Lead, session.get_one(Event, event.event_id).lead_id)
        correct(session, vault, lead, {"first_name": "Joan"}, database.now(session))
    expect(page.get_by_role("heading", level=1)).to_have_text("Joan Doe")
    expect(page).to_have_title("Joan Doe – Frontdesk")
    expect(page.get_by_label("Phone")).to_have_value("212 555 0142")
    assert page.get_by_role("heading", level=1).count() == 1
    page.context.close()


def test_a_page_that_cannot_refresh_says_so(browser: Browser, address: str) -> None:
    page = _page(browser, address)
    page.route("**/desk/live", lambda route: route.abort())
    expect(page.get_by_text("could not be refreshed")).to_be_visible()
    page.unroute("**/desk/live")
    expect(page.get_by_text("could not be refreshed")).to_be_hidden()
    page.context.close()


_REST = 15  # seconds between two questions of a page on which nothing has changed for long
_MOVE_TIME = (
    "const real = performance.now.bind(performance); let skipped = 0;"
    "performance.now = () => real() + skipped; window.skip = (seconds) => { skipped += seconds * 1000 }"
)


def _refreshes(page: Page, milliseconds: int) -> int:
    """How often the page asks anew within this time."""
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url) if request.url.endswith("/live") else None

    page.on("request", note)
    page.wait_for_timeout(milliseconds)
    page.remove_listener("request", note)
    return len(asked)


@contextmanager
def _refreshed(page: Page) -> Iterator[None]:
    """At the block's end the page has asked anew, and shows what it was told."""
    with page.expect_response("**/live") as answered:
        yield
    answered.value.finished()
    page.wait_for_timeout(300)


def _seconds_for_two_more(page: Page) -> float:
    """How long it takes until the page has asked anew twice more."""
    began = time.monotonic()
    for _ in range(2):
        with page.expect_request("**/live"):
            pass
    return time.monotonic() - began


def test_updates_are_paused_and_go_on_by_the_keyboard(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    event = send(database, vault, site, **JANE)
    page = _page(browser, address)
    for path in ("/desk/", f"/desk/leads/{lead_of(database, event.event_id)}"):
        page.goto(path)
        page.get_by_role("button", name="Pause updates").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("Updates are paused")).to_be_visible()
        page.wait_for_timeout(300)  # for one that was under way
        assert _refreshes(page, 2500) == 0, path
        assert _examine(page, path) == []
        page.get_by_role("button", name="Go on with updates").press("Enter")
        expect(page.get_by_text("Updates are paused")).to_be_hidden()
        with _refreshed(page):
            pass
    page.context.close()


def test_a_page_rests_while_nobody_looks_and_when_nothing_changes(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    beat(database, -600)  # that it stops would be news
    page = _page(browser, address)
    page.context.add_init_script(_MOVE_TIME)
    page.goto("/desk/")
    with _refreshed(page):
        pass
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, value: true})")
    page.wait_for_timeout(300)
    assert _refreshes(page, 2500) == 0, "nobody looks"
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, value: false})")
    with _refreshed(page):
        pass

    with _refreshed(page):
        page.evaluate("skip(20 * 60)")
    assert _refreshes(page, 4000) == 0, "nothing has changed for a while; that the worker was seen anew is no change"
    page.keyboard.press("Shift")
    assert _seconds_for_two_more(page) < _REST, "somebody is there"

    with _refreshed(page):
        page.evaluate("skip(20 * 60)")
    send(database, vault, site, **JANE)
    page.evaluate("skip(16)")
    expect(page.get_by_role("status")).to_have_text("1 enquiry is on its way.")
    assert _seconds_for_two_more(page) < _REST, "something has changed"
    page.context.close()


def test_without_scripts_a_lead_is_found_and_sent_again(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    event = send(database, vault, site, **JANE)
    set_state(database, event.event_id, "refused", sentence="The CRM does not accept the phone number.")
    page = _page(browser, address, java_script_enabled=False)
    page.get_by_role("link", name="Leads", exact=True).click()
    page.get_by_label("reference code").fill(event.reference.lower().replace("-", " "))
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="Jane Doe")).to_be_visible()
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("It is on its way again.")).to_be_visible()
    page.context.close()


def test_the_keyboard_is_enough(browser: Browser, address: str, database: Database, vault: Vault, site: Site) -> None:
    make_connection(database, vault, site)
    page = _page(browser, address)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.goto("/desk/leads")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Nobody found for “nobody”.")
    page.context.close()


def test_one_goes_back_from_a_lead_to_what_was_found(
    browser: Browser, address: str, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, **JANE)
    page = _page(browser, address)
    page.goto("/desk/leads")
    page.fill("#q", "doe")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Jane Doe").click()
    expect(page.get_by_role("heading", name="Jane Doe")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("status")).to_contain_text("1 lead found for “doe”.")
    page.context.close()


def test_an_unknown_page_is_told(browser: Browser, address: str) -> None:
    page = _page(browser, address)
    page.goto(f"/desk/leads/{UUID(int=1)}")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    assert _examine(page, "missing") == []
    page.context.close()


def test_what_goes_into_a_websites_pages_is_copied_by_one_press(browser: Browser, address: str, site: Site) -> None:
    page = _page(browser, address, permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"/desk/websites/{site.key}")
    page.get_by_role("button", name="Copy Besides").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert f'data-site="{site.key}"></script>' in copied
    assert copied == page.locator("#script").text_content()
    page.context.close()
