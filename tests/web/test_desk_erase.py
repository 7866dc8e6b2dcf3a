"""“Erase personal data”: who may, what is said before, and what the pages tell afterwards."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, update

from leads.store import outbox
from leads.store.erasure_list import ErasureList
from leads.store.models import Action, Connection, Delivery, Erasure, RemoteRecord, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.conftest import only_postgres
from tests.factory import make_site, send
from tests.web.desk import Person, beat, lead_of, plain, set_state, signed_in

JANE = {"first_name": "Jane", "last_name": "Quorbleton", "email": "jane@example.com", "phone": "+12015550199"}
URL = "https://crm.example/r1"


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    beat(database)
    return signed_in(app, database)


@pytest.fixture
def jane(database: Database, vault: Vault, site: Site) -> UUID:
    """Her lead. One enquiry is in the CRM, another one waits."""
    event_id = send(database, vault, site, message="My tooth hurts", **JANE).event_id
    with database.write() as session:
        connection_id = session.scalars(select(Connection.id)).one()
        lead_id = lead_of(database, event_id)
        values: dict[str, Any] = {"remote_id": "r1", "url": URL, "retire": False}
        session.add(RemoteRecord(lead_id=lead_id, connection_id=connection_id, **values))
        now = database.now(session)
    set_state(database, event_id, "confirmed", remote_id="r1", remote_url=URL, sent_at=now, confirmed_at=now)
    send(database, vault, site, message="It still hurts", **JANE)
    return lead_id


def _set(database: Database, **values: Any) -> None:
    with database.write() as session:
        session.execute(update(Erasure).values(**values))


def test_it_asks_first_and_says_what_happens(anna: Person, database: Database, jane: UUID) -> None:
    assert f"/desk/leads/{jane}/erase" in anna.get(f"/desk/leads/{jane}")
    page = anna.get(f"/desk/leads/{jane}/erase")
    told = plain(page)
    for said in (
        "Erase the personal data of Jane Quorbleton?",
        "1 enquiry that has not arrived is not sent any more.",
        "In Sandbox CRM: the record and all that stands on it",
        "your backups",
    ):
        assert said in told
    assert URL in page
    with database.read() as session:
        assert session.scalars(select(Erasure)).all() == [], "nothing yet"


@pytest.mark.parametrize("known", [True, False])
def test_what_came_since_the_page_was_opened_is_not_erased_unread(
    anna: Person, database: Database, vault: Vault, site: Site, jane: UUID, known: bool
) -> None:
    """known: another enquiry of hers; else a caller turns out to be her."""
    asked = jane if known else lead_of(database, send(database, vault, site, "call_click", visitor_id="v").event_id)
    newest = dict(re.findall(r'name="(newest)" value="([^"]+)"', anna.get(f"/desk/leads/{asked}/erase")))
    late = send(database, vault, site, message="Please call me today", visitor_id="v", **JANE).event_id
    answer = anna.post(f"/desk/leads/{asked}/erase", **newest)
    assert answer.location == f"/desk/leads/{jane}/erase"
    page = anna.get(answer.location)
    assert "Nothing was erased: an enquiry of theirs came since" in plain(page)
    assert "Please call me today" in anna.get(f"/desk/leads/{lead_of(database, late)}")
    anna.post(answer.location, **dict(re.findall(r'name="(newest)" value="([^"]+)"', page)))
    assert "Please call me today" not in anna.get(f"/desk/leads/{jane}")


def test_all_names_that_go_are_told_before(
    anna: Person, database: Database, vault: Vault, site: Site, jane: UUID
) -> None:
    """As in a family that shares an e-mail address, or by a mistake of whoever typed."""
    ben = {"first_name": "Ben", "last_name": "Vaterfeld", "email": JANE["email"], "phone": "+12015550188"}
    for _ in range(2):
        send(database, vault, site, client_id="b", **ben)
        ben["last_name"], ben["email"] = "Waterfield", "ben@example.com"
    page = anna.get(f"/desk/leads/{jane}/erase")
    told = plain(page)
    assert "Names Jane Quorbleton, Ben Vaterfeld, Ben Waterfield" in told
    assert "E-mails jane@example.com, ben@example.com" in told
    assert "Phones +1 201-555-0199, +1 201-555-0188" in told
    assert "All of them are erased." in told
    assert "also as <bdi>Ben Vaterfeld</bdi></span>" in anna.get("/desk/leads")
    assert "also as <bdi>Ben Vaterfeld</bdi></span>" in anna.get("/desk/")
    anna.post(f"/desk/leads/{jane}/erase")
    for path in ("/desk/leads", "/desk/", f"/desk/leads/{jane}"):
        assert "Vaterfeld" not in anna.get(path)


def test_one_name_alone_is_told_once(anna: Person, database: Database, vault: Vault, site: Site, jane: UUID) -> None:
    send(database, vault, site, first_name="JANE", email=JANE["email"])
    assert "also as" not in anna.get("/desk/leads"), "she left out the last name"
    told = plain(anna.get(f"/desk/leads/{jane}/erase"))
    assert "E-mail jane@example.com Phone +1 201-555-0199" in told


def test_who_never_said_a_name_is_asked_for_without(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    caller = lead_of(database, send(database, vault, site, "call_click").event_id)
    assert "Who that is" not in anna.get(f"/desk/leads/{caller}/erase")


def test_nobody_but_an_admin_may(app: Flask, database: Database, jane: UUID) -> None:
    sam = signed_in(app, database, "sam", "staff")
    page = sam.get(f"/desk/leads/{jane}")
    assert "Erase personal data" not in page
    assert "An admin of this desk can erase" in page
    sam.get(f"/desk/leads/{jane}/erase", 403)
    sam.post(f"/desk/leads/{jane}/erase", 403)
    assert "Quorbleton" in sam.get(f"/desk/leads/{jane}")


def test_the_pages_tell_that_it_is_done_and_by_whom(anna: Person, database: Database, jane: UUID) -> None:
    answer = anna.post(f"/desk/leads/{jane}/erase")
    assert answer.location == f"/desk/leads/{jane}"
    shown = anna.get(f"/desk/leads/{jane}")
    told = plain(shown)
    for said in ("Erased here.", "anna erased the personal data", "Sandbox CRM: … Waiting to be erased there"):
        assert said in told
    for gone in ("Jane", "Quorbleton", "jane@example.com", "5550199", "tooth", "Erase personal data", "Send again"):
        assert gone not in told
    assert URL not in shown, "only where somebody has to look"
    for page in ("/desk/leads", "/desk/"):
        assert "Quorbleton" not in anna.get(page)
        assert "Erased" in anna.get(page)
    with database.read() as session:
        [action] = session.scalars(select(Action).where(Action.what == "erased")).all()
    assert (action.user_name, action.lead_id, action.note_sealed) == ("anna", jane, None)
    assert "anna erased the personal data of the enquiry" in plain(anna.get("/desk/actions"))
    assert anna.client.get(f"/desk/leads/{jane}/erase").status_code == 303
    anna.post(f"/desk/leads/{jane}/erase")
    assert "moved on meanwhile" in anna.get(f"/desk/leads/{jane}")
    anna.get(f"/desk/leads/{UUID(int=7)}/erase", 404)
    anna.post(f"/desk/leads/{UUID(int=7)}/erase", 404)


def test_who_was_erased_is_counted_apart_from_what_was_taken_care_of(
    anna: Person, database: Database, vault: Vault, site: Site, jane: UUID
) -> None:
    tom = send(database, vault, site, first_name="Tom", email="tom@example.com").event_id
    set_state(database, tom, "handled", code="by_hand")
    anna.post(f"/desk/leads/{jane}/erase")
    with database.read() as session:
        connection_id = session.scalars(select(Connection.id)).one()
    for page in ("/desk/", f"/desk/connections/{connection_id}"):
        assert "Taken care of 1 Erased 2" in plain(anna.get(page))
    for state, listed in (("handled", [lead_of(database, tom)]), ("erased", [jane])):
        rows = re.findall(r'id="row-([^"]+)"', anna.get(f"/desk/leads?state={state}"))
        assert rows == [str(lead_id) for lead_id in listed]


def test_who_was_erased_before_a_crm_was_connected_is_counted_too(
    anna: Person, database: Database, vault: Vault
) -> None:
    lead_id = lead_of(database, send(database, vault, make_site(database, "other", "Other"), **JANE).event_id)
    anna.post(f"/desk/leads/{lead_id}/erase")
    assert "Other Received 1 In the CRM 0 On the way 0 Not sent for now 0 Need you 0 Taken care of 0 Erased 1" in plain(
        anna.get("/desk/")
    )


def test_the_list_of_erasures_names_her_by_code_and_id_alone(anna: Person, jane: UUID, tmp_path: Path) -> None:
    anna.post(f"/desk/leads/{jane}/erase")
    assert "list of erasures" not in anna.get(f"/desk/leads/{jane}")
    [entry] = ErasureList(tmp_path).read().erased
    assert entry.leads == (jane,)
    assert not any(detail in (tmp_path / "erased.txt").read_text() for detail in JANE.values())


def test_who_cannot_be_put_on_the_list_is_erased_all_the_same_and_that_is_told(
    anna: Person, jane: UUID, tmp_path: Path
) -> None:
    (tmp_path / "erased.txt").mkdir()  # also root cannot write into it
    anna.post(f"/desk/leads/{jane}/erase")
    told = plain(anna.get(f"/desk/leads/{jane}"))
    assert "anna erased the personal data" in told
    assert "it could not be written into the list of erasures on the server" in told


def test_what_a_crm_refuses_is_told_first_with_what_helps(anna: Person, database: Database, jane: UUID) -> None:
    anna.post(f"/desk/leads/{jane}/erase")
    _set(database, state="needs_you", code="in_use", sentence="Cases hang on it. Delete it by hand.")
    home = plain(anna.get("/desk/"))
    assert "1 record of erased people still stands in a CRM." in home
    assert "Cases hang on it." in home
    page = anna.get(f"/desk/leads/{jane}")
    assert URL in page
    with database.read() as session:
        row = session.scalars(select(Erasure)).one()
    action = f"/desk/erasures/{row.lead_id}/{row.connection_id}"
    anna.post(f"{action}/again")
    assert "Waiting to be erased there" in plain(anna.get(f"/desk/leads/{jane}"))
    assert "To be erased in a CRM" not in plain(anna.get("/desk/"))
    _set(database, state="needs_you", sentence="Cases hang on it.")
    anna.post(f"{action}/by_hand")
    told = plain(anna.get(f"/desk/leads/{jane}"))
    assert "Erased there by hand" in told
    assert "anna erased it in the CRM by hand" in told
    with database.read() as session:
        row = session.scalars(select(Erasure)).one()
    assert (row.state, row.remote_ids, row.url) == ("handled", [], None)
    anna.post(f"{action}/again")
    assert "moved on meanwhile" in anna.get(f"/desk/leads/{jane}")
    anna.post(f"/desk/erasures/{jane}/{UUID(int=7)}/again", 404)


def test_what_waits_at_a_connection_that_stands_still_is_told(anna: Person, database: Database, jane: UUID) -> None:
    anna.post(f"/desk/leads/{jane}/erase")
    assert "To be erased in a CRM" not in plain(anna.get("/desk/"))
    with database.write() as session:
        session.execute(update(Connection).values(state="paused"))
    home = plain(anna.get("/desk/"))
    assert "could not be erased yet It waits until an admin starts the connection again." in home


def test_a_removed_connection_cannot_be_tried_again(anna: Person, database: Database, jane: UUID) -> None:
    with database.write() as session:
        connection = session.scalars(select(Connection)).one()
        outbox.remove(session, connection, database.now(session))
    assert "that connection was removed: delete it there by hand" in plain(anna.get(f"/desk/leads/{jane}/erase"))
    anna.post(f"/desk/leads/{jane}/erase")
    page = anna.get(f"/desk/leads/{jane}")
    assert "The connection was removed" in plain(page)
    assert URL in page
    assert "Try again" not in page
    anna.post(f"/desk/erasures/{jane}/{connection.id}/again")
    with database.read() as session:
        assert session.scalars(select(Erasure.state)).one() == "needs_you"
        assert set(session.scalars(select(Delivery.state))) == {"erased"}


@only_postgres
def test_it_is_not_tried_again_at_a_connection_that_is_removed_at_this_moment(
    anna: Person, database: Database, jane: UUID
) -> None:
    anna.post(f"/desk/leads/{jane}/erase")
    _set(database, state="needs_you", code="in_use", sentence="Cases hang on it.")
    with ThreadPoolExecutor() as pool:
        with database.write() as session:
            connection = session.scalars(select(Connection).with_for_update()).one()
            outbox.remove(session, connection, database.now(session))
            session.flush()
            pressed = pool.submit(anna.post, f"/desk/erasures/{jane}/{connection.id}/again")
            with pytest.raises(TimeoutError):
                pressed.result(0.5)
        pressed.result(10)
    with database.read() as session:
        assert session.scalars(select(Erasure.state)).one() == "needs_you"
