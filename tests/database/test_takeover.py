"""A person sends what a removed connection left through another one: once, and never twice into one CRM."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy import select

from integrations.core.base import Item, Result, Seen, Tier
from integrations.core.errors import Unknown
from leads.store import outbox
from leads.store.models import Connection, Delivery, Erasure, Site
from leads.store.outbox.takeover import take_over
from tests.database.loop import Loop
from tests.factory import make_connection, make_site, send


def _broken_off(loop: Loop) -> UUID:
    """An enquiry that its CRM took, though nobody knows: its answer never came, and its connection was removed."""

    def takes_it_in_silence(batch: Sequence[Item]) -> list[Result]:
        for item in batch:
            loop.crm.keep(item)
        raise Unknown("no_answer", "The CRM did not answer.")

    loop.crm.answers = [takes_it_in_silence]
    event_id = loop.send("Jane")
    loop.tick()
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
    return event_id


def _other(loop: Loop, site: Site | None = None) -> UUID:
    return make_connection(loop.database, loop.vault, site or loop.site, name="Other").id


def _sent_to(loop: Loop, other: UUID, looks_first: bool = True) -> bool:
    with loop.database.write() as session:
        left = session.scalars(select(Delivery).where(Delivery.connection_id == loop.connection_id)).one()
        to = session.get_one(Connection, other)
        return outbox.send_elsewhere(session, left, to, loop.clock(), looks_first)


def _rows(loop: Loop) -> dict[UUID, Delivery]:
    with loop.database.read() as session:
        return {row.connection_id: row for row in session.scalars(select(Delivery))}


@pytest.mark.parametrize("tier", ["A", "B"])
def test_it_is_looked_for_first_should_the_other_connection_lead_to_the_same_crm(loop: Loop, tier: Tier) -> None:
    loop.crm.tier = tier
    event_id = _broken_off(loop)
    other = _other(loop)
    assert _sent_to(loop, other)
    left = loop.connection_id
    loop.connection_id = other
    loop.tick(minutes=1)
    loop.tick(minutes=1)
    assert loop.crm.written == [str(event_id)]
    rows = _rows(loop)
    assert rows[other].state == "confirmed"
    assert (rows[left].state, rows[left].code) == ("handled", "replaced")
    assert "Nobody knows whether it arrived." in str(rows[left].sentence)


def test_where_no_crm_can_be_asked_it_is_sent_at_once(loop: Loop) -> None:
    _broken_off(loop)
    other = _other(loop)
    assert _sent_to(loop, other, looks_first=False)
    assert (_rows(loop)[other].state, _rows(loop)[other].unknown) == ("waiting", False)


def test_it_goes_once_and_only_to_a_connection_in_use_of_its_own_website(loop: Loop) -> None:
    _broken_off(loop)
    assert not _sent_to(loop, _other(loop, make_site(loop.database, "other")))
    gone = _other(loop)
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, gone), loop.clock())
    assert not _sent_to(loop, gone)
    assert [row.code for row in _rows(loop).values()] == ["unknown_outcome"]
    first, second = _other(loop), _other(loop)
    assert [_sent_to(loop, to) for to in (first, first, second)] == [True, False, False]
    assert set(_rows(loop)) == {loop.connection_id, first}


def test_a_connection_that_has_it_does_not_get_it_again(loop: Loop) -> None:
    other = _other(loop)
    _broken_off(loop)
    assert not _sent_to(loop, other)


def test_whoever_was_still_sending_it_changes_nothing_any_more(loop: Loop) -> None:
    loop.send("Jane")
    lane = outbox.lease(loop.database, loop.connection_id, "w2", 60)
    assert lane is not None
    claimed = outbox.claim(loop.database, lane, 10, 60)
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
    assert _sent_to(loop, _other(loop))
    outbox.give_back(loop.database, claimed)
    assert _rows(loop)[loop.connection_id].code == "replaced"


def test_what_was_sent_through_another_connection_is_not_taken_over_by_a_new_one(loop: Loop) -> None:
    _broken_off(loop)
    assert _sent_to(loop, _other(loop))
    assert outbox.take_over(loop.database, _other(loop)) == 0


def test_whoever_is_erased_may_stand_in_the_old_crm_as_well(loop: Loop) -> None:
    loop.send("Jane")
    lane = outbox.lease(loop.database, loop.connection_id, "w2", 60)
    assert lane is not None
    outbox.claim(loop.database, lane, 10, 60)  # and then the worker dies
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
    assert _sent_to(loop, _other(loop))
    assert outbox.erase(loop.database, loop.vault, loop.erasures, _rows(loop)[loop.connection_id].lead_id, "anna")
    with loop.database.read() as session:
        left = session.scalars(select(Erasure).where(Erasure.connection_id == loop.connection_id)).one()
    assert left.state == "needs_you"
    assert "It may have arrived" in str(left.sentence)


def test_a_call_that_arrived_goes_nowhere_else_though_its_caller_became_known_meanwhile(loop: Loop) -> None:
    """Its connection was removed while it was in hand."""

    def takes_it_meanwhile(batch: Sequence[Item]) -> list[Result]:
        answers: list[Result] = [loop.crm.keep(item) for item in batch]
        loop.send("Jane", visitor_id="v1")
        with loop.database.write() as session:
            outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
        return answers

    loop.send("Jane")
    loop.tick()
    tap = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1").event_id
    loop.crm.answers = [takes_it_meanwhile]
    loop.tick(seconds=1)
    assert (loop.row(tap).state, loop.row(tap).code) == ("sent", None)
    new = make_connection(loop.database, loop.vault, loop.site, name="New", takes_over=True)
    assert take_over(loop.database, new.id) == 1
    with loop.database.read() as session:
        given = session.scalars(select(Delivery.event_id).where(Delivery.connection_id == new.id)).all()
    assert tap not in given


@pytest.mark.parametrize("tier", ["A", "B"])
def test_what_may_be_in_the_crm_is_looked_for_before_a_new_connection_sends_it(loop: Loop, tier: Tier) -> None:
    """A copy of the database was put back, and the connection is made anew: to the same CRM, for all that we know."""
    loop.crm.tier = tier
    event_id = loop.send("Jane")
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
        outbox.doubt_all(session)
    loop.crm.held[str(event_id)] = Seen("r1", None, {})  # what was done after the copy
    loop.connection_id = _other(loop)
    assert take_over(loop.database, loop.connection_id) == 1
    loop.tick(seconds=1)
    assert (loop.crm.written, _rows(loop)[loop.connection_id].state) == ([], "confirmed")
