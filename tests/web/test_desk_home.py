"""The one sentence on the first page, in every situation."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from config.settings import Settings
from leads.app import create_app
from leads.store import outbox
from leads.store.erasure_list import ErasureList
from leads.store.models import Alert, CanaryRun, Connection, ConsentText, Delivery, Site, Unreadable, new_id
from leads.store.queries.signs import signs
from leads.store.session import Database
from leads.store.space import Space
from leads.store.vault import Vault
from leads.upkeep.alerts import conditions
from leads.upkeep.doctor import examine
from tests.factory import make_connection, make_site, make_unreadable, send
from tests.web.desk import Person, beat, lead_of, plain, set_state, signed_in

JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com"}
Sentence = Callable[[], tuple[str, str]]


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    beat(database)
    return signed_in(app, database)


@pytest.fixture
def sentence(anna: Person) -> Sentence:
    """Reads the sentence and its tone off the part that refreshes itself."""

    def read() -> tuple[str, str]:
        page = anna.get("/desk/live")
        found = re.search(r'headline tone-(\w+)".*?role="status">(.*?)</p>', page, re.DOTALL)
        assert found is not None
        return plain(found[2]), found[1]

    return read


def _connection(database: Database, **values: object) -> None:
    with database.write() as session:
        session.execute(update(Connection).values(**values))


def _remove_connections(database: Database) -> None:
    with database.write() as session:
        now = database.now(session)
        for connection in session.scalars(select(Connection)):
            outbox.remove(session, connection, now)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_almost_full_disk_comes_before_all_else(sentence: Sentence, database: Database, tmp_path: Path) -> None:
    database.space = Space(tmp_path, 2**60)
    assert sentence() == (
        "The server’s disk is almost full: visitors are asked to send their enquiry again later.",
        "bad",
    )


def test_nothing_yet(sentence: Sentence, anna: Person) -> None:
    assert sentence() == ("No enquiries yet.", "calm")
    assert "/f/demo/consultation" in anna.get("/desk/")


def test_no_connection_yet(sentence: Sentence, database: Database, anna: Person, app: Flask) -> None:
    _remove_connections(database)
    assert sentence() == ("No CRM is connected yet.", "look")
    assert "Connect a CRM" in anna.get("/desk/")
    assert "Ask an admin" in signed_in(app, database, "sam", "staff").get("/desk/")


def test_no_website_yet(sentence: Sentence, database: Database, anna: Person, app: Flask) -> None:
    with database.write() as session:
        for table in (Connection, ConsentText, Site):
            session.execute(delete(table))
    assert sentence() == ("No website is set up yet.", "look")
    assert "/desk/new-website" in anna.get("/desk/")
    assert "Connect a CRM</a>" not in anna.get("/desk/")
    assert "/desk/new-website" in anna.get("/desk/connections/new")
    assert "Ask an admin of this desk to add it" in signed_in(app, database, "sam", "staff").get("/desk/")


def test_enquiries_without_a_connection(sentence: Sentence, database: Database, vault: Vault, site: Site) -> None:
    _remove_connections(database)
    send(database, vault, site, **JANE)
    assert sentence() == ("1 enquiry is safe here; no CRM is connected.", "look")


def test_one_of_two_sites_has_no_connection(sentence: Sentence, database: Database, vault: Vault, app: Flask) -> None:
    send(database, vault, make_site(database, "other"), **JANE)
    assert sentence() == ("1 enquiry cannot go anywhere: its site has no CRM connected.", "look")
    assert "Ask an admin of this desk to connect one." in signed_in(app, database, "sam", "staff").get("/desk/")


def test_on_the_way(sentence: Sentence, database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, **JANE)
    assert sentence() == ("1 enquiry is on its way.", "busy")
    send(database, vault, site, "call_click")
    send(database, vault, site, **JANE)
    assert sentence() == ("3 enquiries are on their way.", "busy")


def test_two_connections_do_not_make_two_enquiries(
    sentence: Sentence, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site, name="Second")
    send(database, vault, site, **JANE)
    assert sentence() == ("1 enquiry is on its way.", "busy")


def test_all_arrived(sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person) -> None:
    first, second = send(database, vault, site, **JANE), send(database, vault, site, "call_click")
    set_state(database, first.event_id, "confirmed")
    with database.read() as session:
        now = database.now(session)
    set_state(database, second.event_id, "sent", check_at=now)
    assert sentence() == ("Every enquiry is in the CRM.", "good")
    assert "1 of them is being checked" in plain(anna.get("/desk/"))


def test_calls_that_wait_for_their_caller_are_no_trouble(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person
) -> None:
    _connection(database, unknown_callers="wait")
    send(database, vault, site, "call_click")
    assert sentence() == ("Every enquiry is in the CRM.", "good")
    assert "1 call waits until the caller is known" in plain(anna.get("/desk/"))


@pytest.mark.parametrize("state", ["refused", "expired"])
def test_a_person_is_needed(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person, state: str
) -> None:
    event = send(database, vault, site, **JANE)
    set_state(database, event.event_id, state, sentence="The CRM does not accept the phone number.")
    assert sentence() == ("1 enquiry needs you.", "bad")
    assert "The CRM does not accept the phone number." in anna.get("/desk/")
    assert "Jane Doe" in anna.get("/desk/leads?state=needs_you")


def test_all_places_count_the_same_people_who_need_somebody(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person, tmp_path: Path
) -> None:
    def come(name: str, **more: Any) -> UUID:
        return send(database, vault, site, email=f"{name}@example.com", first_name=name, **more).event_id

    come("Lena")
    _remove_connections(database)
    for name in ("First", "Second"):
        make_connection(database, vault, site, name=name)
    set_state(database, come("Rita"), "refused")  # at both, and still one enquiry
    come("Nora", consent=False)
    come("Sam", suspicion="A field that people cannot see was filled in.")
    set_state(database, come("Paul"), "held", code="paused")
    set_state(database, come("Anna"), "confirmed")
    make_unreadable(database, site)
    assert sentence() == ("3 enquiries need you.", "bad")
    today = "Received 6 In the CRM 1 On the way 0 Not sent for now 2 Need you 3 Taken care of 0"
    assert today in plain(anna.get("/desk/"))
    assert "4 held" in plain(anna.get("/desk/balance")), "also who needs somebody, so the first page calls none so"
    assert "Held" not in anna.get("/desk/leads").partition('name="kind"')[0]
    listed = {place: _listed(anna, place) for place in ("needs_you", "spam", "not_now")}
    assert listed == {"needs_you": {"Lena", "Nora", "Rita"}, "spam": {"Sam"}, "not_now": {"Paul", "Sam"}}
    assert anna.get("/desk/leads?state=needs_you").count("Needs you: ") == 3
    found = examine(database, tmp_path, tmp_path / "keys.json", ErasureList(tmp_path), "https://leads.example")
    told = [line.sentence for line in found]
    assert "Enquiries that need a person: 3. See: https://leads.example/desk/leads?state=needs_you" in told
    assert "Held, since it looks like spam: 1. See: https://leads.example/desk/leads?state=spam" in told
    assert "Not seen yet, and not understood: 1. See: https://leads.example/desk/unreadable" in told
    with database.read() as session:
        connections = {row.name: row.id for row in session.scalars(select(Connection))}
        alerts = {one.subject: one.sentence for one in conditions(signs(session, database.now(session)), timedelta(1))}
    refused, held = "1 enquiry needs a person: “%s” (Sunrise) did not", "1 enquiry needs a person before “%s” (Sunrise)"
    assert refused % "First" in alerts[str(connections["First"])]
    assert held % "First" in alerts[f"{connections['First']} held"]
    assert held % "Sandbox CRM" in alerts[f"{connections['Sandbox CRM']} held"]
    page = plain(anna.get(f"/desk/connections/{connections['First']}"))
    assert "In the CRM 1 On the way 0 Not sent for now 2 Need you 2 Taken care of 0" in page


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_all_places_count_alike_where_no_crm_is_connected(
    sentence: Sentence, database: Database, vault: Vault, app: Flask, anna: Person, tmp_path: Path
) -> None:
    alone = make_site(database, "alone", name="Alone")

    def come(name: str, **more: Any) -> None:
        send(database, vault, alone, email=f"{name}@example.com", first_name=name, **more)

    for name in ("Ada", "Bob"):
        come(name)
    assert sentence() == ("2 enquiries cannot go anywhere: their site has no CRM connected.", "look")
    for name in ("Nora", "Omar"):
        come(name, consent=None)
    come("Sam", suspicion="A field that people cannot see was filled in.")
    assert sentence() == ("2 enquiries need you.", "bad")
    home = plain(anna.get("/desk/"))
    assert "Received 5 In the CRM 0 On the way 0 Not sent for now 1 Need you 2 Taken care of 0" in home
    assert "No CRM connected 2" in home
    assert "2 held before any CRM of Alone: no consent to share" in home
    assert "1 held before any CRM of Alone: looks like spam" in home
    assert "2 enquiries cannot go anywhere: their site has no CRM connected" in home
    assert '/desk/consent?site=alone">Decide on many at once' in anna.get("/desk/")
    assert "2 enquiries" in plain(anna.get("/desk/consent?site=alone"))
    assert "3 held" in plain(anna.get("/desk/balance"))
    listed = {place: _listed(anna, place) for place in ("needs_you", "spam")}
    assert listed == {"needs_you": {"Nora", "Omar"}, "spam": {"Sam"}}
    found = examine(database, tmp_path, tmp_path / "keys.json", ErasureList(tmp_path), "https://leads.example")
    told = "\n".join(line.sentence for line in found)
    assert "alone has no connection; 2 enquiries wait for one." in told
    assert "Enquiries that need a person: 2." in told
    assert "Held, since it looks like spam: 1." in told
    with database.read() as session:
        alerts = {one.subject: one.sentence for one in conditions(signs(session, database.now(session)), timedelta(0))}
    assert alerts["alone"].startswith("2 enquiries are safe here and go nowhere")
    assert alerts["alone no_consent"].startswith("2 enquiries need a person before a CRM gets them: Alone.")


def _listed(person: Person, place: str) -> set[str]:
    """Who is listed under this filter."""
    return set(re.findall(r'rowheader"><a[^>]*>(\w+)</a>', person.get(f"/desk/leads?state={place}")))


@pytest.mark.parametrize(("reasons", "first"), [(5, 5), (6, 4), (9, 4)])
def test_of_many_reasons_the_first_are_shown_and_the_rest_behind_one_press(
    anna: Person, database: Database, vault: Vault, site: Site, reasons: int, first: int
) -> None:
    for number in range(reasons):
        event = send(database, vault, site, email=f"jane{number}@example.com")
        set_state(database, event.event_id, "refused", sentence=f"No. {number}")
    shown, _, rest = anna.get("/desk/live").partition('<details id="more-waits"')
    assert [len(re.findall(r'<li id="wait-\d+">', part)) for part in (shown, rest)] == [first, reasons - first]
    assert (f"Show {reasons - first} more" in rest) == (reasons > first)


def test_that_what_nobody_decides_on_is_forgotten_is_told_in_good_time(
    settings: Settings, database: Database, vault: Vault, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.app.Database", lambda _url, **_: database)
    anna = signed_in(create_app(replace(settings, keep_days=100)), database)
    send(database, vault, site, suspicion="Too quick.", **JANE)
    send(database, vault, site, consent=False, email="joe@example.com")
    make_unreadable(database, site)
    soon = "Nobody decided for long: the oldest is forgotten in 9 days."
    for days, times in ((85, 0), (90, 3)):
        with database.write() as session:
            ago = database.now(session) - timedelta(days=days, hours=1)
            session.execute(update(Delivery).values(created_at=ago))
            session.execute(update(Unreadable).values(received_at=ago))
        assert plain(anna.get("/desk/live")).count(soon) == times


def test_no_consent_needs_a_person(sentence: Sentence, database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, consent=False, **JANE)
    assert sentence() == ("1 enquiry needs you.", "bad")


def test_spam_is_told_but_is_no_alarm(sentence: Sentence, database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, suspicion="A field that people cannot see was filled in.", **JANE)
    assert sentence() == ("All else is in the CRM, but 1 looks like spam: please have a look.", "look")


def test_what_could_not_be_read_is_told_and_can_be_read(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person
) -> None:
    event = send(database, vault, site, **JANE)
    set_state(database, event.event_id, "confirmed")
    row_id = _keep_unreadable(database, vault, site, "call <b>me</b> back")
    assert sentence() == ("All else is in the CRM, but 1 could not be understood: please have a look.", "look")
    assert "call &lt;b&gt;me&lt;/b&gt; back" in anna.get("/desk/unreadable")
    anna.post(f"/desk/unreadable/{row_id}/seen")
    assert sentence() == ("Every enquiry is in the CRM.", "good")
    anna.post(f"/desk/unreadable/{new_id()}/seen", 404)


def test_many_that_could_not_be_read_are_seen_at_once(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person
) -> None:
    event = send(database, vault, site, **JANE)
    set_state(database, event.event_id, "confirmed")
    _keep_unreadable(database, vault, site, "one")
    assert "as seen" not in anna.get("/desk/unreadable")
    for number in range(59):
        _keep_unreadable(database, vault, site, f"junk {number}")
    page = anna.get("/desk/unreadable")
    assert page.count("<article") == 50
    assert "Nobody has seen 60 of them yet. Below are the newest 50" in page
    button = re.search(r'action="(/desk/unreadable/[\w-]+/all-seen)".*?Mark all 60 as seen', page, re.DOTALL)
    assert button is not None
    _keep_unreadable(database, vault, site, "came meanwhile")
    anna.post(button[1])
    assert sentence() == ("All else is in the CRM, but 1 could not be understood: please have a look.", "look")
    anna.post(f"/desk/unreadable/{new_id()}/all-seen", 404)


def test_what_could_not_be_read_hides_no_other_news(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person
) -> None:
    _keep_unreadable(database, vault, site, "junk")
    assert sentence() == ("No enquiries yet, but 1 could not be understood: please have a look.", "look")
    _connection(database, unknown_callers="wait")
    send(database, vault, site, "call_click")
    assert sentence() == ("All else is in the CRM, but 1 could not be understood: please have a look.", "look")
    assert "1 call waits until the caller is known" in plain(anna.get("/desk/"))
    event = send(database, vault, site, **JANE)
    assert sentence() == ("1 enquiry is on its way.", "busy")
    assert "Please have a look as well: 1 could not be understood." in plain(anna.get("/desk/"))
    set_state(database, event.event_id, "refused")
    assert sentence() == ("1 enquiry needs you.", "bad")
    assert "what helps. Please have a look as well: 1 could not be understood." in plain(anna.get("/desk/"))


def test_all_that_wants_a_look_is_in_the_sentence(
    sentence: Sentence, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, suspicion="Too quick.", **JANE)
    for number in range(2):
        again = JANE | {"email": f"p{number}@example.com"}
        event = send(database, vault, site, client_id=f"again {number}", **again)
        set_state(database, event.event_id, "confirmed")
        send(database, vault, site, client_id=f"again {number}", **again, message="Tuesday.")
    told = "1 looks like spam and 2 were sent again with other answers or consent"
    assert sentence() == (f"All else is in the CRM, but {told}: please have a look.", "look")
    make_unreadable(database, site)
    told = "1 looks like spam, 2 were sent again with other answers or consent and 1 could not be understood"
    assert sentence() == (f"All else is in the CRM, but {told}: please have a look.", "look")


def test_who_needs_a_person_hides_no_outage(database: Database, vault: Vault, site: Site, anna: Person) -> None:
    event = send(database, vault, site, **JANE)
    set_state(database, event.event_id, "refused", sentence="The CRM does not accept the phone number.")
    send(database, vault, site, **JANE | {"email": "other@example.com"})
    with database.write() as session:
        session.execute(update(Connection).values(failures=1, code="unavailable", sentence="It is down."))
    page = plain(anna.get("/desk/"))
    assert "1 enquiry needs you." in page
    assert "Besides, others wait: the CRM “Sandbox CRM” is not working just now." in page
    assert "Try now" in page
    for name in ("Second", "Third"):
        make_connection(database, vault, site, name=name, state="failing", code="unavailable", sentence="It is down.")
    assert "Besides, 2 connections have a problem." in plain(anna.get("/desk/"))


@pytest.mark.parametrize("problem", [False, True])
def test_who_needs_a_person_hides_nobody_who_goes_nowhere(
    database: Database, vault: Vault, site: Site, anna: Person, problem: bool
) -> None:
    if problem:
        send(database, vault, site, **JANE)
        _connection(database, state="failing", code="bad_key", sentence="The CRM does not accept the key.")
    else:
        send(database, vault, site, consent=False, **JANE)
    other = make_site(database, "other", "Other")
    for number in range(3):
        send(database, vault, other, email=f"{number}@example.com")
    page = plain(anna.get("/desk/live"))
    assert "Besides, 3 enquiries cannot go anywhere: their site has no CRM connected." in page
    today = page[page.index("Today") :]
    numbers = "In the CRM 0 On the way 0 Not sent for now 0 Need you 0 Taken care of 0 No CRM connected 3"
    assert f"Other Received 3 {numbers}" in today
    assert today.count("No CRM connected") == 1, "only where it is so"


def test_websites_from_which_nothing_came_today_take_one_line(
    database: Database, vault: Vault, site: Site, anna: Person
) -> None:
    for number in range(3):
        make_site(database, f"quiet-{number}", f"Quiet {number}")
    assert "Nothing came today from 4 websites." in plain(anna.get("/desk/live"))
    send(database, vault, site, **JANE)
    page = plain(anna.get("/desk/live"))
    assert "Nothing came today from 3 other websites." in page
    today = page[page.index("Today") : page.index("Connections and sync")]
    assert f"{site.name} Received 1" in today
    assert "Quiet" not in today


def test_nobody_is_late_where_nobody_else_waits(database: Database, vault: Vault, site: Site, anna: Person) -> None:
    set_state(database, send(database, vault, site, **JANE).event_id, "refused", sentence="It may have arrived.")
    with database.write() as session:
        session.execute(update(Connection).values(failures=1, code="unavailable", sentence="It is down."))
    page = plain(anna.get("/desk/"))
    assert "1 enquiry needs you." in page
    assert "others are late" not in page


def _keep_unreadable(database: Database, vault: Vault, site: Site, body: str) -> UUID:
    with database.write() as session:
        now = database.now(session)
        row = Unreadable(id=new_id(), site_id=site.id, body_digest=new_id().bytes, reason="No fields.", received_at=now)
        row.body_sealed = vault.seal({"text": body, "content_type": "text/plain"}, "unreadable", "body", row.id)
        session.add(row)
    return row.id


@pytest.mark.parametrize(
    ("code", "told"),
    [("bad_key", "does not accept the key"), ("timeout", "does not answer in time"), ("odd", "has a problem")],
)
def test_a_connection_has_a_problem(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person, code: str, told: str
) -> None:
    send(database, vault, site, **JANE)
    with database.read() as session:
        soon = database.now(session) + timedelta(seconds=150)
    _connection(database, state="failing", code=code, sentence="Enter a new key.", probe_at=soon)
    assert sentence() == (f"1 enquiry is waiting: the CRM “Sandbox CRM” {told}.", "bad")
    page = plain(anna.get("/desk/"))
    assert ("An admin has to enter a new key" in page) == (code == "bad_key")
    assert "Enter a new key. We try again by ourselves in 2 minutes." in page
    assert "Try now" in page


def test_staff_find_who_waits_for_a_connection_with_a_problem(
    database: Database, vault: Vault, app: Flask, site: Site
) -> None:
    send(database, vault, site, **JANE)
    _connection(database, state="failing", code="bad_key", sentence="Enter a new key.")
    sam = signed_in(app, database, "sam", "staff")
    shown = re.search(r'href="(/desk/leads[^"]*)">Show it<', sam.get("/desk/"))
    assert shown is not None
    assert "Jane Doe" in sam.get(shown[1])


def test_the_way_to_a_list_says_whether_others_stand_in_it_too(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    def ways() -> dict[str, str]:
        page = anna.get("/desk/")
        return {text: href for href, text in re.findall(r'href="(/desk/leads[^"]*)">(Show [^<]*)<', page)}

    send(database, vault, site, **JANE, consent=None)
    assert ways() == {"Show it": "/desk/leads?state=needs_you"}
    other = make_site(database, "other", name="Other")
    make_connection(database, vault, other)
    send(database, vault, other, email="joe@example.com")
    with database.write() as session:
        session.execute(update(Delivery).where(Delivery.state == "waiting").values(state="refused"))
    assert sorted(re.findall(r'href="(/desk/leads[^"]*)">Show it<', anna.get("/desk/"))) == [
        f"/desk/leads?state=needs_you&amp;site={site.key}",
        "/desk/leads?state=needs_you&amp;site=other",
    ]
    send(database, vault, other, email="ann@example.com", consent=None)
    assert set(ways()) == {"Show it", "Show all that need you"}


def test_staff_are_told_whom_to_tell_of_what_only_admins_can_mend(
    anna: Person, database: Database, vault: Vault, app: Flask, site: Site
) -> None:
    sam = signed_in(app, database, "sam", "staff")
    event = send(database, vault, site, **JANE)
    with database.write() as session:
        connection_id = session.scalars(select(Connection.id)).one()
        now = database.now(session)
        session.add(Alert(kind="mail", subject="e-mail", sentence="Notices by e-mail cannot be sent.", began_at=now))
    _connection(database, state="failing", code="bad_key", sentence="Enter a new key.", probe_at=now)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    whom = "Please tell an admin of this desk."
    for path in ("/desk/", "/desk/connections", lead):
        assert f"Enter a new key. {whom}" in plain(sam.get(path)).replace("It is tried again now. ", ""), path
        assert whom not in plain(anna.get(path))
    assert f"Notices by e-mail cannot be sent. {whom}" in plain(sam.get("/desk/"))
    assert "Only admins of this desk can change a connection: please tell one." in plain(
        sam.get(f"/desk/connections/{connection_id}")
    )
    _connection(database, state="paused", code="paused")
    set_state(database, event.event_id, "held", code="paused")
    assert "It goes as soon as an admin starts it again." in plain(sam.get("/desk/"))
    with database.write() as session:
        outbox.remove(session, session.get_one(Connection, connection_id), now)
    assert "An admin can add a new one; or take care of it." in plain(sam.get(lead))


def test_a_connection_that_failed_once_is_told_with_the_next_try(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person
) -> None:
    event = send(database, vault, site, **JANE)
    with database.read() as session:
        later = database.now(session) + timedelta(seconds=330)
    set_state(database, event.event_id, "waiting", due_at=later)
    _connection(database, failures=1, code="unavailable", sentence="The CRM is not working just now (status 503).")
    assert sentence() == ("1 enquiry is waiting: the CRM “Sandbox CRM” is not working just now.", "busy")
    assert "(status 503). We try again by ourselves in 5 minutes." in plain(anna.get("/desk/"))


@pytest.mark.parametrize("pressed", [["resume"], ["pause", "resume"]])
def test_what_is_tried_at_once_is_not_called_well_before_it_is(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person, pressed: list[str]
) -> None:
    send(database, vault, site, **JANE)
    with database.read() as session:
        later = database.now(session) + timedelta(minutes=4)
        connection = f"/desk/connections/{session.scalars(select(Connection.id)).one()}"
    _connection(database, state="failing", code="bad_key", sentence="Enter a new key.", probe_at=later)
    for what in pressed:
        anna.post(f"{connection}/{what}", back="home")
    assert sentence()[1] == "bad"
    page = plain(anna.get("/desk/"))
    assert "“Sandbox CRM” is tried again now." in page
    assert "Being tried now" in page
    page = anna.get(connection)
    assert ("Being tried now" in page, 'hx-select="#state"' in page) == (True, True)
    _connection(database, probe_at=later)
    page = anna.get(connection)
    assert ("Has a problem" in page, 'hx-select="#state"' in page) == (True, False)


@pytest.mark.parametrize("quiet", [True, False])
def test_one_that_works_badly_is_not_called_well_because_it_is_tried_at_once(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person, quiet: bool
) -> None:
    event = send(database, vault, site, **JANE)
    with database.read() as session:
        later = database.now(session) + timedelta(minutes=4)
        connection = f"/desk/connections/{session.scalars(select(Connection.id)).one()}"
    set_state(database, event.event_id, "waiting", due_at=later)
    _connection(
        database, code="unavailable", sentence="It is down.", failures=1 - quiet, wait_until=(quiet and later) or None
    )
    anna.post(f"{connection}/resume", back="home")
    assert sentence() == ("1 enquiry is waiting: the CRM “Sandbox CRM” is not working just now.", "busy")
    assert "… The last try failed: being tried again" in plain(anna.get("/desk/"))
    with database.read() as session:
        assert session.scalars(select(Delivery.due_at)).one() < later


def test_a_connection_has_a_problem_and_nothing_waits(sentence: Sentence, database: Database) -> None:
    _connection(database, state="failing", code="connect", sentence="No connection.")
    assert sentence() == ("Nothing waits for it now, but the CRM “Sandbox CRM” cannot be reached.", "look")


def test_where_there_are_several_websites_each_connection_tells_its_own(anna: Person, database: Database) -> None:
    assert "Sandbox CRM ✓ Working" in plain(anna.get("/desk/"))
    make_site(database, "other")
    assert "Sandbox CRM Sunrise ✓ Working" in plain(anna.get("/desk/"))
    _connection(database, name="Sandbox CRM of Sunrise")
    assert "Sandbox CRM of Sunrise ✓ Working" in plain(anna.get("/desk/"))


def test_staff_paused_a_connection(sentence: Sentence, database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, **JANE)
    with database.write() as session:
        outbox.pause(session, session.scalars(select(Connection)).one(), database.now(session))
    assert sentence() == ("1 enquiry waits because staff paused a connection.", "look")


def test_what_waits_for_a_paused_connection_is_led_to(app: Flask, database: Database, vault: Vault, site: Site) -> None:
    sent = send(database, vault, site, **JANE)
    with database.write() as session:
        outbox.pause(session, session.scalars(select(Connection)).one(), database.now(session))
    sam = signed_in(app, database, "sam", "staff")
    assert 'href="/desk/leads?state=not_now">Show it' in sam.get("/desk/")
    assert str(lead_of(database, sent.event_id)) in sam.get("/desk/leads?state=not_now")


def test_who_waits_for_a_paused_connection_stands_beside_other_news(
    sentence: Sentence, anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    paused = send(database, vault, site, **JANE)
    set_state(database, paused.event_id, "held", code="paused")
    make_connection(database, vault, site, name="Second")
    send(database, vault, site, email="sam@example.com")
    with database.write() as session:
        second = update(Connection).where(Connection.name == "Second")
        session.execute(second.values(state="failing", code="connect", sentence="It is down."))
    assert "is waiting: the CRM “Second” cannot be reached." in sentence()[0]
    assert "Besides, 1 enquiry waits because staff paused a connection." in plain(anna.get("/desk/"))


def test_never_good_news_while_nobody_delivers(
    sentence: Sentence, database: Database, vault: Vault, site: Site
) -> None:
    beat(database, seconds_ago=30)
    assert sentence() == ("The sync is not running; what comes in is safe and waits.", "bad")
    event = send(database, vault, site, **JANE)
    assert sentence() == ("The sync is not running; 1 enquiry waits and is safe.", "bad")
    set_state(database, event.event_id, "confirmed")
    assert sentence()[1] == "bad"
    beat(database)
    assert sentence()[1] == "good"


def test_the_day_is_the_sites_own(database: Database, vault: Vault, site: Site, anna: Person) -> None:
    send(database, vault, site, **JANE)
    assert "Received 1 In the CRM 0 On the way 1" in plain(anna.get("/desk/"))


def test_other_answers_under_the_same_id_are_shown(
    sentence: Sentence, database: Database, vault: Vault, site: Site, anna: Person
) -> None:
    event = send(database, vault, site, client_id="one", **JANE)
    set_state(database, event.event_id, "confirmed")
    send(database, vault, site, client_id="one", **{**JANE, "message": "Sorry, I meant Tuesday."})
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    assert "1 sent again with other answers" in plain(anna.get("/desk/"))
    assert sentence() == (
        "All else is in the CRM, but 1 was sent again with other answers or consent: please have a look.",
        "look",
    )
    page = anna.get(lead)
    assert "Sorry, I meant Tuesday." in page
    found = re.search(r"/desk/resubmissions/[\w-]+/seen", page)
    assert found is not None
    assert anna.post(found[0]).location == lead
    assert "sent again with other answers" not in anna.get("/desk/")
    assert sentence() == ("Every enquiry is in the CRM.", "good")


def _test_run(database: Database, **values: object) -> CanaryRun:
    with database.write() as session:
        now = database.now(session)
        site_id = session.scalars(select(Site.id)).one()
        run = CanaryRun(site_id=site_id, started_by="anna", started_at=now - timedelta(seconds=9), **values)
        session.add(run)
    return run


def _canary_line(person: Person) -> str:
    found = re.search(r'<li id="canary-demo">.*?</li>', person.get("/desk/"), re.DOTALL)
    assert found is not None
    return plain(found[0])


def test_how_the_last_test_enquiry_went(anna: Person, database: Database) -> None:
    assert "Test enquiry: none was sent yet." in _canary_line(anna)
    _test_run(database, state="failed", sentence="The form did not answer.", ended_at=datetime.now(UTC))
    assert re.search(r"failed, \d+ seconds ago\. The form did not answer\.", _canary_line(anna))
    with database.write() as session:
        now = database.now(session)
        session.execute(delete(CanaryRun))
    _test_run(database, state="ok", seen_at=now - timedelta(seconds=7.2), removed_at=now, ended_at=now)
    assert re.search(r"arrived in 1\.\d s, \d+ seconds ago, removed again\.", _canary_line(anna))


def test_the_button_that_tests_the_whole_way(anna: Person, app: Flask, database: Database) -> None:
    assert "Test the whole way now" in _canary_line(anna)
    anna.post("/desk/canary/demo")
    line = _canary_line(anna)
    assert "on its way" in line
    assert "Test the whole way now" not in line
    with database.read() as session:
        run = session.scalars(select(CanaryRun)).one()
        assert (run.started_by, run.state) == ("anna", "running")
    anna.post("/desk/canary/nowhere", 404)
    sam = signed_in(app, database, "sam", "staff")
    assert "Test the whole way now" not in _canary_line(sam)
    sam.post("/desk/canary/demo", 403)


def test_a_problem_does_not_hide_who_needs_a_person(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    waits, refused = (send(database, vault, site, **JANE | {"email": f"{n}@example.com"}).event_id for n in range(2))
    _connection(database, state="failing", code="bad_key", sentence="The CRM does not accept the key.")
    set_state(database, waits, "waiting")
    set_state(database, refused, "refused", code="refused", sentence="Not this number.")
    assert "Besides, 1 enquiry needs you: see below." in plain(anna.get("/desk/live"))
    set_state(database, waits, "confirmed")
    told = plain(anna.get("/desk/live"))
    assert "1 enquiry needs you. Below you see why, and what helps." in told
    assert "Besides, the CRM “Sandbox CRM” does not accept the key." in told


def test_what_is_held_is_not_offered_a_try(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, consent=False, **JANE)
    _connection(database, code="unavailable", sentence="The CRM is not working just now.", failures=1)
    page = anna.get("/desk/live")
    assert "no consent to share" in page
    assert "Try now" not in page


def test_what_a_removed_connection_left_is_told_with_its_name(
    sentence: Sentence, anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, **JANE)
    send(database, vault, site, consent=False, email="nora@example.com")
    send(database, vault, site, suspicion="A field that people cannot see was filled in.", email="sam@example.com")
    set_state(database, send(database, vault, site, email="uma@example.com").event_id, "sending")
    _remove_connections(database)
    assert sentence() == ("3 enquiries need you.", "bad")
    page = plain(anna.get("/desk/live"))
    for line in (
        "1 not sent to “Sandbox CRM”, which was removed The next CRM that an admin connects takes over what waits",
        "1 held before “Sandbox CRM”, which was removed: no consent to share Ask the visitor before",
        "1 held before “Sandbox CRM”, which was removed: looks like spam Open it and say",
        "1 may or may not have arrived at “Sandbox CRM”, which was removed It may have arrived",
    ):
        assert line in page


def test_what_another_connection_took_over_is_counted_and_told_once(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    event_id = send(database, vault, site, **JANE).event_id
    _remove_connections(database)
    new = make_connection(database, vault, site)
    outbox.take_over(database, new.id)
    page = plain(anna.get("/desk/live"))
    assert "On the way 1" in page
    assert "Taken care of 0" in page
    assert "Goes another way" in anna.get(f"/desk/leads/{lead_of(database, event_id)}")
