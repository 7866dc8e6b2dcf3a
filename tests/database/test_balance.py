"""The daily balance: what was captured stands somewhere, each enquiry once; what is lost is told."""

from __future__ import annotations

from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from sqlalchemy import delete, select, text, update

from leads.store import outbox
from leads.store.models import DELIVERY_STATES, Connection, Delivery, Event, Site
from leads.store.queries.balance import DayBalance, balance, last_days, lost_leads
from leads.store.session import Database
from leads.store.vault import Vault
from tests.database.lanes import Clock
from tests.factory import make_connection, make_site, send
from tests.statements import statements
from tests.web.desk import lead_of, set_state


@pytest.fixture(autouse=True)
def _well_after_the_connection_was_made(connection: Connection, clock: Clock) -> None:
    clock.forward(hours=8)  # noon in New York, 2 March 2026


def today(database: Database, site: Site) -> DayBalance:
    return days_of(database, site, 1)[0]


def days_of(database: Database, site: Site, number: int) -> list[DayBalance]:
    with database.read() as session:
        now = database.now(session)
        return balance(session, site, last_days(site, now, number), now)


def counts(day: DayBalance) -> dict[str, int]:
    return {state: number for state, number in day.states.items() if number}


def _lose(database: Database, event_id: UUID, connection: Connection) -> None:
    with database.write() as session:
        here = (Delivery.event_id == event_id, Delivery.connection_id == connection.id)
        session.execute(delete(Delivery).where(*here))


def test_an_empty_day_closes(timed: Database, site: Site) -> None:
    assert today(timed, site) == DayBalance(site, date(2026, 3, 2), 0, today(timed, site).states, 0)
    assert today(timed, site).closes


@pytest.mark.parametrize("state", DELIVERY_STATES)
def test_every_state_is_accounted_for(timed: Database, vault: Vault, site: Site, state: str) -> None:
    set_state(timed, send(timed, vault, site, email="jane@example.com").event_id, state)
    day = today(timed, site)
    assert (day.captured, day.closes) == (1, True)
    assert counts(day) == {"waiting" if state == "sending" else state: 1}


def test_an_enquiry_counts_once_under_its_most_urgent_state(timed: Database, vault: Vault, site: Site) -> None:
    make_connection(timed, vault, site, name="Second")
    sent = send(timed, vault, site, email="jane@example.com")
    with timed.write() as session:
        first, second = session.scalars(select(Delivery).where(Delivery.event_id == sent.event_id))
        first.state, second.state = "confirmed", "refused"
    assert counts(today(timed, site)) == {"refused": 1}
    assert today(timed, site).closes


def test_a_delivery_that_is_gone_makes_it_not_close(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    lost, _kept = (send(timed, vault, site, email=f"jane{n}@example.com") for n in range(2))
    _lose(timed, lost.event_id, connection)
    day = today(timed, site)
    assert (day.captured, counts(day), day.lost, day.unaccounted) == (2, {"waiting": 1}, 1, 1)
    assert not day.closes
    with timed.read() as session:
        assert lost_leads(session, site, [day.day], clock()) == [lead_of(timed, lost.event_id)]


def test_one_of_two_deliveries_gone_makes_it_not_close(timed: Database, vault: Vault, site: Site, clock: Clock) -> None:
    second = make_connection(timed, vault, site, name="Second")
    clock.forward(minutes=2)
    sent = send(timed, vault, site, email="jane@example.com")
    assert today(timed, site).closes
    _lose(timed, sent.event_id, second)
    day = today(timed, site)
    assert (day.captured, counts(day), day.lost, day.closes) == (1, {"waiting": 1}, 1, False)


def test_a_state_that_nobody_knows_makes_it_not_close(timed: Database, vault: Vault, site: Site) -> None:
    send(timed, vault, site, email="jane@example.com")
    with timed.write() as session:
        session.execute(text("UPDATE delivery SET state = 'elsewhere'"))
    assert (today(timed, site).unaccounted, today(timed, site).closes) == (1, False)


def test_a_site_without_a_connection_waits(timed: Database, vault: Vault, clock: Clock) -> None:
    alone = make_site(timed, "alone")
    send(timed, vault, alone, email="jane@example.com")
    assert (counts(today(timed, alone)), today(timed, alone).closes) == ({"waiting": 1}, True)
    connection = make_connection(timed, vault, alone)
    clock.forward(minutes=2)
    assert not today(timed, alone).closes, "the new connection should have got it"
    outbox.take_over(timed, connection.id)
    assert (counts(today(timed, alone)), today(timed, alone).closes) == ({"waiting": 1}, True)


def test_what_came_between_two_connections_goes_to_the_second(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    send(timed, vault, site, email="before@example.com")
    clock.forward(minutes=5)
    with timed.write() as session:
        outbox.remove(session, session.get_one(Connection, connection.id), clock())
    clock.forward(minutes=5)
    send(timed, vault, site, email="between@example.com")
    assert (counts(today(timed, site)), today(timed, site).closes) == ({"held": 1, "waiting": 1}, True)
    clock.forward(minutes=5)
    second = make_connection(timed, vault, site, name="Second")
    outbox.take_over(timed, second.id)
    clock.forward(minutes=5)
    assert (counts(today(timed, site)), today(timed, site).closes) == ({"waiting": 2}, True)


def test_one_that_came_as_the_connection_was_made_is_no_false_alarm(
    timed: Database, vault: Vault, site: Site, clock: Clock
) -> None:
    send(timed, vault, site, email="jane@example.com")
    make_connection(timed, vault, site, name="Second")
    assert today(timed, site).closes


def test_a_caller_who_turned_out_to_be_somebody_known_counts_as_before(
    timed: Database, vault: Vault, site: Site
) -> None:
    send(timed, vault, site, visitor_id="v1", email="jane@example.com")
    call = send(timed, vault, site, "call_click", visitor_id="v2")
    caller = lead_of(timed, call.event_id)
    with timed.write() as session:
        session.execute(update(Delivery).values(state="confirmed"))
    send(timed, vault, site, visitor_id="v2", email="jane@example.com")
    assert lead_of(timed, call.event_id) != caller, "merged"
    day = today(timed, site)
    assert (day.captured, counts(day), day.closes) == (3, {"confirmed": 1, "waiting": 2}, True)


def test_test_enquiries_never_count(timed: Database, vault: Vault, site: Site, connection: Connection) -> None:
    canary = send(timed, vault, site, email="canary@example.com")
    with timed.write() as session:
        session.execute(update(Event).values(is_test=True))
    assert (today(timed, site).captured, counts(today(timed, site))) == (0, {})
    _lose(timed, canary.event_id, connection)
    assert today(timed, site).closes


def test_sites_do_not_mix(timed: Database, vault: Vault, site: Site) -> None:
    other = make_site(timed, "other")
    send(timed, vault, other, email="jane@example.com")
    assert (today(timed, site).captured, today(timed, other).captured) == (0, 1)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 3, 8, 4, 59, 59, tzinfo=UTC), date(2026, 3, 7)),
        (datetime(2026, 3, 8, 5, 0, tzinfo=UTC), date(2026, 3, 8)),  # midnight in New York; 23 hours long
        (datetime(2026, 3, 9, 3, 59, 59, tzinfo=UTC), date(2026, 3, 8)),
        (datetime(2026, 3, 9, 4, 0, tzinfo=UTC), date(2026, 3, 9)),
    ],
)
def test_a_day_is_the_sites_own_also_when_the_clocks_change(
    timed: Database, vault: Vault, site: Site, clock: Clock, moment: datetime, day: date
) -> None:
    clock.time = moment
    send(timed, vault, site, email="jane@example.com")
    clock.time = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    assert {found.day for found in days_of(timed, site, 14) if found.captured} == {day}


def test_all_is_counted_at_one_moment(timed: Database, vault: Vault, site: Site) -> None:
    """An enquiry that comes in while we count must not make the day look wrong."""
    with statements(timed) as sent:
        days_of(timed, site, 14)
    assert len([sql for sql in sent if "event" in sql]) == 1
