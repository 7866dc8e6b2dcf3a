"""What a held enquiry says of a person reaches no CRM, and joins nobody, until staff have cleared it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from integrations.core.base import Item
from leads.store import outbox
from leads.store.corrections import correct
from leads.store.models import Connection, Delivery, Event, Lead, Site
from leads.store.outbox import Accepted
from leads.store.people import person_of
from leads.store.queries.leads import LeadFilter, search
from leads.store.session import Database
from leads.store.staff import record
from leads.store.vault import Vault
from leads.sync.item import translate
from leads.sync.plan import plan_of
from tests.database.lanes import delivered
from tests.factory import make_connection, send
from tests.statements import statements

JANE = {"first_name": "Jane", "email": "jane@example.com"}
PILLS = {"first_name": "Jane", "last_name": "Cheap-Pills", "email": "jane@example.com", "phone": "+12015550199"}
HELD: list[dict[str, Any]] = [{"consent": False}, {"consent": None}, {"suspicion": "trap"}]


def cleared(database: Database, vault: Vault, accepted: Accepted) -> int:
    with database.write() as session:
        event = session.get_one(Event, accepted.event_id)
        return outbox.release_hold(session, vault, event, session.get_one(Lead, event.lead_id), database.now(session))


def told(database: Database, vault: Vault, connection: Connection) -> list[Item]:
    """Everything that goes out."""
    return [translate(vault, plan_of(connection), one) for one in delivered(database, connection)]


def records(items: list[Item]) -> list[dict[str, str]]:
    """What they say of the person."""
    return [{name: value for name, value in (one.fill | one.record).items() if name in PILLS} for one in items]


def person(database: Database, vault: Vault, accepted: Accepted) -> dict[str, str]:
    with database.read() as session:
        return person_of(vault, session.get_one(Lead, who(database, accepted)))


def who(database: Database, accepted: Accepted) -> UUID:
    """Whose it is now."""
    with database.read() as session:
        return session.get_one(Event, accepted.event_id).lead_id


def lead_ids(database: Database, vault: Vault, typed: str) -> set[UUID]:
    with database.read() as session:
        return {row.lead.id for row in search(session, vault, typed, LeadFilter()).rows}


@pytest.mark.parametrize("held_first", [False, True])
@pytest.mark.parametrize("held", HELD)
def test_it_fills_no_field_of_a_person_who_may_be_shared(
    timed: Database, vault: Vault, site: Site, connection: Connection, held: dict[str, Any], held_first: bool
) -> None:
    trusted: dict[str, Any] = {"consent": True}
    first, second = (held, trusted) if held_first else (trusted, held)
    for how, answers in ((first, PILLS if held_first else JANE), (second, JANE if held_first else PILLS)):
        send(timed, vault, site, **how, **answers)
    last = send(timed, vault, site, **JANE)
    items = told(timed, vault, connection)
    assert records(items) == [JANE, JANE]
    assert [one.activity for one in items] == [{}, {}]
    assert person(timed, vault, last) == JANE


@pytest.mark.parametrize("held", HELD)
def test_it_fills_them_once_staff_have_cleared_it(
    timed: Database, vault: Vault, site: Site, connection: Connection, held: dict[str, Any]
) -> None:
    send(timed, vault, site, **JANE)
    more = {**PILLS, "first_name": "Janet"}
    waits = send(timed, vault, site, **held, **more)
    assert cleared(timed, vault, waits) == 1
    assert person(timed, vault, waits) == {**PILLS, "first_name": "Jane"}, "what stands is only added to"
    assert records(told(timed, vault, connection)) == [{**PILLS, "first_name": "Jane"}] * 2


def test_of_two_that_are_held_only_the_one_that_was_cleared_goes_out(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    send(timed, vault, site, suspicion="trap", **PILLS)
    form = send(timed, vault, site, suspicion="trap", **JANE)
    assert cleared(timed, vault, form) == 1
    assert records(told(timed, vault, connection)) == [JANE]


def test_what_is_spam_no_more_but_has_no_consent_is_still_not_learned(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    send(timed, vault, site, **JANE)
    waits = send(timed, vault, site, suspicion="trap", consent=False, **PILLS)
    assert cleared(timed, vault, waits) == 0
    assert person(timed, vault, waits) == JANE
    assert cleared(timed, vault, waits) == 1
    assert person(timed, vault, waits) == PILLS


@pytest.mark.parametrize("held_first", [False, True])
def test_its_phone_finds_the_person_at_the_desk_and_joins_nothing_to_her(
    timed: Database, vault: Vault, site: Site, held_first: bool
) -> None:
    if held_first:
        waits = send(timed, vault, site, consent=False, **PILLS)
        send(timed, vault, site, **JANE)
    else:
        send(timed, vault, site, **JANE)
        waits = send(timed, vault, site, consent=False, **PILLS)
    (jane,) = lead_ids(timed, vault, PILLS["phone"])
    assert who(timed, send(timed, vault, site, phone=PILLS["phone"])) != who(timed, waits)
    assert len(lead_ids(timed, vault, PILLS["phone"])) == 2
    cleared(timed, vault, waits)
    again = send(timed, vault, site, phone=PILLS["phone"], first_name="Jane")
    assert jane in lead_ids(timed, vault, PILLS["phone"])
    assert who(timed, send(timed, vault, site, email=PILLS["email"], phone=PILLS["phone"])) == who(timed, waits)
    assert who(timed, again) in (jane, who(timed, waits))  # of all who share a phone


def test_its_phone_joins_once_staff_have_cleared_it(timed: Database, vault: Vault, site: Site) -> None:
    send(timed, vault, site, **JANE)
    waits = send(timed, vault, site, consent=False, **PILLS)
    cleared(timed, vault, waits)
    assert who(timed, send(timed, vault, site, phone=PILLS["phone"])) == who(timed, waits)


def test_one_who_never_gave_consent_is_still_one_person(timed: Database, vault: Vault, site: Site) -> None:
    """Nothing of them goes out, and staff want to see it together."""
    form = send(timed, vault, site, consent=False, **PILLS)
    assert who(timed, send(timed, vault, site, consent=False, phone=PILLS["phone"])) == who(timed, form)
    assert person(timed, vault, form) == PILLS


def test_what_she_gave_herself_is_not_doubted_because_of_a_later_one(timed: Database, vault: Vault, site: Site) -> None:
    form = send(timed, vault, site, **PILLS)
    send(timed, vault, site, suspicion="trap", **PILLS)
    assert who(timed, send(timed, vault, site, phone=PILLS["phone"])) == who(timed, form)


def test_what_staff_corrected_stands_and_the_old_address_joins_nobody_any_more(
    timed: Database, vault: Vault, site: Site
) -> None:
    wrong = {"first_name": "Jane", "email": "jane@exmaple.com"}
    form = send(timed, vault, site, **wrong)
    waits = send(timed, vault, site, consent=False, **wrong, phone="+12015550199")
    with timed.write() as session:
        lead = session.scalars(select(Lead)).one()
        correct(session, vault, lead, JANE, timed.now(session))
    cleared(timed, vault, waits)
    assert person(timed, vault, form) == {**JANE, "phone": "+12015550199"}
    assert who(timed, send(timed, vault, site, email=wrong["email"])) != who(timed, form)


def test_what_staff_corrected_stands_also_where_consent_was_taken_back_and_given_again(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    wrong = {"first_name": "Jane", "email": "jane@exmaple.com"}
    form = send(timed, vault, site, client_id="one", **wrong)
    with timed.write() as session:
        correct(session, vault, session.scalars(select(Lead)).one(), JANE, timed.now(session))
        row = session.scalars(select(Delivery)).one()
        record(session, "anna", "corrected", timed.now(session), delivery_id=row.id)
    send(timed, vault, site, client_id="one", consent=False, **wrong)
    send(timed, vault, site, suspicion="trap", **PILLS)  # of which nothing may come in
    assert cleared(timed, vault, form) == 1
    assert records(told(timed, vault, connection)) == [JANE]


def test_what_staff_entered_for_a_caller_stays_once_the_caller_is_known(
    timed: Database, vault: Vault, site: Site
) -> None:
    tap = send(timed, vault, site, "call_click", visitor_id="v1")
    with timed.write() as session:
        correct(session, vault, session.scalars(select(Lead)).one(), {"last_name": "Doe"}, timed.now(session))
    assert who(timed, send(timed, vault, site, visitor_id="v1", **JANE)) == who(timed, tap)
    assert person(timed, vault, tap) == {**JANE, "last_name": "Doe"}


def test_a_caller_of_whom_staff_entered_how_to_reach_them_is_known(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    waits = make_connection(timed, vault, site, name="Waits", unknown_callers="wait")
    tap = send(timed, vault, site, "call_click", visitor_id="v1")
    with timed.write() as session:
        correct(session, vault, session.scalars(select(Lead)).one(), JANE, timed.now(session))
    assert records(told(timed, vault, connection)) == [JANE]
    assert records(told(timed, vault, waits)) == [JANE]
    assert who(timed, send(timed, vault, site, visitor_id="v1", **JANE)) == who(timed, tap)


def test_a_tap_that_is_no_spam_names_nobody_who_gave_no_consent(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    form = send(timed, vault, site, consent=False, visitor_id="v1", **PILLS)
    tap = send(timed, vault, site, "call_click", visitor_id="v1", suspicion="too many", tel="+12015550100")
    assert who(timed, tap) == who(timed, form)
    assert cleared(timed, vault, tap) == 1
    (item,) = told(timed, vault, connection)
    assert (item.record | item.fill)["last_name"] == form.reference
    assert not any(value in str(item) for value in PILLS.values())
    assert cleared(timed, vault, form) == 1
    assert records(told(timed, vault, connection)) == [PILLS]


def test_a_tap_of_somebody_who_gave_consent_has_her_name(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    send(timed, vault, site, visitor_id="v1", **JANE)
    tap = send(timed, vault, site, "call_click", visitor_id="v1", suspicion="too many")
    assert cleared(timed, vault, tap) == 1
    assert records(told(timed, vault, connection)) == [JANE, JANE]


def test_to_tell_them_apart_costs_an_enquiry_with_consent_nothing(timed: Database, vault: Vault, site: Site) -> None:
    counts = []
    for consent, visitor_id in ((True, "v1"), (True, None), (False, None)):
        with statements(timed) as sent:
            send(timed, vault, site, consent=consent, visitor_id=visitor_id, email=f"{len(counts)}@example.com")
        counts.append(len(sent))
    assert len(set(counts)) == 1
