"""Many deliveries sent again: exactly those that were chosen, each once, whatever happens meanwhile."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from leads.store import outbox
from leads.store.models import Action, Connection, Delivery, Event, Lead, Replay, Site
from leads.store.outbox.replays import (
    SLICE,
    Chosen,
    ReplayError,
    load_chosen,
    replay_slice,
    running_replays,
    start_replay,
    stop_replay,
)
from leads.store.queries.replays import reasons
from leads.store.session import Database
from leads.store.vault import Vault
from tests.database.lanes import Clock, delivered, delivery_of, finished, leased
from tests.factory import make_connection, send


def _refused(database: Database, vault: Vault, site: Site, number: int, **why: str | None) -> list[UUID]:
    """As many enquiries, each refused. Returns their events."""
    events = [send(database, vault, site, email=f"p{one}@example.com").event_id for one in range(number)]
    values = {"state": "refused", "code": "bad_phone", "sentence": "Not this number."} | why
    with database.write() as session:
        session.execute(update(Delivery).where(Delivery.event_id.in_(events)).values(**values))
    return events


def _start(database: Database, vault: Vault, chosen: Chosen | None = None) -> UUID:
    with database.write() as session:
        return start_replay(session, vault, chosen or Chosen("refused"), "anna", database.now(session)).id


def _row(database: Database, replay_id: UUID) -> Replay:
    with database.read() as session:
        return session.get_one(Replay, replay_id)


def _states(database: Database) -> dict[str, int]:
    with database.read() as session:
        return dict(session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all())


def _run(database: Database, replay_id: UUID) -> int:
    """All slices that are left. Returns how many there were."""
    slices = 1
    while replay_slice(database, replay_id, patient=False):
        slices += 1
    return slices


def test_500_are_sent_again_in_slices_and_stopped_half_way(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    _refused(timed, vault, site, 500)
    replay_id = _start(timed, vault)
    assert replay_slice(timed, replay_id)
    assert replay_slice(timed, replay_id)
    row = _row(timed, replay_id)
    assert (row.state, row.total, row.done, row.skipped) == ("running", 500, 2 * SLICE, 0)
    with timed.write() as session:
        stop_replay(session, session.get_one(Replay, replay_id), "anna", timed.now(session))
    assert not replay_slice(timed, replay_id)
    assert _states(timed) == {"waiting": 2 * SLICE, "refused": 500 - 2 * SLICE}
    row = _row(timed, replay_id)
    assert (row.state, row.done, row.started_by) == ("stopped", 2 * SLICE, "anna")
    assert row.ended_at is not None

    again = _start(timed, vault)
    _run(timed, again)
    row = _row(timed, again)
    assert (row.state, row.total, row.done) == ("finished", 500 - 2 * SLICE, 500 - 2 * SLICE)
    assert _states(timed) == {"waiting": 500}
    with timed.read() as session:
        each = select(func.count()).where(Action.what == "send_again").group_by(Action.delivery_id)
        once = session.execute(each).scalars().all()
        assert once == [1] * 500, "one was sent again twice"
        assert running_replays(session) == []


def test_a_slice_that_is_not_committed_is_done_anew(
    timed: Database, vault: Vault, site: Site, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refused(timed, vault, site, 150)
    replay_id = _start(timed, vault)
    replay_slice(timed, replay_id)
    with monkeypatch.context() as broken:
        broken.setattr(timed, "nudge", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            replay_slice(timed, replay_id)
    assert _row(timed, replay_id).done == SLICE
    _run(timed, replay_id)
    assert _row(timed, replay_id).done == 150
    with timed.read() as session:
        assert session.scalar(select(func.count()).where(Action.what == "send_again")) == 150


def test_what_moved_on_meanwhile_is_passed_over_and_counted(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    events = _refused(timed, vault, site, 150)
    replay_id = _start(timed, vault)
    with timed.write() as session:
        handled = session.scalars(select(Delivery).where(Delivery.event_id.in_(events[-7:]))).all()
        for row in handled:
            outbox.handled(row)
    _run(timed, replay_id)
    row = _row(timed, replay_id)
    assert (row.done, row.skipped, row.state) == (143, 7, "finished")
    assert _states(timed) == {"waiting": 143, "handled": 7}


def test_what_is_refused_after_the_start_is_left_alone(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    late = send(timed, vault, site, email="late@example.com")
    _refused(timed, vault, site, 3)
    replay_id = _start(timed, vault)
    clock.forward(seconds=1)
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 1, 60), "refused", due_at=clock())
    newer = send(timed, vault, site, email="newer@example.com")
    with timed.write() as session:
        session.execute(update(Delivery).where(Delivery.event_id == newer.event_id).values(state="refused"))
    _run(timed, replay_id)
    row = _row(timed, replay_id)
    assert (row.total, row.done, row.skipped) == (3, 3, 0)
    assert delivery_of(timed, late.event_id).state == "refused"
    assert delivery_of(timed, newer.event_id).state == "refused"


def test_new_enquiries_need_not_queue_behind_it(
    timed: Database, vault: Vault, site: Site, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.store.outbox.replays.SLICE", 3)
    _refused(timed, vault, site, 12)
    replay_id = _start(timed, vault)
    for _ in range(6):
        assert replay_slice(timed, replay_id)
    assert _states(timed)["waiting"] == 9, "it waits while the connection has enough to do"
    with timed.write() as session:
        session.execute(update(Connection).values(state="failing"))
    assert not replay_slice(timed, replay_id), "one that is out of use is not waited for"


def test_each_part_of_the_filter(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    _refused(timed, vault, site, 2)
    _refused(timed, vault, site, 3, state="expired", code="timeout", sentence="No answer.")
    clock.forward(days=2)
    _refused(timed, vault, site, 4, code="bad_mail", sentence="Not this address.")
    other = make_connection(timed, vault, site, name="Other")
    _refused(timed, vault, site, 1)
    gone = make_connection(timed, vault, site, name="Gone")
    _refused(timed, vault, site, 1)
    with timed.write() as session:
        session.get_one(Connection, gone.id).removed_at = clock()
    _refused(timed, vault, site, 1)
    with timed.write() as session:
        session.execute(update(Event).values(is_test=False))
        newest = session.scalars(select(Event).order_by(Event.received_at.desc(), Event.id.desc())).first()
        assert newest is not None
        newest.is_test = True

    def found(chosen: Chosen) -> int:
        kept = load_chosen(chosen.dump())
        assert kept == chosen
        with timed.read() as session:
            return sum(one.number for one in reasons(session, kept, clock()))

    assert found(Chosen("refused")) == 2 + 4 + 2 * 2, "nothing of removed connections, no tests"
    assert found(Chosen("expired")) == 3
    assert found(Chosen("needs_you")) == 13
    assert found(Chosen("refused", code="bad_mail")) == 4
    assert found(Chosen("refused", connection_id=other.id)) == 2
    assert found(Chosen("needs_you", since=clock() - timedelta(days=1))) == 8
    assert found(Chosen("refused", site_id=site.id)) == 10
    assert found(Chosen("in_the_crm")) == 0
    with timed.read() as session:
        first = reasons(session, Chosen("needs_you"), clock())[0]
    assert (first.number, first.code, first.sentence, first.connection.name) == (
        4,
        "bad_mail",
        "Not this address.",
        "Sandbox CRM",
    )


def test_what_may_have_arrived_is_left_to_a_person(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    _refused(timed, vault, site, 1, code="unknown_outcome")
    (plain,) = _refused(timed, vault, site, 1, code=None)
    _run(timed, _start(timed, vault))
    assert delivery_of(timed, plain).state == "waiting"
    assert _states(timed) == {"waiting": 1, "refused": 1}


def test_what_the_visitor_has_taken_consent_back_for_is_passed_over_and_counted(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    for name in ("jane", "tom"):
        send(timed, vault, site, client_id=name, email=f"{name}@example.com")
    delivered(timed, connection)
    send(timed, vault, site, client_id="jane", email="jane@example.com", consent=False)
    replay_id = _start(timed, vault, Chosen("in_the_crm"))
    _run(timed, replay_id)
    row = _row(timed, replay_id)
    assert (row.total, row.done, row.skipped) == (2, 1, 1)
    assert _states(timed) == {"sent": 1, "waiting": 1}


def test_spam_is_put_aside_in_slices_and_a_persons_word_stands(
    timed: Database, vault: Vault, site: Site, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.store.outbox.replays.SLICE", 3)
    events = [send(timed, vault, site, email=f"p{n}@example.com", suspicion="Too quick.").event_id for n in range(8)]
    replay_id = _start(timed, vault, Chosen("spam", until=timed.time()))
    with timed.write() as session:
        event = session.get_one(Event, events[-1])
        assert outbox.release_hold(session, vault, event, session.get_one(Lead, event.lead_id), timed.now(session))
    assert _run(timed, replay_id) == 3
    row = _row(timed, replay_id)
    assert (row.state, row.total, row.done, row.skipped) == ("finished", 8, 7, 1)
    assert _states(timed) == {"handled": 7, "waiting": 1}
    chosen = load_chosen(row.chosen)
    assert (chosen.is_spam, chosen.until) == (True, timed.time())


def test_nothing_to_send_again(timed: Database, vault: Vault, connection: Connection) -> None:
    with pytest.raises(ReplayError):
        _start(timed, vault)
    with timed.read() as session:
        assert session.scalar(select(func.count()).select_from(Replay)) == 0
