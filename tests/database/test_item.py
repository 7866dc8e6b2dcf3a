"""What goes to a CRM of one enquiry: the record as it stands, and what this enquiry says otherwise."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select, update

from integrations._odoo import activity_row
from integrations._salesforce import task_row
from integrations.core.base import Item
from leads.desk.correction import understood
from leads.store.corrections import correct
from leads.store.models import Connection, Delivery, Event, Lead, Site
from leads.store.outbox import release_hold
from leads.store.people import person_of
from leads.store.queries.enquiries import latest_enquiry
from leads.store.session import Database
from leads.store.staff import record
from leads.store.vault import Vault
from leads.sync.item import translate
from leads.sync.plan import plan_of
from tests.database.lanes import Clock, delivered
from tests.factory import make_connection, make_site, send

_AFTERNOON = datetime(2026, 6, 1, 18, 5, tzinfo=UTC)


def _items(database: Database, vault: Vault, connection: Connection) -> list[Item]:
    found: list[Item] = []
    while claimed := delivered(database, connection):
        found += [translate(vault, plan_of(connection), one) for one in claimed]
    return found


def test_a_corrected_phone_number_stands_in_the_activity(database: Database, vault: Vault) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site)
    send(database, vault, site, first_name="Cora", email="cora@example.com", phone="+12015550141")
    send(database, vault, site, first_name="Cora", email="cora@example.com", phone="+12015550142")
    first, second = _items(database, vault, connection)
    assert (first.fill["phone"], first.activity) == ("+12015550141", {})
    assert (second.fill["phone"], second.activity) == ("+12015550141", {"phone_given": "+12015550142"})


@pytest.mark.parametrize("typed", ["(201) 555-0141 ext. 89", "201 555 0141 after five"])
def test_what_was_typed_beside_a_number_stands_in_the_activity(database: Database, vault: Vault, typed: str) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site)
    for text in (typed, "(201) 555-01.41", "201-555-0141 x7"):
        send(database, vault, site, email="cora@example.com", phone="+12015550141", phone_typed=text)
    # It is the person's: whoever reads only the latest activity must see it too.
    told = [item.activity for item in _items(database, vault, connection)]
    assert told == [{"phone_typed": typed}] * 2 + [{"phone_typed": typed, "phone_typed_given": "201-555-0141 x7"}]


def test_a_number_that_was_only_typed_otherwise_is_not_told_again(database: Database, vault: Vault) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site)
    send(database, vault, site, email="cora@example.com", phone="+12015550141", phone_typed="(201) 555-01.41")
    assert [item.activity for item in _items(database, vault, connection)] == [{}]


def test_what_staff_typed_beside_a_number_stands_in_the_activity(database: Database, vault: Vault) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site)
    send(database, vault, site, email="cora@example.com", phone="+12015550141", phone_typed="201 555 0141")
    with database.write() as session:
        lead = session.scalars(select(Lead)).one()
        entered = understood(person_of(vault, lead), "US", ["phone"], {"phone": "201 555 0141 ext. 12"})
        correct(session, vault, lead, entered, database.now(session))
    [item] = _items(database, vault, connection)
    assert (item.fill["phone"], item.activity) == ("+12015550141", {"phone_typed": "201 555 0141 ext. 12"})


def test_the_record_keeps_the_persons_code_and_each_activity_tells_its_own(database: Database, vault: Vault) -> None:
    site = make_site(database)
    rules = [{"to": "code", "from": "reference", "write": "always"}, {"to": "email", "from": "email"}]
    connection = make_connection(database, vault, site, mapping=rules, share=["reference"])
    tap = send(database, vault, site, "call_click", visitor_id="v", tel="+12015550100")
    form = send(database, vault, site, visitor_id="v", email="cora@example.com")
    told = [(item.record["code"], item.activity["reference"]) for item in _items(database, vault, connection)]
    assert told == [(tap.reference, tap.reference), (tap.reference, form.reference)]
    send(database, vault, site, visitor_id="w", email="dora@example.com")
    moved = send(database, vault, site, "call_click", visitor_id="x", tel="+12015550100")
    later = send(database, vault, site, visitor_id="x", email="cora@example.com")
    (_, dora), *cora = [
        (item.record["code"], item.activity["reference"]) for item in _items(database, vault, connection)
    ]
    assert cora == [(tap.reference, moved.reference), (tap.reference, later.reference)]
    assert dora not in {code for pair in cora for code in pair}


def test_only_what_the_connection_maps_is_told(database: Database, vault: Vault) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site, mapping=[{"to": "email", "from": "email"}])
    send(database, vault, site, first_name="Cora", email="cora@example.com", phone="+12015550141")
    send(database, vault, site, first_name="Clara", email="cora@example.com", phone="+12015550142")
    assert [item.activity for item in _items(database, vault, connection)] == [{}, {}]


def test_the_first_touch_is_told_also_where_it_was_the_only_one(database: Database, vault: Vault) -> None:
    site = make_site(database)
    rules = [{"to": "last", "from": "utm_source"}, {"to": "first", "from": "first_utm_source"}]
    connection = make_connection(database, vault, site, mapping=rules, share=[])
    send(database, vault, site, email="cora@example.com", attribution={"utm_source": "google"})
    touched = {"utm_source": "news", "first_utm_source": "google"}
    send(database, vault, site, email="dora@example.com", attribution=touched)
    sent = [(item.fill.get("last"), item.fill.get("first")) for item in _items(database, vault, connection)]
    assert sorted(sent) == [("google", "google"), ("news", "google")]


def test_a_question_of_the_clinics_own_is_told_only_where_it_is_mapped(database: Database, vault: Vault) -> None:
    site = make_site(database)
    rules = [{"to": "insurer", "from": "extra.Which insurance?"}, {"to": "email", "from": "email"}]
    make_connection(database, vault, site)
    connection = make_connection(database, vault, site, mapping=rules)
    own = {"Which insurance?": "Acme", "email": "mallory@example.com"}
    send(database, vault, site, email="ann@example.com", extra=own)
    send(database, vault, site, email="ben@example.com")
    assert [item.fill for item in _items(database, vault, connection)] == [
        {"insurer": "Acme", "email": "ann@example.com"},
        {"email": "ben@example.com"},
    ]


def test_consent_is_told_as_it_was_given(database: Database, vault: Vault) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site, share=["consent"])
    examples: list[str] = []
    ann = send(database, vault, site, first_name="Ann", email="ann@example.com")
    later = send(database, vault, site, consent=False, first_name="Nora", email="nora@example.com")
    unasked = send(database, vault, site, consent=None, first_name="Uma", email="uma@example.com")
    own = send(database, vault, site, email="own@example.com", wording=None)
    send(database, vault, site, "call_click", tel="+12015550100")
    with database.write() as session:
        for one in (later, unasked):
            event = session.get_one(Event, one.event_id)
            event.received_at = _AFTERNOON
            release_hold(session, vault, event, session.get_one(Lead, event.lead_id), database.now(session))
        for one in (ann, own):
            session.get_one(Event, one.event_id).received_at = _AFTERNOON
        at_nora = session.scalars(select(Delivery.id).where(Delivery.event_id == later.event_id)).one()
        record(session, "sam", "not_spam", _AFTERNOON, delivery_id=at_nora)
        record(session, "sue", "consent_given", _AFTERNOON + timedelta(days=1), delivery_id=at_nora)
        for event_id in (ann.event_id, later.event_id):
            example = latest_enquiry(session, session.get_one(Lead, session.get_one(Event, event_id).lead_id))
            assert example is not None
            examples.append(translate(vault, plan_of(connection), example).activity["consent"])
    told = sorted(item.activity.get("consent", "") for item in _items(database, vault, connection))
    assert told == [
        "",
        "given 2026-06-01 14:05 (America/New_York), wording 1",
        "given 2026-06-01 14:05 (America/New_York), wording of the form itself",
        "given later, to the clinic",
        "given later, to the clinic; noted 2026-06-02 14:05 (America/New_York) by sue",
    ]
    assert examples == [told[1], told[4]], "a dry run shows the same"


def test_the_day_of_an_event_is_the_clinics(timed: Database, vault: Vault, clock: Clock) -> None:
    """An enquiry of the evening is dated that day, not the next one, which is when it is night in Greenwich."""
    site = make_site(timed)
    with timed.write() as session:
        session.execute(update(Site).values(time_zone="America/New_York"))
    connection = make_connection(timed, vault, site)
    clock.time = datetime(2026, 3, 3, 1, 30, tzinfo=UTC)
    send(timed, vault, site, first_name="Cora", email="cora@example.com")
    (item,) = _items(timed, vault, connection)
    assert item.occurred_at.date() == date(2026, 3, 2)
    assert item.occurred_at == clock.time
    assert item.instant() == "2026-03-03T01:30:00+00:00"
    assert task_row(item, "00Q")["ActivityDate"] == "2026-03-02"
    assert activity_row(item, "7")[1][-1] == "2026-03-02"
