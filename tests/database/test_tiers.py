"""How a repeated write is made safe, as the connector's tier says; the loop follows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import delete, select, update

from integrations.core.base import Item, Result, Tier
from integrations.core.errors import Throttled, TryLater, Unknown
from leads.store import budget, outbox
from leads.store.models import Attempt, Connection, Delivery, Erasure, Event, Lead, RemoteRecord
from tests.database.lanes import leased
from tests.database.loop import Loop
from tests.factory import make_connection, send
from tests.fakes import FakeCrm
from tests.web.desk import lead_of

CUT = Unknown("cut", "The connection broke off.")


def left_behind(loop: Loop) -> None:
    """A worker dies over what it has just claimed, and its lease runs out."""
    lane = leased(loop.database, loop.connection(), "dead")
    assert outbox.claim(loop.database, lane, 10, 60)
    loop.clock.forward(seconds=61)


def test_with_keys_it_is_looked_up_and_sent_again_at_once(loop: Loop) -> None:
    event_id = str(loop.send())
    left_behind(loop)
    loop.tick()
    assert loop.crm.looked[0] == event_id
    assert (loop.row().state, loop.crm.written) == ("confirmed", [event_id])


def test_a_write_that_had_arrived_is_found_and_not_repeated(loop: Loop) -> None:
    crm = FakeCrm("B", settle=30)
    crm.answers = [lambda batch: [CUT for one in batch if crm.keep(one)]]
    loop.use(crm)
    event_id = str(loop.send())
    loop.tick()
    assert (loop.row().state, loop.row().unknown) == ("waiting", True)
    assert loop.row().due_at >= loop.clock() + timedelta(seconds=30)
    loop.tick(seconds=29)
    assert crm.looked == []
    loop.tick(seconds=20)
    loop.tick(seconds=30)
    assert loop.row().state == "confirmed"
    assert crm.written == [event_id]


@pytest.mark.parametrize("hurried_by", ["staff", "the connection working again", "its settings"])
def test_without_keys_nothing_hurries_the_settle_delay(loop: Loop, hurried_by: str) -> None:
    crm = FakeCrm("B", settle=90)
    crm.answers = [CUT]
    loop.use(crm)
    loop.send()
    loop.tick()
    loop.clock.forward(seconds=5)
    with loop.database.write() as session:
        if hurried_by == "staff":
            outbox.requeue(session.merge(loop.row()), loop.clock())
        elif hurried_by == "its settings":
            outbox.resume(session, session.merge(loop.connection()), loop.clock())
        else:
            outbox.bring_forward(session, loop.connection_id, loop.clock())
    loop.tick()
    assert (crm.looked, crm.written) == ([], [])
    assert loop.row().due_at >= loop.clock() + timedelta(seconds=84)
    loop.tick(seconds=86)
    loop.tick(seconds=90)
    assert loop.row().state == "confirmed"


def test_without_keys_what_a_dead_worker_left_behind_settles_first(loop: Loop) -> None:
    crm = FakeCrm("B", settle=90)
    loop.use(crm)
    event_id = str(loop.send())
    left_behind(loop)
    loop.tick()
    assert (loop.row().state, loop.row().unknown, loop.row().attempts) == ("waiting", True, 0)
    assert (crm.looked, crm.written) == ([], [])
    loop.tick(seconds=91)
    assert crm.looked == [event_id]
    assert crm.written == [event_id]


def test_one_that_breaks_the_connector_brings_no_other_twice(loop: Loop) -> None:
    """The CRM shows what was written only after a while, so looking at once would find nothing of it."""

    class Breaks(FakeCrm):
        def push(self, batch: Sequence[Item]) -> list[Result]:
            written = [self.keep(item) for item in batch if item.event_id != poison]
            if len(written) < len(batch):
                raise KeyError("id")
            return list(written)

    crm = Breaks("B", settle=30)
    loop.use(crm)
    sent = [str(loop.send(name)) for name in ("Ann", "Bob", "Cem", "Dan")]
    poison = sent[2]
    loop.tick()
    assert sorted(crm.written) == sorted(set(sent) - {poison})
    loop.tick(seconds=60)
    assert sorted(crm.written) == sorted(set(sent) - {poison})
    loop.tick(minutes=10)
    assert {loop.row(UUID(one)).state for one in sent if one != poison} == {"confirmed"}
    assert (loop.row(UUID(poison)).state, loop.row(UUID(poison)).code) == ("waiting", "bug")


def test_while_one_settles_the_others_go(loop: Loop) -> None:
    crm = FakeCrm("B", settle=90)
    crm.answers = [CUT]
    loop.use(crm)
    loop.send("Ann")
    loop.tick()
    bob = str(loop.send("Bob"))
    loop.tick(seconds=1)
    assert crm.written == [bob]


def test_doubt_outlives_what_the_crm_says_next(loop: Loop) -> None:
    crm = FakeCrm()
    crm.answers = [CUT]
    loop.use(crm)
    event_id = str(loop.send())
    loop.tick()
    find = crm.find

    def throttled(items: object) -> object:
        raise Throttled("busy", "Slow down.", retry_after=3)

    loop.monkeypatch.setattr(crm, "find", throttled)
    loop.tick(seconds=10)
    assert loop.row().unknown
    loop.monkeypatch.setattr(crm, "find", find)
    loop.tick(minutes=1)
    assert crm.looked[0] == event_id


@pytest.mark.parametrize("how", ["broke off", "the worker died", "the worker was stopped", "a bug of ours"])
def test_where_the_crm_cannot_be_asked_a_person_decides(loop: Loop, how: str) -> None:
    crm = FakeCrm("C", readable=False)
    loop.use(crm)
    event_id = str(loop.send())
    if how == "broke off":
        crm.answers = [CUT]
    elif how == "a bug of ours":
        crm.answers = [KeyError("id")]
    else:
        left_behind(loop)
    if how == "the worker was stopped":  # between taking over and sending
        lane = leased(loop.database, loop.connection())
        outbox.give_back(loop.database, outbox.claim(loop.database, lane, 10, 60))
        outbox.release(loop.database, lane)
    loop.tick()
    assert (loop.row().state, loop.row().code) == ("refused", "unknown_outcome")
    assert "may have arrived" in (loop.row().sentence or "")
    assert crm.written == []
    with loop.database.write() as session:
        outbox.requeue(session.merge(loop.row()), loop.clock())
    loop.tick()
    assert (loop.row().state, crm.written) == ("sent", [event_id]), "a person said: send again"


def test_where_the_crm_cannot_be_asked_a_person_decides_also_of_a_caller_who_became_known_meanwhile(loop: Loop) -> None:
    crm = FakeCrm("C", readable=False)
    loop.use(crm)
    loop.send()
    loop.tick()
    click = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1").event_id

    def cut_off(batch: Sequence[Item]) -> list[Result]:
        loop.send(visitor_id="v1")
        return [CUT for one in batch if crm.keep(one)]

    crm.answers = [cut_off]
    loop.tick()
    assert (loop.row(click).state, loop.row(click).code) == ("refused", "unknown_outcome")
    assert loop.row(click).lead_id == lead_of(loop.database, click)
    assert crm.written.count(str(click)) == 1


def cut_off_while(loop: Loop, decided: Callable[[], object]) -> FakeCrm:
    """A CRM that cannot be asked writes the next batch and breaks off; meanwhile something is decided here."""
    crm = FakeCrm("C", readable=False)

    def cut_off(batch: Sequence[Item]) -> list[Result]:
        decided()
        return [CUT for one in batch if crm.keep(one)]

    crm.answers = [cut_off]
    loop.use(crm)
    return crm


def test_where_the_crm_cannot_be_asked_no_other_connection_gets_what_broke_off_while_its_own_was_removed(
    loop: Loop,
) -> None:
    def removed() -> None:
        with loop.database.write() as session:
            outbox.remove(session, session.get_one(Connection, loop.connection_id), loop.clock())

    cut_off_while(loop, removed)
    loop.send()
    loop.tick()
    assert (loop.row().state, loop.row().code) == ("refused", "unknown_outcome")
    other = make_connection(loop.database, loop.vault, loop.site, name="Another")
    assert outbox.take_over(loop.database, other.id) == 0


def test_where_the_crm_cannot_be_asked_a_person_decides_also_of_what_is_cleared_after_consent_was_taken_back(
    loop: Loop,
) -> None:
    crm = cut_off_while(loop, lambda: loop.send(client_id="one", consent=False))
    event_id = loop.send(client_id="one")
    loop.tick()
    assert (loop.row().state, loop.row().code, loop.row().unknown) == ("held", "no_consent", True)
    with loop.database.write() as session:
        event, lead = session.get_one(Event, event_id), session.get_one(Lead, loop.row().lead_id)
        assert outbox.release_hold(session, loop.vault, event, lead, loop.clock()) == 1
    loop.tick(seconds=1)
    assert (loop.row().state, loop.row().code) == ("refused", "unknown_outcome")
    assert crm.written == [str(event_id)]


def test_where_the_crm_cannot_be_asked_whoever_was_erased_while_it_broke_off_is_for_a_person(loop: Loop) -> None:
    def erased() -> None:
        outbox.erase(loop.database, loop.vault, loop.erasures, loop.row().lead_id, "anna")

    cut_off_while(loop, erased)
    loop.send()
    loop.tick()
    loop.tick(minutes=2)
    with loop.database.read() as session:
        assert session.scalars(select(Erasure.state)).one() == "needs_you"


def test_where_the_crm_cannot_be_asked_what_surely_did_not_arrive_is_tried_again(loop: Loop) -> None:
    crm = FakeCrm("C", readable=False)
    crm.answers = [TryLater("connect", "No connection.")]
    loop.use(crm)
    loop.send()
    loop.tick()
    loop.tick(minutes=1)
    assert loop.row().state == "sent"


def test_what_a_mistake_of_ours_keeps_from_being_translated_is_tried_again(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.send()
    with monkeypatch.context() as mistaken:
        mistaken.setattr("leads.sync.item.mapping.apply", lambda *_: 1 / 0)
        loop.tick()
    row = loop.row()
    assert (row.state, row.code, row.unknown, loop.crm.written) == ("waiting", "bug", False, [])
    loop.tick(minutes=1)
    assert loop.row().state == "confirmed"


@pytest.mark.parametrize(
    ("tier", "becomes"),
    [("A", ("confirmed", None)), ("B", ("confirmed", None)), ("C", ("refused", "unknown_outcome"))],
)
def test_what_was_delivered_before_a_copy_was_put_back_is_there_once(
    loop: Loop, tier: Tier, becomes: tuple[str, str | None]
) -> None:
    loop.use(FakeCrm(tier, readable=tier != "C"))
    event_id = loop.send()
    loop.tick()
    with loop.database.write() as session:  # as it stood in the copy
        session.execute(delete(Attempt))
        session.execute(delete(RemoteRecord))
        fresh = budget.fresh(loop.clock()) | {"remote_id": None, "sent_at": None, "check_at": None}
        session.execute(update(Delivery).where(Delivery.event_id == event_id).values(**fresh))
        assert [outbox.doubt_all(session), outbox.doubt_all(session)] == [1, 0]
    loop.tick(minutes=1)
    assert (loop.row().state, loop.row().code) == becomes
    assert loop.crm.written == [str(event_id)]


def test_one_enquiry_that_cannot_be_read_any_more_holds_up_no_other(loop: Loop) -> None:
    broken, well = loop.send("Ann"), loop.send("Bob")
    with loop.database.write() as session:
        damaged = b"\x01" + loop.vault.sealing + bytes(40)
        session.execute(update(Event).where(Event.id == broken).values(answers_sealed=damaged))
    loop.tick()
    assert (loop.row(broken).state, loop.row(broken).code) == ("refused", "unreadable")
    assert loop.row(well).state == "confirmed"
    assert loop.connection().failures == 0
