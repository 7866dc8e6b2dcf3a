"""Who is joined to whom, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from leads.store import outbox
from leads.store.corrections import correct
from leads.store.models import Event, Lead, Site, new_id
from leads.store.outbox import Accepted, NewEvent
from leads.store.people import person_of
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_site, send
from tests.web.desk import lead_of

JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com", "phone": "+12015550123"}


def _lead(database: Database, accepted: Accepted) -> UUID:
    return lead_of(database, accepted.event_id)


def _same(database: Database, vault: Vault, one: dict[str, Any], other: dict[str, Any]) -> bool:
    site = make_site(database)
    first = send(database, vault, site, **one)
    return _lead(database, send(database, vault, site, **other)) == _lead(database, first)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (JANE, True),
        ({**JANE, "email": "JANE@EXAMPLE.COM", "phone": ""}, True),
        ({**JANE, "email": "jane.doe@work.example"}, True),
        ({"phone": JANE["phone"]}, True),
        ({"first_name": "Mia", "email": "mia@example.com", "phone": JANE["phone"]}, False),
        ({"first_name": "Mia", "phone": JANE["phone"]}, False),
        ({"first_name": "Jane", "email": "other@example.com", "phone": "+12015550199"}, False),
    ],
)
def test_who_is_the_same_person(database: Database, vault: Vault, other: dict[str, Any], same: bool) -> None:
    assert _same(database, vault, JANE, other) is same


def test_a_person_of_one_site_is_a_stranger_at_another(database: Database, vault: Vault) -> None:
    here, there = make_site(database), make_site(database, key="other")
    jane, stranger = send(database, vault, here, **JANE), send(database, vault, there, **JANE)
    assert _lead(database, jane) != _lead(database, stranger)


def test_a_caller_found_by_what_staff_entered_and_by_the_browser_is_one(database: Database, vault: Vault) -> None:
    site = make_site(database)
    click = send(database, vault, site, "call_click", visitor_id="v1")
    with database.write() as session:
        caller = session.scalars(select(Lead)).one()
        correct(session, vault, caller, JANE, database.now(session))
        caller.known = caller.shareable = False  # as an earlier version left them
    assert _lead(database, send(database, vault, site, visitor_id="v1", **JANE)) == _lead(database, click)
    with database.read() as session:
        lead = session.scalars(select(Lead)).one()
    assert (lead.known, lead.merged_into) == (True, None)


def test_a_click_before_the_form_becomes_the_persons(database: Database, vault: Vault) -> None:
    site = make_site(database)
    click = send(database, vault, site, "call_click", visitor_id="v1")
    form = send(database, vault, site, visitor_id="v1", **JANE)
    assert _lead(database, form) == _lead(database, click)
    with database.read() as session:
        lead = session.scalars(select(Lead)).one()
    assert lead.known
    assert person_of(vault, lead)["email"] == JANE["email"]


def test_a_click_after_the_form_is_the_persons(database: Database, vault: Vault) -> None:
    site = make_site(database)
    form = send(database, vault, site, visitor_id="v1", **JANE)
    click = send(database, vault, site, "call_click", visitor_id="v1")
    assert _lead(database, click) == _lead(database, form)


def test_a_caller_who_turns_out_to_be_known_is_merged(database: Database, vault: Vault) -> None:
    site = make_site(database)
    known = send(database, vault, site, visitor_id="v1", **JANE)
    click = send(database, vault, site, "call_click", visitor_id="v2")
    assert _lead(database, click) != _lead(database, known)
    form = send(database, vault, site, visitor_id="v2", **JANE)
    later = send(database, vault, site, "call_click", visitor_id="v2")
    assert {_lead(database, one) for one in (click, form, later)} == {_lead(database, known)}


def test_two_people_may_share_a_computer(database: Database, vault: Vault) -> None:
    site = make_site(database)
    jane = send(database, vault, site, visitor_id="v1", **JANE)
    tom = send(database, vault, site, visitor_id="v1", first_name="Tom", email="tom@example.com")
    assert _lead(database, tom) != _lead(database, jane)


def test_nobody_rewrites_a_patient_by_typing_her_email(database: Database, vault: Vault) -> None:
    site = make_site(database)
    send(database, vault, site, **JANE)
    send(database, vault, site, email=JANE["email"], first_name="Mallory", phone="+12015550000")
    with database.read() as session:
        assert person_of(vault, session.scalars(select(Lead)).one()) == JANE


def test_details_of_a_suspect_give_way_to_those_of_a_person(database: Database, vault: Vault) -> None:
    site = make_site(database)
    send(database, vault, site, suspicion="trap", email=JANE["email"], first_name="Buy now")
    send(database, vault, site, **JANE)
    with database.read() as session:
        assert person_of(vault, session.scalars(select(Lead)).one()) == JANE


def test_one_new_person_in_eight_requests_at_once_is_one_lead(database: Database, vault: Vault) -> None:
    site = make_site(database)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(database, vault, site, **JANE), range(8)))
    assert len({_lead(database, answer) for answer in answers}) == 1
    assert len({answer.event_id for answer in answers}) == 8


def test_one_browser_id_in_eight_requests_at_once_is_one_event(database: Database, vault: Vault) -> None:
    site = make_site(database)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(database, vault, site, client_id="one", **JANE), range(8)))
    assert len({(answer.event_id, answer.reference, answer.received_at) for answer in answers}) == 1
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 1


def _event(
    site: Site, client_id: str, visitor_id: str | None = None, kind: str = "consultation_request", **answers: Any
) -> NewEvent:
    consent = True if kind == "consultation_request" else None
    return NewEvent(site.id, kind, client_id, visitor_id, answers, "website", consent, "1" if consent else None)


def test_what_is_stored_in_one_commit_is_joined_as_if_it_had_come_one_by_one(database: Database, vault: Vault) -> None:
    site = make_site(database)
    click, form, again, other, repeat, mia = outbox.accept(
        database,
        vault,
        [
            _event(site, "a", "v1", "call_click"),
            _event(site, "b", "v1", **JANE),
            _event(site, "c", **JANE | {"message": "And on Friday?"}),
            _event(site, "d", email="paul@example.com"),
            _event(site, "b", "v1", **JANE),
            _event(site, "e", **{**JANE, "first_name": "Mia", "email": "mia@example.com"}),
        ],
    )
    assert _lead(database, click) == _lead(database, form) == _lead(database, again)
    assert len({_lead(database, one) for one in (form, other, mia)}) == 3
    assert (repeat.event_id, repeat.repeated) == (form.event_id, True)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Lead)) == 3
        assert session.scalar(select(func.count()).select_from(Event)) == 5


def test_two_of_one_group_may_be_one_person_by_different_ways(database: Database, vault: Vault) -> None:
    """One by her e-mail, one by her phone: they share nothing but her."""
    site = make_site(database)
    first = send(database, vault, site, email=JANE["email"], phone=JANE["phone"])
    by_email = _event(site, "a", email=JANE["email"], first_name=JANE["first_name"])
    by_phone = _event(site, "b", phone=JANE["phone"], last_name=JANE["last_name"])
    accepted = outbox.accept(database, vault, [by_email, by_phone])
    assert {_lead(database, one) for one in accepted} == {_lead(database, first)}
    with database.read() as session:
        assert person_of(vault, session.scalars(select(Lead)).one()) == JANE


def test_a_group_that_cannot_be_stored_whole_is_not_stored_in_part(database: Database, vault: Vault) -> None:
    site = make_site(database)
    nowhere = replace(_event(site, "b", email="b@example.com"), site_id=new_id())
    with pytest.raises(IntegrityError):
        outbox.accept(database, vault, [_event(site, "a", email="a@example.com"), nowhere])
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 0


@pytest.mark.parametrize("given", [{"email": JANE["email"]}, {"phone": JANE["phone"]}])
def test_whose_details_cannot_be_decrypted_is_left_and_the_enquiry_kept(
    database: Database, vault: Vault, given: dict[str, str]
) -> None:
    site = make_site(database)
    jane = _lead(database, send(database, vault, site, **JANE))
    with database.write() as session:
        session.get_one(Lead, jane).person_sealed = b"damaged"
    again = _lead(database, send(database, vault, site, first_name="Jane", **given))
    assert again != jane
    with database.read() as session:
        assert session.get_one(Lead, jane).person_sealed == b"damaged"
        assert person_of(vault, session.get_one(Lead, again)) == {"first_name": "Jane", **given}
