"""The website script on pages of a clinic, in a real browser; nothing of this leaves the browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests.programs import wait_for

_SCRIPT = Path(__file__).parents[2] / "leads/intake/static/website.js"
_FORM = '<form method="post" action="https://frontdesk.example/f/demo/consultation"><button>Send</button></form>'
_PAGE = """<!doctype html><title>Clinic</title>{body}
<script defer src="https://frontdesk.example/f/static/website.js{told}></script>"""
# Else Chromium asks which program may call, and the page is gone.
_STAY = "addEventListener('click', (event) => event.preventDefault())"


@dataclass(eq=False)
class Clinic:
    """A website, and a Frontdesk that answers it. answer: the status for taps; None where nobody answers. told: the
    rest of the script's tag, where it is not that of our guide."""

    context: BrowserContext
    attributes: str = ""
    told: str = ""
    answer: int | None = 201
    taps: list[dict[str, Any]] = field(default_factory=list)
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    body: str = ""

    def page(self, body: str = '<a href="tel:+12015550100">Call Us</a>') -> Page:
        """A tab that shows this."""
        self.body = body
        page = self.context.new_page()
        if "<form" not in body:
            page.add_init_script(_STAY)
        page.goto("https://clinic.example/implants?for=jane")
        return page

    def serve(self, route: Route) -> None:
        """Answer any address."""
        asked = route.request
        if asked.url.startswith("https://clinic.example/"):
            html = _PAGE.format(body=self.body, told=self.told or f'" data-site="demo" {self.attributes}')
            route.fulfill(body=html, content_type="text/html")
        elif "/website.js" in asked.url:
            route.fulfill(path=_SCRIPT, content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"})
        elif asked.url.endswith("/call-clicks"):
            self._tapped(route)
        else:
            self.forms.append(parse_qs(asked.post_data or ""))
            route.fulfill(body="Thank you")

    def _tapped(self, route: Route) -> None:
        assert route.request.method == "POST", "a preflight would cost a tap that leaves the page"
        if self.answer is None:
            route.abort()
            return
        self.taps.append(json.loads(route.request.post_data or ""))
        route.fulfill(status=self.answer, headers={"Access-Control-Allow-Origin": "https://clinic.example"})

    def wait_for_taps(self, page: Page, number: int) -> list[dict[str, Any]]:
        """What arrived, once it is so many."""
        wait_for(lambda: page.wait_for_timeout(20) or len(self.taps) >= number)
        return self.taps


def wait_for_kept(page: Page, taps: str) -> None:
    """Until the page has made of the answer what it makes of it. taps: what is true of those that it keeps, in
    JavaScript."""
    page.wait_for_function(f"(({{ length, 0: first }}) => {taps})(JSON.parse(sessionStorage.frontdesk_taps))")


@pytest.fixture
def clinic(chromium: Browser) -> Iterator[Clinic]:
    context = chromium.new_context()
    clinic = Clinic(context)
    context.route("**/*", clinic.serve)
    yield clinic
    context.close()


def test_a_tap_says_what_was_tapped_and_where(clinic: Clinic) -> None:
    page = clinic.page()
    page.get_by_role("link").click()
    [tap] = clinic.wait_for_taps(page, 1)
    assert len(tap.pop("id")) == len(tap.pop("visitor_id")) == 32
    assert tap == {
        "site": "demo",
        "tel": "+12015550100",
        "label": "Call Us",
        "page": "https://clinic.example/implants",
    }


@pytest.mark.parametrize(
    ("link", "tel"),
    [
        ('<a href="TEL:+12015550100">Call</a>', "+12015550100"),
        ('<a href="tel:50%off">Call</a>', "50%off"),
        ('<a href="tel://+12015550100">Call</a>', "+12015550100"),
        ('<a href="tel:1%20201">Call</a>', "1 201"),
        ('<a href="tel:1" onclick="event.stopPropagation()">Call</a>', "1"),
        ('<a href="tel:1"><b>Call</b></a>', "1"),
    ],
)
def test_every_phone_link_counts(clinic: Clinic, link: str, tel: str) -> None:
    page = clinic.page(link)
    page.get_by_text("Call").click()
    assert [one["tel"] for one in clinic.wait_for_taps(page, 1)] == [tel]


@pytest.mark.parametrize(
    ("link", "label"),
    [
        ('<a href="tel:1" aria-label="Call Us"><svg width=9 height=9></svg></a>', "Call Us"),
        ('<a href="tel:1"><img alt=" Call Us " width=9 height=9></a>', "Call Us"),
        ('<a href="tel:1" aria-label="By phone">Call Us</a>', "Call Us"),
        ('<a href="tel:1" title="Call Us"><b style="padding: 9px"></b></a>', "Call Us"),
    ],
)
def test_a_link_without_words_is_called_by_what_is_read_aloud(clinic: Clinic, link: str, label: str) -> None:
    page = clinic.page(link)
    page.locator("a").click()
    assert [one["label"] for one in clinic.wait_for_taps(page, 1)] == [label]


@pytest.mark.parametrize(
    ("inner", "place"),
    [('<a href="tel:1">Call</a>', ""), ("<b>Call</b>", ' href="tel:1"')],
    ids=["the link within", "the link around"],
)
def test_a_link_in_an_open_shadow_root_counts(clinic: Clinic, inner: str, place: str) -> None:
    page = clinic.page(f"<a{place}><span id=host></span></a>")
    page.evaluate("inner => document.querySelector('#host').attachShadow({ mode: 'open' }).innerHTML = inner", inner)
    page.get_by_text("Call").click()
    assert [one["tel"] for one in clinic.wait_for_taps(page, 1)] == ["1"]


def test_a_field_may_have_the_name_of_what_a_script_asks_of_a_form(clinic: Clinic) -> None:
    fields = "".join(f'<input name="{name}">' for name in ("matches", "closest"))
    link = '<a href="tel:1" onclick="return false">Call</a>'
    page = clinic.page(_FORM.replace("<button>", f"{fields}{link}<button>"))
    page.get_by_text("Call").click()
    [tap] = clinic.wait_for_taps(page, 1)
    page.get_by_role("button").click()
    wait_for(lambda: page.wait_for_timeout(20) or clinic.forms)
    assert clinic.forms[0]["visitor_id"] == [tap["visitor_id"]]


def test_what_was_tapped_offline_is_sent_when_the_browser_is_online_again(clinic: Clinic) -> None:
    page = clinic.page('<a href="tel:1">Call</a> <a href="tel:2">Call the other practice</a>')
    clinic.context.set_offline(True)
    for link in page.get_by_role("link").all():
        link.click()
    clinic.context.set_offline(False)
    first, second = clinic.wait_for_taps(page, 2)
    assert first["id"] != second["id"]


def test_a_number_that_is_tapped_again_at_once_counts_once(clinic: Clinic) -> None:
    page = clinic.page('<a href="tel:1">Call</a> <a href="tel:2">Call the other practice</a>')
    page.evaluate(
        """() => [[1, 0], [1, 200], [2, 300], [1, 9_999], [1, 10_000], [1, 10_200]].forEach(([number, timeStamp]) => {
            const click = new MouseEvent("click", { bubbles: true, cancelable: true });
            Object.defineProperty(click, "timeStamp", { value: timeStamp });
            document.querySelector(`a[href="tel:${number}"]`).dispatchEvent(click);
        })"""
    )
    clinic.wait_for_taps(page, 3)
    page.wait_for_timeout(200)
    assert sorted(tap["tel"] for tap in clinic.taps) == ["1", "1", "2"]


def test_a_script_that_stands_twice_in_a_page_counts_a_tap_once(clinic: Clinic) -> None:
    again = '<script defer src="https://frontdesk.example/f/static/website.js" data-site="demo"></script>'
    page = clinic.page(f'<img name="frontdesk" alt=""><a href="tel:+12015550100">Call Us</a>{again}')
    page.get_by_role("link").click()
    clinic.wait_for_taps(page, 1)
    page.wait_for_timeout(300)
    assert len(clinic.taps) == 1


def test_a_tag_manager_may_tell_all_behind_a_question_mark(clinic: Clinic) -> None:
    clinic.told = '?site=demo&keep=device"'
    page = clinic.page()
    page.get_by_role("link").click()
    clinic.wait_for_taps(page, 1)
    assert clinic.taps[0]["site"] == "demo"
    assert page.evaluate("localStorage.getItem('frontdesk_visitor')") == clinic.taps[0]["visitor_id"]


@pytest.mark.parametrize("told", ['"', '" data-site=""', '" data-site="demo" type="module"'])
def test_a_script_that_does_not_know_its_website_says_so_and_sends_nothing(clinic: Clinic, told: str) -> None:
    clinic.told = told
    said: list[str] = []
    clinic.context.on("console", lambda message: said.append(message.text))
    page = clinic.page()
    page.get_by_role("link").click()
    page.wait_for_timeout(300)
    assert clinic.taps == []
    assert [text for text in said if text.startswith("Frontdesk: no taps are counted.")]


def test_a_double_click_on_a_number_counts_once(clinic: Clinic) -> None:
    page = clinic.page()
    page.get_by_role("link").dblclick()
    clinic.wait_for_taps(page, 1)
    page.wait_for_timeout(200)
    assert len(clinic.taps) == 1


@pytest.mark.parametrize("answer", [None, 408, 429, 503])
def test_a_tap_that_was_not_stored_is_sent_with_the_same_id_at_the_next_page(
    clinic: Clinic, answer: int | None
) -> None:
    page = clinic.page()
    clinic.answer = answer
    ended = "requestfailed" if answer is None else "requestfinished"
    with page.expect_event(ended, lambda request: request.url.endswith("/call-clicks")) as asked:
        page.get_by_role("link").click()
    clinic.answer = 201
    clinic.taps.clear()
    page.reload()
    [tap] = clinic.wait_for_taps(page, 1)
    assert tap == json.loads(asked.value.post_data or "")
    wait_for_kept(page, "length === 0")
    page.reload()
    page.wait_for_timeout(300)
    assert len(clinic.taps) == 1, "what was stored is sent no more"


def test_what_is_turned_away_for_now_is_tried_once_a_page_and_each_in_its_turn(clinic: Clinic) -> None:
    page = clinic.page()
    clinic.context.set_offline(True)
    page.evaluate("for (let n = 0; n < 3; n++) { document.links[0].href = 'tel:' + n; document.links[0].click() }")
    clinic.answer = 429
    clinic.context.set_offline(False)
    for number in range(1, 5):
        clinic.wait_for_taps(page, number)
        wait_for_kept(page, f"first.tap.tel === '{number % 3}'")
        page.wait_for_timeout(200)
        assert [tap["tel"] for tap in clinic.taps] == ["0", "1", "2", "0"][:number]
        page.reload()


@pytest.mark.parametrize("answer", [404, 422])
def test_what_will_never_do_is_not_sent_again(clinic: Clinic, answer: int) -> None:
    page = clinic.page()
    clinic.answer = answer
    page.get_by_role("link").click()
    clinic.wait_for_taps(page, 1)
    wait_for_kept(page, "length === 0")
    page.reload()
    page.wait_for_timeout(300)
    assert len(clinic.taps) == 1


def test_no_more_than_20_taps_wait_and_none_for_more_than_a_day(clinic: Clinic) -> None:
    page = clinic.page()
    clinic.context.set_offline(True)
    page.evaluate("globalThis.a = document.querySelector('a')")
    page.evaluate("for (let n = 0; n < 25; n++) { a.href = 'tel:' + n; a.click() }")
    clinic.context.set_offline(False)
    clinic.wait_for_taps(page, 20)
    page.wait_for_timeout(300)
    assert len(clinic.taps) == 20

    clinic.context.set_offline(True)
    page.evaluate("a.href = 'tel:26'; a.click()")
    page.evaluate("const now = Date.now; Date.now = () => now() + 86_400_000")
    clinic.context.set_offline(False)
    page.wait_for_timeout(300)
    assert len(clinic.taps) == 20


@pytest.mark.parametrize("sent", ["click", "script"])
def test_a_form_that_was_added_later_carries_the_visitor_of_a_tap(clinic: Clinic, sent: str) -> None:
    page = clinic.page('<a href="tel:1" onclick="return false">Call</a><form hidden></form>')
    page.get_by_role("link").click()
    [tap] = clinic.wait_for_taps(page, 1)
    page.evaluate("(form) => document.body.insertAdjacentHTML('beforeend', form)", _FORM)
    if sent == "click":
        page.get_by_role("button").click()
    else:
        page.evaluate("document.forms[1].submit()")
    page.get_by_text("Thank you").wait_for()
    assert clinic.forms == [{"visitor_id": [tap["visitor_id"]], "page": ["https://clinic.example/implants"]}]


_KEPT = "[localStorage, sessionStorage].map((kept) => Object.keys(kept).sort().join())"
_BOTH = "frontdesk_taps,frontdesk_visitor"


@pytest.mark.parametrize(
    ("attributes", "control", "kept"),
    [
        ("", False, ["", _BOTH]),
        ('data-keep="session"', False, ["", _BOTH]),
        ('data-keep="device"', False, [_BOTH, ""]),
        ('data-keep="device"', True, ["", _BOTH]),
    ],
)
def test_an_id_is_kept_only_after_a_tap_and_for_good_only_where_that_is_chosen(
    clinic: Clinic, attributes: str, control: bool, kept: list[str]
) -> None:
    clinic.attributes = attributes
    if control:
        clinic.context.add_init_script("Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})")
    page = clinic.page()
    assert page.evaluate(_KEPT) == ["", ""]
    page.get_by_role("link").click()
    [tap] = clinic.wait_for_taps(page, 1)
    assert page.evaluate(_KEPT) == kept
    page.reload()
    page.get_by_role("link").click()
    assert clinic.wait_for_taps(page, 2)[1]["visitor_id"] == tap["visitor_id"]


def test_an_id_that_was_kept_for_good_without_asking_is_forgotten(clinic: Clinic) -> None:
    page = clinic.page()
    page.evaluate("localStorage.frontdesk_visitor = 'old'; localStorage.theirs = 'stays'")
    page.reload()
    assert page.evaluate(_KEPT) == ["theirs", ""]
    page.get_by_role("link").click()
    assert clinic.wait_for_taps(page, 1)[0]["visitor_id"] != "old"


def test_without_any_storage_a_tap_and_a_form_of_one_page_are_still_joined(clinic: Clinic) -> None:
    for name in ("localStorage", "sessionStorage"):
        clinic.context.add_init_script(f"Object.defineProperty(window, '{name}', {{get() {{ throw new Error() }}}})")
    page = clinic.page('<a href="tel:1" onclick="return false">Call</a>' + _FORM)
    page.get_by_role("link").click()
    [tap] = clinic.wait_for_taps(page, 1)
    page.get_by_role("button").click()
    page.get_by_text("Thank you").wait_for()
    assert clinic.forms == [{"visitor_id": [tap["visitor_id"]], "page": ["https://clinic.example/implants"]}]


def test_a_form_that_goes_elsewhere_learns_nothing(clinic: Clinic) -> None:
    page = clinic.page('<form method="post" action="https://elsewhere.example/f/other/"><button>Send</button></form>')
    page.get_by_role("button").click()
    page.get_by_text("Thank you").wait_for()
    assert clinic.forms == [{}]
    page.goto("https://clinic.example/")
    assert page.evaluate(_KEPT) == ["", ""]


_AD = "https://clinic.example/implants?utm_source=google&utm_medium=cpc&gclid=Zz9&name=jane"
_SEARCH = "https://search.example/found?q=illness"
_NEWS = "https://clinic.example/veneers?utm_source=newsletter"
_GOOGLE = {"utm_source": "google", "utm_medium": "cpc", "referrer": "https://search.example/found"}


def _sent(clinic: Clinic, page: Page) -> dict[str, str]:
    """What the form tells besides the visitor's number, at the visit's last page."""
    clinic.forms.clear()
    page.goto("https://clinic.example/contact", referer="https://clinic.example/implants")
    page.get_by_role("button").click()
    page.get_by_text("Thank you").wait_for()
    [form] = clinic.forms
    assert form.pop("page") == ["https://clinic.example/contact"]
    return {name: value for name, [value] in form.items() if name != "visitor_id"}


def _visit(clinic: Clinic, *pages: tuple[str, str | None]) -> Page:
    clinic.body = _FORM
    page = clinic.context.new_page()
    for url, referrer in pages:
        page.goto(url, referer=referrer)
    return page


def test_without_the_wish_for_it_nothing_is_known_of_an_earlier_page(clinic: Clinic) -> None:
    page = _visit(clinic, (_AD, _SEARCH))
    assert page.evaluate(_KEPT) == ["", ""]
    assert _sent(clinic, page) == {}


def test_of_a_visit_is_told_what_led_to_its_first_page(clinic: Clinic) -> None:
    clinic.attributes = 'data-attribution="visit"'
    page = _visit(clinic, (_AD, _SEARCH))
    assert page.evaluate(_KEPT) == ["", "frontdesk_visit"]
    assert "Zz9" not in page.evaluate("sessionStorage.frontdesk_visit")
    page.reload()
    came = {**_GOOGLE, "landing": "https://clinic.example/implants"}
    assert _sent(clinic, page) == came
    other = _visit(clinic, ("https://clinic.example/start", None))
    assert _sent(clinic, other) == {"landing": "https://clinic.example/start"}, "another tab is another visit"


def test_of_a_visit_that_was_led_back_is_told_what_did_so_and_how_it_began(clinic: Clinic) -> None:
    clinic.attributes = 'data-attribution="visit" data-keep="device"'
    page = _visit(clinic, (_AD, _SEARCH), (_NEWS, None), ("https://clinic.example/", _NEWS))
    assert page.evaluate(_KEPT) == ["", "frontdesk_visit"]
    assert _sent(clinic, page) == {
        "utm_source": "newsletter",
        "landing": "https://clinic.example/veneers",
        **{f"first_{name}": text for name, text in _GOOGLE.items()},
        "first_landing": "https://clinic.example/implants",
    }


def test_what_is_kept_of_a_visit_is_bounded_and_needs_no_sound_storage(clinic: Clinic) -> None:
    clinic.attributes = 'data-attribution="visit"'
    page = _visit(
        clinic, (f"https://clinic.example/{'p' * 3000}?utm_source={'s' * 3000}", f"https://a.example/{'r' * 3000}")
    )
    assert len(page.evaluate("sessionStorage.frontdesk_visit")) < 2000
    for broken in ("", "5", "{", "null", "[]"):
        page.goto("https://clinic.example/")
        page.evaluate("(text) => { sessionStorage.frontdesk_visit = text }", broken)
        assert _sent(clinic, page)["landing"] == "https://clinic.example/contact"


@pytest.mark.parametrize("trouble", ["control", "storage"])
def test_a_visit_is_not_kept_where_the_browser_will_not_have_it(clinic: Clinic, trouble: str) -> None:
    clinic.attributes = 'data-attribution="visit"'
    clinic.context.add_init_script(
        "Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})"
        if trouble == "control"
        else "Object.defineProperty(window, 'sessionStorage', {get() { throw new Error() }})"
    )
    page = _visit(clinic, (_AD, _SEARCH))
    if trouble == "control":
        assert page.evaluate(_KEPT) == ["", ""]
    assert _sent(clinic, page) == ({} if trouble == "control" else {"landing": "https://clinic.example/contact"})
