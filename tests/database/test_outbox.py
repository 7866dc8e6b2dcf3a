"""accept → claim → finish on both databases: what is stored once, who may send it, and in which order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from leads.store import failpoint, outbox
from leads.store.failpoint import Failpoint
from leads.store.holds import HOLD_SENTENCES
from leads.store.models import Attempt, Connection, Delivery, Event, Lead, RemoteRecord, Resubmission, Site
from leads.store.outbox import Health, Look, NewEvent
from leads.store.session import Database
from leads.store.vault import Vault
from tests.database.lanes import WELL, Clock, delivered, delivery_of, finished, leased, outcome
from tests.factory import make_connection, make_site, send

JANE = {"first_name": "Jane", "email": "jane@example.com"}
TOM = {"first_name": "Tom", "email": "tom@example.com"}


def count(database: Database, model: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


# accept


def test_event_lead_and_deliveries_are_one_commit(
    timed: Database, vault: Vault, connection: Connection, site: Site
) -> None:
    second = make_connection(timed, vault, site)
    accepted = send(timed, vault, site, **JANE)
    assert not accepted.repeated
    with timed.read() as session:
        rows = session.scalars(select(Delivery).where(Delivery.event_id == accepted.event_id)).all()
        lead = session.scalars(select(Lead)).one()
    assert lead.code == accepted.reference
    assert {row.connection_id for row in rows} == {connection.id, second.id}
    assert {(row.state, row.lead_id, row.attempts, row.due_at) for row in rows} == {
        ("waiting", lead.id, 0, accepted.received_at)
    }


@pytest.mark.usefixtures("connection")
def test_a_crash_before_the_commit_leaves_nothing(timed: Database, vault: Vault, site: Site) -> None:
    failpoint.arm("accept.written:raise")
    with pytest.raises(Failpoint):
        send(timed, vault, site, **JANE)
    assert [count(timed, model) for model in (Event, Lead, Delivery)] == [0, 0, 0]


@pytest.mark.usefixtures("connection")
def test_the_same_browser_id_is_the_same_event(timed: Database, vault: Vault, site: Site) -> None:
    first = send(timed, vault, site, client_id="one", **JANE)
    again = send(timed, vault, site, client_id="one", **JANE)
    assert again == first._replace(repeated=True)
    assert [count(timed, model) for model in (Event, Delivery, Resubmission)] == [1, 1, 0]


def test_other_answers_under_the_same_id_are_kept_once(timed: Database, vault: Vault, site: Site) -> None:
    first, more = send(timed, vault, site, client_id="one", **JANE), JANE | {"message": "I forgot to say"}
    for _ in range(2):
        assert send(timed, vault, site, client_id="one", **more).event_id == first.event_id
    with timed.read() as session:
        [kept] = session.scalars(select(Resubmission)).all()
    assert kept.event_id == first.event_id
    assert vault.open(kept.answers_sealed, "resubmission", "answers", kept.id) == more
    assert count(timed, Lead) == 1


HOME, MOBILE = "+12015550100", "+12015550123"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"email": "jane@example.com"}, {"email": "mary@example.com"}),
        ({"email": "jane@example.com", "phone": HOME}, {"email": "mary@example.com", "phone": MOBILE}),
        ({"email": "jane@example.com", "phone": HOME}, {"phone": MOBILE}),
        ({"phone": HOME, "first_name": "Jane"}, {"phone": HOME, "first_name": "Mary"}),
        (
            {"email": "jane@example.com", "phone": HOME, "first_name": "Jane"},
            {"email": "mary@example.com", "phone": HOME, "first_name": "Mary"},
        ),
    ],
)
def test_an_id_that_a_page_gives_to_everybody_makes_nobodys_enquiry_a_repeat(
    timed: Database, vault: Vault, site: Site, one: dict[str, str], other: dict[str, str]
) -> None:
    first, second = (send(timed, vault, site, client_id="page", **person) for person in (one, other))
    assert (first.repeated, second.repeated) == (False, False)
    for _ in range(2):
        assert send(timed, vault, site, client_id="page", **one) == first._replace(repeated=True)
        assert send(timed, vault, site, client_id="page", **other) == second._replace(repeated=True)
    assert [count(timed, model) for model in (Event, Lead, Resubmission)] == [2, 2, 0]
    send(timed, vault, site, client_id="page", **other | {"message": "I forgot to say"})
    with timed.read() as session:
        assert session.scalars(select(Resubmission.event_id)).all() == [second.event_id]


@pytest.mark.parametrize(
    "change",
    [
        {"email": "Jane@Example.com"},
        {"phone": HOME},
        {"email": ""},
        {"email": "jane.doe@example.com"},  # of one phone and one first name
    ],
)
def test_what_may_be_the_same_persons_stays_a_repeat(
    timed: Database, vault: Vault, site: Site, change: dict[str, str]
) -> None:
    jane = JANE | {"phone": MOBILE}
    first = send(timed, vault, site, client_id="one", **jane)
    assert send(timed, vault, site, client_id="one", **jane | change) == first._replace(repeated=True)
    assert [count(timed, model) for model in (Event, Resubmission)] == [1, 1]


def test_the_same_id_at_another_site_is_another_event(timed: Database, vault: Vault, site: Site) -> None:
    send(timed, vault, site, client_id="one", **JANE)
    send(timed, vault, make_site(timed, key="other"), client_id="one", **JANE)
    assert count(timed, Event) == 2


@pytest.mark.usefixtures("connection")
def test_many_at_once_are_one_event_of_each_person_also_with_other_answers(
    timed: Database, vault: Vault, site: Site
) -> None:
    people = [JANE, TOM, JANE | {"message": "more"}, TOM | {"message": "more"}, {"email": "mia@example.com"}] * 3
    with ThreadPoolExecutor(len(people)) as pool:
        answers = list(pool.map(lambda person: send(timed, vault, site, client_id="one", **person), people))
    assert len({answer.event_id for answer in answers}) == 3
    assert [answer.repeated for answer in answers].count(False) == 3
    assert [count(timed, model) for model in (Event, Lead, Delivery, Resubmission)] == [3, 3, 3, 2]


def test_many_in_one_commit_are_one_event_of_each_person(timed: Database, vault: Vault, site: Site) -> None:
    events = [replace(_new(site), answers=person) for person in [JANE, TOM, {"email": "mia@example.com"}] * 2]
    answers = outbox.accept(timed, vault, events)
    assert [answer.repeated for answer in answers] == [False] * 3 + [True] * 3
    assert [answer.event_id for answer in answers[3:]] == [answer.event_id for answer in answers[:3]]


def _new(site: Site) -> NewEvent:
    return NewEvent(site.id, "consultation_request", "one", None, {}, "website", True, "1")


@pytest.mark.parametrize(
    ("suspicion", "consent", "paused", "code"),
    [
        (None, True, False, None),
        ("trap", True, False, "spam"),
        (None, False, False, "no_consent"),
        ("trap", False, False, "spam"),
        (None, True, True, "paused"),
    ],
)
def test_what_may_not_go_is_held_with_the_reason(
    timed: Database, vault: Vault, site: Site, suspicion: str | None, consent: bool, paused: bool, code: str | None
) -> None:
    make_connection(timed, vault, site, state="paused" if paused else "working")
    event_id = send(timed, vault, site, suspicion=suspicion, consent=consent, **JANE).event_id
    row = delivery_of(timed, event_id)
    assert (row.state, row.code) == ("held" if code else "waiting", code)
    assert row.sentence == (HOLD_SENTENCES[code] if code else None)


# lease and claim


def test_a_connection_is_in_one_hand_at_a_time(timed: Database, connection: Connection, clock: Clock) -> None:
    lane = leased(timed, connection, "w1", seconds=60)
    assert outbox.lease(timed, connection.id, "w2", 60) is None
    outbox.release(timed, lane)
    other = leased(timed, connection, "w2", seconds=60)
    clock.forward(seconds=61)
    assert leased(timed, connection, "w3").token != other.token


def test_a_lane_that_was_lost_gives_nothing_and_takes_nothing(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    send(timed, vault, site, **JANE)
    lost = leased(timed, connection, "w1", seconds=60)
    clock.forward(seconds=61)
    held = leased(timed, connection, "w2")
    assert outbox.claim(timed, lost, 10, 60) == []
    outbox.release(timed, lost)
    assert outbox.lease(timed, connection.id, "w3", 60) is None
    assert len(outbox.claim(timed, held, 10, 60)) == 1


def test_only_connections_with_something_to_do_are_ready(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    def ready() -> list[object]:
        with timed.read() as session:
            return list(outbox.ready(session, clock()))

    assert ready() == []
    send(timed, vault, site, **JANE)
    assert ready() == [connection.id]
    lane = leased(timed, connection)
    assert ready() == []
    claimed = outbox.claim(timed, lane, 10, 60)
    finished(timed, lane, claimed, check_at=clock.time.replace(hour=10))
    outbox.release(timed, lane)
    assert ready() == []
    clock.forward(hours=2)  # now it is to be read back
    assert ready() == [connection.id]


@pytest.mark.usefixtures("connection")
def test_two_workers_never_claim_the_same_delivery(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    for number in range(20):
        send(timed, vault, site, email=f"p{number}@example.com")
    lane = leased(timed, connection)  # both go by one lane, so that only the rows keep them apart
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: outbox.claim(timed, lane, 5, 60), range(4)))
    claimed = [item.delivery.id for batch in batches for item in batch]
    assert len(claimed) == len(set(claimed)) == 20
    assert outbox.claim(timed, lane, 5, 60) == []


def test_two_workers_at_once_share_out_the_connections(timed: Database, vault: Vault, site: Site) -> None:
    connections = [make_connection(timed, vault, site) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        lanes = list(pool.map(lambda n: outbox.lease(timed, connections[n % 3].id, f"w{n}", 60), range(6)))
    taken = [lane.connection_id for lane in lanes if lane]
    assert sorted(taken) == sorted(connection.id for connection in connections)


def test_a_claim_tells_all_that_is_needed(timed: Database, vault: Vault, site: Site, connection: Connection) -> None:
    accepted = send(timed, vault, site, **JANE)
    [claimed] = outbox.claim(timed, leased(timed, connection), 10, 60)
    assert (claimed.event.id, claimed.lead.code) == (accepted.event_id, accepted.reference)
    assert (claimed.remote_id, claimed.left_behind) == (None, False)
    assert delivery_of(timed, accepted.event_id).token == claimed.token


def test_the_limit_holds_and_the_oldest_go_first(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    sent = []
    for number in range(4):
        sent.append(send(timed, vault, site, email=f"p{number}@example.com").event_id)
        clock.forward(seconds=1)
    claimed = outbox.claim(timed, leased(timed, connection), 3, 60)
    assert [item.event.id for item in claimed] == sent[:3]


# order per lead


def test_events_of_one_lead_never_overtake_each_other(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    first = send(timed, vault, site, **JANE).event_id
    second = send(timed, vault, site, **JANE).event_id  # at the same moment
    other = send(timed, vault, site, **TOM).event_id
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 10, 60)
    assert {item.event.id for item in claimed} == {first, other}
    assert outbox.claim(timed, lane, 10, 60) == []
    finished(timed, lane, claimed, "waiting", due_at=clock.time.replace(hour=20))
    assert outbox.claim(timed, lane, 10, 60) == []  # the first waits for its next slot, so the second does too
    clock.forward(hours=12)
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 10, 60)
    finished(timed, lane, claimed)
    [claimed] = outbox.claim(timed, lane, 10, 60)
    assert (claimed.event.id, claimed.remote_id) == (second, f"r-{claimed.lead.code}")


def test_one_that_needs_a_person_does_not_hold_up_the_next(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    send(timed, vault, site, **JANE)
    second = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), "refused")
    assert [item.event.id for item in outbox.claim(timed, lane, 10, 60)] == [second]


# finish


def test_what_was_sent_is_written_down(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    [claimed] = delivered(timed, connection)
    row = delivery_of(timed, event_id)
    assert (row.state, row.attempts, row.token, row.lease_until) == ("sent", 1, None, None)
    assert (row.remote_id, row.sent_at) == (f"r-{claimed.lead.code}", clock.time)
    with timed.read() as session:
        [attempt] = session.scalars(select(Attempt)).all()
        [record] = session.scalars(select(RemoteRecord)).all()
    assert (attempt.delivery_id, attempt.verdict, attempt.milliseconds) == (row.id, "sent", 5)
    assert (record.lead_id, record.remote_id, record.retire) == (row.lead_id, row.remote_id, False)


def test_a_free_verdict_costs_no_attempt_but_is_listed(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 10, 60)
    finished(timed, lane, claimed, "waiting", counts=False, code="bad_key", sentence="The key is wrong.", status=401)
    row = delivery_of(timed, event_id)
    assert (row.state, row.attempts, row.code, row.sentence) == ("waiting", 0, "bad_key", "The key is wrong.")
    assert count(timed, Attempt) == 1


def test_a_dead_workers_delivery_is_taken_over_and_looked_up_first(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    dead = leased(timed, connection, "w1", seconds=60)
    [lost] = outbox.claim(timed, dead, 10, 60)
    clock.forward(seconds=61)
    lane = leased(timed, connection, "w2")
    [claimed] = outbox.claim(timed, lane, 10, 60)
    assert claimed.delivery.id == lost.delivery.id
    assert claimed.left_behind
    assert claimed.token != lost.token

    assert finished(timed, dead, [lost], "refused") == 1  # the late answer is fenced off
    assert delivery_of(timed, event_id).state == "sending"
    assert finished(timed, lane, [claimed]) == 0
    assert finished(timed, dead, [lost], "refused") == 1
    assert delivery_of(timed, event_id).state == "sent"
    assert count(timed, Attempt) == 1


def test_an_unknown_outcome_is_remembered_for_the_next_claim(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    send(timed, vault, site, **JANE)
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), "waiting", unknown=True)
    [claimed] = outbox.claim(timed, lane, 10, 60)
    assert claimed.delivery.unknown


@pytest.mark.parametrize("left_behind", [False, True])
def test_what_is_given_back_is_due_at_once_and_cost_nothing(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, left_behind: bool
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 10, 60)
    if left_behind:
        clock.forward(seconds=61)
        lane = leased(timed, connection)
        claimed = outbox.claim(timed, lane, 10, 60)
    outbox.give_back(timed, claimed)
    row = delivery_of(timed, event_id)
    assert (row.state, row.attempts, row.token, row.unknown) == ("waiting", 0, None, left_behind)
    assert len(outbox.claim(timed, lane, 10, 60)) == 1


def test_a_crash_before_finish_commits_leaves_it_leased(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 10, 60)
    failpoint.arm("finish.written:raise")
    with pytest.raises(Failpoint):
        finished(timed, lane, claimed)
    assert delivery_of(timed, event_id).state == "sending"
    assert count(timed, Attempt) == 0


# the health of a connection


def test_a_failing_connection_is_probed_with_one_and_recovers(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    for number in range(3):
        send(timed, vault, site, email=f"p{number}@example.com")
    later, much_later = clock.time.replace(minute=5), clock.time.replace(hour=20)
    lane = leased(timed, connection)
    down = Health("failing", 5, 1, "down", "The CRM is down.", probe_at=later)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), "waiting", due_at=much_later, health=down)
    outbox.release(timed, lane)
    assert outbox.lease(timed, connection.id, "w1", 60) is None

    clock.forward(minutes=6)
    with timed.write() as session:
        session.execute(update(Delivery).values(due_at=clock()))
    lane = leased(timed, connection)
    assert lane.probing
    probe = outbox.claim(timed, lane, 10, 60)
    assert len(probe) == 1
    with timed.write() as session:
        session.execute(update(Delivery).where(Delivery.state == "waiting").values(due_at=much_later))
    finished(timed, lane, probe, health=WELL)
    assert len(outbox.claim(timed, replace(lane, probing=False), 10, 60)) == 2  # nothing waits for its slot any more


def test_a_throttled_connection_is_left_alone_by_all(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    send(timed, vault, site, **JANE)
    lane = leased(timed, connection)
    quiet = Health("working", 0, 0, "rate_limit", "Slow down.", wait_until=clock.time.replace(minute=5))
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), "waiting", health=quiet)
    assert outbox.claim(timed, lane, 10, 60) == []
    outbox.release(timed, lane)
    assert outbox.lease(timed, connection.id, "w2", 60) is None
    clock.forward(minutes=6)
    assert len(outbox.claim(timed, leased(timed, connection), 10, 60)) == 1


def test_staff_pause_and_resume(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    flying = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 1, 60)
    waiting = send(timed, vault, site, **TOM).event_id
    with timed.write() as session:
        outbox.pause(session, session.get_one(Connection, connection.id), clock())
    meanwhile = send(timed, vault, site, email="new@example.com").event_id
    assert {delivery_of(timed, event).code for event in (waiting, meanwhile)} == {"paused"}
    assert outbox.claim(timed, lane, 10, 60) == []

    finished(timed, lane, claimed, health=WELL)  # what was on its way may arrive, and what staff decided stands
    assert delivery_of(timed, flying).state == "sent"
    outbox.release(timed, lane)
    assert outbox.lease(timed, connection.id, "w2", 60) is None

    clock.forward(hours=1)
    with timed.write() as session:
        outbox.resume(session, session.get_one(Connection, connection.id), clock())
    assert {item.event.id for item in delivered(timed, connection)} == {waiting, meanwhile}


def removed(database: Database, connection: Connection) -> int:
    """How many had not arrived."""
    with database.write() as session:
        return outbox.remove(session, session.get_one(Connection, connection.id), database.now(session))


def test_a_removed_connection_keeps_what_had_not_arrived(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    arrived = send(timed, vault, site, **JANE).event_id
    delivered(timed, connection)
    left = send(timed, vault, site, **TOM).event_id
    assert removed(timed, connection) == 1
    assert delivery_of(timed, arrived).state == "sent"
    assert (delivery_of(timed, left).state, delivery_of(timed, left).code) == ("held", "removed")
    assert outbox.lease(timed, connection.id, "w1", 60) is None


@pytest.mark.parametrize("held", [{"suspicion": "trap"}, {"consent": False}, {"suspicion": "trap", "consent": False}])
def test_what_is_held_for_itself_says_so_when_its_connection_is_removed_until_somebody_clears_it(
    timed: Database, vault: Vault, site: Site, connection: Connection, held: dict[str, Any]
) -> None:
    event_id = send(timed, vault, site, **JANE, **held).event_id
    before = delivery_of(timed, event_id)
    assert removed(timed, connection) == 1
    row = delivery_of(timed, event_id)
    assert (row.state, row.code, row.sentence) == ("held", before.code, before.sentence)
    if len(held) == 2:
        assert release_hold(timed, vault, event_id) == 0
        assert delivery_of(timed, event_id).code == "no_consent"
    assert release_hold(timed, vault, event_id) == 0
    assert delivery_of(timed, event_id).code == "removed"
    assert taken_over(timed, vault, site)[1] == 1


def test_what_may_have_arrived_when_its_connection_is_removed_is_for_a_person_and_no_other_connection(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    assert len(outbox.claim(timed, lane, 10, 60)) == 1  # and then the worker dies
    assert removed(timed, connection) == 1
    row = delivery_of(timed, event_id)
    assert (row.state, row.code) == ("refused", "unknown_outcome")
    assert "It may have arrived: the connection was removed" in str(row.sentence)
    other = make_connection(timed, vault, site)
    assert outbox.take_over(timed, other.id) == 0


@pytest.mark.parametrize(
    ("state", "code", "unknown", "paused"),
    [
        ("waiting", "timeout", True, False),
        ("waiting", "timeout", True, True),
        ("expired", "timeout", True, False),
        ("refused", "unknown_outcome", False, False),
    ],
)
def test_what_may_have_arrived_stays_so_whatever_became_of_it_before_its_connection_is_removed(
    timed: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    state: str,
    code: str,
    unknown: bool,
    paused: bool,
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 10, 60)
    finished(timed, lane, claimed, state, code=code, sentence="Press “Send again”.", unknown=unknown)
    if paused:
        with timed.write() as session:
            outbox.pause(session, session.get_one(Connection, connection.id), timed.now(session))
    assert removed(timed, connection) == 1
    row = delivery_of(timed, event_id)
    assert (row.state, row.code) == ("refused", "unknown_outcome")
    assert "It may have arrived: the connection was removed" in str(row.sentence)
    assert taken_over(timed, vault, site)[1] == 0


@pytest.mark.parametrize(
    ("became", "known"),
    [
        (("sent", False), ("sent", None)),
        (("refused", False), ("held", "removed")),
        (("waiting", False), ("held", "removed")),
        (("waiting", True), ("refused", "unknown_outcome")),
    ],
)
def test_what_was_in_hand_when_its_connection_was_removed_is_for_a_person_only_until_it_is_known(
    timed: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    clock: Clock,
    became: tuple[str, bool],
    known: tuple[str, str | None],
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 10, 60)
    removed(timed, connection)
    state, unknown = became
    code = None if state == "sent" else "too_long"
    assert finished(timed, lane, claimed, state, code=code, sentence="As the CRM said.", unknown=unknown) == unknown
    row = delivery_of(timed, event_id)
    assert (row.state, row.code, row.check_at) == (*known, None)


def test_what_was_only_claimed_when_its_connection_was_removed_was_not_sent(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    claimed = outbox.claim(timed, leased(timed, connection), 10, 60)
    removed(timed, connection)
    outbox.give_back(timed, claimed)
    row = delivery_of(timed, event_id)
    assert (row.state, row.code, row.token) == ("held", "removed", None)
    assert "removed before this was sent" in str(row.sentence)


# a person decides


def test_send_again_gives_a_fresh_budget(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), "expired", code="timeout", sentence="Too late.", field="x")
    clock.forward(days=8)
    with timed.write() as session:
        outbox.requeue(session.scalars(select(Delivery)).one(), clock())
    row = delivery_of(timed, event_id)
    assert (row.state, row.attempts, row.code, row.sentence, row.field) == ("waiting", 0, None, None, None)
    assert row.tries_from == row.due_at == clock()
    assert len(delivered(timed, connection)) == 1


def release_hold(database: Database, vault: Vault, event_id: object) -> int:
    with database.write() as session:
        event = session.get_one(Event, event_id)
        return outbox.release_hold(session, vault, event, session.get_one(Lead, event.lead_id), database.now(session))


@pytest.mark.usefixtures("connection")
def test_not_spam_goes_out(timed: Database, vault: Vault, site: Site) -> None:
    event_id = send(timed, vault, site, suspicion="trap", **JANE).event_id
    assert release_hold(timed, vault, event_id) == 1
    assert delivery_of(timed, event_id).state == "waiting"


def test_not_spam_still_waits_for_a_paused_connection(timed: Database, vault: Vault, site: Site) -> None:
    make_connection(timed, vault, site, state="paused")
    event_id = send(timed, vault, site, suspicion="trap", **JANE).event_id
    assert release_hold(timed, vault, event_id) == 0
    assert (delivery_of(timed, event_id).state, delivery_of(timed, event_id).code) == ("held", "paused")


def test_a_first_connection_gets_what_came_before_it(timed: Database, vault: Vault, site: Site) -> None:
    early = send(timed, vault, site, **JANE).event_id
    held = send(timed, vault, site, consent=False, **TOM).event_id
    connection = make_connection(timed, vault, site)
    assert [outbox.take_over(timed, connection.id) for _ in range(2)] == [2, 0]
    assert delivery_of(timed, held).code == "no_consent"
    assert [item.event.id for item in delivered(timed, connection)] == [early]


def test_a_second_connection_gets_only_what_is_new(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    send(timed, vault, site, **JANE)
    second = make_connection(timed, vault, site)
    assert outbox.take_over(timed, second.id) == 0


def test_a_new_connection_takes_over_from_a_removed_one(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    removed(timed, connection)
    new = make_connection(timed, vault, site)
    assert outbox.take_over(timed, new.id) == 1
    with timed.read() as session:
        rows = session.scalars(select(Delivery).where(Delivery.event_id == event_id)).all()
        assert {row.connection_id: row.state for row in rows} == {connection.id: "handled", new.id: "waiting"}
    assert len(delivered(timed, new)) == 1


def taken_over(database: Database, vault: Vault, site: Site) -> tuple[Connection, int]:
    connection = make_connection(database, vault, site)
    return connection, outbox.take_over(database, connection.id)


def test_what_was_taken_over_and_has_not_arrived_is_taken_over_again(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    send(timed, vault, site, **JANE)
    delivered(timed, connection)
    waits = send(timed, vault, site, **TOM).event_id
    held = send(timed, vault, site, consent=False, email="mia@example.com").event_id
    for _ in range(3):
        removed(timed, connection)
        connection, number = taken_over(timed, vault, site)
        assert number == 2, "what has arrived is not sent again"
    assert [item.event.id for item in delivered(timed, connection)] == [waits]
    assert release_hold(timed, vault, held) == 1
    assert [item.event.id for item in delivered(timed, connection)] == [held]


def test_what_is_cleared_while_no_connection_is_there_goes_to_the_next_one(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    event_id = send(timed, vault, site, consent=False, **JANE).event_id
    removed(timed, connection)
    assert release_hold(timed, vault, event_id) == 0
    assert (delivery_of(timed, event_id).state, delivery_of(timed, event_id).code) == ("held", "removed")
    connection, number = taken_over(timed, vault, site)
    assert number == 1
    assert [item.event.id for item in delivered(timed, connection)] == [event_id]


# reading back


def test_what_was_sent_is_confirmed_once_read_back(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    delivered(timed, connection)
    lane = leased(timed, connection)
    seen = outbox.to_check(timed, lane, 10)
    outbox.checked(
        timed, lane, [Look(outcome(item, "confirmed", remote_id="r-1", remote_url="u")) for item in seen], None
    )
    row = delivery_of(timed, event_id)
    assert (row.state, row.remote_id, row.remote_url, row.confirmed_at) == ("confirmed", "r-1", "u", clock.time)
    assert outbox.to_check(timed, lane, 10) == []


def test_what_was_sent_again_meanwhile_is_not_confirmed_by_an_old_look(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    event_id = send(timed, vault, site, **JANE).event_id
    delivered(timed, connection)
    lane = leased(timed, connection)
    seen = outbox.to_check(timed, lane, 10)
    outbox.release(timed, lane)
    clock.forward(seconds=5)
    with timed.write() as session:
        outbox.requeue(session.scalars(select(Delivery)).one(), clock())
    delivered(timed, connection)
    outbox.checked(timed, lane, [Look(outcome(item, "waiting", verdict="missing")) for item in seen], None)
    assert delivery_of(timed, event_id).state == "sent"
