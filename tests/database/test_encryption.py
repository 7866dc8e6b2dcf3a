"""What a thief of the database file learns: nothing about any person, and no key to a CRM."""

from __future__ import annotations

from leads.store import outbox
from leads.store.models import Connection, Site
from leads.store.session import Database
from leads.store.staff import record
from leads.store.vault import Vault
from tests.database.lanes import delivered, finished, leased
from tests.database.scan import found_in
from tests.factory import make_connection, make_site, send

PERSON = {
    "first_name": "Zyxwina",
    "last_name": "Quorbleton",
    "email": "zyx.quorb@example.com",
    "phone": "+12015550147",
    "phone_typed": "(201) 555-0147",
    "message": "My wisdomtooth-mark hurts",
    "extra": {"insurance": "Plumbus-Health-77"},
}
MARKS = [
    "Zyxwina",
    "Quorbleton",
    "zyx.quorb",
    "2015550147",
    "555-0147",
    "wisdomtooth-mark",
    "Plumbus-Health",
    "visitor-mark-91",
    "browser-mark-17",
    "pat-secret-token-0042",
    "noted-by-hand-5",
]


def test_the_scan_finds_what_is_there(database: Database) -> None:
    make_site(database, key="plain-to-see")
    assert found_in(database, ["plain-to-see", "not-there"]) == ["plain-to-see"]


def test_no_person_and_no_secret_stands_in_the_database(timed: Database, vault: Vault, site: Site) -> None:
    connection = make_connection(timed, vault, site, options={"token": "pat-secret-token-0042"})
    more = {"visitor_id": "visitor-mark-91", "client_id": "browser-mark-17"}
    send(timed, vault, site, **PERSON, **more)
    send(timed, vault, site, **(PERSON | {"service": "another"}), **more)  # kept as a resubmission
    send(timed, vault, site, "call_click", visitor_id="visitor-mark-91")
    send(timed, vault, site, suspicion="trap", **PERSON)
    delivered(timed, connection)
    with timed.write() as session:
        record(session, "anna", "purged", timed.now(session), vault=vault, note="noted-by-hand-5")
    assert found_in(timed, MARKS) == []


def test_options_replaced_leave_nothing_behind(
    timed: Database, vault: Vault, connection: Connection, site: Site
) -> None:
    send(timed, vault, site, **PERSON)
    lane = leased(timed, connection)
    finished(
        timed,
        lane,
        outbox.claim(timed, lane, 10, 60),
        "refused",
        code="bad_phone",
        sentence="Not a phone.",
        field="phone",
    )
    with timed.write() as session:
        row = session.get_one(Connection, connection.id)
        row.options_sealed = vault.seal({"token": "pat-secret-token-0042"}, "connection", "options", row.id)
    assert found_in(timed, MARKS) == []
