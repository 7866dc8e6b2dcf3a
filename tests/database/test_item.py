"""What goes to a CRM of one enquiry: the record as it stands, and what this enquiry says otherwise."""

from __future__ import annotations

from integrations.core.base import Item
from leads.store.models import Connection, Event, Lead
from leads.store.outbox import release_hold
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.item import translate
from leads.sync.plan import plan_of
from tests.database.lanes import delivered
from tests.factory import make_connection, make_site, send


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


def test_only_what_the_connection_maps_is_told(database: Database, vault: Vault) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site, mapping=[{"to": "email", "from": "email"}])
    send(database, vault, site, first_name="Cora", email="cora@example.com", phone="+12015550141")
    send(database, vault, site, first_name="Clara", email="cora@example.com", phone="+12015550142")
    assert [item.activity for item in _items(database, vault, connection)] == [{}, {}]


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
    send(database, vault, site, first_name="Ann", email="ann@example.com")
    later = send(database, vault, site, consent=False, first_name="Nora", email="nora@example.com")
    unasked = send(database, vault, site, consent=None, first_name="Uma", email="uma@example.com")
    send(database, vault, site, "call_click", tel="+12015550100")
    with database.write() as session:
        for one in (later, unasked):
            event = session.get_one(Event, one.event_id)
            release_hold(session, event, session.get_one(Lead, event.lead_id), database.now(session))
    told = sorted(item.activity.get("consent", "") for item in _items(database, vault, connection))
    assert told == ["", "given later, to the clinic", "given later, to the clinic", "given, wording 1"]
