"""What the desk tells of records that were changed in the CRM later, and the buttons for it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from leads.store.models import Action, Connection, Delivery, Drift, Site, new_id
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import send
from tests.web.desk import Person, beat, lead_of, plain, set_state, signed_in


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    beat(database)
    return signed_in(app, database, role="staff")


@pytest.fixture
def event_id(database: Database, vault: Vault, site: Site) -> UUID:
    """An enquiry of Jane Doe that the CRM holds."""
    found = send(database, vault, site, first_name="Jane", last_name="Doe", email="jane@example.com").event_id
    with database.read() as session:
        now = database.now(session)
    tonight = now + timedelta(hours=9)
    set_state(database, found, "confirmed", remote_id="r1", sent_at=now, confirmed_at=now, check_at=tonight)
    return found


def drifted(database: Database, event_id: UUID, kind: str, **more: Any) -> UUID:
    with database.write() as session:
        row = session.scalars(select(Delivery).where(Delivery.event_id == event_id)).one()
        values: dict[str, Any] = {"fields": [], "remote_ids": [], "found_at": database.now(session)} | more
        found = Drift(id=new_id(), delivery_id=row.id, connection_id=row.connection_id, kind=kind, **values)
        session.add(found)
        return found.id


def row_of(database: Database, event_id: UUID) -> Delivery:
    with database.read() as session:
        return session.scalars(select(Delivery).where(Delivery.event_id == event_id)).one()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("deleted", "1 enquiry was deleted in the CRM."),
        ("duplicated", "1 person is in the CRM more than once."),
        ("changed", "Every enquiry is in the CRM."),
        ("never_stored", "Every enquiry is in the CRM."),
    ],
)
def test_the_first_sentence_is_good_news_only_when_it_is(
    anna: Person, database: Database, event_id: UUID, kind: str, sentence: str
) -> None:
    assert "Every enquiry is in the CRM." in plain(anna.get("/desk/"))
    drifted(database, event_id, kind, fields=["email"] if kind == "changed" else [])
    page = plain(anna.get("/desk/"))
    assert sentence in page
    assert "Changed in the CRM since" in page
    assert "Jane Doe" in page
    assert f"/desk/leads/{lead_of(database, event_id)}" in anna.get("/desk/live")


def test_what_is_settled_or_on_its_way_again_or_removed_is_not_told(
    anna: Person, database: Database, event_id: UUID
) -> None:
    drifted(database, event_id, "deleted")
    set_state(database, event_id, "waiting")
    assert "deleted" not in plain(anna.get("/desk/"))
    set_state(database, event_id, "confirmed")
    with database.write() as session:
        for connection in session.scalars(select(Connection)):
            connection.removed_at = database.now(session)
    assert "was deleted" not in plain(anna.get("/desk/"))


def test_what_needs_somebody_hides_it_not(
    anna: Person, database: Database, vault: Vault, site: Site, event_id: UUID
) -> None:
    drifted(database, event_id, "deleted")
    set_state(database, send(database, vault, site, email="tom@example.com").event_id, "refused")
    told = "1 enquiry needs you. Below you see why, and what helps. Besides, 1 enquiry was deleted in the CRM."
    assert told in plain(anna.get("/desk/"))


@pytest.mark.parametrize("page", ["/desk/", "/desk/leads"])
def test_lists_tell_it_too(anna: Person, database: Database, event_id: UUID, page: str) -> None:
    assert "Deleted in the CRM" not in plain(anna.get(page))
    drifted(database, event_id, "deleted")
    assert "Deleted in the CRM" in plain(anna.get(page))


def test_the_leads_page_tells_it_and_a_person_says_that_it_is_right(
    anna: Person, database: Database, event_id: UUID
) -> None:
    drift_id = drifted(database, event_id, "deleted")
    path = f"/desk/leads/{lead_of(database, event_id)}"
    page = plain(anna.get(path))
    assert "Deleted in the CRM" in page
    assert "It is no longer in the CRM." in page
    assert page.count("Send again") == 1
    assert "r1" not in page, "nothing is there that could be opened"
    anna.post(f"/desk/drifts/{drift_id}/right")
    assert row_of(database, event_id).state == "handled"
    page = plain(anna.get(path))
    assert "anna said that it is right so" in page
    assert "It is no longer in the CRM." not in page
    with database.read() as session:
        [action] = session.scalars(select(Action).where(Action.what == "drift_right")).all()
    assert (action.user_name, action.delivery_id) == ("anna", row_of(database, event_id).id)
    anna.post(f"/desk/drifts/{drift_id}/right")  # pressed twice
    with database.read() as session:
        assert len(session.scalars(select(Action).where(Action.what == "drift_right")).all()) == 1
    anna.post(f"/desk/drifts/{new_id()}/right", 404)


def test_copies_and_changes_are_named_without_what_is_in_them(anna: Person, database: Database, event_id: UUID) -> None:
    drifted(database, event_id, "duplicated", remote_ids=["r7", "r8"])
    drifted(database, event_id, "changed", fields=["email", "phone"])
    page = plain(anna.get(f"/desk/leads/{lead_of(database, event_id)}"))
    assert "In the CRM twice" in page
    assert "The other records: r7, r8" in page
    assert "Fields: email, phone." in page


def test_what_was_not_kept_stays_told_after_it_arrived(anna: Person, database: Database, event_id: UUID) -> None:
    with database.read() as session:
        now = database.now(session)
    drifted(database, event_id, "never_stored", settled_at=now)
    page = plain(anna.get(f"/desk/leads/{lead_of(database, event_id)}"))
    assert "The CRM had said that it took this, and did not keep it. We sent it again." in page
    assert "all is well since" in page


@pytest.mark.parametrize(
    ("code", "pill", "why"),
    [
        ("unknown_outcome", "Needs you: may have arrived", "may or may not have arrived at “Sandbox CRM”"),
        ("missing", "Needs you: not in the CRM", "not kept by “Sandbox CRM”"),
        ("invalid_phone", "Needs you: refused", "refused by “Sandbox CRM”"),
    ],
)
def test_a_refusal_an_unknown_outcome_and_a_loss_are_told_apart(
    anna: Person, database: Database, event_id: UUID, code: str, pill: str, why: str
) -> None:
    set_state(database, event_id, "refused", code=code, sentence="A sentence.")
    assert why in plain(anna.get("/desk/"))
    assert pill in plain(anna.get(f"/desk/leads/{lead_of(database, event_id)}"))
    assert "1 enquiry needs you." in plain(anna.get("/desk/"))


def test_an_admin_has_everything_checked_now(app: Flask, database: Database, event_id: UUID) -> None:
    bert = signed_in(app, database, "bert", "admin")
    connection_id = row_of(database, event_id).connection_id
    assert "Check everything now" in bert.get(f"/desk/connections/{connection_id}")
    before = row_of(database, event_id).check_at
    bert.post(f"/desk/connections/{connection_id}/check-all")
    after = row_of(database, event_id).check_at
    assert before is not None
    assert after is not None
    assert after < before
    page = plain(bert.get(f"/desk/connections/{connection_id}"))
    assert "Looking at 1 enquiry" in page
    assert "bert had everything checked" in page


def test_staff_cannot_have_everything_checked(anna: Person, database: Database, event_id: UUID) -> None:
    connection_id = row_of(database, event_id).connection_id
    assert "Check everything now" not in anna.get(f"/desk/connections/{connection_id}")
    anna.post(f"/desk/connections/{connection_id}/check-all", 403)


def test_the_tier_is_that_of_this_connection(app: Flask, database: Database, vault: Vault, event_id: UUID) -> None:
    bert = signed_in(app, database, "bert", "admin")
    connection_id = row_of(database, event_id).connection_id
    assert "our own number on every record" in bert.get(f"/desk/connections/{connection_id}")
    options = {"url": "http://127.0.0.1:1", "key": "k", "tier": "B", "settle": 3}
    with database.write() as session:
        row = session.get_one(Connection, connection_id)
        row.options_sealed = vault.seal(options, "connection", "options", row.id)
    page = bert.get(f"/desk/connections/{connection_id}")
    assert re.search(r"Never twice</dt><dd>Before a second try we look", page)
