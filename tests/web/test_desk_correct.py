"""Edit and send: staff correct what a CRM refused, with the rules of the form, and it is written down who did."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from leads.desk import words
from leads.store.models import Delivery, Identity, Lead, Site
from leads.store.people import person_of
from leads.store.session import Database
from leads.store.vault import Vault
from tests.conftest import only_postgres
from tests.factory import make_connection, send
from tests.web.desk import Person, decisions, lead_of, plain, set_state, signed_in
from tests.web.pages import Page

JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com", "phone": "+12015550199"}
REFUSED: dict[str, Any] = {"code": "invalid_phone", "sentence": "Not this phone number.", "field": "phone"}


@only_postgres
def test_a_caller_who_turns_out_to_be_somebody_known_at_this_moment_is_left_alone(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    person = lead_of(database, send(database, vault, site, **JANE).event_id)
    call = send(database, vault, site, "call_click", visitor_id="v").event_id
    delivery_id = set_state(database, call, "refused", code="required", sentence="An e-mail is needed.", field="email")
    caller, address = lead_of(database, call), f"/desk/deliveries/{delivery_id}/correct"
    with ThreadPoolExecutor() as pool:

        def meanwhile(where: str) -> None:
            if where == "accept.written":
                pressed.append(pool.submit(sam.post, address, email="tom@example.com"))
                with pytest.raises(TimeoutError):
                    pressed[0].result(0.5)

        pressed: list[Future[Any]] = []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("leads.store.outbox.arrivals.reach", meanwhile)
            send(database, vault, site, visitor_id="v", **JANE)
        pressed[0].result(10)
    assert _digests(database, caller) == set(), "else what Tom sends would be of a lead that is nobody any more"
    assert _state(database, delivery_id) == "refused"
    assert words.TOO_LATE in plain(sam.get(f"/desk/leads/{person}"))


@pytest.fixture
def sam(app: Flask, database: Database) -> Person:
    return signed_in(app, database, "sam", "staff")


def _refused(database: Database, vault: Vault, site: Site, **why: Any) -> tuple[UUID, UUID]:
    """Jane's enquiry, refused. Returns her lead's and the delivery's id."""
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, "refused", attempts=3, **(REFUSED | why))
    return lead_of(database, event.event_id), delivery_id


def _person(database: Database, vault: Vault, lead_id: UUID) -> dict[str, str]:
    with database.read() as session:
        return person_of(vault, session.get_one(Lead, lead_id))


def _state(database: Database, delivery_id: UUID) -> str:
    with database.read() as session:
        return session.get_one(Delivery, delivery_id).state


def _digests(database: Database, lead_id: UUID) -> set[bytes]:
    with database.read() as session:
        return set(session.scalars(select(Identity.digest).where(Identity.lead_id == lead_id)))


def test_the_refused_phone_is_corrected_and_sent_again(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    lead_id, delivery_id = _refused(database, vault, site)
    page = Page(sam.get(f"/desk/leads/{lead_id}"))
    assert page.values["phone"] == "+12015550199"
    assert "email" not in page.values, "only what the CRM named is asked for"
    answer = sam.post(f"/desk/deliveries/{delivery_id}/correct", phone="(201) 555-0123")
    assert answer.location == f"/desk/leads/{lead_id}"
    person = _person(database, vault, lead_id)
    assert person == JANE | {"phone": "+12015550123", "phone_typed": "+12015550123"}
    with database.read() as session:
        row = session.get_one(Delivery, delivery_id)
        action = session.scalars(decisions()).one()
    assert (row.state, row.attempts, row.code, row.field) == ("waiting", 0, None, None)
    assert (action.user_name, action.what, action.delivery_id) == ("sam", "corrected", delivery_id)
    assert action.note_sealed is not None
    assert b"5550199" not in action.note_sealed
    shown = plain(sam.get(f"/desk/leads/{lead_id}"))
    assert "sam corrected it and sent it again (Phone: +12015550199 → +12015550123)" in shown
    assert "Phone +1 201-555-0199" in shown, "what was sent stays, spaced as the number above"
    assert "Correct and send" not in shown


@pytest.mark.parametrize("meanwhile", ["refused", "handled"])
def test_a_form_that_asked_for_less_empties_no_other_detail(
    sam: Person, database: Database, vault: Vault, site: Site, meanwhile: str
) -> None:
    """A colleague sent it again, and it was refused as a whole; or took care of it."""
    lead_id, delivery_id = _refused(database, vault, site)
    asked_for = Page(sam.get(f"/desk/leads/{lead_id}")).values
    assert "email" not in asked_for
    with database.write() as session:
        row = session.get_one(Delivery, delivery_id)
        row.state, row.field, row.code = meanwhile, None, {"refused": "invalid", "handled": "by_hand"}[meanwhile]
    sam.post(f"/desk/deliveries/{delivery_id}/correct", phone="(201) 555-0123")
    assert _person(database, vault, lead_id) == JANE
    assert _state(database, delivery_id) == meanwhile
    assert words.TOO_LATE in plain(sam.get(f"/desk/leads/{lead_id}"))


def test_a_refused_name_is_corrected_by_its_parts_where_the_crm_has_one_field(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    sentence = "The CRM does not accept this name."
    lead_id, delivery_id = _refused(database, vault, site, code="invalid", sentence=sentence, field="full_name")
    page = sam.get(f"/desk/leads/{lead_id}")
    assert f"{sentence} Field: Full name." in plain(page)
    assert {name for name in Page(page).values if name in JANE} == {"first_name", "last_name"}
    sam.post(f"/desk/deliveries/{delivery_id}/correct", first_name="Jane", last_name="Dough")
    assert _person(database, vault, lead_id) == JANE | {"last_name": "Dough"}
    assert _state(database, delivery_id) == "waiting"


def test_later_enquiries_are_joined_by_the_corrected_details_only(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    lead_id, delivery_id = _refused(database, vault, site)
    sam.post(f"/desk/deliveries/{delivery_id}/correct", phone="201 555 0123")
    assert _digests(database, lead_id) == {
        vault.digest("email", site.id, "jane@example.com"),
        vault.digest("phone", site.id, "+12015550123"),
    }
    again = send(database, vault, site, phone="+12015550123")
    assert lead_of(database, again.event_id) == lead_id
    stranger = send(database, vault, site, phone="+12015550199")
    assert lead_of(database, stranger.event_id) != lead_id


@pytest.mark.parametrize(("typed", "told"), [("12", "area code"), ("", "an e-mail address or a phone number")])
def test_a_wrong_correction_stays_beside_its_error(
    sam: Person, database: Database, vault: Vault, site: Site, typed: str, told: str
) -> None:
    event = send(database, vault, site, first_name="Jane", phone="+12015550199")
    delivery_id = set_state(database, event.event_id, "refused", **REFUSED)
    answer = sam.post(f"/desk/deliveries/{delivery_id}/correct", 422, phone=typed)
    page = Page(answer.text)
    assert page.values["phone"] == typed
    assert page.invalid == {"phone"}
    assert told in page.ids[page.described_by["phone"]]
    assert _state(database, delivery_id) == "refused"
    assert _person(database, vault, lead_of(database, event.event_id))["phone"] == "+12015550199"


def test_whoever_goes_back_to_a_mistake_finds_the_lead(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    """A browser asks for the address of a form's answer anew."""
    lead_id, delivery_id = _refused(database, vault, site, code="invalid", field="phone")
    there = f"/desk/leads/{lead_id}#correct"
    answer = sam.client.get(f"/desk/deliveries/{delivery_id}/correct")
    assert (answer.status_code, answer.location) == (303, there)
    assert sam.client.get(f"/desk/deliveries/{lead_id}/correct").status_code == 404
    assert f'href="{there}"' in sam.get(f"/desk/leads/{lead_id}/live"), "also where it was refused only now"


def test_all_details_are_asked_for_when_the_crm_names_none(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    lead_id, delivery_id = _refused(database, vault, site, field=None)
    values = Page(sam.get(f"/desk/leads/{lead_id}")).values
    typed = {name: values[name] for name in JANE}
    assert typed == JANE
    answer = sam.post(
        f"/desk/deliveries/{delivery_id}/correct", 422, **(typed | {"email": "jane@", "last_name": "Roe"})
    )
    page = Page(answer.text)
    assert page.invalid == {"email"}
    assert (page.values["email"], page.values["last_name"]) == ("jane@", "Roe")
    sam.post(f"/desk/deliveries/{delivery_id}/correct", **(typed | {"last_name": "Roe", "phone": ""}))
    person = _person(database, vault, lead_id)
    assert person == {"first_name": "Jane", "last_name": "Roe", "email": "jane@example.com"}
    shown = plain(sam.get(f"/desk/leads/{lead_id}"))
    assert "(Last name: Doe → Roe; Phone: +12015550199 → empty)" in shown


def test_all_that_is_stuck_at_this_connection_goes_with_it(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    lead_id, first = _refused(database, vault, site)
    second = send(database, vault, site, **JANE)
    set_state(database, second.event_id, "refused", **REFUSED)
    arrived = send(database, vault, site, **JANE)
    set_state(database, arrived.event_id, "confirmed")
    other = make_connection(database, vault, site, name="Other CRM")
    there = send(database, vault, site, **JANE)
    set_state(database, there.event_id, "refused", **REFUSED)
    sam.post(f"/desk/deliveries/{first}/correct", phone="201 555 0123")
    with database.read() as session:
        rows = session.scalars(select(Delivery).where(Delivery.lead_id == lead_id)).all()
    here = sorted(row.state for row in rows if row.connection_id != other.id)
    assert here == ["confirmed", "waiting", "waiting", "waiting"]
    assert [row.state for row in rows if row.connection_id == other.id] == ["refused"]


@pytest.mark.parametrize("typed", ["+12015550123", "201 555 0123"])
def test_what_the_visitor_typed_is_not_shown_as_the_corrected_number(
    sam: Person, database: Database, vault: Vault, site: Site, typed: str
) -> None:
    event = send(database, vault, site, **(JANE | {"phone_typed": "201-555-0199 x7"}))
    delivery_id = set_state(database, event.event_id, "refused", **(REFUSED | {"field": None}))
    lead = f"/desk/leads/{lead_of(database, event.event_id)}"
    head = "Phone +1 201-555-0199 typed: 201-555-0199 x7"
    assert head in plain(sam.get(lead))
    details = {name: JANE[name] for name in ("first_name", "last_name", "email")}
    sam.post(f"/desk/deliveries/{delivery_id}/correct", **(details | {"phone": "201-555-0199 x7"}))
    assert head in plain(sam.get(lead)), "it was left as it stood"
    set_state(database, event.event_id, "refused", **REFUSED)
    sam.post(f"/desk/deliveries/{delivery_id}/correct", phone=typed)
    page = plain(sam.get(lead))
    assert "Phone +1 201-555-0123" in page
    assert "typed: " not in page
    assert "Phone, as typed 201-555-0199 x7" in page, "it stays at what the visitor sent"
    set_state(database, event.event_id, "refused", **REFUSED)
    sam.post(f"/desk/deliveries/{delivery_id}/correct", phone="")
    assert "phone_typed" not in _person(database, vault, lead_of(database, event.event_id))


@pytest.mark.parametrize(
    ("typed", "kept", "note"),
    [
        ("201 555 0123 x12", "201 555 0123 x12", "Phone: +12015550199 → +12015550123"),
        ("201 555 0199 x12", "201 555 0199 x12", "Phone, as typed: 201-555-0199 x7 → 201 555 0199 x12"),
        ("201 555 0199", "+12015550199", "Phone, as typed: 201-555-0199 x7 → +12015550199"),
    ],
)
def test_an_extension_that_staff_type_or_take_away_counts_as_a_visitors_does(
    sam: Person, database: Database, vault: Vault, site: Site, typed: str, kept: str, note: str
) -> None:
    event = send(database, vault, site, **(JANE | {"phone_typed": "201-555-0199 x7"}))
    delivery_id = set_state(database, event.event_id, "refused", **REFUSED)
    lead_id = lead_of(database, event.event_id)
    sam.post(f"/desk/deliveries/{delivery_id}/correct", phone=typed)
    assert _person(database, vault, lead_id)["phone_typed"] == kept
    page = plain(sam.get(f"/desk/leads/{lead_id}"))
    assert f"sam corrected it and sent it again ({note})" in page
    assert (f" typed: {typed} " in page) is (typed == kept)


@pytest.mark.parametrize("why", [{"field": "service"}, {"code": "missing", "field": None}])
def test_no_form_where_correcting_the_details_helps_nothing(
    sam: Person, database: Database, vault: Vault, site: Site, why: dict[str, Any]
) -> None:
    lead_id, delivery_id = _refused(database, vault, site, **why)
    assert "Correct and send" not in sam.get(f"/desk/leads/{lead_id}")
    sam.post(f"/desk/deliveries/{delivery_id}/correct", phone="201 555 0123")
    assert _state(database, delivery_id) == "refused"


def test_what_moved_on_meanwhile_is_left_alone(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    event = send(database, vault, site, **JANE)
    delivery_id = set_state(database, event.event_id, "confirmed", **REFUSED)
    sam.post(f"/desk/deliveries/{delivery_id}/correct", phone="201 555 0123")
    assert _state(database, delivery_id) == "confirmed"
    lead_id = lead_of(database, event.event_id)
    assert _person(database, vault, lead_id)["phone"] == "+12015550199"
    assert "Nothing was done" in sam.get(f"/desk/leads/{lead_id}")


def test_what_somebody_took_care_of_can_still_be_corrected_and_sent(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    lead_id, delivery_id = _refused(database, vault, site)
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    assert "Correct it and send it to Sandbox CRM after all" in sam.get(f"/desk/leads/{lead_id}")
    answer = sam.post(f"/desk/deliveries/{delivery_id}/correct", 422, **(JANE | {"phone": "12"}))
    assert '<details id="correct" open>' in answer.text
    sam.post(f"/desk/deliveries/{delivery_id}/correct", **(JANE | {"phone": "201 555 0123"}))
    assert _state(database, delivery_id) == "waiting"
    assert _person(database, vault, lead_id)["phone"] == "+12015550123"
    with database.read() as session:
        assert [one.what for one in session.scalars(decisions())] == ["handled", "corrected"]


def test_what_is_refused_is_asked_for_before_what_somebody_took_care_of(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    lead_id, refused = _refused(database, vault, site)
    newer = send(database, vault, site, **JANE)
    sam.post(f"/desk/deliveries/{set_state(database, newer.event_id, 'refused')}/handled")
    assert f"/desk/deliveries/{refused}/correct" in sam.get(f"/desk/leads/{lead_id}")
