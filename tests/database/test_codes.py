"""Each enquiry has a reference code of its own, and leads to its person by it."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from leads.store import codes, outbox, people
from leads.store.models import Event, Lead, Site
from leads.store.outbox import NewEvent, arrivals
from leads.store.queries.leads import lead_by_code
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_site, send
from tests.statements import statements
from tests.web.desk import lead_of

JANE: dict[str, Any] = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com", "phone": "+12015550123"}


@pytest.fixture
def site(database: Database) -> Site:
    return make_site(database)


def _codes(database: Database) -> list[str | None]:
    with database.read() as session:
        return list(session.scalars(select(Event.code).order_by(Event.id)))


def _found(database: Database, code: str) -> Lead | None:
    with database.read() as session:
        return lead_by_code(session, code)


def test_the_first_enquirys_code_is_the_leads_and_each_later_one_has_its_own(
    database: Database, vault: Vault, site: Site
) -> None:
    sent = [send(database, vault, site, visitor_id="v", **JANE) for _ in range(2)]
    sent.append(send(database, vault, site, "call_click", visitor_id="v"))
    first, *later = [one.reference for one in sent]
    with database.read() as session:
        lead = session.scalars(select(Lead)).one()
    assert lead.code == first
    assert _codes(database) == [None, *later]
    assert len({first, *later}) == 3
    for code in (first, *later, later[0].lower().replace("-", " ")):
        found = _found(database, code)
        assert found
        assert found.id == lead.id


def test_of_one_group_only_the_first_has_the_code_of_the_new_lead(database: Database, vault: Vault, site: Site) -> None:
    events = [NewEvent(site.id, "consultation_request", id_, None, JANE, "website", True, "1") for id_ in "abab"]
    one, other, *again = outbox.accept(database, vault, events)
    assert [one.reference, other.reference] == [answer.reference for answer in again]
    assert one.reference != other.reference
    assert _codes(database) == [None, other.reference]
    with database.read() as session:
        assert session.scalars(select(Lead.code)).one() == one.reference


def test_a_repeat_gets_the_same_code_from_another_process(
    database: Database, database_url: str, vault: Vault, site: Site
) -> None:
    first = [send(database, vault, site, client_id=id_, **JANE).reference for id_ in "ab"]
    other = Database(database_url)
    assert [send(other, vault, site, client_id=id_, **JANE).reference for id_ in "ab"] == first
    other.close()


def test_calls_keep_their_codes_when_the_caller_turns_out_to_be_known(
    database: Database, vault: Vault, site: Site
) -> None:
    jane = send(database, vault, site, **JANE)
    taps = {id_: send(database, vault, site, "call_click", id_, "v").reference for id_ in "ab"}
    send(database, vault, site, visitor_id="v", **JANE)
    assert {id_: send(database, vault, site, "call_click", id_, "v").reference for id_ in "ab"} == taps
    for code in (jane.reference, *taps.values()):
        found = _found(database, code)
        assert found
        assert found.id == lead_of(database, jane.event_id)


def test_what_came_before_events_had_codes_keeps_that_of_its_lead(database: Database, vault: Vault, site: Site) -> None:
    jane = send(database, vault, site, **JANE)
    tap = send(database, vault, site, "call_click", "a", "v")
    send(database, vault, site, "call_click", "b", "v")
    with database.write() as session:
        session.execute(update(Event).values(code=None))
    for _ in ("not known yet", "and then"):
        told = {send(database, vault, site, "call_click", id_, "v").reference for id_ in "ab"}
        assert told == {tap.reference}
        send(database, vault, site, visitor_id="v", **JANE)
    found = _found(database, tap.reference)
    assert found
    assert found.id == lead_of(database, jane.event_id)


def test_a_code_that_a_lead_or_an_event_has_is_not_told_again(
    database: Database, vault: Vault, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_lead, of_event = (send(database, vault, site, **JANE).reference for _ in range(2))
    drawn = iter([of_lead, of_event, of_lead, "AAA-AAA", "BBB-BBB", "BBB-BBB", "CCC-CCC"])
    monkeypatch.setattr(codes, "draw", lambda: next(drawn))
    assert _told(database, vault, site, "x@example.com", "y@example.com") == ["BBB-BBB", "AAA-AAA"]
    assert _told(database, vault, site, "z@example.com") == ["CCC-CCC"]


def test_two_of_one_group_that_drew_the_same_get_two(
    database: Database, vault: Vault, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["AAA-AAA", "AAA-AAA", "BBB-BBB"])
    monkeypatch.setattr(codes, "draw", lambda: next(drawn))
    assert _told(database, vault, site, "x@example.com", "y@example.com") == ["AAA-AAA", "BBB-BBB"]


def _told(database: Database, vault: Vault, site: Site, *emails: str) -> list[str]:
    events = [
        NewEvent(site.id, "consultation_request", email, None, {"email": email}, "website", True, "1")
        for email in emails
    ]
    return [answer.reference for answer in outbox.accept(database, vault, events)]


@pytest.mark.parametrize("answers", [{"email": "new@example.com"}, JANE], ids=["new", "known"])
def test_codes_cost_no_statement_of_their_own(
    database: Database, vault: Vault, site: Site, answers: dict[str, Any]
) -> None:
    send(database, vault, site, **JANE)
    with statements(database) as sent:
        send(database, vault, site, **answers)
    [asked] = [
        one
        for one in sent
        if "code" in one and one.startswith("SELECT") and "connection" not in one.lower() and "identity" not in one
    ]
    assert "client_digest" in asked


@pytest.mark.parametrize("known", [True, False])
def test_the_ids_of_two_events_do_not_tell_whether_a_lead_was_made_between_them(
    database: Database, vault: Vault, site: Site, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if known:
        send(database, vault, site, **JANE)
    numbers = itertools.count(1)
    for module in (arrivals, people):
        monkeypatch.setattr(module, "new_id", lambda: UUID(int=next(numbers)))
    persons = [{"email": "own@example.com"}, {"email": JANE["email"]}]
    events = [
        NewEvent(site.id, "consultation_request", one["email"], "v", one, "website", True, "1") for one in persons
    ]
    assert [answer.event_id.int for answer in outbox.accept(database, vault, events)] == [1, 2]


def test_a_test_enquiry_is_found_by_no_code(database: Database, vault: Vault, site: Site) -> None:
    code = send(database, vault, site, **JANE).reference
    other = send(database, vault, site, **JANE).reference
    with database.write() as session:
        session.execute(update(Lead).values(is_test=True))
    assert [_found(database, code), _found(database, other)] == [None, None]
