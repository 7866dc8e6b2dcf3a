"""What staff decide about an enquiry: sent again, released, taken care of, each written down."""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, update

from leads.desk import actions
from leads.store import outbox
from leads.store.models import Connection, Delivery, Event, Lead, Site, new_id
from leads.store.session import Database
from leads.store.vault import Vault
from tests.conftest import only_postgres
from tests.factory import make_connection, make_site, send
from tests.web.desk import Person, decisions, lead_of, plain, set_state, signed_in

JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com"}


@pytest.fixture
def sam(app: Flask, database: Database) -> Person:
    return signed_in(app, database, "sam", "staff")


def _delivery(database: Database, delivery_id: UUID) -> Delivery:
    with database.read() as session:
        return session.get_one(Delivery, delivery_id)


def _done(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        return [(action.user_name, action.what) for action in session.scalars(decisions())]


@pytest.mark.parametrize("state", ["waiting", "refused", "expired", "sent", "confirmed"])
def test_send_again(sam: Person, database: Database, vault: Vault, site: Site, state: str) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, state, attempts=9, code="bad_phone", sentence="No.", missing=2)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    assert "Send again" in sam.get(lead)
    assert sam.post(f"/desk/deliveries/{delivery_id}/send-again").location == lead
    row = _delivery(database, delivery_id)
    assert (row.state, row.attempts, row.code, row.missing) == ("waiting", 0, None, 0)
    assert _done(database) == [("sam", "send_again")]
    page = plain(sam.get(lead))
    assert "It is on its way again." in page
    assert "sam sent it again" in page


def test_what_a_colleague_took_care_of_is_not_sent_again_by_a_page_from_before(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, "refused", code="bad_phone", sentence="No.")
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    before = _mark(sam.get(lead))
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    sam.post(f"/desk/deliveries/{delivery_id}/send-again", mark=before)
    page = sam.get(lead)
    assert _delivery(database, delivery_id).state == "handled"
    assert "Nothing was done: it has moved on meanwhile." in page
    sam.post(f"/desk/deliveries/{delivery_id}/send-again", mark=_mark(page))
    assert _delivery(database, delivery_id).state == "waiting"


def _mark(page: str) -> str:
    """What the button “Send again” sends along."""
    return re.findall(r'name="mark" value="([^"]+)">\s*<button[^>]*>Send again<', page)[0]


@pytest.mark.parametrize("state", ["sending", "held", "handled", "erased"])
def test_what_cannot_be_sent_again_is_left_alone(
    sam: Person, database: Database, vault: Vault, site: Site, state: str
) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, state)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    page = sam.get(lead)
    assert "Send again" not in page
    assert ("It is being sent right now." in page) == (state == "sending")
    sam.post(f"/desk/deliveries/{delivery_id}/send-again")
    assert _delivery(database, delivery_id).state == state
    assert _done(database) == []
    assert "Nothing was done" in sam.get(lead)


def test_nothing_is_sent_again_through_a_connection_that_is_gone(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, "confirmed")
    with database.write() as session:
        outbox.remove(session, session.scalars(select(Connection)).one(), database.now(session))
    page = sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    assert "Send again" not in page
    assert "This connection was removed" in plain(page)
    sam.post(f"/desk/deliveries/{delivery_id}/send-again")
    assert _delivery(database, delivery_id).state == "confirmed"


def test_not_spam_send(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, suspicion="trap", **JANE)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    assert "Not spam, send" in sam.get(lead)
    sam.post(f"/desk/events/{event.event_id}/not_spam")
    assert _states(database, event.event_id) == ["waiting"]
    assert _done(database) == [("sam", "not_spam")]
    page = plain(sam.get(lead))
    assert "It is on its way to the CRM." in page
    assert "sam said it is not spam" in page
    assert "Not spam, send" not in page


def test_consent_was_given_send(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, consent=False, **JANE)
    assert "Consent was given, send" in sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    sam.post(f"/desk/events/{event.event_id}/consent_given")
    assert _states(database, event.event_id) == ["waiting"]
    assert _done(database) == [("sam", "consent_given")]
    lead = sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    assert "Consent: not given on the form, wording 1; given later, says sam" in plain(lead)


def test_where_nobody_was_asked_for_consent_the_desk_says_so(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, consent=None, **JANE)
    page = sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    assert "Nobody was asked for consent" in page
    assert "Consent: not asked on the form" in plain(page)
    sam.post(f"/desk/events/{event.event_id}/consent_given")
    page = sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    assert "Consent: not asked on the form; given later, says sam" in plain(page)


def test_consent_to_the_words_of_a_form_plugin_is_told_as_such(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    words = {"consent": True, "wording": None, "extra": {"I agree that my details are kept": "on"}}
    event = send(database, vault, site, client_id="1", **JANE | words)
    page = plain(sam.get(f"/desk/leads/{lead_of(database, event.event_id)}"))
    assert "Consent: given, wording of the form itself The form on the website showed words of its own." in page
    assert "None" not in page
    send(database, vault, site, client_id="1", **JANE | words | {"consent": False})
    page = plain(sam.get(f"/desk/leads/{lead_of(database, event.event_id)}"))
    assert "Consent: not given this time, wording of the form itself" in page
    assert "None" not in page


def test_why_much_is_sent_again_is_told_where_a_form_gives_its_visitors_one_id(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    for name, message in (("ann", ""), ("ann", "And on Tuesdays?"), ("ben", ""), ("cora", "")):
        assert "several visitors" not in plain(sam.get("/desk/"))
        send(database, vault, site, client_id="1", email=f"{name}@example.com", message=message)
    assert "A form of Sunrise gives one “id” to several visitors" in plain(sam.get("/desk/"))


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({}, "It goes as soon as this site has a connection."),
        ({"suspicion": "Too quick."}, "It is not sent when this site gets a connection: then it can be put aside"),
        ({"consent": False}, "It is not sent when this site gets a connection, unless consent was given by then."),
    ],
)
def test_what_follows_for_one_without_a_connection_is_told_as_it_is(
    sam: Person, database: Database, vault: Vault, held: dict[str, Any], told: str
) -> None:
    alone = make_site(database, "alone")
    event = send(database, vault, alone, **JANE, **held)
    page = f"/desk/leads/{lead_of(database, event.event_id)}"
    assert told in plain(sam.get(page))
    assert outbox.take_over(database, make_connection(database, vault, alone).id) == 1
    assert _states(database, event.event_id) == ["held" if held else "waiting"]
    assert ("It is spam, leave it" in sam.get(page)) is ("suspicion" in held)


@pytest.mark.parametrize(
    ("held", "what", "told"),
    [
        ({"suspicion": "Too quick."}, "not_spam", "sam said of the enquiry {} that it is not spam."),
        ({"consent": False}, "consent_given", "sam said of the enquiry {} that consent was given."),
    ],
)
def test_who_releases_one_without_a_connection_is_written_down(
    app: Flask, sam: Person, database: Database, vault: Vault, held: dict[str, Any], what: str, told: str
) -> None:
    event = send(database, vault, make_site(database, "alone"), **JANE, **held)
    sam.post(f"/desk/events/{event.event_id}/{what}")
    assert told.format(event.reference) in plain(signed_in(app, database).get("/desk/actions"))


def test_consent_that_comes_with_a_repeat_is_shown_and_sends(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, client_id="1", consent=False, **JANE)
    send(database, vault, site, client_id="1", consent=True, **JANE)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    page = plain(sam.get(lead))
    assert "Sent again with consent" in page
    assert "Consent: given this time, wording 1" in page
    assert "other answers" not in page
    assert page.count("Consent was given, send") == 2
    assert "sent again with other answers or consent" in plain(sam.get("/desk/"))
    sam.post(f"/desk/events/{event.event_id}/consent_given")
    assert _states(database, event.event_id) == ["waiting"]
    assert "Consent was given, send" not in sam.get(lead)
    assert "sent again" not in plain(sam.get("/desk/")), "whoever pressed it has seen it"


@pytest.mark.parametrize(
    ("unknown", "told"), [(False, "Nothing was sent."), (True, "It may be in the CRM all the same: look there.")]
)
def test_where_consent_was_taken_back_it_is_told_whether_it_went(
    sam: Person, database: Database, vault: Vault, site: Site, unknown: bool, told: str
) -> None:
    event = send(database, vault, site, client_id="1", consent=True, **JANE)
    with database.write() as session:
        session.execute(update(Delivery).values(unknown=unknown))
    send(database, vault, site, client_id="1", consent=False, **JANE)
    page = plain(sam.get(f"/desk/leads/{lead_of(database, event.event_id)}"))
    assert (
        f"Consent was taken back when the form was sent again: the details are not to be shared with the CRM. {told}"
        in page
    )
    assert ("It may have arrived" in page, "Not sent yet" in page) == (unknown, not unknown)


def test_beside_send_again_stands_that_consent_was_taken_back(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, client_id="1", **JANE)
    set_state(database, event.event_id, "confirmed")
    lead, warning = f"/desk/leads/{lead_of(database, event.event_id)}", "The visitor has taken consent back since."
    assert warning not in sam.get(lead)
    send(database, vault, site, client_id="1", consent=False, **JANE)
    assert warning in sam.get(lead)
    assert "Send again" in sam.get(lead)


def test_the_last_word_on_consent_stands_last_and_may_be_the_first_form_again(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, client_id="1", **JANE)
    with database.write() as session:
        session.get_one(Event, event.event_id).received_at -= timedelta(minutes=1)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    for consent in (False, True, False):
        send(database, vault, site, client_id="1", consent=consent, **JANE)
        titles = re.findall("Sent again with(?:out)? consent", plain(sam.get(lead)))
        assert titles[-1] == f"Sent again {'with' if consent else 'without'} consent"
        assert sam.get(lead).count("Consent was given, send") == 1 + consent
    assert len(titles) == 2


def test_the_first_answers_once_more_are_called_so(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, client_id="1", **JANE)
    with database.write() as session:
        session.get_one(Event, event.event_id).received_at -= timedelta(minutes=1)
    for service in ({"service": "another"}, {}):
        send(database, vault, site, client_id="1", **JANE, **service)
    assert "These are the first answers once more" in plain(sam.get(f"/desk/leads/{lead_of(database, event.event_id)}"))


def test_what_is_told_later_of_a_call_stands_there_and_asks_for_nobody(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    call = {"client_id": "1", "consent": None, "unique": True, "phone": "+12015550123"}
    event = send(database, vault, site, **call, extra={"duration": "0"})
    send(database, vault, site, **call, extra={"duration": "47"})
    page = plain(sam.get(f"/desk/leads/{lead_of(database, event.event_id)}"))
    assert "Told later" in page
    assert "47" in page
    assert "Sent again" not in page
    assert "sent again" not in plain(sam.get("/desk/"))


def test_consent_that_a_repeat_takes_back_is_shown(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, client_id="1", **JANE)
    send(database, vault, site, client_id="1", consent=False, **JANE | {"first_name": "Janet"})
    page = plain(sam.get(f"/desk/leads/{lead_of(database, event.event_id)}"))
    assert "Sent again with other answers and without consent" in page
    assert "Consent: not given this time" in page
    assert "Janet" in page
    assert page.count("Consent was given, send") == 1, "what waited is held now, for staff to decide"
    assert _states(database, event.event_id) == ["held"]


def test_what_is_not_spam_may_still_lack_consent(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, suspicion="trap", consent=False, **JANE)
    sam.post(f"/desk/events/{event.event_id}/not_spam")
    assert _states(database, event.event_id) == ["held"]
    page = sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    assert "It still waits, because no consent was given." in page
    assert "Consent was given, send" in page
    sam.post(f"/desk/events/{event.event_id}/consent_given")
    assert _states(database, event.event_id) == ["waiting"]
    assert _done(database) == [("sam", "not_spam"), ("sam", "consent_given")]


def test_not_spam_pressed_twice_says_nothing_of_consent(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, suspicion="trap", consent=False, **JANE)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    button = _button(sam.get(lead), "Not spam, send")
    sam.post(button)
    sam.post(button)  # or a colleague, whose page was opened before
    assert _states(database, event.event_id) == ["held"]
    assert _done(database) == [("sam", "not_spam")]
    assert "somebody has decided this already" in sam.get(lead)


def test_a_release_waits_while_its_connection_is_paused(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, suspicion="trap", **JANE)
    with database.write() as session:
        outbox.pause(session, session.scalars(select(Connection)).one(), database.now(session))
    sam.post(f"/desk/events/{event.event_id}/not_spam")
    assert _states(database, event.event_id) == ["held"]
    assert "as soon as a connection can take it" in sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")


@pytest.mark.parametrize(("held", "what"), [({"suspicion": "trap"}, "not_spam"), ({"consent": False}, "consent_given")])
def test_why_it_is_held_and_what_to_press_stays_when_its_connection_is_removed(
    sam: Person, database: Database, vault: Vault, site: Site, held: dict[str, Any], what: str
) -> None:
    event = send(database, vault, site, **JANE, **held)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    before = sam.get(lead)
    with database.write() as session:
        outbox.remove(session, session.scalars(select(Connection)).one(), database.now(session))
    page = sam.get(lead)
    for shown in (r'<h3 id="way-title.*?</h3>', r'<p class="why">.*?</p>', r"<button>.*?</button>"):
        assert re.findall(shown, page) == re.findall(shown, before)
    assert "This connection was removed" in plain(page)
    sam.post(f"/desk/events/{event.event_id}/{what}")
    assert "Needs you: connection removed" in sam.get(lead)


def test_what_was_decided_before_stays(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, **JANE)
    sam.post(f"/desk/events/{event.event_id}/not_spam")
    assert _done(database) == []
    with database.read() as session:
        assert session.get_one(Event, event.event_id).hold_code is None


@pytest.mark.parametrize("state", ["waiting", "refused", "expired", "held"])
def test_i_took_care_of_it(sam: Person, database: Database, vault: Vault, site: Site, state: str) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, state)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    assert "I took care of it" in sam.get(lead)
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    assert _delivery(database, delivery_id).state == "handled"
    assert _done(database) == [("sam", "handled")]
    assert "Taken care of" in sam.get(lead)


@pytest.mark.parametrize("state", ["waiting", "refused", "expired"])
def test_what_somebody_took_care_of_can_still_be_sent(
    sam: Person, database: Database, vault: Vault, site: Site, state: str
) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, state, attempts=9)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    sam.post(_button(sam.get(lead), "Send again"))
    row = _delivery(database, delivery_id)
    assert (row.state, row.attempts, row.code, row.sentence) == ("waiting", 0, None, None)
    assert _done(database) == [("sam", "handled"), ("sam", "send_again")]
    assert "It is on its way again." in sam.get(lead)


def test_consent_that_was_given_after_all_sends_what_somebody_took_care_of(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, consent=False, **JANE)
    delivery_id = set_state(database, event.event_id, "held")
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    page = sam.get(lead)
    assert "Somebody took care of this. There was no consent" in plain(page)
    assert "Send again" not in page, "nobody has said that there is consent"
    sam.post(f"/desk/deliveries/{delivery_id}/send-again")
    assert _states(database, event.event_id) == ["handled"]
    sam.post(_button(page, "Consent was given, send"))
    assert _states(database, event.event_id) == ["waiting"]
    assert _done(database) == [("sam", "handled"), ("sam", "consent_given")]


def test_what_is_spam_is_put_aside_for_every_crm_at_once(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site, name="Second")
    event = send(database, vault, site, suspicion="A robot.", **JANE)
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    sam.post(_button(sam.get(lead), "It is spam, leave it"))
    assert _states(database, event.event_id) == ["handled", "handled"]
    assert _done(database) == [("sam", "handled")] * 2
    assert "It is spam, leave it" not in sam.get(lead)
    sam.post(_button(sam.get(lead), "Not spam, send"))
    assert _states(database, event.event_id) == ["waiting", "waiting"]


def test_consent_sends_only_what_waits_for_it_where_something_does(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site, name="Second")
    event = send(database, vault, site, consent=False, **JANE)
    sam.post(f"/desk/deliveries/{set_state(database, event.event_id, 'held', code='no_consent')}/handled")
    sam.post(f"/desk/events/{event.event_id}/consent_given")
    assert sorted(_states(database, event.event_id)) == ["handled", "waiting"]
    assert "Send again" in sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")


def test_what_somebody_took_care_of_stays_where_the_visitor_takes_consent_back(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, client_id="1", **JANE)
    delivery_id = set_state(database, event.event_id, "refused")
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    send(database, vault, site, client_id="1", consent=False, **JANE)
    page = sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    assert "Send again" not in page
    assert "Correct and send" not in page
    sam.post(f"/desk/deliveries/{delivery_id}/send-again")
    sam.post(f"/desk/deliveries/{delivery_id}/correct", **JANE)
    assert _states(database, event.event_id) == ["handled"]
    sam.post(_button(page, "Consent was given, send"))
    assert _states(database, event.event_id) == ["waiting"]


def test_what_may_have_arrived_is_still_looked_for_after_somebody_took_care_of_it(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, "refused", code="unknown_outcome")
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    page = sam.get(lead)
    assert "Nobody knows whether it arrived before somebody took care of it." in page
    assert "Correct and send" not in page
    sam.post(_button(page, "Send again"))
    row = _delivery(database, delivery_id)
    assert (row.state, row.unknown) == ("waiting", True)


def test_after_a_copy_was_put_back_what_somebody_took_care_of_may_have_arrived(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    delivery_id = set_state(database, send(database, vault, site, **JANE).event_id, "refused")
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    with database.write() as session:
        assert outbox.doubt_all(session) == 0, "it needs nobody"
    assert _delivery(database, delivery_id).unknown


def test_what_somebody_took_care_of_waits_where_its_connection_is_paused(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, "refused")
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    with database.write() as session:
        outbox.pause(session, session.scalars(select(Connection)).one(), database.now(session))
    sam.post(f"/desk/deliveries/{delivery_id}/send-again")
    row = _delivery(database, delivery_id)
    assert (row.state, row.code) == ("held", "paused")
    assert "as soon as a connection can take it" in sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")


def test_what_somebody_took_care_of_goes_another_way_where_its_connection_is_gone(
    sam: Person, database: Database, left: Delivery
) -> None:
    sam.post(f"/desk/deliveries/{left.id}/handled")
    page = sam.get(f"/desk/leads/{left.lead_id}")
    assert "Send again" not in page
    assert AS_WELL in plain(page)
    sam.post(_button(page, "Send it to New CRM"))
    assert sorted(_states(database, left.event_id)) == ["handled", "waiting"]
    assert "Send it to" not in sam.get(f"/desk/leads/{left.lead_id}"), "what goes another way stays so"


@pytest.mark.parametrize("state", ["sending", "sent", "confirmed"])
def test_what_arrived_needs_nobody(sam: Person, database: Database, vault: Vault, site: Site, state: str) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, state)
    assert "I took care of it" not in sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    assert _delivery(database, delivery_id).state == state


@pytest.fixture
def left(database: Database, vault: Vault, site: Site) -> Delivery:
    """An enquiry that was being sent when its connection was removed. Another connection came since."""
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, "sending")
    with database.write() as session:
        outbox.remove(session, session.scalars(select(Connection)).one(), database.now(session))
    make_connection(database, vault, site, name="New CRM")
    return _delivery(database, delivery_id)


def _button(page: str, text: str) -> str:
    """Where a button leads."""
    found = re.search(
        rf'<form method="post" action="([^"]+)"(?:(?!</form>).)*<button[^>]*>{text}</button>', page, re.DOTALL
    )
    assert found is not None
    return found[1]


AS_WELL = "You can also send it through another connection. It may then stand in “Sandbox CRM” as well."


def test_what_nobody_knows_of_can_be_sent_through_another_connection_once(
    sam: Person, database: Database, left: Delivery
) -> None:
    lead = f"/desk/leads/{left.lead_id}"
    page = sam.get(lead)
    assert AS_WELL in plain(page)
    assert "I took care of it" in page
    button = _button(page, "Send it to New CRM")
    assert sam.post(button).location == lead
    page = plain(sam.get(lead))
    assert "Handed over to “New CRM”." in page
    assert "To Sandbox CRM – Goes another way" in page
    assert "To New CRM … Waiting to be sent" in page
    assert "sam sent it through another connection (New CRM)" in page
    assert "Send it to" not in page
    sam.post(button)
    assert "Nothing was done" in sam.get(lead)
    assert sorted(_states(database, left.event_id)) == ["handled", "waiting"]
    assert _done(database) == [("sam", "sent_elsewhere")]


@only_postgres
def test_two_who_press_at_once_send_it_once(
    app: Flask, sam: Person, database: Database, left: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    button = _button(sam.get(f"/desk/leads/{left.lead_id}"), "Send it to New CRM")
    anna = signed_in(app, database)

    def meanwhile(*given: Any) -> bool:
        monkeypatch.undo()
        second.append(pool.submit(anna.post, button))
        with pytest.raises(TimeoutError):
            second[0].result(0.5)
        return sends(*given)

    second: list[Future[Any]] = []
    sends = outbox.send_elsewhere
    with ThreadPoolExecutor() as pool:
        monkeypatch.setattr(outbox, "send_elsewhere", meanwhile)
        sam.post(button)
        second[0].result(10)
    assert sorted(_states(database, left.event_id)) == ["handled", "waiting"]
    assert _done(database) == [("sam", "sent_elsewhere")]


@only_postgres
def test_nothing_is_sent_again_at_a_connection_that_is_removed_meanwhile(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    delivery_id = set_state(database, send(database, vault, site, **JANE).event_id, "confirmed")
    with ThreadPoolExecutor() as pool:
        with database.write() as session:
            old = session.scalars(select(Connection).with_for_update()).one()
            outbox.remove(session, old, database.now(session))
            session.flush()
            pressed = pool.submit(sam.post, f"/desk/deliveries/{delivery_id}/send-again")
            with pytest.raises(TimeoutError):
                pressed.result(0.5)
        pressed.result(10)
    assert (_delivery(database, delivery_id).state, _done(database)) == ("confirmed", [])


@only_postgres
def test_a_call_that_is_no_spam_goes_also_where_its_caller_becomes_known_meanwhile(
    sam: Person, database: Database, vault: Vault, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = make_connection(database, vault, site, name="Waits", unknown_callers="wait")
    send(database, vault, site, **JANE)
    tap = send(database, vault, site, "call_click", visitor_id="v1", suspicion="too many")
    locked = actions._locked

    def meanwhile(*given: Any) -> Lead:
        with ThreadPoolExecutor() as pool:
            pool.submit(send, database, vault, site, visitor_id="v1", **JANE).result(10)
        return locked(*given)

    monkeypatch.setattr(actions, "_locked", meanwhile)
    sam.post(f"/desk/events/{tap.event_id}/not_spam")
    with database.read() as session:
        here = (Delivery.event_id == tap.event_id, Delivery.connection_id == waits.id)
        assert session.scalars(select(Delivery.state).where(*here)).one() == "waiting"


def test_what_was_surely_not_sent_can_go_through_another_connection_as_well(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    event = send(database, vault, site, **JANE)
    make_connection(database, vault, site, name="New CRM", state="paused")
    with database.write() as session:
        old = session.scalars(select(Connection).where(Connection.name == "Sandbox CRM")).one()
        outbox.remove(session, old, database.now(session))
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    page = sam.get(lead)
    assert AS_WELL not in plain(page)
    told = "1 not sent to “Sandbox CRM”, which was removed Open each one: a button sends it another way"
    assert told in plain(sam.get("/desk/"))
    sam.post(_button(page, "Send it to New CRM"))
    assert "To New CRM ‖ Held: connection paused" in plain(sam.get(lead))


def test_what_another_connection_has_already_is_not_offered_to_it(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    second = make_connection(database, vault, site, name="Second")
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, "sending")
    with database.write() as session:
        old = session.scalars(select(Connection).where(Connection.name == "Sandbox CRM")).one()
        outbox.remove(session, old, database.now(session))
    assert "Send it to" not in sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    sam.post(f"/desk/deliveries/{delivery_id}/send-to/{second.id}")
    assert sorted(_states(database, event.event_id)) == ["refused", "sending"]


def test_buttons_for_what_does_not_exist(sam: Person) -> None:
    sam.post(f"/desk/deliveries/{new_id()}/send-to/{new_id()}", 404)
    for path in ("deliveries/{}/send-again", "deliveries/{}/handled", "events/{}/not_spam", "resubmissions/{}/seen"):
        sam.post("/desk/" + path.format(new_id()), 404)


def test_each_button_stands_where_it_helps(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, suspicion="It was sent faster than a person can.", **JANE)
    page = sam.get(f"/desk/leads/{lead_of(database, event.event_id)}")
    buttons = re.findall(r"<button[^>]*>([^<]+)</button>", page)
    assert buttons == ["Sign out", "Pause updates", "Not spam, send", "It is spam, leave it"]


def _states(database: Database, event_id: UUID) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Delivery.state).where(Delivery.event_id == event_id)))
