"""Who is forgotten after a year, and who never: what has not arrived, what somebody has yet to see, who came back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from leads.store import outbox
from leads.store.clock import heartbeat, note_jump
from leads.store.models import (
    Action,
    Attempt,
    Base,
    Connection,
    Delivery,
    Drift,
    Erasure,
    Event,
    Identity,
    Lead,
    RemoteRecord,
    Resubmission,
    Site,
    Unreadable,
)
from leads.store.retention import count_old, count_unreadable, forget_routine, forget_slice, forget_unreadable
from leads.store.session import Database
from leads.store.staff import record
from leads.store.vault import Vault
from leads.upkeep.retention import Retention, slices
from tests.database.lanes import Clock, delivered, finished, leased
from tests.factory import make_connection, make_unreadable, send

YEAR = timedelta(days=365)
_PERSONAL = (Lead, Identity, Event, Resubmission, Delivery, Attempt, Drift, RemoteRecord, Erasure)


@pytest.fixture
def jane(timed: Database, vault: Vault, site: Site, connection: Connection) -> None:
    """Her enquiry arrived, was confirmed, and no night looks at it any more."""
    send(timed, vault, site, email="jane@example.com", client_id="hers")
    delivered(timed, connection)
    _confirm(timed)


def _confirm(database: Database, **more: object) -> None:
    with database.write() as session:
        session.execute(update(Delivery).values(state="confirmed", check_at=None, **more))


def _left(database: Database) -> dict[str, int]:
    with database.read() as session:
        counts = {model.__tablename__: session.scalar(select(func.count()).select_from(model)) for model in _PERSONAL}
    return {name: count for name, count in counts.items() if count}


def _forget(database: Database, clock: Clock) -> int:
    return sum(done.forgotten for done in slices(database, clock() - YEAR, threading.Event()))


@pytest.mark.usefixtures("jane")
def test_a_person_is_forgotten_with_all_that_was_kept(timed: Database, clock: Clock) -> None:
    clock.forward(days=364)
    assert _forget(timed, clock) == 0
    clock.forward(days=2)
    with timed.read() as session:
        assert count_old(session, clock() - YEAR) == (1, 1, {})
    assert _forget(timed, clock) == 1
    assert _left(timed) == {}


def test_every_table_that_leads_to_a_person_is_seen_to() -> None:
    """A table that is added later and refers to a person must be deleted from as well, or the deletion fails."""
    seen_to = {model.__tablename__ for model in _PERSONAL} | {"action"}
    about_tests_only = {"canary_run"}
    refers = {
        table.name
        for table in Base.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name in {"lead", "event", "delivery"}
    }
    assert refers <= seen_to | about_tests_only


@pytest.mark.usefixtures("jane")
@pytest.mark.parametrize("state", ["waiting", "sending", "refused", "expired", "held"])
def test_what_has_not_arrived_is_kept_however_old_it_is(timed: Database, clock: Clock, state: str) -> None:
    with timed.write() as session:
        session.execute(update(Delivery).values(state=state))
    clock.forward(days=4000)
    with timed.read() as session:
        assert count_old(session, clock() - YEAR) == (1, 0, {})
    assert _forget(timed, clock) == 0
    assert _left(timed)["event"] == 1


@pytest.mark.usefixtures("jane")
def test_what_a_crm_took_and_cannot_be_read_back_is_done_with(timed: Database, clock: Clock) -> None:
    with timed.write() as session:
        session.execute(update(Delivery).values(state="sent"))
    clock.forward(days=366)
    assert _forget(timed, clock) == 1


HELD: dict[str, dict[str, Any]] = {
    "spam": {"suspicion": "Too quick.", "email": "s@example.com"},
    "no_consent": {"consent": False, "email": "n@example.com"},
    "unknown_caller": {"kind": "call_click", "visitor_id": "browser"},
}


def _held(database: Database, vault: Vault, site: Site, why: str, **more: Any) -> UUID:
    """An enquiry that is held. Returns its event's id."""
    with database.write() as session:
        session.execute(update(Connection).values(unknown_callers="wait"))
    event_id = send(database, vault, site, **(HELD[why] | more)).event_id
    with database.read() as session:
        codes = session.scalars(select(Delivery.code).where(Delivery.event_id == event_id)).all()
    assert set(codes) <= {why}
    return event_id


@pytest.mark.parametrize(("why", "connected"), [*((why, True) for why in HELD), ("spam", False), ("no_consent", False)])
def test_what_is_held_and_nobody_let_go_is_forgotten_as_all_else(
    timed: Database, vault: Vault, site: Site, clock: Clock, why: str, connected: bool
) -> None:
    if connected:
        make_connection(timed, vault, site)
    _held(timed, vault, site, why)
    clock.forward(days=364)
    assert _forget(timed, clock) == 0
    clock.forward(days=2)
    with timed.read() as session:
        old = count_old(session, clock() - YEAR)
    assert (old, old.forgettable) == ((1, 0, {why: 1}), 1)
    assert _forget(timed, clock) == 1
    assert _left(timed) == {}


@pytest.mark.parametrize("code", ["paused", "removed"])
def test_what_staff_paused_or_a_removed_connection_left_is_kept(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, code: str
) -> None:
    send(timed, vault, site, email="jane@example.com")
    with timed.write() as session:
        session.execute(update(Delivery).values(state="held", code=code))
    clock.forward(days=4000)
    assert _forget(timed, clock) == 0


def test_held_beside_what_has_not_arrived_is_kept(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    _held(timed, vault, site, "spam")
    refused = send(timed, vault, site, email="s@example.com").event_id
    with timed.write() as session:
        session.execute(update(Delivery).where(Delivery.event_id == refused).values(state="refused"))
    clock.forward(days=4000)
    assert _forget(timed, clock) == 0
    with timed.write() as session:
        for row in session.scalars(select(Delivery).where(Delivery.event_id == refused)):
            outbox.handled(row)
    assert _forget(timed, clock) == 1


@pytest.mark.parametrize("state", ["held", "handled"])
def test_held_or_put_aside_a_newer_word_keeps_them(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, state: str
) -> None:
    event_id = _held(timed, vault, site, "spam")
    if state == "handled":
        with timed.write() as session:
            for row in session.scalars(select(Delivery)):
                outbox.handled(row)
    clock.forward(days=300)
    with timed.write() as session:
        again = {"event_id": event_id, "body_digest": b"b" * 16, "answers_sealed": b"s"}
        session.add(Resubmission(received_at=clock(), seen_at=clock(), **again))
    clock.forward(days=100)
    assert _forget(timed, clock) == 0
    with timed.write() as session:
        session.execute(update(Resubmission).values(seen_at=None))  # it is part of what nobody decided on
    clock.forward(days=300)
    assert _forget(timed, clock) == 1


def test_consent_taken_back_after_somebody_took_care_of_it_is_seen_before_they_are_forgotten(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    send(timed, vault, site, client_id="1", email="s@example.com")
    with timed.write() as session:
        outbox.handled(session.scalars(select(Delivery)).one())
    send(timed, vault, site, client_id="1", email="s@example.com", consent=False)
    clock.forward(days=4000)
    assert _forget(timed, clock) == 0
    with timed.write() as session:
        session.execute(update(Resubmission).values(seen_at=clock()))
    assert _forget(timed, clock) == 1


def test_what_staff_let_go_at_that_very_moment_is_not_lost(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    events = [_held(timed, vault, site, "spam", email=f"p{number}@example.com") for number in range(30)]
    clock.forward(days=366)

    def let_go(event_id: UUID) -> bool:
        with timed.write() as session:
            event = session.get(Event, event_id)
            lead = session.get(Lead, event.lead_id, with_for_update=True) if event else None
            if event is None or lead is None:
                return False  # forgotten already
            outbox.release_hold(session, vault, event, lead, clock())
        return True

    with ThreadPoolExecutor(4) as pool:
        decided = [pool.submit(let_go, event_id) for event_id in reversed(events)]
        forgotten = _forget(timed, clock)
        let = sum(future.result() for future in decided)
    with timed.read() as session:
        states = session.scalars(select(Delivery.state)).all()
    assert (let, list(states)) == (30 - forgotten, ["waiting"] * (30 - forgotten))


def test_nobody_is_kept_for_a_look_that_a_removed_connection_will_never_get(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    send(timed, vault, site, email="jane@example.com")
    delivered(timed, connection)
    clock.forward(days=366)
    assert _forget(timed, clock) == 0, "it is to be read back"
    with timed.write() as session:
        outbox.remove(session, session.get_one(Connection, connection.id), clock())
    assert _forget(timed, clock) == 1


@pytest.mark.usefixtures("jane")
def test_nobody_is_kept_for_a_look_at_what_staff_took_care_of_after_it_was_sent_again(
    timed: Database, clock: Clock
) -> None:
    with timed.write() as session:
        row = session.scalars(select(Delivery)).one()
        row.check_at = clock() + timedelta(days=1)
        outbox.requeue(row, clock())
        outbox.handled(row)
    clock.forward(days=366)
    assert _forget(timed, clock) == 1


def _known_caller(timed: Database, vault: Vault, site: Site, connection: Connection, **more: Any) -> None:
    """Jane is known, and so is soon who it was that tapped. more: what became of the tap at first."""
    tap = send(timed, vault, site, "call_click", visitor_id="v1")
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), **more)
    outbox.release(timed, lane)
    send(timed, vault, site, email="jane@example.com", visitor_id="v1")
    delivered(timed, connection)
    with timed.write() as session:
        row = session.scalars(select(Delivery).where(Delivery.event_id == tap.event_id)).one()
        outbox.handled(row)


@pytest.mark.usefixtures("jane")
def test_what_nobody_knew_of_a_call_keeps_neither_the_caller_nor_whoever_it_was(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    _known_caller(timed, vault, site, connection, state="expired", unknown=True)
    with timed.write() as session:
        session.execute(update(Delivery).where(Delivery.state == "sent").values(check_at=None))
    clock.forward(days=366)
    assert _forget(timed, clock) == 1, "the caller goes first"
    assert (_left(timed)["event"], _left(timed)["delivery"]) == (3, 3)
    assert _forget(timed, clock) == 1


@pytest.mark.usefixtures("jane")
def test_nobody_is_kept_for_a_record_that_a_removed_connection_can_remove_no_more(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    _known_caller(timed, vault, site, connection)
    clock.forward(days=366)
    assert _forget(timed, clock) == 0, "the caller's record is to be removed"
    with timed.write() as session:
        outbox.remove(session, session.get_one(Connection, connection.id), clock())
    assert [_forget(timed, clock), _forget(timed, clock)] == [1, 1]


def _without_a_delivery(session: Session, _: datetime) -> None:
    session.query(Attempt).delete()
    session.query(Delivery).delete()


def _still_looked_at(session: Session, now: datetime) -> None:
    session.execute(update(Delivery).values(check_at=now))


def _drifted(session: Session, now: datetime) -> None:
    row = session.scalars(select(Delivery)).one()
    session.add(
        Drift(
            delivery_id=row.id, connection_id=row.connection_id, kind="deleted", fields=[], remote_ids=[], found_at=now
        )
    )


def _sent_again_otherwise(session: Session, now: datetime) -> None:
    event = session.scalars(select(Event)).one()
    session.add(Resubmission(event_id=event.id, body_digest=b"b" * 16, answers_sealed=b"s", received_at=now))


def _two_records_there(session: Session, _: datetime) -> None:
    session.execute(update(RemoteRecord).values(retire=True))


@pytest.mark.usefixtures("jane")
@pytest.mark.parametrize(
    "left",
    [_without_a_delivery, _still_looked_at, _drifted, _sent_again_otherwise, _two_records_there],
    ids=lambda left: left.__name__.strip("_"),
)
def test_nobody_is_forgotten_while_something_is_left_to_do(
    timed: Database, clock: Clock, left: Callable[[Session, datetime], None]
) -> None:
    with timed.write() as session:
        left(session, clock())
    clock.forward(days=4000)
    assert _forget(timed, clock) == 0


@pytest.mark.usefixtures("jane")
def test_who_came_back_is_kept_whole(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    clock.forward(days=300)
    send(timed, vault, site, email="jane@example.com")
    delivered(timed, connection)
    _confirm(timed)
    clock.forward(days=100)
    assert _forget(timed, clock) == 0
    assert _left(timed)["event"] == 2


def test_a_caller_who_became_known_goes_with_the_person(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    send(timed, vault, site, "call_click", visitor_id="browser")
    send(timed, vault, site, email="jane@example.com")
    clock.forward(minutes=1)
    send(timed, vault, site, visitor_id="browser", email="jane@example.com")  # so they are one
    delivered(timed, connection)
    with timed.write() as session:
        session.query(RemoteRecord).filter(RemoteRecord.retire).delete()
    _confirm(timed)
    with timed.read() as session:
        assert session.scalar(select(func.count()).where(Lead.merged_into.is_not(None))) == 1
    clock.forward(days=300)
    send(timed, vault, site, email="jane@example.com")
    delivered(timed, connection)
    _confirm(timed)
    clock.forward(days=100)
    assert _forget(timed, clock) == 0, "the caller's code still leads to somebody who came back"
    clock.forward(days=300)
    assert _forget(timed, clock) + _forget(timed, clock) == 2  # the code first, then the person it leads to
    assert _left(timed) == {}


def test_it_goes_on_where_the_last_slice_ended(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    for number in range(7):
        send(timed, vault, site, email=f"p{number}@example.com")
    delivered(timed, connection)
    _confirm(timed)
    stuck = _oldest(timed)
    with timed.write() as session:
        session.execute(update(Delivery).where(Delivery.lead_id == stuck).values(state="refused"))
    clock.forward(days=366)
    before, place, forgotten = clock() - YEAR, None, []
    for _ in range(4):
        done = forget_slice(timed, before, place, most=2)
        forgotten.append(done.forgotten)
        place = done.place
    assert forgotten == [1, 2, 2, 1]
    assert place is None
    assert _left(timed)["lead"] == 1


def _oldest(database: Database) -> object:
    with database.read() as session:
        return session.scalar(select(Lead.id).order_by(Lead.last_event_at, Lead.id).limit(1))


@pytest.mark.usefixtures("jane")
def test_after_a_jump_of_the_clock_nobody_is_forgotten(timed: Database, clock: Clock) -> None:
    clock.forward(days=366)
    heartbeat(timed, "w1")
    with timed.write() as session:
        note_jump(session, clock())
    assert _forget(timed, clock) == 0
    clock.forward(minutes=61)
    heartbeat(timed, "w1")
    assert _forget(timed, clock) == 1


@pytest.mark.usefixtures("jane")
def test_one_worker_does_the_round_and_only_if_told_how_long(timed: Database, clock: Clock) -> None:
    clock.forward(days=366)
    Retention(timed, timedelta(), threading.Event()).round()
    assert _left(timed)["lead"] == 1
    first, second = (Retention(timed, YEAR * 2, threading.Event()), Retention(timed, YEAR, threading.Event()))
    first.round()
    second.round()
    assert _left(timed)["lead"] == 1, "the first one had this hour's round, and hers is not two years old"
    clock.forward(hours=1)
    second.round()
    assert _left(timed) == {}


def test_who_signed_in_and_looked_is_kept_for_a_year_and_who_decided_for_good(timed: Database, clock: Clock) -> None:
    def left() -> list[str]:
        with timed.read() as session:
            return list(session.scalars(select(Action.what)))

    with timed.write() as session:
        routine = ("viewed", "signed_in", "signed_out", "sign_in_failed", "sign_in_unknown", "code_failed")
        for what in (*routine, "user_added"):
            record(session, "anna", what, clock())
    clock.forward(days=364)
    Retention(timed, timedelta(), threading.Event()).round()
    assert len(left()) == 7
    clock.forward(days=2)
    assert forget_routine(timed, clock() - YEAR, most=2) == 2
    Retention(timed, timedelta(), threading.Event()).round()
    assert left() == ["user_added"]


def test_what_could_not_be_read_is_forgotten_in_time_seen_or_not(timed: Database, site: Site, clock: Clock) -> None:
    came = clock()
    for seen_at in (None, came, came + timedelta(days=364)):
        make_unreadable(timed, site, seen_at=seen_at)
    clock.forward(days=364)
    newer = make_unreadable(timed, site)
    assert forget_unreadable(timed, clock() - YEAR) == 0
    clock.forward(days=2)
    with timed.read() as session:
        assert count_unreadable(session, clock() - YEAR) == 3
    Retention(timed, YEAR, threading.Event()).round()
    with timed.read() as session:
        assert session.scalars(select(Unreadable.id)).all() == [newer.id]


def test_who_comes_back_at_that_very_moment_is_not_lost(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    people = [f"p{number}@example.com" for number in range(40)]
    for email in people:
        send(timed, vault, site, email=email)
    delivered(timed, connection)
    _confirm(timed)
    clock.forward(days=366)
    before = clock() - YEAR
    with ThreadPoolExecutor(4) as pool:
        back = [pool.submit(send, timed, vault, site, email=email) for email in people]
        place = None
        while (done := forget_slice(timed, before, place, most=3)).place:
            place = done.place
        accepted = [future.result() for future in back]
    with timed.read() as session:
        kept = {event.id: event.lead_id for event in session.scalars(select(Event)).all()}
        leads = set(session.scalars(select(Lead.id)))
    assert {one.event_id for one in accepted} <= set(kept)
    assert set(kept.values()) == leads


def test_consent_taken_back_where_one_of_two_crms_has_it_is_seen_before_they_are_forgotten(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    make_connection(timed, vault, site, name="Other CRM")
    send(timed, vault, site, client_id="1", email="s@example.com")
    delivered(timed, connection)
    with timed.write() as session:
        session.execute(update(Delivery).values(check_at=None))
    send(timed, vault, site, client_id="1", email="s@example.com", consent=False)
    clock.forward(days=4000)
    assert _forget(timed, clock) == 0
    with timed.write() as session:
        session.execute(update(Resubmission).values(seen_at=clock()))
    assert _forget(timed, clock) == 1
