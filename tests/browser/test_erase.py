"""The whole of it: somebody is in the CRM, the CRM is down, an admin erases them, the CRM comes back."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import Demo, accessibility_troubles, overflow
from tests.programs import wait_for

MARKS = ("Zyxwina", "Quorbleton", "zyx.quorb", "2015550147", "wisdomtooth")
_SHOTS = os.environ.get("FRONTDESK_TEST_SHOTS")  # a folder for pictures of what is seen


def _contacts(demo: Demo) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(f"{demo.crm}/contacts.json", timeout=30).json()["contacts"]
    return found


def _in_the_crm(demo: Demo) -> bool:
    return any(mark in str(_contacts(demo)) for mark in MARKS)


def _write(demo: Demo, key: str) -> str:
    body = {"site": "demo", "id": key, "first_name": MARKS[0], "last_name": MARKS[1], "consent": True}
    body |= {"email": "zyx.quorb@example.com", "phone": "(201) 555-0147", "message": "My wisdomtooth hurts"}
    return str(requests.post(f"{demo.url}/api/v1/consultations", json=body, timeout=30).json()["reference"])


def _look(desk: Page, name: str) -> None:
    assert accessibility_troubles(desk) == []
    assert overflow(desk) == 0
    if _SHOTS:
        desk.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)


def test_somebody_is_erased_here_at_once_and_in_the_crm_once_it_is_back(demo: Demo, desk: Page) -> None:
    code = _write(demo, "erase-1")
    wait_for(lambda: demo.state(code) == "confirmed" and _in_the_crm(demo))
    demo.faults(faults=["down"])
    desk.goto(demo.lead_url(code))
    desk.get_by_role("button", name="Erase personal data").click()
    expect(desk.get_by_role("main")).to_contain_text("Look at it first")
    _look(desk, "asks")
    desk.get_by_role("button", name="Erase for good").click()
    desk.wait_for_selector("#erased")
    shown = desk.content()
    assert not any(mark in shown for mark in MARKS)
    assert _in_the_crm(demo), "it is down"
    desk.get_by_text(re.compile("tried again in|waits until the connection works")).wait_for()
    _look(desk, "down")
    desk.goto(f"{demo.url}/desk/")
    _look(desk, "home")
    # Who writes again meanwhile is somebody new.
    again = _write(demo, "erase-2")
    assert again != code
    desk.goto(demo.lead_url(code))
    demo.faults()
    desk.locator("#erased").get_by_text(re.compile("Erased there|Needs you")).wait_for(timeout=150_000)
    _look(desk, "after")
    wait_for(lambda: demo.state(again) == "confirmed", 90)
    told = demo.ask("lead", "show", code)
    assert (told["person"], told["events"][0]["answers"]) == ({}, {})
    # The newer enquiry may have found the record before it was gone: then it is hers, and a person is told.
    [erasure] = told["erasures"]
    assert (erasure["state"], erasure["code"]) in (("done", None), ("needs_you", "shared"))
    assert demo.state(code) == "erased"


def test_nothing_of_somebody_erased_stands_in_the_database_or_the_crm(demo: Demo, desk: Page) -> None:
    body = {"site": "demo", "id": "erase-3", "first_name": "Plumbina", "email": "plumbina@example.com", "consent": True}
    code = requests.post(f"{demo.url}/api/v1/consultations", json=body, timeout=30).json()["reference"]
    wait_for(lambda: demo.state(code) == "confirmed")
    assert "plumbina" in str(_contacts(demo))
    desk.goto(demo.lead_url(code))
    desk.get_by_role("button", name="Erase personal data").click()
    desk.get_by_role("button", name="Erase for good").click()
    desk.locator("#erased").get_by_text("Erased there").wait_for()
    _look(desk, "done")
    assert "lumbina" not in str(_contacts(demo))
    balance = demo.ask("balance")
    assert all(day["closes"] for day in balance)
