"""Finding a lead, and reading its whole way on one page."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from markupsafe import Markup
from sqlalchemy import delete, select, update

from leads.desk import words
from leads.store import outbox
from leads.store.models import Attempt, Connection, ConsentText, Event, Lead, RemoteRecord, Site
from leads.store.outbox import NewEvent
from leads.store.queries import leads as queries
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_connection, make_site, send
from tests.web.desk import Person, lead_of, plain, set_state, signed_in

JANE = {
    "first_name": "Lucía",
    "last_name": "Fernández",
    "email": "lucia@example.com",
    "phone": "+12015550123",
    "phone_typed": "201 555 0123",
}


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


def _found(person: Person, **typed: str) -> str:
    """The page to which a search leads."""
    return person.get(person.post("/desk/leads", **typed).location)


def _names(page: str) -> list[str]:
    return re.findall(r'rowheader"><a href="[^"]+">([^<]*)<', page)


def test_search(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, **JANE)
    send(database, vault, site, first_name="Tom", email="tom@example.com", phone="+12015550199")
    send(database, vault, site, "call_click")
    for typed in ("lucia", "FERNANDEZ", "Fernández Lucía", "luc fern", "lucia@example.com", " Lucia@Example.COM "):
        assert _names(_found(anna, q=typed)) == ["Lucía Fernández"], typed
    for typed in ("+12015550123", "(201) 555-0123", "201.555.0123", "555 0123"):
        assert _names(_found(anna, q=typed)) == ["Lucía Fernández"], typed


def test_search_finds_the_name_of_any_enquiry(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, **JANE)
    send(database, vault, site, **JANE | {"last_name": "Kindermann", "message": "Vaterfeld"})
    send(database, vault, site, first_name="Tom", email="tom@example.com")
    assert _names(_found(anna, q="kindermann")) == ["Lucía Fernández"]
    assert _names(_found(anna, q="vaterfeld")) == [], "not by what somebody writes"


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("Kühn", ("kuehn", "Kuhn", "KÜHN", "kuh", "kühn,")),
        ("Kuehn", ("Kühn", "kuehn", "kuhn")),
        ("Meier Anna", ("meier, anna", "Anna;Meier", "anna meier", "Meier,Anna")),
        ("Straße", ("strasse", "Straße", "STRASSE", "straß")),
        ("Groß-Söhnlein", ("gross soehnlein", "Groß–Söhnlein", "sohnlein")),
        ("O’Brien", ("O'Brien", "obrien", "o’brien")),
        ("Łukasz Sørensen", ("lukasz soerensen", "Sorensen", "łukasz")),
        ("Manuela Sauer", ("ela", "manuela", "sauer")),
    ],
)
def test_search_finds_a_name_however_it_is_spelt(
    anna: Person, database: Database, vault: Vault, site: Site, written: str, typed: tuple[str, ...]
) -> None:
    send(database, vault, site, first_name=written, email="a@example.com")
    send(database, vault, site, first_name="Tom", email="tom@example.com")
    for text in typed:
        assert _names(_found(anna, q=text)) == [written], text
    for nobody in ("- , -", "kuhm", "maeier"):
        assert _names(_found(anna, q=nobody)) == []


def test_without_a_website_the_list_says_what_comes_first(anna: Person, database: Database) -> None:
    assert "/f/demo/consultation" in anna.get("/desk/leads")
    with database.write() as session:
        for table in (Connection, ConsentText, Site):
            session.execute(delete(table))
    assert "First add the website" in plain(anna.get("/desk/leads"))


def test_a_long_answer_has_the_whole_width(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    for message, wide in (("Tuesday", 0), ("One line\nand one more", 1), ("word " * 30, 1)):
        sent = send(database, vault, site, email="long@example.com", message=message)
        page = anna.get(f"/desk/leads/{lead_of(database, sent.event_id)}")
        article = page.partition(f'id="event-{sent.event_id}"')[2].partition("</article>")[0]
        assert article.count('<div class="long"><dt>Message</dt>') == wide


def test_being_checked_is_said_only_of_what_is_going_to_be_read_back(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    event_id = send(database, vault, site, **JANE).event_id
    lead = f"/desk/leads/{lead_of(database, event_id)}"
    for check_at, told in ((None, "Taken by the CRM"), (datetime.now(UTC), "In the CRM, being checked")):
        set_state(database, event_id, "sent", check_at=check_at)
        for page in ("/desk/leads", lead):
            assert ("being checked" in plain(anna.get(page)), told in plain(anna.get(page))) == (bool(check_at), True)


def test_lists_tell_how_long_ago_whatever_the_sites_clocks_say(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, **JANE)
    berlin = make_site(database, "berlin")
    with database.write() as session:
        session.execute(update(Site).where(Site.key == "berlin").values(time_zone="Europe/Berlin"))
    send(database, vault, berlin, first_name="Karl", email="karl@example.com")
    page = anna.get("/desk/leads")
    assert _names(page) == ["Karl", "Lucía Fernández"]
    told = re.findall(
        r'<time [^>]*title="\d+ \w+ \d+, \d\d:\d\d (CES?T|E[SD]T)">(?:just now|\d+ seconds? ago)</time>', page
    )
    assert [zone[0] for zone in told] == ["C", "E"]


def test_what_is_older_than_a_week_has_its_date() -> None:
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert ">6 days ago<" in words.ago_at(now - timedelta(days=6), "Europe/Berlin", now)
    assert words.ago_at(now - timedelta(days=7, hours=12.5), "Europe/Berlin", now) == Markup(
        '<time datetime="2026-03-03T00:30:00+01:00" title="3 Mar 2026, 00:30 CET">3 Mar 2026</time>'
    )


def test_search_by_phone_reads_the_number_as_each_sites_country_does(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    with database.write() as session:
        session.execute(update(Site).values(region="DE"))
    send(database, vault, site, first_name="Karl", phone="+4930901820")
    assert _names(_found(anna, q="030 / 901 820")) == ["Karl"]


@pytest.mark.parametrize("typed", ["5550155", "555 0155", "555-0155", "(201) 555", "0155"])
def test_search_by_a_part_of_a_number_needs_no_country_and_no_certain_way_of_writing(
    anna: Person, database: Database, vault: Vault, site: Site, typed: str
) -> None:
    send(database, vault, site, first_name="Rita", phone="+12015550155")
    send(database, vault, site, first_name="Otto", phone="+12015690166")
    assert _names(_found(anna, q=typed)) == ["Rita"]


def test_search_by_code_in_any_form_opens_the_lead(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    caller = send(database, vault, site, "call_click")
    page = f"/desk/leads/{lead_of(database, caller.event_id)}"
    code = caller.reference
    for typed in (code, code.lower(), code.replace("-", ""), f" {code.replace('-', ' ').lower()} ", f"Caller {code}"):
        assert anna.post("/desk/leads", q=typed).location == page
    assert f"Caller {code}" in anna.get(page)


def test_every_code_that_a_person_was_told_opens_their_page_and_stands_at_its_enquiry(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    sent = [send(database, vault, site, **JANE) for _ in range(3)]
    page = f"/desk/leads/{lead_of(database, sent[0].event_id)}"
    for one in sent:
        assert anna.post("/desk/leads", q=one.reference).location == page
        article = anna.get(page).split(f'id="event-{one.event_id}"')[1].split("</article>")[0]
        assert {other.reference for other in sent if other.reference in article} == {one.reference}


def test_the_code_of_a_caller_who_became_known_opens_the_person(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, visitor_id="v1", **JANE)
    caller = send(database, vault, site, "call_click", visitor_id="v2")
    old = lead_of(database, caller.event_id)
    send(database, vault, site, visitor_id="v2", **JANE)
    person = f"/desk/leads/{lead_of(database, caller.event_id)}"
    assert anna.post("/desk/leads", q=caller.reference).location == person
    assert anna.client.get(f"/desk/leads/{old}").location == person
    assert _names(anna.get("/desk/leads")) == ["Lucía Fernández"]


def test_a_callers_record_that_was_left_in_the_crm_is_told_on_the_persons_page(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, visitor_id="v1", **JANE)
    caller = send(database, vault, site, "call_click", visitor_id="v2")
    connection = make_connection(database, vault, site)
    with database.write() as session:
        lead_id = session.scalars(select(Lead.id).where(Lead.code == caller.reference)).one()
        session.add(
            RemoteRecord(
                lead_id=lead_id, connection_id=connection.id, remote_id="r7", url="https://crm/r7", retire=False
            )
        )
    send(database, vault, site, visitor_id="v2", **JANE)
    person = f"/desk/leads/{lead_of(database, caller.event_id)}"
    assert "left as it is" not in plain(anna.get(person)), "it is to be removed"
    with database.write() as session:
        session.execute(update(RemoteRecord).values(retire=False))
    page = anna.get(person)
    assert f"“Caller {caller.reference}” of this person" in plain(page)
    assert "The clinic's staff have worked on it there, so it was left as it is" in plain(page)
    assert 'href="https://crm/r7"' in page
    with database.write() as session:
        session.execute(update(RemoteRecord).values(left_because="The key may not delete contacts."))
    told = plain(anna.get(person))
    assert "It could not be removed there: The key may not delete contacts. Please delete it there by hand." in told


def test_what_was_searched_is_in_no_address(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, **JANE)
    address = anna.post("/desk/leads", q="Fernández", period="7").location
    assert "Fern" not in unquote(address)
    assert "Fern" not in base64.urlsafe_b64decode(parse_qs(urlsplit(address).query)["found"][0]).decode("latin-1")
    page = anna.get(address)
    assert _names(page) == ["Lucía Fernández"]
    assert "Fern%C3%A1ndez" not in page
    assert 'name="period" value="7"' in page
    assert not [link for link in re.findall(r'(?:href|action)="([^"]*)"', page) if "q=" in link]


def test_what_was_found_is_still_there_for_whoever_goes_back_and_for_nobody_else(
    app: Flask, anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, **JANE)
    send(database, vault, site, first_name="Tom", email="tom@example.com")
    address = anna.post("/desk/leads", q="Lucía").location
    for _ in range(2):
        page = anna.get(address)
        assert _names(page) == ["Lucía Fernández"]
        assert 'name="q" value="Lucía"' in page
    sam = signed_in(app, database, "sam", "staff")
    for person, place in [(sam, address), *((anna, address[:-cut]) for cut in (1, 4, 20, 40, 60))]:
        page = person.get(place)
        assert _names(page) == ["Tom", "Lucía Fernández"]
        assert "Lucía" not in re.findall(r'name="q" value="([^"]*)"', page)
        assert "asks for something that cannot be chosen here" in page


def test_search_says_when_it_found_nobody_and_when_it_did_not_look_everywhere(
    anna: Person, database: Database, vault: Vault, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MOST_SEARCHED", 1)
    send(database, vault, site, **JANE)
    assert "looked through" not in _found(anna, q="nobody")
    send(database, vault, site, first_name="Tom", email="tom@example.com")
    page = _found(anna, q="Lucía")
    assert "Nobody found" in page
    assert "looked through by name" in page


def test_filters(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    other = make_site(database, "other")
    lucia = send(database, vault, site, **JANE)
    send(database, vault, site, "call_click", visitor_id="v9")
    send(database, vault, other, first_name="Karl", email="karl@example.com")
    set_state(database, lucia.event_id, "confirmed")
    with database.write() as session:
        session.execute(
            update(Lead)
            .where(Lead.id == session.get_one(Event, lucia.event_id).lead_id)
            .values(last_event_at=database.now(session) - timedelta(days=8))
        )
    assert len(_names(anna.get("/desk/leads"))) == 3
    assert _names(anna.get("/desk/leads?state=in_the_crm")) == ["Lucía Fernández"]
    assert _names(anna.get("/desk/leads?state=handled")) == []
    assert _names(anna.get("/desk/leads?site=other")) == ["Karl"]
    assert len(_names(anna.get("/desk/leads?period=7"))) == 2
    assert len(_names(anna.get("/desk/leads?period=30&state=made-up"))) == 3
    for unknown in ("state=made-up", "kind=visit", "site=gone", "period=99"):
        assert "cannot be chosen here, or no longer. That was left out" in anna.get(f"/desk/leads?{unknown}"), unknown
    assert "was left out" not in anna.get("/desk/leads?state=&kind=&site=other&period=7")
    assert len(_names(anna.get("/desk/leads?kind=call_click"))) == 1
    assert len(_names(anna.get("/desk/leads?kind=consultation_request&period=today"))) == 1
    assert "No lead fits these filters" in anna.get("/desk/leads?state=not_now&site=other")


def test_paging_shows_each_lead_once_and_leads_back(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    for number in range(57):
        send(database, vault, site, "call_click", visitor_id=f"v{number}")
    with database.write() as session:  # the same moment for many: the id decides
        session.execute(update(Lead).values(last_event_at=database.now(session)))
    pages, path = [], "/desk/leads?kind=call_click"
    while path:
        page = anna.get(path)
        pages.append(_names(page))
        path = _link(page, "next")
        last = page
    assert [len(names) for names in pages] == [25, 25, 7]
    assert len({name for names in pages for name in names}) == 57
    back = anna.get(_link(last, "prev"))
    assert _names(back) == pages[1]
    first = anna.get(_link(back, "prev"))
    assert _names(first) == pages[0]
    assert _link(first, "prev") == ""
    assert _names(anna.get("/desk/leads?older=nonsense~1")) == pages[0]


def test_a_persons_page_shows_the_newest_and_leads_to_older_ones(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    first = send(database, vault, site, visitor_id="v", **JANE)
    send(database, vault, site, "call_click", visitor_id="v")  # of the caller whom a form makes known below
    tap = {"source": "website", "consent_given": None, "consent_version": None}
    taps = [NewEvent(site.id, "call_click", str(n), "v", {}, **tap) for n in range(60)]
    outbox.accept(database, vault, taps)
    person = f"/desk/leads/{lead_of(database, first.event_id)}"
    page = anna.get(person)
    assert page.count('class="event"') == 50
    assert "Newest" not in page
    assert "waits for somebody" not in page
    older = _link(page, "next")
    assert "Consultation request" in plain(anna.get(older))
    assert anna.get(older).count('class="event"') == 12
    assert _link(anna.get(older), "next") == ""
    assert f'href="{person}">← Newest' in anna.get(older)
    live = re.findall(r'hx-get="([^"]+)"', anna.get(older))
    assert "Consultation request" in plain(anna.get(live[0].replace("&amp;", "&")))

    delivery_id = set_state(database, first.event_id, "refused", code="bad_phone", sentence="No.", field="phone")
    told = anna.get(person)
    assert "An older enquiry of this person waits for somebody." in plain(told)
    there = re.findall(r'waits for somebody.</strong> <a href="([^"]+)"', told)[0]
    assert "Correct it and send it again" in anna.get(there)
    wrong = anna.post(f"/desk/deliveries/{delivery_id}/correct", 422, phone="12").text
    assert 'value="12"' in wrong
    mark = re.findall(r'name="older" value="([^"]+)"', anna.get(there))[0]
    sent = anna.post(f"/desk/deliveries/{delivery_id}/handled", older=mark)
    assert sent.location == there, "a button ends where it was pressed"
    assert "62 enquiries that have not arrived" not in plain(anna.get(f"{person}/erase"))
    assert "61 enquiries that have not arrived are not sent any more" in plain(anna.get(f"{person}/erase"))


def _link(page: str, rel: str) -> str:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    return found[1].replace("&amp;", "&") if found else ""


def test_an_empty_list_says_what_to_do(anna: Person) -> None:
    assert "/f/demo/consultation" in anna.get("/desk/leads")


def test_the_whole_way_on_one_page(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, message="About\nimplants", page="https://clinic.example/implants", **JANE)
    with database.read() as session:
        now = database.now(session)
    delivery_id = set_state(
        database,
        event.event_id,
        "confirmed",
        sent_at=now,
        confirmed_at=now,
        remote_id="101",
        remote_url="https://crm.example/101",
    )
    with database.write() as session:
        tried = {"delivery_id": delivery_id, "milliseconds": 187}
        session.add(Attempt(started_at=now, verdict="TryLater", code="busy", status=503, sentence="Not now.", **tried))
        session.add(Attempt(started_at=now + timedelta(seconds=5), verdict="sent", **tried))
    page = anna.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    told = plain(page)
    for part in ("Received and stored", "Sent today", "Seen in the CRM today", "About implants", "201 555 0123"):
        assert part in told
    assert re.search(r"\d\d:\d\d:\d\d E[SD]T", told)
    assert "Did not work, tried again later. Not now. 187 ms, HTTP 503, busy" in told
    assert "Consent: given, wording 1" in told
    assert 'href="https://crm.example/101" rel="noopener noreferrer"' in page


def test_a_lead_that_waits_for_a_connection_tells_it_once_and_leads_there(
    app: Flask, anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, **JANE)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    assert "Send again" in anna.get(lead)
    wrong = {"code": "bad_key", "sentence": "The CRM does not accept the key."}
    with database.write() as session:
        connection = session.scalars(update(Connection).values(state="failing", **wrong).returning(Connection.id)).one()
    set_state(database, event.event_id, "waiting", **wrong)
    page = anna.get(lead)
    assert page.count("The CRM does not accept the key.") == 1
    assert re.search(rf'href="/desk/connections/{connection}">Open the connection', page)
    assert "Send again" not in page
    page = signed_in(app, database, "sam", "staff").get(lead)
    assert "The CRM does not accept the key. Please tell an admin of this desk." in plain(page)
    assert "Open the connection" not in page
    set_state(database, event.event_id, "refused", code="refused", sentence="The phone number is wrong.")
    assert "Send again" in anna.get(lead)


def test_what_waits_since_the_crm_wants_quiet_says_when_it_goes_on(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, **JANE)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    with database.write() as session:
        until = database.now(session).replace(microsecond=0) + timedelta(minutes=7)
        told = {"code": "too_many_requests", "sentence": "The CRM asks us to slow down."}
        session.execute(update(Connection).values(wait_until=until, **told))
    local = until.astimezone(ZoneInfo(site.time_zone))
    page = plain(anna.get(lead))
    assert re.search(rf"Not sent yet next try [\w ,]+{local:%H:%M:%S}", page), "it was not tried itself"
    assert "It waits for the connection: The CRM asks us to slow down. It goes on by itself." in page
    assert "slow down It goes on in 6 minutes." in plain(anna.get("/desk/"))
    set_state(database, event.event_id, "waiting", due_at=until + timedelta(hours=1), sentence="The CRM is down.")
    page = plain(anna.get(lead))
    assert re.search(rf"next try [\w ,]+{local + timedelta(hours=1):%H:%M:%S}", page), "whichever is later"
    assert "slow down" not in page


def test_what_waits_for_a_connection_with_a_problem_says_when_it_is_tried(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, **JANE)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    for code, told in (("timeout", True), ("signed_out", False)):
        with database.write() as session:
            due = database.now(session) + timedelta(minutes=7)
            session.execute(update(Connection).values(state="failing", code=code, probe_at=due))
        assert ("next try" in plain(anna.get(lead))) is told


@pytest.mark.parametrize(
    ("tel", "shown"),
    [
        ("(201) 555-0100", "Number tapped +1 201-555-0100"),
        ("555-0100", "Number tapped 555-0100 (not a whole phone number"),
        ("call-us", "Number tapped call-us (not a whole phone number"),
    ],
)
def test_a_tapped_number_that_nobody_could_call_is_marked(
    anna: Person, database: Database, vault: Vault, site: Site, tel: str, shown: str
) -> None:
    event_id = send(database, vault, site, "call_click", tel=tel).event_id
    assert shown in plain(anna.get(f"/desk/leads/{lead_of(database, event_id)}"))


def test_what_was_kept_as_it_was_sent_is_labelled_in_words(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    kept = {
        "last_name_as_sent": "x" * 300,
        "consent_as_sent": "sure",
        "message, whole": "y",
        "files_left_out": "scan.png",
        "Your_dentist": "Dr. Who",
    }
    event = send(database, vault, site, first_name="Ada", extra=kept)
    page = anna.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    for label in ("Last name, as sent", "Consent, as sent", "Message, whole", "Files, not taken", "Your_dentist"):
        assert f"<dt>{label}</dt>" in page


def test_a_lead_cannot_bring_html_into_a_page(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    evil = "<script>alert(1)</script>"
    event = send(
        database,
        vault,
        site,
        suspicion=evil,
        first_name=evil,
        email='"><img@example.com',
        message=evil,
        page="javascript:alert(1)",
        extra={evil: evil},
    )
    for path in ("/desk/", "/desk/leads", f"/desk/leads/{lead_of(database, event.event_id)}"):
        page = anna.get(path)
        assert evil not in page
        assert "&lt;script&gt;" in page
        assert 'href="javascript' not in page
    assert evil not in _found(anna, q=evil)


def test_there_is_no_such_lead(anna: Person) -> None:
    page = anna.get("/desk/leads/01890000-0000-7000-8000-000000000000", 404)
    assert "There is no such page" in page
    live = anna.client.get("/desk/leads/01890000-0000-7000-8000-000000000000/live", headers={"HX-Request": "true"})
    assert (live.status_code, live.text) == (404, "")


def test_the_part_that_refreshes_is_no_whole_page(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, **JANE)
    lead_id = lead_of(database, event.event_id)
    for path in ("/desk/live", f"/desk/leads/{lead_id}/live"):
        page = anna.get(path)
        assert "<html" not in page
        assert "Sandbox CRM" in page


def test_lead_by_code_knows_no_stranger(database: Database, vault: Vault) -> None:
    site = make_site(database)
    code = send(database, vault, site, "call_click").reference
    with database.read() as session:
        found = queries.lead_by_code(session, code)
        assert found == session.scalars(select(Lead)).one()
        for typed in ("", "AAA-AA", "AAA-AAAA", "'; --"):
            assert queries.lead_by_code(session, typed) is None


def test_a_call_that_was_given_up_is_listed_at_whoever_its_caller_turned_out_to_be(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, **JANE)
    tap = send(database, vault, site, "call_click", visitor_id="v1")
    set_state(database, tap.event_id, "expired", unknown=True, code="timeout", sentence="It did not answer.")
    send(database, vault, site, visitor_id="v1", **JANE)
    for state in ("needs_you", ""):
        assert "Lucía Fernández" in (listed := plain(anna.get(f"/desk/leads?state={state}")))
        assert "Needs you: gave up" in listed


def test_one_whose_details_cannot_be_decrypted_takes_no_others_along(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    event_id = send(database, vault, site, **JANE).event_id
    send(database, vault, site, first_name="Tom", email="tom@example.com")
    with database.write() as session:
        session.execute(update(Lead).where(Lead.id == lead_of(database, event_id)).values(person_sealed=b"damaged"))
    assert set(_names(anna.get("/desk/leads"))) == {"Cannot be decrypted", "Tom"}
    assert "Cannot be decrypted" in anna.get("/desk/")
    assert _names(_found(anna, q="tom")) == ["Tom"]
    assert "This cannot be decrypted" in plain(anna.get(f"/desk/leads/{lead_of(database, event_id)}", 500))


def test_without_a_crm_the_list_tells_what_is_held_and_the_filters_find_it(
    anna: Person, database: Database, vault: Vault
) -> None:
    bare = make_site(database, "bare")
    send(database, vault, bare, first_name="Rosa", email="rosa@example.com")
    send(database, vault, bare, first_name="Bot", email="bot@example.com", suspicion="it looks so")
    unasked = send(database, vault, bare, first_name="Nora", email="nora@example.com", consent=False)

    def told(asked: str = "") -> dict[str, str]:
        page = anna.get(f"/desk/leads?site=bare{asked}")
        states = re.findall(r'class="pill[^>]*>(.*?)</span>\s*</td>', page, re.DOTALL)
        return dict(zip(_names(page), map(plain, states), strict=True))

    everybody = told()
    assert "looks like spam" in everybody["Bot"]
    assert "no consent" in everybody["Nora"]
    assert "no CRM connected" in everybody["Rosa"]
    found = {state: list(told(f"&state={state}")) for state in ("needs_you", "not_now", "spam", "on_the_way")}
    assert found == {"needs_you": ["Nora"], "not_now": ["Bot"], "spam": ["Bot"], "on_the_way": []}
    assert _names(anna.get("/desk/leads?state=spam")) == ["Bot"], "also among all websites"
    assert "Needs you: no consent" in anna.get(f"/desk/leads/{lead_of(database, unasked.event_id)}")
    make_connection(database, vault, bare, name="Later")
    assert list(told("&state=spam")) == [], "once a connection is there, its deliveries tell"


def test_the_list_has_the_code_that_the_visitor_was_told_last(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    first, last = (send(database, vault, site, **JANE).reference for _ in range(2))
    assert first != last
    assert re.findall(r'class="code">([^<]+)<', anna.get("/desk/leads")) == [last]
    assert ("First reference code", first) == re.findall(
        r'<dt>([^<]+)</dt><dd class="code">([^<]+)<', anna.get(f"/desk/leads/{_only(database)}")
    )[0]


def _only(database: Database) -> UUID:
    with database.read() as session:
        return session.scalars(select(Lead.id)).one()
