"""What a newcomer does after `make run`, in a real browser."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qsl

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import Demo, send_request
from tests.programs import wait_for


def test_the_form_works_without_javascript_and_arrives(demo: Demo, visitor: Page, desk: Page) -> None:
    desk.goto(f"{demo.url}/desk/")
    # A busy machine may stand still for seconds; that it does so three times running is no accident.
    for number, name in enumerate(("Jane", "Joan", "June")):
        details = {"email": f"{name}@example.com", "phone": f"(201) 555-012{number}"}
        reference = send_request(visitor, demo, first_name=name, last_name="Doe", **details)
        expect(visitor.get_by_role("heading", name="Thank you")).to_be_visible()
        assert re.fullmatch(r"[A-Z2-9]{3}-[A-Z2-9]{3}", reference)
        sent = time.monotonic()
        expect(desk.get_by_role("link", name=f"{name} Doe")).to_be_visible()  # the open page refreshes itself
        expect(desk.get_by_text("Every enquiry is in the CRM.")).to_be_visible()
        if in_time := time.monotonic() - sent < 5:
            break
    assert in_time

    desk.get_by_role("link", name=f"{name} Doe").click()
    for station in ("Received and stored", "Sent", "Seen in the CRM"):
        expect(desk.get_by_role("listitem").filter(has_text=station).first).to_be_visible()
    record = desk.get_by_role("link", name="Open the record in the CRM").get_attribute("href")
    assert record is not None
    assert name in requests.get(record, timeout=30).text


def test_what_was_typed_stays_beside_its_error(demo: Demo, visitor: Page) -> None:
    visitor.goto(f"{demo.url}/f/demo/consultation")
    visitor.get_by_label("First name").fill("Tom <b>")
    visitor.get_by_label("E-mail").fill("tom@")
    visitor.get_by_role("button", name="Send request").click()
    expect(visitor.get_by_label("E-mail")).to_have_attribute("aria-invalid", "true")
    expect(visitor.get_by_label("First name")).to_have_value("Tom <b>")
    visitor.get_by_label("E-mail").fill("tom@example.com")
    visitor.get_by_label("I agree").check()
    visitor.get_by_role("button", name="Send request").click()
    expect(visitor.get_by_role("heading", name="Thank you")).to_be_visible()


@pytest.mark.parametrize("path", ["/f/demo/consultation", "/demo/"])
def test_who_goes_back_and_sends_again_is_counted_once(demo: Demo, visitor: Page, path: str) -> None:
    visitor.goto(f"{demo.url}{path}")
    visitor.get_by_label("First name").fill("Bea")
    visitor.get_by_label("E-mail").fill(f"bea{len(path)}@example.com")
    visitor.get_by_label("I agree").check()
    told = []
    for _ in range(2):
        visitor.get_by_role("button", name="Send").click()
        expect(visitor.get_by_role("heading", name="Thank you")).to_be_visible()
        told.append(visitor.url)
        visitor.go_back()
        expect(visitor.get_by_label("First name")).to_have_value("Bea")
    assert told[0] == told[1], "another reference code is another enquiry"


def test_a_lead_is_found_by_the_code_that_she_says(demo: Demo, visitor: Page, desk: Page) -> None:
    reference = send_request(visitor, demo, first_name="Cora", last_name="Code", email="cora@example.com")
    desk.goto(f"{demo.url}/desk/leads")
    desk.locator("#q").fill(reference.lower().replace("-", ""))
    desk.get_by_role("button", name="Search").click()
    expect(desk.get_by_role("heading", name="Cora Code")).to_be_visible()


def test_a_tap_on_call_us_is_joined_to_the_form_that_follows(demo: Demo, desk: Page) -> None:
    context = desk.context.browser.new_context()  # type: ignore[union-attr]  # it has one
    page = context.new_page()
    # Else Chromium asks which program may call, and the page is gone; another tab would be another visitor.
    page.add_init_script(
        "addEventListener('click', (event) => event.target.matches('.call') && event.preventDefault())"
    )
    page.goto(f"{demo.url}/demo/")
    with page.expect_response(re.compile("call-clicks")) as answer:
        page.get_by_role("link", name="Call Us").click()
    assert answer.value.status == 201
    tap = answer.value.json()["reference"]
    form = send_request(page, demo, first_name="Carl", last_name="Call", email="carl@example.com")
    context.close()
    assert demo.lead_url(tap) == demo.lead_url(form)
    record = wait_for(lambda: [one for one in _contacts(demo) if one["properties"].get("last_name") == "Call"])[0]
    wait_for(lambda: len(_contact(demo, record["id"])["activities"]) == 2)


def test_the_script_tells_where_the_visitor_came_from_and_no_click_id(demo: Demo, visitor: Page, desk: Page) -> None:
    context = desk.context.browser.new_context()  # type: ignore[union-attr]  # it has one
    page = context.new_page()
    page.goto(
        f"{demo.url}/demo/?utm_source=newsletter&utm_campaign=spring&gclid=Zz9&name=Ursula",
        referer="https://search.example/found?q=illness",
    )
    page.get_by_label("E-mail").fill("ursula@example.com")
    page.get_by_label("I agree").check()
    with page.expect_request(re.compile("/f/demo/consultation")) as asked:
        page.get_by_role("button", name="Send request").click()
    context.close()
    sent = dict(parse_qsl(asked.value.post_data or ""))
    assert {name: sent.get(name) for name in ("utm_source", "utm_campaign", "page", "landing", "referrer")} == {
        "utm_source": "newsletter",
        "utm_campaign": "spring",
        "page": f"{demo.url}/demo/",
        "landing": f"{demo.url}/demo/",
        "referrer": "https://search.example/found",
    }
    assert not {"Zz9", "Ursula"} & set(sent.values())


def test_a_refused_phone_is_told_and_sent_again_by_a_button(demo: Demo, visitor: Page, desk: Page) -> None:
    demo.faults(faults=["refuse_phone"], refuse_phone="+12015550199")
    send_request(visitor, demo, first_name="Rita", last_name="Refused", phone="(201) 555-0199")
    desk.goto(f"{demo.url}/desk/")
    expect(desk.get_by_text("1 enquiry needs you.")).to_be_visible()
    desk.get_by_role("link", name="Rita Refused").click()
    expect(desk.get_by_text("The CRM does not accept this phone number.").first).to_be_visible()
    demo.faults()
    desk.get_by_role("button", name="Send again").click()
    expect(desk.get_by_role("listitem").filter(has_text="Seen in the CRM").first).to_be_visible()
    desk.goto(f"{demo.url}/desk/")
    expect(desk.get_by_text("Every enquiry is in the CRM.")).to_be_visible()


def test_a_crm_that_is_down_is_told_and_all_arrives_afterwards(demo: Demo, visitor: Page, desk: Page) -> None:
    demo.faults(down=True)
    send_request(visitor, demo, first_name="Dora", last_name="Down", email="dora@example.com")
    desk.goto(f"{demo.url}/desk/")
    expect(desk.get_by_role("status").first).to_contain_text("1 enquiry")
    demo.faults()
    expect(desk.get_by_text("Every enquiry is in the CRM.")).to_be_visible(timeout=90_000)


def test_a_connection_with_a_wrong_key_says_so(demo: Demo, desk: Page) -> None:
    desk.goto(f"{demo.url}/desk/connections")
    desk.get_by_role("button", name="Connect a CRM").click()
    desk.get_by_role("button", name="Sandbox CRM").click()
    desk.get_by_label("Address").fill(demo.crm)
    desk.get_by_label("Key", exact=True).fill("not-the-key")
    desk.get_by_role("button", name="Test and save").click()
    expect(desk.get_by_text("The CRM does not accept the key. Enter a new one.")).to_be_visible()
    assert "not-the-key" not in desk.content()
    desk.get_by_label("Key", exact=True).fill("sandbox-key")
    desk.locator("#name").fill("Second CRM")
    expect(desk.get_by_role("heading", name="Not saved: this seems to be connected already")).to_be_visible()
    desk.get_by_role("button", name="Save all the same").click()
    expect(desk.get_by_role("heading", name="Second CRM")).to_be_visible()
    desk.get_by_role("button", name=re.compile("Pause")).click()
    expect(desk.get_by_text("Paused").first).to_be_visible()


def _contacts(demo: Demo) -> list[dict[str, object]]:
    return list(requests.get(f"{demo.crm}/contacts.json", timeout=30).json()["contacts"])


def _contact(demo: Demo, contact_id: object) -> dict[str, list[object]]:
    return next(one for one in _contacts(demo) if one["id"] == contact_id)  # type: ignore[return-value]  # JSON
