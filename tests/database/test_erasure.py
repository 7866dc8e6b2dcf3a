"""Somebody wants to be forgotten: nothing here tells who it was, the CRM's record goes, and nothing brings it back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from integrations.core.base import Item, Pushed, Result, Seen
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, Unknown
from leads.store import outbox
from leads.store.clock import heartbeat, mend
from leads.store.erasure_list import ErasureList
from leads.store.models import (
    Action,
    Attempt,
    Connection,
    Delivery,
    Erasure,
    Event,
    Identity,
    Lead,
    RemoteRecord,
    Resubmission,
    Site,
    new_id,
)
from leads.store.outbox.replays import Chosen, ReplayError, start_replay
from leads.store.people import person_of
from leads.store.queries.balance import balance, last_days, lost_leads
from leads.store.queries.enquiries import latest_enquiries
from leads.store.queries.overview import without_connection
from leads.store.queries.signs import signs
from leads.store.retention import forget_slice
from leads.store.session import Database
from leads.store.vault import Vault
from leads.upkeep.alerts import conditions
from tests.database.lanes import Clock, delivered, finished, leased, outcome
from tests.database.loop import Loop
from tests.factory import make_connection, make_site, send
from tests.fakes import FakeCrm

JANE = {
    "first_name": "Zyxwina",
    "last_name": "Quorbleton",
    "email": "zyx.quorb@example.com",
    "phone": "+12015550147",
    "message": "My wisdomtooth hurts",
}
DOWN = TryLater("unavailable", "The CRM is down.")


def lead_of(database: Database, event_id: UUID) -> UUID:
    with database.read() as session:
        return session.get_one(Event, event_id).lead_id


def erase(loop: Loop, event_id: UUID) -> bool:
    lead_id = lead_of(loop.database, event_id)
    return outbox.erase(loop.database, loop.vault, loop.erasures, lead_id, "anna") is not None


def erasure(database: Database) -> Erasure:
    """The only one."""
    with database.read() as session:
        return session.scalars(select(Erasure)).one()


def number(database: Database, model: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def test_nothing_tells_who_it_was_any_more(
    timed: Database, vault: Vault, site: Site, connection: Connection, erasures: ErasureList
) -> None:
    send(timed, vault, site, **JANE)
    send(timed, vault, site, "call_click", visitor_id="v1")
    delivered(timed, connection)
    jane = send(timed, vault, site, client_id="c", visitor_id="v1", **JANE)
    send(timed, vault, site, client_id="c", visitor_id="v1", **(JANE | {"service": "another"}))
    delivered(timed, connection)
    lead_id = lead_of(timed, jane.event_id)
    with timed.read() as session:
        digests = set(session.scalars(select(Identity.digest))) | set(session.scalars(select(Event.client_digest)))
        digests |= set(session.scalars(select(Event.body_digest)))
        assert session.scalar(select(func.count()).select_from(Lead)) == 2, "the caller and Jane"
    assert outbox.erase(timed, vault, erasures, lead_id, "anna")
    with timed.read() as session:
        leads = session.scalars(select(Lead)).all()
        events = session.scalars(select(Event)).all()
        rows = session.scalars(select(Delivery)).all()
        actions = session.scalars(select(Action)).all()
    assert {str(person_of(vault, lead)) for lead in leads} == {"{}"}
    assert {(lead.known, lead.shareable, lead.erased_by) for lead in leads} == {(False, False, "anna")}
    assert [vault.open(one.answers_sealed, "event", "answers", one.id) for one in events] == [{}] * 3
    assert not digests & {digest for one in events for digest in (one.client_digest, one.body_digest)}
    assert {(row.state, row.remote_id, row.remote_url, row.check_at) for row in rows} == {("erased", None, None, None)}
    assert all(row.sent_at for row in rows), "the times stay"
    assert [number(timed, model) for model in (Identity, Resubmission, RemoteRecord)] == [0, 0, 0]
    told = [(one.user_name, one.what, one.lead_id, one.note_sealed) for one in actions]
    assert told == [("anna", "erased", lead_id, None)]
    assert not outbox.erase(timed, vault, erasures, lead_id, "sam"), "once is enough"


def test_the_record_goes_from_the_crm_and_the_day_still_closes(loop: Loop) -> None:
    event_id = loop.send()
    loop.tick()
    assert erase(loop, event_id)
    assert loop.crm.erased == [], "no CRM is called by whoever asks"
    loop.tick(seconds=1)
    assert loop.crm.erased == [f"r{event_id}"]
    done = erasure(loop.database)
    assert (done.state, done.remote_ids, done.url, done.ended_at is None) == ("done", [], None, False)
    assert not loop.tick(hours=1)
    with loop.database.read() as session:
        [day] = balance(session, loop.site, last_days(loop.site, loop.clock(), 1), loop.clock())
    assert (day.closes, day.captured, day.states["erased"]) == (True, 1, 1)


def test_what_waits_is_not_sent_any_more(loop: Loop) -> None:
    event_id = loop.send()
    assert erase(loop, event_id)
    assert not loop.tick(hours=1)
    assert (loop.crm.written, loop.row().state, number(loop.database, Erasure)) == ([], "erased", 0)


@pytest.mark.parametrize("state", ["held", "refused", "expired", "handled"])
def test_nothing_sends_it_again(loop: Loop, state: str) -> None:
    event_id = loop.send()
    with loop.database.write() as session:
        session.execute(update(Delivery).values(state=state))
    assert erase(loop, event_id)
    with loop.database.write() as session:
        event, lead = session.get_one(Event, event_id), session.get_one(Lead, lead_of(loop.database, event_id))
        assert outbox.release_hold(session, loop.vault, event, lead, loop.clock()) == 0
        outbox.requeue_all_of(session, lead.id, loop.connection_id, loop.clock())
        connection = session.get_one(Connection, loop.connection_id)
        outbox.remove(session, connection, loop.clock())
    other = make_connection(loop.database, loop.vault, loop.site, name="Second")
    assert outbox.take_over(loop.database, other.id) == 0
    with loop.database.write() as session:
        for chosen in ("needs_you", "waiting", "in_the_crm"):
            with pytest.raises(ReplayError):
                start_replay(session, loop.vault, Chosen(chosen), "anna", loop.clock())
    assert loop.row().state == "erased"


def test_neither_a_look_nor_a_night_wakes_it(loop: Loop) -> None:
    event_id = loop.send()
    loop.tick()
    loop.clock.forward(hours=30)
    lane = leased(loop.database, loop.connection())
    looked_at = outbox.to_check(loop.database, lane, 10)
    assert erase(loop, event_id)
    look = outbox.Look(outcome(looked_at[0], "confirmed", remote_id="r1", check_at=loop.clock()))
    outbox.checked(loop.database, lane, [look], None)
    outbox.release(loop.database, lane)
    assert (loop.row().state, loop.row().remote_id, loop.row().check_at) == ("erased", None, None)
    loop.tick(seconds=1)
    assert erasure(loop.database).state == "done"
    looks = len(loop.crm.looked)
    loop.tick(seconds=1)
    loop.night()
    assert len(loop.crm.looked) == looks


def test_whoever_writes_again_is_somebody_new(loop: Loop) -> None:
    said = {"client_id": "c", "visitor_id": "v", **JANE}
    first = send(loop.database, loop.vault, loop.site, **said)
    assert outbox.erase(loop.database, loop.vault, loop.erasures, lead_of(loop.database, first.event_id), "anna")
    again = send(loop.database, loop.vault, loop.site, **said)
    assert (again.repeated, again.reference == first.reference) == (False, False)
    with loop.database.read() as session:
        old = session.get_one(Lead, lead_of(loop.database, first.event_id))
    assert person_of(loop.vault, old) == {}
    loop.tick()
    assert loop.crm.written == [str(again.event_id)]


def test_what_a_worker_has_in_hand_is_erased_once_its_outcome_is_known(loop: Loop) -> None:
    event_id = loop.send()
    lane = leased(loop.database, loop.connection())
    claimed = outbox.claim(loop.database, lane, 10, 60)
    assert erase(loop, event_id)
    assert loop.row().state == "erased"
    assert outbox.to_erase(loop.database, lane) == [], "first its outcome"
    finished(loop.database, lane, claimed)
    row, left = loop.row(), erasure(loop.database)
    assert (row.state, row.remote_id, row.token, row.unknown) == ("erased", None, None, False)
    assert (left.state, len(left.remote_ids), number(loop.database, RemoteRecord)) == ("waiting", 1, 0)
    outbox.release(loop.database, lane)
    loop.tick(seconds=1)
    assert (len(loop.crm.erased), erasure(loop.database).state) == (1, "done")


def test_what_is_given_back_unsent_is_not_sent(loop: Loop) -> None:
    event_id = loop.send()
    lane = leased(loop.database, loop.connection())
    claimed = outbox.claim(loop.database, lane, 10, 60)
    assert erase(loop, event_id)
    outbox.give_back(loop.database, claimed)
    outbox.release(loop.database, lane)
    loop.tick(seconds=1)
    assert (loop.row().state, loop.row().unknown, loop.crm.written) == ("erased", False, [])
    assert erasure(loop.database).state == "done"


def test_what_a_dead_worker_wrote_is_looked_for(loop: Loop) -> None:
    event_id = loop.send()
    lane = leased(loop.database, loop.connection())
    outbox.claim(loop.database, lane, 10, 60)
    assert erase(loop, event_id)
    loop.crm.held[str(event_id)] = Seen("r9", None, {}, ("r10",))
    assert not loop.tick(seconds=59), "it may still be writing"
    loop.tick(seconds=2)
    assert (loop.crm.erased, erasure(loop.database).state) == (["r9", "r10"], "done")


def test_an_outcome_that_comes_too_late_is_erased_all_the_same(loop: Loop) -> None:
    event_id = loop.send()
    lane = leased(loop.database, loop.connection())
    claimed = outbox.claim(loop.database, lane, 10, 60)
    assert erase(loop, event_id)
    loop.tick(seconds=61)
    assert (loop.crm.erased, erasure(loop.database).state) == ([], "needs_you")
    with loop.database.write() as session:
        outbox.end(session, session.scalars(select(Erasure)).one(), "handled", loop.clock())
    finished(loop.database, lane, claimed)
    loop.tick(seconds=1)
    assert (len(loop.crm.erased), erasure(loop.database).state) == (1, "done")


def test_what_broke_off_and_cannot_be_found_is_for_a_person(loop: Loop) -> None:
    loop.crm.answers = [Unknown("timeout", "It did not answer.")]
    event_id = loop.send()
    loop.tick()
    assert erase(loop, event_id)
    loop.tick(seconds=1)
    told = erasure(loop.database)
    assert (told.state, told.code) == ("needs_you", "unknown_outcome")
    assert "reference code" in str(told.sentence)


@pytest.mark.parametrize("then", ["refused", "handled"])
def test_what_broke_off_at_a_crm_that_cannot_be_asked_is_for_a_person(loop: Loop, then: str) -> None:
    loop.use(FakeCrm("C", readable=False))
    loop.crm.answers = [Unknown("timeout", "It did not answer.")]
    event_id = loop.send()
    loop.tick()
    assert loop.row().code == "unknown_outcome"
    with loop.database.write() as session:
        if then == "handled":
            outbox.handled(session.scalars(select(Delivery)).one())
    assert erase(loop, event_id)
    loop.tick(seconds=1)
    assert (loop.crm.erased, erasure(loop.database).state) == ([], "needs_you")


def test_what_was_in_hand_when_its_connection_went_is_for_a_person(loop: Loop) -> None:
    event_id = loop.send()
    lane = leased(loop.database, loop.connection())
    claimed = outbox.claim(loop.database, lane, 10, 60)
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
    assert erase(loop, event_id)
    told = erasure(loop.database)
    assert (told.state, told.remote_ids, "It may have arrived" in str(told.sentence)) == ("needs_you", [], True)
    finished(loop.database, lane, claimed)
    told = erasure(loop.database)
    assert (told.state, len(told.remote_ids)) == ("needs_you", 1), "now there is a number to look for"


def test_what_arrives_after_its_connection_went_and_a_person_had_looked_is_for_a_person_again(loop: Loop) -> None:
    event_id = loop.send()
    lane = leased(loop.database, loop.connection())
    claimed = outbox.claim(loop.database, lane, 10, 60)
    assert erase(loop, event_id)
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
        outbox.end(session, session.scalars(select(Erasure)).one(), "handled", loop.clock())
    finished(loop.database, lane, claimed)
    told = erasure(loop.database)
    assert (told.state, len(told.remote_ids), told.ended_at) == ("needs_you", 1, None)
    assert "by hand" in str(told.sentence)


def test_quiet_that_a_look_is_asked_for_holds_for_all(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.crm.answers = [DOWN]
    event_id = loop.send()
    loop.tick()
    assert erase(loop, event_id)

    def busy(_: object) -> list[Seen | None]:
        raise Throttled("too_many_requests", "Slow down.", retry_after=600)

    with monkeypatch.context() as asking:
        asking.setattr(loop.crm, "find", busy)
        loop.tick(seconds=1)
    assert loop.connection().wait_until is not None
    loop.tick(seconds=601)
    assert erasure(loop.database).state == "done"


def test_no_example_is_made_of_somebody_erased(loop: Loop) -> None:
    jane, joe = loop.send("Jane"), loop.send("Joe")
    assert erase(loop, jane)
    with loop.database.read() as session:
        assert [one.event.id for one in latest_enquiries(session, loop.site.id)] == [joe]


def test_a_person_written_before_the_call_that_failed_is_not_left_behind(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.crm.answers = [DOWN]
    event_id = loop.send()
    loop.tick()
    monkeypatch.setattr(loop.crm, "current", lambda items: [{} for _ in items])
    assert erase(loop, event_id)
    loop.tick(seconds=1)
    assert (erasure(loop.database).state, erasure(loop.database).code) == ("needs_you", "nameless")


def test_what_plainly_failed_is_looked_for_and_then_done(loop: Loop) -> None:
    loop.crm.answers = [DOWN]
    event_id = loop.send()
    loop.tick()
    assert erase(loop, event_id)
    loop.tick(seconds=1)
    assert (loop.crm.looked, loop.crm.erased, erasure(loop.database).state) == ([str(event_id)], [], "done")


def test_a_crm_that_shows_writes_late_is_given_that_time(loop: Loop) -> None:
    loop.use(FakeCrm("B", settle=30))
    event_id = loop.send()
    loop.tick()
    assert erase(loop, event_id)
    loop.tick(seconds=1)
    assert loop.crm.erased == []
    loop.tick(seconds=31)
    assert (len(loop.crm.erased), erasure(loop.database).state) == (1, "done")


def test_what_was_withdrawn_and_erased_while_it_was_being_sent_is_given_that_time_too(loop: Loop) -> None:
    loop.use(FakeCrm("B", settle=30))
    loop.send("Jane", client_id="first")
    loop.tick()
    loop.tick(seconds=31)
    second = loop.send("Jane", client_id="second")
    written: list[Item] = []

    def push(items: Sequence[Item]) -> list[Result]:
        written.extend(items)
        send(loop.database, loop.vault, loop.site, client_id="second", consent=False, email="jane@example.com")
        assert erase(loop, second)
        loop.clock.forward(seconds=20)
        raise Unknown("timeout", "It did not answer.")

    loop.crm.answers = [push]
    loop.tick()
    loop.tick(seconds=25)
    for item in written:
        loop.crm.keep(item)
    for _ in range(6):
        loop.tick(seconds=30)
    assert f"r{second}" in loop.crm.erased
    assert erasure(loop.database).state == "done"


@pytest.fixture
def arrived(loop: Loop) -> UUID:
    """Jane is in the CRM, and erased here."""
    event_id = loop.send()
    loop.tick()
    assert erase(loop, event_id)
    return event_id


@pytest.mark.parametrize(
    ("error", "wait"), [(DOWN, 8), (Misconfigured("forbidden", "It may not delete."), 301), (Unknown("x", "Y."), 8)]
)
@pytest.mark.usefixtures("arrived")
def test_what_does_not_work_now_is_tried_again(loop: Loop, error: DeliveryError, wait: int) -> None:
    loop.crm.erasing = [error]
    loop.tick(seconds=1)
    told = erasure(loop.database)
    assert (told.state, told.code, told.sentence) == ("waiting", error.code, error.sentence)
    assert loop.connection().state == "working", "many keys may write and not delete"
    assert not loop.tick(seconds=1), "the lane's own commits would wake it, over and over"
    loop.tick(seconds=wait)
    assert (len(loop.crm.erased), erasure(loop.database).state) == (2, "done")


@pytest.mark.usefixtures("arrived")
def test_the_crm_gets_the_quiet_it_asks_for(loop: Loop) -> None:
    loop.crm.erasing = [Throttled("too_many_requests", "Slow down.", retry_after=600)]
    loop.tick(seconds=1)
    assert not loop.tick(seconds=590)
    loop.tick(seconds=11)
    assert (erasure(loop.database).state, erasure(loop.database).attempts) == ("done", 0)


@pytest.mark.usefixtures("arrived")
def test_a_crm_that_will_not_is_told_to_a_person_who_may_try_again(loop: Loop) -> None:
    loop.crm.erasing = [Refused("in_use", "Cases hang on it.")]
    loop.tick(seconds=1)
    told = erasure(loop.database)
    assert (told.state, len(told.remote_ids)) == ("needs_you", 1)
    assert str(told.sentence).startswith("Cases hang on it. Delete the record in the CRM by hand")
    assert not loop.tick(hours=1)
    with loop.database.write() as session:
        outbox.try_again(session.scalars(select(Erasure)).one(), loop.clock())
    loop.tick(seconds=1)
    assert erasure(loop.database).state == "done"


@pytest.mark.usefixtures("arrived")
def test_whom_no_try_could_erase_is_told_in_the_end(loop: Loop) -> None:
    loop.crm.erasing = [DOWN] * 20
    for _ in range(30):
        loop.tick(hours=25)
    assert erasure(loop.database).state == "needs_you"


@pytest.mark.usefixtures("arrived")
def test_a_new_key_has_it_tried_at_once(loop: Loop) -> None:
    loop.crm.erasing = [Misconfigured("bad_key", "The key is wrong.")]
    loop.tick(seconds=1)
    with loop.database.write() as session:
        outbox.resume(session, session.get_one(Connection, loop.connection_id), loop.clock())
    loop.tick()
    assert erasure(loop.database).state == "done"


@pytest.mark.usefixtures("arrived")
def test_a_connection_that_goes_leaves_it_to_a_person(loop: Loop) -> None:
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
    told = erasure(loop.database)
    assert (told.state, len(told.remote_ids), loop.row().state) == ("needs_you", 1, "erased")
    assert "removed" in str(told.sentence)
    assert "by hand" in str(told.sentence)


def test_a_connection_that_is_gone_already_leaves_it_to_a_person(loop: Loop) -> None:
    event_id = loop.send()
    loop.tick()
    with loop.database.write() as session:
        outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())
    assert erase(loop, event_id)
    told = erasure(loop.database)
    assert (told.state, told.remote_ids) == ("needs_you", [f"r{event_id}"])


def _must_be_left_to_a_person(loop: Loop, code: str) -> None:
    """Nothing was erased, and the sentence names the other one whose record it is."""
    told = erasure(loop.database)
    assert (loop.crm.erased, told.state, told.code) == ([], "needs_you", "shared")
    assert code in str(told.sentence)


def test_a_record_that_stands_for_somebody_else_as_well_stays(loop: Loop) -> None:
    jane, joe = loop.send("Jane"), loop.send("Joe")
    loop.tick()
    with loop.database.write() as session:
        session.execute(update(RemoteRecord).values(remote_id="both"))
        session.execute(update(Delivery).values(remote_id="both"))
        code = session.get_one(Lead, lead_of(loop.database, joe)).code
    assert erase(loop, jane)
    loop.tick(seconds=1)
    _must_be_left_to_a_person(loop, code)


@pytest.mark.parametrize("merged", ["jane into joe", "joe into jane", "both into another"])
def test_whom_staff_merged_with_somebody_else_stays(loop: Loop, merged: str) -> None:
    """What they made one in the CRM may be one person or a mistake: only they can tell."""
    jane, joe = loop.send("Jane"), loop.send("Joe")
    loop.tick()
    stays = {"jane into joe": {f"r{jane}": f"r{joe}"}, "joe into jane": {f"r{joe}": f"r{jane}"}}
    loop.crm.merged = stays.get(merged, {f"r{jane}": "new", f"r{joe}": "new"})
    with loop.database.read() as session:
        code = session.get_one(Lead, lead_of(loop.database, joe)).code
    assert erase(loop, jane)
    loop.tick(seconds=1)
    _must_be_left_to_a_person(loop, code)


def test_what_staff_made_of_a_record_goes_with_it(loop: Loop) -> None:
    jane, _ = loop.send("Jane"), loop.send("Joe")
    loop.tick()
    loop.crm.merged = {f"r{jane}": "contact"}
    assert erase(loop, jane)
    loop.tick(seconds=1)
    assert (loop.crm.erased, erasure(loop.database).state) == (["contact", f"r{jane}"], "done")


def test_a_record_that_was_merged_away_is_found_by_what_stood_on_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some CRMs do not say what became of it, and show the enquiries on the one that stayed."""
    jane = loop.send("Jane")
    loop.tick()
    loop.crm.merged = {f"r{jane}": "stayed"}
    monkeypatch.setattr(loop.crm, "merged_with", list)
    assert erase(loop, jane)
    loop.tick(seconds=1)
    assert (set(loop.crm.erased), erasure(loop.database).state) == ({"stayed", f"r{jane}"}, "done")


@pytest.mark.parametrize("end", [TryLater("busy", "The CRM has erased one of the two."), KeyboardInterrupt()])
def test_what_was_one_record_is_still_known_once_the_crm_has_forgotten_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    """Also where the worker is ended in between."""
    jane = loop.send("Jane")
    loop.tick()
    loop.crm.merged = {f"r{jane}": "contact"}
    assert erase(loop, jane)
    with monkeypatch.context() as once, suppress(KeyboardInterrupt):
        once.setattr(loop.crm, "erase", lambda _: _raise(end))
        loop.tick(seconds=1)
    loop.crm.merged.clear()
    loop.tick(minutes=30)
    assert (set(loop.crm.erased), erasure(loop.database).state) == ({"contact", f"r{jane}"}, "done")


def _raise(end: BaseException) -> None:
    raise end


@pytest.mark.parametrize(
    ("kind", "page", "outcome"),
    [
        ("sandbox", "https://crm.example/our/12", "needs_you"),
        ("sandbox", "https://crm.example/theirs/12", "done"),
        ("sandbox", None, "needs_you"),
        ("webhook", "https://crm.example/our/12", "done"),
    ],
)
def test_a_record_that_another_website_brought_to_the_same_account_stays(
    loop: Loop, kind: str, page: str | None, outcome: str
) -> None:
    """Each account has its own number 12, so the record's page tells which account it is."""
    other = make_site(loop.database, "other")
    connection = make_connection(loop.database, loop.vault, other, kind=kind)
    jane, joe = loop.send("Jane"), send(loop.database, loop.vault, other, **JANE).event_id
    loop.tick()
    with loop.database.write() as session:
        session.execute(update(RemoteRecord).values(remote_id="12", url="https://crm.example/our/12"))
        here = {"connection_id": connection.id, "remote_id": "12", "url": page, "retire": False}
        session.add(RemoteRecord(lead_id=session.get_one(Event, joe).lead_id, **here))
        session.execute(update(Delivery).where(Delivery.event_id == jane).values(remote_id="12"))
    loop.crm.held[str(jane)] = replace(loop.crm.held[str(jane)], remote_id="12")
    assert erase(loop, jane)
    loop.tick(seconds=1)
    with loop.database.read() as session:
        assert session.scalars(select(Erasure.state)).one() == outcome
    assert loop.crm.erased == (["12"] if outcome == "done" else [])


def test_copies_that_are_not_ours_are_told(loop: Loop) -> None:
    event_id = loop.send()
    loop.tick()
    loop.crm.held[str(event_id)] = replace(loop.crm.held[str(event_id)], copies=("r77",))
    loop.tick(seconds=1)
    loop.night()
    assert loop.open() == ["duplicated"]
    assert erase(loop, event_id)
    assert loop.open() == []
    loop.tick(seconds=1)
    told = erasure(loop.database)
    assert (loop.crm.erased, told.state, "r77" in str(told.sentence)) == ([f"r{event_id}"], "needs_you", True)


def test_a_caller_who_became_known_is_erased_with_the_person(loop: Loop) -> None:
    click = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")
    loop.tick()
    event_id = loop.send(visitor_id="v1")
    assert outbox.erase(loop.database, loop.vault, loop.erasures, lead_of(loop.database, event_id), "anna")
    loop.tick(seconds=1)
    assert loop.crm.erased == [f"r{click.event_id}"]
    with loop.database.read() as session:
        assert set(session.scalars(select(Delivery.state))) == {"erased"}
        assert None not in set(session.scalars(select(Lead.erased_at)))


def test_a_bug_of_ours_ends_no_lane(loop: Loop, arrived: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ValueError(f"zyx {arrived}")

    monkeypatch.setattr(loop.crm, "erase", broken)
    loop.tick(seconds=1)
    assert (erasure(loop.database).state, erasure(loop.database).code) == ("waiting", "bug")


def test_a_push_that_ends_after_the_erasure_leaves_nothing(loop: Loop) -> None:
    """In the lane itself: while the CRM answers, somebody erases."""
    event_id = loop.send()

    def push(batch: object) -> list[Result]:
        assert erase(loop, event_id)
        [item] = batch  # type: ignore[misc]
        assert isinstance(item, Item)
        return [Pushed(f"late-{item.event_id}")]

    loop.crm.answers = [push]
    loop.tick()
    loop.tick(seconds=1)
    assert (loop.crm.erased, erasure(loop.database).state) == ([f"late-{event_id}"], "done")
    assert (number(loop.database, RemoteRecord), number(loop.database, Attempt)) == (0, 1)


def test_without_a_connection_the_day_closes_as_well(
    timed: Database, vault: Vault, site: Site, clock: Clock, erasures: ErasureList
) -> None:
    one, other = (send(timed, vault, site, email=f"{name}@example.com") for name in ("jane", "joe"))
    outbox.erase(timed, vault, erasures, lead_of(timed, one.event_id), "anna")
    with timed.read() as session:
        [day] = balance(session, site, last_days(site, clock(), 1), clock())
        [wait] = without_connection(session, [])
        assert session.scalars(select(Action.what)).all() == ["erased"]
    assert (day.closes, day.captured, day.states["erased"], day.states["waiting"]) == (True, 2, 1, 1)
    assert wait.number == 1
    clock.forward(minutes=5)
    connection = make_connection(timed, vault, site)
    assert outbox.take_over(timed, connection.id) == 1
    clock.forward(minutes=5)
    with timed.read() as session:
        [day] = balance(session, site, last_days(site, clock(), 1), clock())
        assert lost_leads(session, site, last_days(site, clock(), 1), clock()) == []
    assert (day.closes, day.lost, day.states["erased"]) == (True, 0, 1)
    assert other.reference


def test_a_test_of_ours_is_nobody(
    timed: Database, vault: Vault, site: Site, clock: Clock, erasures: ErasureList
) -> None:
    with timed.write() as session:
        lead_id = new_id()
        sealed = vault.seal({}, "lead", "person", lead_id)
        session.add(
            Lead(
                id=lead_id, site_id=site.id, code="AAA-AAA", person_sealed=sealed, known=True, shareable=True,
                is_test=True, created_at=clock(), last_event_at=clock() - timedelta(days=1),
            )
        )  # fmt: skip
    assert not outbox.erase(timed, vault, erasures, lead_id, "anna")
    assert not outbox.erase(timed, vault, erasures, new_id(), "anna")


def test_a_worker_that_dies_before_it_has_written_it_down_erases_again(
    loop: Loop, arrived: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(outbox, "erased", lambda *_: 1 / 0)
        loop.tick(seconds=1)
    assert (loop.crm.erased, erasure(loop.database).state) == ([f"r{arrived}"], "waiting")
    loop.tick(seconds=10)
    assert (loop.crm.erased, erasure(loop.database).state) == ([f"r{arrived}"] * 2, "done")


@pytest.mark.usefixtures("arrived")
def test_people_are_told_that_a_crm_will_not(loop: Loop) -> None:
    loop.crm.erasing = [Refused("in_use", "Cases hang on it.")]
    for told in ([], ["erasure"]):
        with loop.database.read() as session:
            found = conditions(signs(session, loop.clock()), timedelta(hours=1))
        assert [one.subject for one in found if one.kind == "needs_you"] == told
        loop.tick(seconds=1)


@pytest.mark.usefixtures("arrived")
def test_a_clock_that_is_set_back_does_not_put_it_off(loop: Loop) -> None:
    loop.crm.erasing = [DOWN]
    loop.tick(seconds=1)
    heartbeat(loop.database, "w1")
    loop.clock.forward(hours=-5)
    assert mend(loop.database, timedelta(hours=-5), 60)
    loop.tick(seconds=10)
    assert erasure(loop.database).state == "done"


def test_whoever_was_erased_is_kept_until_a_crm_has_let_go(loop: Loop) -> None:
    event_id = loop.send()
    loop.tick()
    assert erase(loop, event_id)
    loop.clock.forward(days=400)
    before = loop.clock() - timedelta(days=365)
    assert forget_slice(loop.database, before).forgotten == 0
    loop.tick()
    assert erasure(loop.database).state == "done"
    assert forget_slice(loop.database, before).forgotten == 1
    assert [number(loop.database, model) for model in (Lead, Erasure)] == [0, 0]


def test_whoever_is_erased_while_they_write_leaves_nothing_on_the_old_lead(
    database: Database, vault: Vault, erasures: ErasureList
) -> None:
    site = make_site(database)
    make_connection(database, vault, site)

    def write(round_: int, said: str) -> object:
        return send(database, vault, site, client_id=f"c{round_}", email=f"jane{round_}@example.com", message=said)

    for round_ in range(10):
        first = send(database, vault, site, client_id=f"c{round_}", email=f"jane{round_}@example.com")
        lead_id = lead_of(database, first.event_id)
        with ThreadPoolExecutor(4) as pool:
            others = [pool.submit(write, round_, said) for said in ("one", "two", "one")]
            done = pool.submit(outbox.erase, database, vault, erasures, lead_id, "anna")
            assert done.result()
            for other in others:
                other.result()
        with database.read() as session:
            assert person_of(vault, session.get_one(Lead, lead_id)) == {}
            assert session.scalars(select(Identity).where(Identity.lead_id == lead_id)).all() == []
            events = session.scalars(select(Event).where(Event.lead_id == lead_id)).all()
            assert [vault.open(one.answers_sealed, "event", "answers", one.id) for one in events] == [{}] * len(events)
            again = select(Resubmission).where(Resubmission.event_id.in_([one.id for one in events]))
            assert session.scalars(again).all() == []
            assert set(session.scalars(select(Delivery.state).where(Delivery.lead_id == lead_id))) == {"erased"}


def test_a_call_that_broke_off_may_stand_on_a_record_of_its_own_beside_the_persons(loop: Loop) -> None:
    """The CRM cannot be asked, and the caller became known only then."""
    loop.use(FakeCrm("C", readable=False))
    loop.crm.answers = [Unknown("timeout", "It did not answer.")]
    send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")
    loop.tick()
    event_id = loop.send(visitor_id="v1")
    loop.tick(seconds=1)
    assert loop.row(event_id).remote_id == f"r{event_id}"
    assert erase(loop, event_id)
    loop.tick(seconds=1)
    told = erasure(loop.database)
    assert (loop.crm.erased, told.state, told.code) == ([f"r{event_id}"], "needs_you", "unknown_outcome")
