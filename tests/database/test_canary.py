"""Test enquiries: marked by us alone, joined to nobody, counted nowhere, followed to the end and forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from leads.store import canary, outbox
from leads.store.models import Base, CanaryRun, Connection, Delivery, Event, Identity, Lead, RemoteRecord, Site, new_id
from leads.store.outbox import Look, NewEvent
from leads.store.outbox import canary as deliveries
from leads.store.queries.leads import LeadFilter, leads, search
from leads.store.queries.overview import overview
from leads.store.queries.places import connection_counts
from leads.store.session import Database
from leads.store.sites import SiteError, remove_site
from leads.store.vault import Vault
from leads.sync.canary import Canary
from leads.sync.connect import Context, Limits
from leads.sync.retry import Policy
from tests.database.lanes import Clock, delivered, finished, leased, outcome
from tests.factory import make_connection, make_site, send

PATIENCE = timedelta(minutes=10)
EMAIL = "canary@example.com"


def _begin(database: Database, site: Site) -> CanaryRun:
    with database.write() as session:
        return canary.start(session, site, "anna", database.now(session))


def _post(database: Database, vault: Vault, run: CanaryRun) -> outbox.Accepted:
    """What the intake does with a form that has the run's mark."""
    answers = {"first_name": "Frontdesk", "last_name": "Test", "email": EMAIL}
    event = NewEvent(
        run.site_id, "consultation_request", f"canary:{run.id}", None, answers, "form", True, "1", test_run=run.id
    )
    return outbox.accept(database, vault, [event])[0]


def _follow(database: Database, run: CanaryRun) -> CanaryRun:
    with database.write() as session:
        row = session.get_one(CanaryRun, run.id)
        if row.state == "running":
            deliveries.follow(session, row, PATIENCE, database.now(session))
    return row


def _confirm(database: Database, connection: Connection, **more: Any) -> None:
    """The lane reads back what it has sent."""
    lane = leased(database, connection)
    sent = outbox.to_check(database, lane, 10)
    seen = [Look(outcome(item, "confirmed", remote_id=item.delivery.remote_id, **more)) for item in sent]
    outbox.checked(database, lane, seen, None)
    outbox.release(database, lane)


def _delivery(database: Database) -> Delivery:
    with database.read() as session:
        return session.scalars(select(Delivery)).one()


def _count(database: Database, model: type[Base]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def test_only_we_can_make_the_mark(timed: Database, vault: Vault, site: Site) -> None:
    run, other = _begin(timed, site), make_site(timed, "other")
    mark = canary.mark(vault, run)
    assert canary.run_of(vault, site, mark) == run.id
    assert canary.run_of(vault, other, mark) is None
    for wrong in (None, "", "1", mark[:-1], mark + "x", str(run.id), 7, ["x"]):
        assert canary.run_of(vault, site, wrong) is None


def test_a_test_is_joined_to_nobody(timed: Database, vault: Vault, site: Site, connection: Connection) -> None:
    before = send(timed, vault, site, email=EMAIL)
    _post(timed, vault, _begin(timed, site))
    after = send(timed, vault, site, email=EMAIL)
    with timed.read() as session:
        tests = session.scalars(select(Lead).where(Lead.is_test)).all()
        real = {session.get_one(Event, event.event_id).lead_id for event in (before, after)}
        assert len(tests) == len(real) == 1
        assert session.scalars(select(Identity.lead_id)).all() == list(real)


def test_a_test_is_counted_once_and_shown_nowhere(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    run = _begin(timed, site)
    assert not _post(timed, vault, run).repeated
    assert _post(timed, vault, run).repeated
    assert _begin(timed, site).id == run.id, "one run at a time"
    assert outbox.take_over(timed, make_connection(timed, vault, site, name="A new one").id) == 0
    with timed.read() as session:
        state = overview(session, timed.now(session))
        assert (state.any_event, dict(state.waiting), list(state.waits)) == (False, {}, [])
        assert [(day.events, dict(day.places)) for day in state.today] == [(0, {})]
        assert leads(session, vault, LeadFilter()).rows == []
        for typed in (EMAIL, "Frontdesk"):
            assert search(session, vault, typed, LeadFilter()).rows == []
        assert connection_counts(session, connection.id) == {}


def test_seen_removed_and_done(timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock) -> None:
    run = _begin(timed, site)
    _post(timed, vault, run)
    assert (_follow(timed, run).state, _delivery(timed).state) == ("running", "waiting")
    clock.forward(seconds=2)
    delivered(timed, connection)
    assert _follow(timed, run).seen_at is None, "sent is not seen"
    _confirm(timed, connection)
    with timed.read() as session:
        assert outbox.ready(session, clock()) == [connection.id], "it is to be removed"
    lane = leased(timed, connection)
    (left,) = deliveries.to_remove(timed, lane)
    assert (left.remote_id, left.shared) == (_delivery(timed).remote_id, False)
    clock.forward(seconds=1)
    deliveries.removed(timed, left)
    row = _follow(timed, run)
    assert (row.state, row.code) == ("ok", None)
    assert row.stored_at is not None
    assert row.seen_at == row.stored_at + timedelta(seconds=2)
    assert row.removed_at == row.ended_at == clock()
    assert _delivery(timed).state == "erased"
    assert deliveries.to_remove(timed, lane) == []
    outbox.release(timed, lane)
    with timed.read() as session:
        assert outbox.ready(session, clock()) == []
        assert session.scalars(select(RemoteRecord)).all() == []


def test_a_crm_that_cannot_be_read_back_is_believed(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    run = _begin(timed, site)
    _post(timed, vault, run)
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), check_at=None)
    assert _follow(timed, run).seen_at is not None
    assert len(deliveries.to_remove(timed, lane)) == 1


def test_a_record_that_is_also_a_visitors_is_never_removed(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    real = send(timed, vault, site, email="jane@example.com")
    _post(timed, vault, _begin(timed, site))
    delivered(timed, connection)
    _confirm(timed, connection)
    with timed.write() as session:
        lead_id = session.get_one(Event, real.event_id).lead_id
        ours = session.scalars(select(RemoteRecord).where(RemoteRecord.lead_id != lead_id)).one()
        session.get_one(RemoteRecord, (lead_id, connection.id)).remote_id = ours.remote_id
    (left,) = deliveries.to_remove(timed, leased(timed, connection))
    assert left.shared


def test_a_crm_that_shows_nothing_fails_the_run_and_nothing_is_sent_later(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    run = _begin(timed, site)
    _post(timed, vault, run)
    clock.forward(minutes=9)
    assert _follow(timed, run).state == "running"
    clock.forward(minutes=1)
    row = _follow(timed, run)
    assert (row.state, row.code) == ("failed", "not_seen")
    assert row.sentence == "“Sandbox CRM” did not show it within 10 minutes."
    assert _delivery(timed).state == "erased"
    assert delivered(timed, connection) == []


@pytest.mark.parametrize("state", ["sending", "sent", "unknown"])
def test_what_may_be_in_the_crm_is_removed_after_the_run_has_failed(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, state: str
) -> None:
    run = _begin(timed, site)
    _post(timed, vault, run)
    lane = leased(timed, connection, seconds=5000)
    claimed = outbox.claim(timed, lane, 10, 5000)
    if state == "sent":
        finished(timed, lane, claimed)
    elif state == "unknown":
        finished(timed, lane, claimed, "waiting", unknown=True)
    clock.forward(minutes=10)
    assert _follow(timed, run).state == "failed"
    assert deliveries.to_remove(timed, lane) == []
    if state == "unknown":
        claimed = outbox.claim(timed, lane, 10, 5000)
    if state != "sent":
        assert finished(timed, lane, claimed) == 0
    outbox.release(timed, lane)
    _confirm(timed, connection, due_at=clock())
    lane = leased(timed, connection)
    (left,) = deliveries.to_remove(timed, lane)
    deliveries.removed(timed, left)
    row = _follow(timed, run)
    assert (row.state, row.code, row.removed_at) == ("failed", "not_seen", clock())


def test_refused_is_told_at_once(timed: Database, vault: Vault, site: Site, connection: Connection) -> None:
    run = _begin(timed, site)
    _post(timed, vault, run)
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), "refused", sentence="Not this address.")
    row = _follow(timed, run)
    assert (row.state, row.code) == ("failed", "refused")
    assert row.sentence == "“Sandbox CRM” did not take it. Not this address."
    assert _delivery(timed).state == "erased"


def test_what_cannot_be_removed_is_told_and_tried_again_less_and_less_often(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    run = _begin(timed, site)
    _post(timed, vault, run)
    delivered(timed, connection)
    _confirm(timed, connection)
    lane, tries = leased(timed, connection, seconds=10**6), 0
    until = clock() + timedelta(days=1)
    while clock() < until:
        for left in deliveries.to_remove(timed, lane):
            tries += 1
            deliveries.not_removed(timed, left, "The key may not delete.")
        clock.forward(minutes=10)
        _follow(timed, run)
    assert 20 < tries < 35
    row = _follow(timed, run)
    assert (row.state, row.code) == ("failed", "not_removed")
    assert row.sentence == "It arrived in “Sandbox CRM”, but could not be removed there. The key may not delete."
    clock.forward(hours=1)
    (left,) = deliveries.to_remove(timed, lane)
    deliveries.removed(timed, left)
    assert _follow(timed, run).removed_at == clock()


def test_paused_connections_are_left_out(timed: Database, vault: Vault, site: Site, connection: Connection) -> None:
    with timed.write() as session:
        outbox.pause(session, session.get_one(Connection, connection.id), timed.now(session))
    run = _begin(timed, site)
    _post(timed, vault, run)
    assert _follow(timed, run).code == "no_connection"
    assert _count(timed, Delivery) == 0


def test_tests_and_only_tests_are_forgotten_after_a_week(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    send(timed, vault, site, email="jane@example.com")
    _post(timed, vault, _begin(timed, site))
    delivered(timed, connection)
    clock.forward(days=6, hours=23)
    with timed.write() as session:
        assert deliveries.forget(session, clock()) == 0
    clock.forward(hours=2)
    with timed.write() as session:
        assert deliveries.forget(session, clock()) == 1
    assert [_count(timed, model) for model in (Event, Lead, Delivery, RemoteRecord, CanaryRun)] == [1, 1, 1, 1, 0]
    with timed.read() as session:
        assert not session.scalars(select(Event.is_test)).one()


def _canary(database: Database, vault: Vault, every: timedelta) -> Canary:
    context = Context(database, vault, "w1", Limits(60, 5), Policy((timedelta(),)))
    return Canary(context, "http://127.0.0.1:1", every, PATIENCE)


def _runs(database: Database) -> list[tuple[UUID, str, str | None]]:
    with database.read() as session:
        runs = session.scalars(select(CanaryRun).order_by(CanaryRun.started_at)).all()
        return [(run.site_id, run.state, run.code) for run in runs]


def test_the_schedule_starts_one_for_each_site_that_has_a_crm(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    make_site(timed, "unconnected")
    _canary(timed, vault, timedelta()).begin_due()
    assert _runs(timed) == [], "0 is never"
    one, other = (_canary(timed, vault, timedelta(hours=1)) for _ in range(2))
    one.begin_due()
    other.begin_due()
    assert _runs(timed) == [(site.id, "running", None)]
    clock.forward(minutes=59)
    other.begin_due()
    assert len(_runs(timed)) == 1


def test_a_form_that_does_not_answer_is_tried_for_a_minute(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    _begin(timed, site)
    worker = _canary(timed, vault, timedelta())
    for _ in range(7):
        worker.step()
        assert _runs(timed) == [(site.id, "running", None)]
        clock.forward(seconds=10)
    worker.step()
    assert _runs(timed) == [(site.id, "failed", "form_silent")]
    with timed.read() as session:
        sentence = session.scalars(select(CanaryRun.sentence)).one() or ""
    assert sentence.startswith("The form did not answer at FRONTDESK_PUBLIC_URL.")


def test_a_run_that_is_gone_makes_no_real_enquiry(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    run = _begin(timed, site)
    run.id = new_id()
    _post(timed, vault, run)
    with timed.read() as session:
        assert session.scalars(select(Event.is_test)).one()


def test_a_test_keeps_no_website_from_being_removed(
    database: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    run = _begin(database, site)
    _post(database, vault, run)
    with database.write() as session:
        session.get_one(Connection, connection.id).removed_at = database.now(session)
    with database.write() as session:
        remove_site(session, session.get_one(Site, site.id))
    with database.read() as session:
        for model in (Site, Lead, Event, Delivery, CanaryRun, Connection):
            assert session.scalars(select(model)).all() == []


def test_a_visitor_keeps_it_from_that_also_beside_a_test(database: Database, vault: Vault, site: Site) -> None:
    _post(database, vault, _begin(database, site))
    send(database, vault, site, email="jane@example.com")
    with pytest.raises(SiteError, match="has enquiries"), database.write() as session:
        remove_site(session, session.get_one(Site, site.id))
    with database.read() as session:
        assert len(session.scalars(select(Lead)).all()) == 2
