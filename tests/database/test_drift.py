"""What was confirmed is looked at again each night; what the CRM no longer holds like that is told, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, select, update

from integrations.core.base import Item, Pushed, Result, Seen
from integrations.core.errors import Refused, TryLater
from leads.store import outbox
from leads.store.models import Connection, Delivery, Event, RemoteRecord
from leads.sync.retry import FAILURES_TO_PAUSE
from tests.database.lanes import leased
from tests.database.loop import Loop
from tests.fakes import FakeCrm


@pytest.fixture
def event_id(loop: Loop) -> UUID:
    """An enquiry that the CRM holds and has shown us."""
    found = loop.send()
    loop.tick()
    assert loop.row().state == "confirmed"
    return found


def held(loop: Loop, event_id: UUID) -> Seen:
    return loop.crm.held[str(event_id)]


def edit(loop: Loop, event_id: UUID, **fields: str) -> None:
    """Somebody changes the record in the CRM."""
    seen = held(loop, event_id)
    loop.crm.held[str(event_id)] = replace(seen, record={**(seen.record or {}), **fields})


def test_it_is_looked_at_each_night_for_thirty_days(loop: Loop, event_id: UUID) -> None:
    loop.crm.looked.clear()
    for _ in range(40):
        loop.night()
    assert loop.crm.looked == [str(event_id)] * 29 or loop.crm.looked == [str(event_id)] * 30
    assert loop.row().check_at is None
    assert loop.drifts() == []


def test_looks_that_find_nothing_leave_no_trace(loop: Loop, event_id: UUID) -> None:
    before = loop.verdicts()
    loop.night()
    assert loop.verdicts() == before


def test_the_baseline_holds_nothing_to_read(loop: Loop, event_id: UUID) -> None:
    with loop.database.read() as session:
        record = session.scalars(select(RemoteRecord)).one()
    assert record.seen_fields is not None
    assert set(record.seen_fields) == {"first_name", "email", "reference"}
    assert all(len(digest) == 32 and int(digest, 16) for digest in record.seen_fields.values())
    assert "Jane" not in str(record.seen_fields)


def test_what_is_gone_is_told_once_and_not_sent_again(loop: Loop, event_id: UUID) -> None:
    del loop.crm.held[str(event_id)]
    loop.crm.written.clear()
    loop.night()
    loop.night()
    assert loop.open() == ["deleted"]
    assert len(loop.drifts()) == 1
    assert loop.drifts()[0].remote_ids == [f"r{event_id}"]
    assert loop.row().state == "confirmed"
    assert loop.crm.written == []


def test_what_is_back_settles_by_itself(loop: Loop, event_id: UUID) -> None:
    kept = loop.crm.held.pop(str(event_id))
    loop.night()
    loop.crm.held[str(event_id)] = kept
    loop.night()
    [found] = loop.drifts()
    assert (found.settled_at is not None, found.settled_by) == (True, None)


def test_sent_again_by_a_person_it_is_confirmed_and_settled(loop: Loop, event_id: UUID) -> None:
    del loop.crm.held[str(event_id)]
    loop.night()
    with loop.database.write() as session:
        outbox.requeue(session.merge(loop.row()), loop.clock())
    loop.tick()
    assert (loop.row().state, loop.open()) == ("confirmed", [])


def test_deleted_on_purpose_is_left_alone_for_good(loop: Loop, event_id: UUID) -> None:
    del loop.crm.held[str(event_id)]
    loop.night()
    loop.settle()
    loop.night()
    assert (loop.row().state, loop.row().code, loop.row().check_at) == ("handled", "deleted", None)
    [found] = loop.drifts()
    assert found.settled_by == "anna"


def test_a_change_tells_which_fields(loop: Loop, event_id: UUID) -> None:
    edit(loop, event_id, email="new@example.com")
    loop.night()
    loop.night()
    [found] = loop.drifts()
    assert (found.kind, found.fields, found.settled_at) == ("changed", ["email"], None)


def test_it_is_compared_with_what_was_seen_not_with_what_was_sent(loop: Loop) -> None:
    class Shouting(FakeCrm):
        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            found = super().find(items)
            return [one and replace(one, record=_shouted(one)) for one in found]

    loop.use(Shouting())
    loop.send()
    loop.tick()
    loop.night()
    assert loop.drifts() == []


def test_a_change_that_was_taken_back_settles_by_itself(loop: Loop, event_id: UUID) -> None:
    before = held(loop, event_id)
    edit(loop, event_id, email="new@example.com")
    loop.night()
    loop.crm.held[str(event_id)] = before
    loop.night()
    assert loop.open() == []
    assert loop.drifts()[0].settled_by is None


def test_after_a_person_saw_to_it_only_the_next_change_is_told(loop: Loop, event_id: UUID) -> None:
    edit(loop, event_id, email="new@example.com")
    loop.night()
    loop.settle()
    loop.tick()  # what it holds now is the measure: read at once, not at night
    edit(loop, event_id, first_name="Janet")
    loop.night()
    assert [found.fields for found in loop.drifts()] == [["email"], ["first_name"]]
    assert loop.open() == ["changed"]


def test_what_we_write_ourselves_is_no_change(loop: Loop) -> None:
    class Reformatting(FakeCrm):
        """One record for all events; from the second write on it writes names in its own way."""

        def keep(self, item: Item) -> Pushed:
            pushed = super().keep(item)
            if len(self.written) > 1:
                now = _shouted(self.held[item.event_id])
                self.held = {one: replace(seen, record=now) for one, seen in self.held.items()}
            return pushed

    loop.use(Reformatting())
    first = loop.send()
    loop.tick()
    edit(loop, first, email="new@example.com")
    loop.night()
    assert loop.open() == ["changed"]
    loop.send()
    loop.tick(seconds=1)
    assert loop.open() == []
    loop.night()
    assert len(loop.drifts()) == 1


def test_nothing_is_compared_while_more_is_on_its_way_there(loop: Loop, event_id: UUID) -> None:
    loop.crm.answers = [TryLater("unavailable", ".")]
    loop.send()
    loop.tick(hours=20)
    assert "waiting" in {loop.row(event_id).state, *_states(loop)}
    edit(loop, event_id, email="new@example.com")
    with loop.database.write() as session:
        session.execute(update(Delivery).values(check_at=loop.clock()).where(Delivery.event_id == event_id))
    loop.tick()
    assert loop.drifts() == []


def test_copies_are_told_once_per_person(loop: Loop, event_id: UUID) -> None:
    second = loop.send()
    loop.tick(seconds=1)
    for one in (event_id, second):
        loop.crm.held[str(one)] = replace(held(loop, one), copies=("c1",))
    loop.night()
    [found] = loop.drifts()
    assert (found.kind, found.remote_ids) == ("duplicated", ["c1"])


def test_copies_that_a_person_accepted_are_not_told_again_but_new_ones_are(loop: Loop, event_id: UUID) -> None:
    loop.crm.held[str(event_id)] = replace(held(loop, event_id), copies=("c1",))
    loop.night()
    loop.settle()
    loop.night()
    assert loop.open() == []
    loop.crm.held[str(event_id)] = replace(held(loop, event_id), copies=("c1", "c2"))
    loop.night()
    assert [found.remote_ids for found in loop.drifts()] == [["c1"], ["c2"]]
    loop.crm.held[str(event_id)] = replace(held(loop, event_id), copies=())
    loop.night()
    assert loop.open() == []


def test_accepted_and_not_kept_is_sent_again_and_told(loop: Loop) -> None:
    forgetful = FakeCrm()
    forgetful.answers = [lambda batch: [replace(forgetful.keep(one), url=None) for one in batch]]
    loop.use(forgetful)
    event_id = loop.send()
    loop.clock.forward(seconds=1)
    kept = FakeCrm.find
    loop.monkeypatch.setattr(FakeCrm, "find", lambda _self, items: [None for _ in items])
    loop.tick()
    assert loop.open() == ["never_stored"]
    assert loop.row().missing >= 1
    loop.monkeypatch.setattr(FakeCrm, "find", kept)
    loop.tick(minutes=2)
    assert (loop.row().state, loop.open()) == ("confirmed", [])
    assert loop.crm.written.count(str(event_id)) >= 1


def test_what_is_never_kept_goes_to_a_person(loop: Loop) -> None:
    class Forgetful(FakeCrm):
        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            return [None for _ in items]

    loop.use(Forgetful())
    loop.send()
    for _ in range(6):
        loop.tick(minutes=1)
    assert (loop.row().state, loop.row().code) == ("refused", "missing")
    assert len(loop.crm.written) == 3
    assert len(loop.drifts("never_stored")) == 1


def test_what_came_in_meanwhile_goes_before_the_rest_of_the_looks(loop: Loop) -> None:
    loop.monkeypatch.setattr("leads.sync.confirm._AT_ONCE", 1)
    loop.monkeypatch.setattr("leads.sync.confirm._SLICE", 0)

    class Busy(FakeCrm):
        batch_size = 2

        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            order.append("look")
            if sweeping and len(order) == 1:
                loop.send("Late")
            return super().find(items)

        def push(self, batch: Sequence[Item]) -> list[Result]:
            order.append("push")
            return super().push(batch)

    order: list[str] = []
    sweeping = False
    loop.use(Busy())
    for number in range(8):
        loop.send(f"P{number}")
    loop.tick()
    order.clear()
    sweeping = True
    loop.night()
    assert order[:2] == ["look", "push"], "an enquiry waited for the sweep"
    assert order.count("look") >= 4


def test_once_the_crm_cannot_be_asked_the_rest_of_a_slice_stays_due(loop: Loop) -> None:
    class Down(FakeCrm):
        batch_size = 1

        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            if down:
                self.looked += [item.event_id for item in items]
                raise TryLater("unavailable", "The CRM is not working.")
            return super().find(items)

    loop.monkeypatch.setattr("leads.sync.confirm._AT_ONCE", 1)
    loop.use(Down(settle=60))
    for number in range(25):
        loop.send(f"P{number}")
    down = True
    loop.tick()
    loop.tick(seconds=61)
    put_off = len(loop.crm.looked)
    assert 0 < put_off <= FAILURES_TO_PAUSE, "one call failed, and the others were made all the same"
    with loop.database.read() as session:
        due = session.scalars(select(Delivery.id).where(Delivery.check_at <= loop.clock())).all()
    assert len(due) == 25 - put_off
    down = False
    loop.tick(minutes=10)
    assert sorted(set(loop.crm.looked)) == sorted(loop.crm.written), "all are looked at in the end"


def test_a_slice_is_as_many_calls_as_there_is_time_for(loop: Loop) -> None:
    class Counted(FakeCrm):
        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            calls.append(len(items))
            return super().find(items)

    calls: list[int] = []
    commits: list[int] = []
    checked = outbox.checked
    loop.monkeypatch.setattr("leads.sync.confirm._AT_ONCE", 1)
    loop.monkeypatch.setattr(
        "leads.store.outbox.checked",
        lambda database, lane, looks, health: commits.append(len(looks)) or checked(database, lane, looks, health),
    )
    loop.use(Counted())
    for number in range(60):
        loop.send(f"P{number}")
    loop.tick()
    assert commits == [4, 8, 16, 32]
    assert calls == [4, 8, 10, 6, 10, 10, 10, 2]


def test_a_sweep_ends_when_staff_pause_the_connection(loop: Loop) -> None:
    loop.monkeypatch.setattr("leads.sync.confirm._AT_ONCE", 1)
    loop.monkeypatch.setattr("leads.sync.confirm._SLICE", 0)

    class Paused(FakeCrm):
        batch_size = 1

        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            if sweeping:
                loop.set_connection(state="paused")
            return super().find(items)

    sweeping = False
    loop.use(Paused())
    for number in range(3):
        loop.send(f"P{number}")
    loop.tick()
    loop.crm.looked.clear()
    sweeping = True
    loop.night()
    assert len(loop.crm.looked) == 1


def test_the_canarys_own_record_is_not_missed(loop: Loop) -> None:
    loop.send()
    with loop.database.write() as session:
        session.execute(update(Event).values(is_test=True))
    loop.tick()
    assert loop.row().check_at is None
    assert outbox.check_all(loop.database, loop.connection_id, 30) == 0


def test_everything_of_the_last_days_is_looked_at_when_asked(loop: Loop, event_id: UUID) -> None:
    for days, number in ((20, 1), (40, 0)):
        loop.clock.forward(days=days)
        assert outbox.check_all(loop.database, loop.connection_id, 30) == number


def test_everything_is_looked_at_in_slices(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction writes more than a slice, so that no lock is held for long."""
    ids = [loop.send(f"P{number}") for number in range(7)]
    loop.tick()
    monkeypatch.setattr("leads.store.outbox.proof._AT_ONCE", 3)
    written: list[int] = []

    def note(_c: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE delivery SET check_at"):
            written.append(1)

    event.listen(loop.database.engine, "after_cursor_execute", note)
    assert outbox.check_all(loop.database, loop.connection_id, 30) == len(ids)
    event.remove(loop.database.engine, "after_cursor_execute", note)
    assert len(written) == 5  # three, three, one and none, and none that is overdue
    assert {loop.row(one).check_at for one in ids} == {loop.clock()}


def test_one_look_that_the_crm_refuses_spoils_no_other(loop: Loop) -> None:
    class Picky(FakeCrm):
        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            if any(item.event_id == guilty for item in items):
                raise Refused("bad_id", "The CRM does not take this id.")
            return super().find(items)

    loop.use(Picky())
    ids = [loop.send(f"P{number}") for number in range(4)]
    guilty = str(ids[1])
    loop.tick()
    assert [loop.row(one).state for one in ids] == ["confirmed", "sent", "confirmed", "confirmed"]
    check_at = loop.row(ids[1]).check_at
    assert check_at is not None
    assert check_at - loop.clock() >= timedelta(seconds=5), "asked again without a pause"


def test_a_worker_that_lost_its_lane_looks_at_nothing(loop: Loop, event_id: UUID) -> None:
    connection = loop.connection()
    lane = leased(loop.database, connection, seconds=1)
    loop.clock.forward(days=1)
    assert outbox.to_check(loop.database, lane, 10) != []
    leased(loop.database, connection, worker="w2")
    assert outbox.to_check(loop.database, lane, 10) == []


def _shouted(seen: Seen) -> dict[str, str]:
    return {name: value.upper() for name, value in (seen.record or {}).items()}


def _states(loop: Loop) -> set[str]:
    with loop.database.read() as session:
        return set(session.scalars(select(Delivery.state)))


@pytest.mark.parametrize("lost", [True, False])
def test_what_a_look_shows_once_its_connection_is_removed_changes_nothing(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    def looked_up(items: Sequence[Item]) -> list[Seen | None]:
        with loop.database.write() as session:
            outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
        return [None if lost else loop.crm.held[one.event_id] for one in items]

    monkeypatch.setattr(loop.crm, "find", looked_up)
    loop.send()
    loop.tick()
    assert (loop.row().state, loop.row().check_at) == ("sent", None), "else it would wait there, or be kept, for ever"
