"""What a stranger can make as long as they like costs a page no more than what is short."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import event as happening
from sqlalchemy import insert, select, update

from leads.store import outbox
from leads.store.models import Action, Attempt, Connection, Delivery, Drift, Event, Lead, Resubmission, Site, new_id
from leads.store.outbox import NewEvent
from leads.store.queries import journey as queries
from leads.store.queries.journey import EVENTS, Journey, journey
from leads.store.queries.leads import Cursor, LeadFilter, leads
from leads.store.session import Database
from leads.store.vault import Vault
from tests.database.lanes import Clock
from tests.factory import send
from tests.statements import statements

TAPS = 230


@pytest.fixture
def taps(timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock) -> list[UUID]:
    """One browser's, oldest first; each was tried, decided about, and changed in the CRM."""
    return _taps(timed, vault, site, clock, TAPS)


def _taps(database: Database, vault: Vault, site: Site, clock: Clock, number: int, visitor: str = "v") -> list[UUID]:
    tap = {"source": "website", "consent_given": None, "consent_version": None}
    ids: list[UUID] = []
    for start in range(0, number, 10):  # ten at a time at the same moment: the id decides
        clock.forward(seconds=1)
        some = [
            NewEvent(site.id, "call_click", str(new_id()), visitor, {"tel": "+12015550123"}, **tap)
            for _ in range(start, min(start + 10, number))
        ]
        ids += [one.event_id for one in outbox.accept(database, vault, some)]
    with database.write() as session:
        inside = select(Event.id).where(Event.id.in_(ids)).order_by(Event.received_at, Event.id)
        events = list(session.scalars(inside))
        rows = session.scalars(select(Delivery).where(Delivery.event_id.in_(events))).all()
        of = [{"id": new_id(), "delivery_id": row.id} for row in rows]
        session.execute(
            insert(Attempt), [one | {"started_at": clock(), "milliseconds": 1, "verdict": "x"} for one in of]
        )
        session.execute(insert(Action), [one | {"at": clock(), "user_name": "a", "what": "handled"} for one in of])
        drift = {"kind": "changed", "fields": [], "remote_ids": [], "found_at": clock(), "settled_at": clock()}
        session.execute(
            insert(Drift),
            [one | drift | {"connection_id": row.connection_id} for one, row in zip(of, rows, strict=True)],
        )
    return events


def _lead(database: Database, event_id: UUID) -> UUID:
    with database.read() as session:
        return session.get_one(Event, event_id).lead_id


def _journey(database: Database, vault: Vault, lead_id: UUID, start: Cursor | None = None) -> Journey:
    with database.read() as session:
        found = journey(session, vault, lead_id, start)
    assert found is not None
    return found


def _ids(found: Journey) -> list[UUID]:
    return [story.event.id for story in found.events]


def test_a_page_holds_the_newest_and_older_ones_follow(timed: Database, vault: Vault, taps: list[UUID]) -> None:
    lead_id = _lead(timed, taps[0])
    page = _journey(timed, vault, lead_id)
    assert _ids(page) == taps[: -EVENTS - 1 : -1]
    pages = [_ids(page)]
    while page.older:
        page = _journey(timed, vault, lead_id, page.older)
        pages.append(_ids(page))
    assert [event for one in pages for event in one] == taps[::-1]
    for story in page.events:
        (way,) = story.deliveries
        assert (len(way.attempts), len(way.actions), len(way.drifts)) == (1, 1, 1)
        assert {way.attempts[0].delivery_id, way.actions[0].delivery_id, way.drifts[0].delivery_id} == {way.delivery.id}
        assert way.delivery.event_id == story.event.id


@pytest.mark.usefixtures("connection")
def test_hundreds_cost_as_many_statements_as_one(
    timed: Database, vault: Vault, site: Site, clock: Clock, taps: list[UUID]
) -> None:
    (single,) = _taps(timed, vault, site, clock, 1, "another")
    one, many = _lead(timed, single), _lead(timed, taps[0])
    with statements(timed) as for_one:
        _journey(timed, vault, one)
    with statements(timed) as for_many:
        _journey(timed, vault, many)
    assert len(for_one) <= 10
    assert len(for_many) <= len(for_one) + 1, "one more: whether something older waits for a person"


def test_no_more_is_read_than_a_page_shows(timed: Database, vault: Vault, taps: list[UUID]) -> None:
    lead_id, loaded = _lead(timed, taps[0]), []

    def note(target: object, _: object) -> None:
        loaded.append(target)

    for model in (Event, Delivery, Attempt, Action, Drift):
        happening.listen(model, "load", note)
    try:
        _journey(timed, vault, lead_id)
        assert len(loaded) == 5 * EVENTS + 1, "one more tells that there are older ones"
        loaded.clear()
        with timed.read() as session:
            (row,) = leads(session, vault, LeadFilter()).rows
        assert not [one for one in loaded if not isinstance(one, Drift)], "a list needs no more than its kind"
    finally:
        for model in (Event, Delivery, Attempt, Action, Drift):
            happening.remove(model, "load", note)
    assert row.last_event is not None
    with timed.read() as session:
        assert row.last_event.received_at == session.get_one(Event, taps[-1]).received_at


def test_a_list_tells_the_last_event_of_each(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    _taps(timed, vault, site, clock, 3, "one")
    _taps(timed, vault, site, clock, 2, "two")
    clock.forward(seconds=1)
    send(timed, vault, site, visitor_id="two", email="two@example.com")
    with statements(timed) as for_two, timed.read() as session:
        rows = leads(session, vault, LeadFilter()).rows
    told = {row.name: row.last_event for row in rows}
    assert {name: last.kind for name, last in told.items() if last} == {
        "two@example.com": "consultation_request",
        None: "call_click",
    }
    assert len(for_two) <= 5


@pytest.mark.parametrize("state", [("refused", "bad_phone"), ("held", "spam"), ("held", "no_consent")])
def test_what_waits_for_a_person_is_found_behind_any_number_of_taps(
    timed: Database, vault: Vault, site: Site, clock: Clock, taps: list[UUID], state: tuple[str, str]
) -> None:
    lead_id = _lead(timed, taps[0])
    assert _journey(timed, vault, lead_id).older_waiting is None
    with timed.write() as session:
        stuck = update(Delivery).where(Delivery.event_id.in_(taps[7:9]))
        session.execute(stuck.values(state=state[0], code=state[1]))
    place = _journey(timed, vault, lead_id).older_waiting
    assert place is not None
    page = _journey(timed, vault, lead_id, place)
    assert _ids(page)[:2] == [taps[8], taps[7]]
    assert page.older_waiting is None, "they are on this page"


def test_so_is_what_was_sent_again_and_nobody_has_seen(
    timed: Database, vault: Vault, clock: Clock, taps: list[UUID]
) -> None:
    _send_again(timed, vault, clock, taps[3], 1)
    place = _journey(timed, vault, _lead(timed, taps[3])).older_waiting
    assert place is not None
    assert place.id == taps[3]


def _send_again(database: Database, vault: Vault, clock: Clock, event_id: UUID, number: int) -> list[UUID]:
    ids = [new_id() for _ in range(number)]
    with database.write() as session:
        for one in ids:
            clock.forward(seconds=1)
            values = {"id": one, "event_id": event_id, "body_digest": one.bytes, "received_at": clock()}
            sealed = vault.seal({"message": str(one)}, "resubmission", "answers", one)
            session.add(Resubmission(**values, answers_sealed=sealed))
    return ids


def test_of_the_same_form_sent_over_and_over_only_some_are_shown_unseen_ones_first(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "RESUBMISSIONS", 3)
    event_id = send(timed, vault, site, email="jane@example.com").event_id
    ids = _send_again(timed, vault, clock, event_id, 7)

    def shown() -> tuple[list[UUID], int]:
        (story,) = _journey(timed, vault, _lead(timed, event_id)).events
        return [again.row.id for again in story.resubmissions], story.more_resubmissions

    assert shown() == (ids[:3], 4)
    with timed.write() as session:
        session.execute(update(Resubmission).where(Resubmission.id.in_(ids[:2])).values(seen_at=clock()))
    assert shown() == (ids[2:5], 4)


def test_a_merged_callers_page_is_the_persons(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    (first,) = _taps(timed, vault, site, clock, 1, "w")
    caller = _lead(timed, first)
    send(timed, vault, site, email="jane@example.com")
    clock.forward(seconds=1)
    last = send(timed, vault, site, visitor_id="w", email="jane@example.com").event_id
    with timed.read() as session:
        assert session.get_one(Lead, caller).merged_into == _lead(timed, last)
    assert _ids(_journey(timed, vault, caller))[0] == last
    assert first in _ids(_journey(timed, vault, caller))
    assert timedelta() < clock() - _journey(timed, vault, caller).events[-1].event.received_at
