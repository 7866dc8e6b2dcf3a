"""What becomes of a call by someone not yet known: recorded or kept waiting, joined, moved, and its record retired."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from leads.store import outbox
from leads.store.holds import LOOK_FIRST
from leads.store.models import Connection, Delivery, Event, Lead, RemoteRecord, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from tests.database.lanes import Clock, delivered, delivery_of, finished, leased
from tests.factory import make_connection, send

JANE = {"first_name": "Jane", "email": "jane@example.com"}


def record_of(database: Database, connection: Connection) -> dict[str, bool]:
    """The CRM's records that we know of, and whether they are to go."""
    with database.read() as session:
        rows = session.scalars(select(RemoteRecord).where(RemoteRecord.connection_id == connection.id)).all()
    return {row.remote_id: row.retire for row in rows}


def test_a_caller_is_recorded_at_once_and_named_later(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    click = send(timed, vault, site, "call_click", visitor_id="v1")
    [sent] = delivered(timed, connection)
    assert not sent.lead.known
    send(timed, vault, site, visitor_id="v1", **JANE)
    [named] = delivered(timed, connection)
    assert (named.lead.code, named.remote_id) == (click.reference, f"r-{click.reference}")
    assert record_of(timed, connection) == {f"r-{click.reference}": False}


def test_a_connection_that_waits_gets_the_call_once_the_caller_is_known(
    timed: Database, vault: Vault, site: Site
) -> None:
    connection = make_connection(timed, vault, site, unknown_callers="wait")
    click = send(timed, vault, site, "call_click", visitor_id="v1").event_id
    assert (delivery_of(timed, click).state, delivery_of(timed, click).code) == ("held", "unknown_caller")
    assert delivered(timed, connection) == []
    form = send(timed, vault, site, visitor_id="v1", **JANE).event_id
    assert [item.event.id for item in delivered(timed, connection)] == [click, form]


@pytest.mark.parametrize("paused", [False, True])
def test_a_connection_that_waits_no_more_gets_the_calls_that_it_had_held(
    timed: Database, vault: Vault, site: Site, paused: bool
) -> None:
    connection = make_connection(timed, vault, site, unknown_callers="wait")
    other = make_connection(timed, vault, site, unknown_callers="wait", name="Other CRM")
    click = send(timed, vault, site, "call_click", visitor_id="v1").event_id
    setup = Setup(timed, vault, Limits(60, 5), "anna")
    if paused:
        setup.pause(connection.id)
    assert "get a record" in setup.change(connection.id, unknown_callers="record")
    assert setup.change(connection.id, unknown_callers="record") == ""
    with timed.read() as session:
        states = {row.connection_id: (row.state, row.code) for row in session.scalars(select(Delivery))}
    assert states == {
        connection.id: ("held", "paused") if paused else ("waiting", None),
        other.id: ("held", "unknown_caller"),
    }
    if paused:
        setup.resume(connection.id)
    assert [item.event.id for item in delivered(timed, connection)] == [click]


@pytest.mark.parametrize("was_sent", [False, True])
def test_a_call_in_doubt_that_waits_for_its_caller_goes_once_they_turn_out_to_be_somebody_known(
    timed: Database, vault: Vault, site: Site, connection: Connection, was_sent: bool
) -> None:
    """As all that is held is after a restore; or it broke off, and staff had it sent again after all."""
    setup = Setup(timed, vault, Limits(60, 5), "anna")
    known = send(timed, vault, site, visitor_id="v1", **JANE).reference
    delivered(timed, connection)
    setup.change(connection.id, unknown_callers="record" if was_sent else "wait")
    click = send(timed, vault, site, "call_click", visitor_id="v2").event_id
    if was_sent:
        lane = leased(timed, connection)
        finished(timed, lane, outbox.claim(timed, lane, 1, 60), "refused", verdict="Unknown", code=LOOK_FIRST)
        outbox.release(timed, lane)
        setup.change(connection.id, unknown_callers="wait")
        with timed.write() as session:
            row = session.scalars(select(Delivery).where(Delivery.event_id == click)).one()
            assert outbox.take_care(session, row, "anna", timed.now(session))
            event = session.get_one(Event, click)
            lead = session.get_one(Lead, event.lead_id)
            assert outbox.send_after_all(session, row, event, lead, "anna", timed.now(session))
    else:
        with timed.write() as session:
            outbox.doubt_all(session)
    row = delivery_of(timed, click)
    assert (row.state, row.code, row.unknown) == ("held", "unknown_caller", True)
    send(timed, vault, site, visitor_id="v2", **JANE)
    codes = [item.lead.code for item in delivered(timed, connection) if item.event.id == click]
    assert (len(codes), codes[-1]) == (1 + was_sent, known)
    assert delivery_of(timed, click).state == "sent"


def test_a_connection_may_wait_for_callers_from_now_on(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    before = send(timed, vault, site, "call_click", visitor_id="v1").event_id
    Setup(timed, vault, Limits(60, 5), "anna").change(connection.id, unknown_callers="wait")
    after = send(timed, vault, site, "call_click", visitor_id="v2").event_id
    assert delivery_of(timed, before).state == "waiting"
    assert (delivery_of(timed, after).state, delivery_of(timed, after).code) == ("held", "unknown_caller")


def test_a_known_caller_waits_for_nothing(timed: Database, vault: Vault, site: Site) -> None:
    make_connection(timed, vault, site, unknown_callers="wait")
    send(timed, vault, site, visitor_id="v1", **JANE)
    click = send(timed, vault, site, "call_click", visitor_id="v1").event_id
    assert delivery_of(timed, click).state == "waiting"


@pytest.fixture
def known(timed: Database, vault: Vault, site: Site, connection: Connection) -> str:
    """Jane is known and in the CRM; her reference code."""
    accepted = send(timed, vault, site, visitor_id="v1", **JANE)
    delivered(timed, connection)
    return accepted.reference


def test_a_call_moves_to_the_person_and_the_callers_record_goes(
    timed: Database, vault: Vault, site: Site, connection: Connection, known: str
) -> None:
    click = send(timed, vault, site, "call_click", visitor_id="v2")
    delivered(timed, connection)
    form = send(timed, vault, site, visitor_id="v2", **JANE)
    assert form.reference != known, "else the answer would tell strangers who is known"
    row = delivery_of(timed, click.event_id)
    assert (row.state, row.code) == ("waiting", "moved")
    lane = leased(timed, connection)
    assert outbox.to_retire(timed, lane) == []  # not before the call stands on the person's record
    outbox.release(timed, lane)

    moved = delivered(timed, connection)
    assert [item.event.id for item in moved] == [click.event_id, form.event_id]
    assert {(item.lead.code, item.remote_id) for item in moved} == {(known, f"r-{known}")}
    lane = leased(timed, connection)
    (caller,) = outbox.to_retire(timed, lane)
    assert (caller.remote_id, caller.lead.code, caller.shared) == (f"r-{click.reference}", click.reference, False)
    assert [call.id for call in caller.calls] == [click.event_id]
    outbox.retired(timed, lane, [caller.lead.id])
    assert outbox.to_retire(timed, lane) == []
    assert record_of(timed, connection) == {f"r-{known}": False}


def test_a_call_that_was_on_its_way_while_the_caller_became_known_is_moved_too(
    timed: Database, vault: Vault, site: Site, connection: Connection, known: str
) -> None:
    click = send(timed, vault, site, "call_click", visitor_id="v2")
    lane = leased(timed, connection)
    flying = outbox.claim(timed, lane, 10, 60)
    send(timed, vault, site, visitor_id="v2", **JANE)
    assert finished(timed, lane, flying) == 0
    outbox.release(timed, lane)
    row = delivery_of(timed, click.event_id)
    assert (row.state, row.code) == ("waiting", "moved")
    assert record_of(timed, connection) == {f"r-{known}": False, f"r-{click.reference}": True}
    assert {item.lead.code for item in delivered(timed, connection)} == {known}


@pytest.mark.parametrize("became", ["refused", "expired"])
@pytest.mark.usefixtures("known")
def test_a_call_that_was_on_its_way_and_did_not_arrive_is_moved_with_a_fresh_budget(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, became: str
) -> None:
    click = send(timed, vault, site, "call_click", visitor_id="v2").event_id
    clock.forward(days=7)
    lane = leased(timed, connection)
    flying = outbox.claim(timed, lane, 10, 60)
    send(timed, vault, site, visitor_id="v2", **JANE)
    assert finished(timed, lane, flying, became, code="too_long", sentence="Too long.", field="last_name") == 0
    row = delivery_of(timed, click)
    assert (row.state, row.code, row.field) == ("waiting", "moved", None)
    assert (row.attempts, row.missing, row.tries_from, row.due_at) == (0, 0, clock(), clock())


@pytest.mark.usefixtures("known")
def test_a_call_whose_connection_was_removed_on_its_way_is_written_down_beside_others(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    click = send(timed, vault, site, "call_click", visitor_id="v2").event_id
    other = send(timed, vault, site, email="tom@example.com").event_id
    lane = leased(timed, connection)
    flying = outbox.claim(timed, lane, 10, 60)
    send(timed, vault, site, visitor_id="v2", **JANE)
    with timed.write() as session:
        outbox.remove(session, session.get_one(Connection, connection.id), timed.now(session))
    assert finished(timed, lane, flying, "refused", code="too_long", sentence="Too long.") == 0
    assert [delivery_of(timed, one).code for one in (click, other)] == ["removed", "removed"]


@pytest.mark.usefixtures("known")
def test_what_the_crm_lost_of_the_caller_is_not_held_against_the_person(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    click = send(timed, vault, site, "call_click", visitor_id="v2").event_id
    delivered(timed, connection)
    with timed.write() as session:
        session.scalars(select(Delivery).where(Delivery.event_id == click)).one().missing = 2
    send(timed, vault, site, visitor_id="v2", **JANE)
    assert (delivery_of(timed, click).code, delivery_of(timed, click).missing) == ("moved", 0)


@pytest.mark.parametrize("how", ["no answer", "half of it failed", "half of it failed twice", "worker died"])
def test_a_call_of_which_nobody_knows_whether_it_arrived_moves_once_that_is_known(
    timed: Database, vault: Vault, site: Site, connection: Connection, known: str, clock: Clock, how: str
) -> None:
    """The CRM may hold the caller's record, and only a look under the caller can tell: else it stays there for ever."""
    click = send(timed, vault, site, "call_click", visitor_id="v2")
    lane = leased(timed, connection, seconds=5)
    claimed = outbox.claim(timed, lane, 10, 5)
    if how != "worker died":
        finished(timed, lane, claimed, "waiting", unknown=how == "no answer")
        outbox.release(timed, lane)
    send(timed, vault, site, visitor_id="v2", **JANE)
    clock.forward(seconds=10)
    if how == "half of it failed twice":
        lane = leased(timed, connection)
        calls = [item for item in outbox.claim(timed, lane, 10, 60) if item.lead.code != known]
        finished(timed, lane, calls, "waiting")
        outbox.release(timed, lane)
        clock.forward(seconds=100)

    lane = leased(timed, connection)
    again = outbox.claim(timed, lane, 10, 60)
    assert {item.lead.code for item in again} == {click.reference, known}
    assert outbox.to_retire(timed, lane) == []
    finished(timed, lane, again)
    outbox.release(timed, lane)
    assert record_of(timed, connection) == {f"r-{known}": False, f"r-{click.reference}": True}
    row = delivery_of(timed, click.event_id)
    assert (row.state, row.code) == ("waiting", "moved")
    assert [item.lead.code for item in delivered(timed, connection)] == [known]
    assert [one.remote_id for one in outbox.to_retire(timed, leased(timed, connection))] == [f"r-{click.reference}"]


def test_a_record_that_the_crm_took_for_both_stays(
    timed: Database, vault: Vault, site: Site, connection: Connection, known: str
) -> None:
    send(timed, vault, site, "call_click", visitor_id="v2")
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), remote_id=f"r-{known}")
    outbox.release(timed, lane)
    send(timed, vault, site, visitor_id="v2", **JANE)
    delivered(timed, connection)
    lane = leased(timed, connection)
    assert [one.shared for one in outbox.to_retire(timed, lane)] == [True]


@pytest.mark.usefixtures("known")
def test_a_call_that_was_never_sent_goes_to_the_person_alone(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    send(timed, vault, site, "call_click", visitor_id="v2")
    send(timed, vault, site, visitor_id="v2", **JANE)
    assert len({item.lead.id for item in delivered(timed, connection)}) == 1
    with timed.read() as session:
        caller = session.scalars(select(Lead).where(Lead.merged_into.is_not(None))).one()
        assert session.scalars(select(Delivery).where(Delivery.lead_id == caller.id)).all() == []
    assert all(not retire for retire in record_of(timed, connection).values())


@pytest.mark.parametrize("is_known", [False, True])
def test_a_pause_does_not_make_a_call_go_whose_caller_nobody_knows(
    timed: Database, vault: Vault, site: Site, is_known: bool
) -> None:
    connection = make_connection(timed, vault, site, unknown_callers="wait")
    setup = Setup(timed, vault, Limits(60, 5), "anna")
    setup.pause(connection.id)
    click = send(timed, vault, site, "call_click", visitor_id="v1").event_id
    if is_known:
        send(timed, vault, site, visitor_id="v1", **JANE)
    setup.resume(connection.id)
    assert (click in [item.event.id for item in delivered(timed, connection)]) is is_known
    assert delivery_of(timed, click).code == (None if is_known else "unknown_caller")
