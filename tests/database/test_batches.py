"""A long backlog: while the CRM answers for one batch, the next is claimed, and let go of when it cannot be sent, and
what became of the one before is written down. A batch is more than one push as long as the CRM is quick."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from integrations.core.base import Item, Result, Seen, Tier
from integrations.core.errors import Misconfigured, Throttled
from leads.store import outbox
from leads.store.models import Connection, Delivery
from leads.store.outbox import Lane
from leads.sync import pushes
from leads.sync.batches import Batch, Batches
from leads.sync.connect import Limits
from leads.sync.pushes import Sender
from tests.database.lanes import finished, leased, outcome
from tests.database.loop import Loop
from tests.fakes import FakeCrm

BACKLOG = 25  # two full pushes and some
LONG = 65  # batches of one push, of one claimed beside it, of two and of the rest


@pytest.fixture
def backlog(loop: Loop) -> Loop:
    for number in range(BACKLOG):
        loop.send(f"P{number}")
    return loop


@pytest.fixture
def long(backlog: Loop) -> Loop:
    for number in range(BACKLOG, LONG):
        backlog.send(f"P{number}")
    return backlog


def states(loop: Loop) -> Counter[str]:
    with loop.database.read() as session:
        return Counter(session.scalars(select(Delivery.state)))


def comes(loop: Loop, state: str, number: int) -> bool:
    """Whether so many are in this state within a while."""
    until = time.monotonic() + 60
    while (there := states(loop)[state]) < number and time.monotonic() < until:
        time.sleep(0.01)
    return there >= number


def in_hand(loop: Loop, number: int) -> bool:
    """Whether so many are claimed within a while."""
    return comes(loop, "sending", number)


def test_the_next_batch_is_claimed_while_the_crm_answers(backlog: Loop) -> None:
    seen: list[bool] = []

    def slow(batch: Sequence[Item]) -> list[Result]:
        seen.append(in_hand(backlog, 20))
        return [backlog.crm.keep(item) for item in batch]

    backlog.crm.answers = [slow]
    backlog.tick()
    assert seen == [True]
    assert len(backlog.crm.written) == len(set(backlog.crm.written)) == BACKLOG
    assert states(backlog) == {"confirmed": BACKLOG}


def test_a_batch_is_written_down_while_the_crm_answers_for_the_next(backlog: Loop) -> None:
    seen: list[bool] = []

    def quick(batch: Sequence[Item]) -> list[Result]:
        return [backlog.crm.keep(item) for item in batch]

    def slow(batch: Sequence[Item]) -> list[Result]:
        seen.append(comes(backlog, "sent", 10))
        return quick(batch)

    backlog.crm.answers = [quick, slow]
    backlog.tick()
    assert seen == [True]
    assert states(backlog) == {"confirmed": BACKLOG}


def broken(*_: object) -> None:
    raise RuntimeError("no database")


def test_what_could_not_be_written_down_is_sent_again_to_the_same_end(
    backlog: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken_down:
        broken_down.setattr("leads.store.outbox.outcomes._write_down", broken)
        with pytest.raises(RuntimeError):
            backlog.tick()
    assert states(backlog)["sending"] in (10, 20), "the CRM was asked for the second one already, or was not"
    backlog.tick(minutes=10)
    backlog.tick(minutes=1)
    assert states(backlog) == {"confirmed": BACKLOG}
    assert len(backlog.crm.held) == BACKLOG


@pytest.mark.parametrize(
    "no", [Throttled("rate_limit", "Too fast.", retry_after=60), Misconfigured("bad_key", "The key is wrong.")]
)
def test_what_was_claimed_ahead_is_not_sent_to_a_crm_that_wants_no_more(backlog: Loop, no: Exception) -> None:
    asked: list[int] = []

    def refuse(batch: Sequence[Item]) -> list[Result]:
        asked.append(len(batch))
        assert in_hand(backlog, 20)
        raise no

    backlog.crm.answers = [refuse]
    backlog.tick()
    assert asked == [10]
    assert states(backlog) == {"waiting": BACKLOG}
    with backlog.database.read() as session:
        rows = session.scalars(select(Delivery)).all()
    assert {(row.attempts, row.unknown, row.token) for row in rows} == {(0, False, None)}
    assert len(backlog.verdicts()) == 10, "only what was sent counts as a try"
    for _ in range(20):
        backlog.tick(minutes=2)
    assert len(backlog.crm.written) == len(set(backlog.crm.written)) == BACKLOG


def test_a_worker_that_stops_gives_back_what_it_claimed_ahead(backlog: Loop) -> None:
    def stopped(batch: Sequence[Item]) -> list[Result]:
        assert in_hand(backlog, 20)
        backlog.context.stop.set()
        return [backlog.crm.keep(item) for item in batch]

    backlog.crm.answers = [stopped]
    backlog.tick()
    assert states(backlog) == {"sent": 10, "waiting": 15}


@pytest.mark.parametrize("tier", ["B", "C"])
def test_where_a_death_costs_a_look_only_one_batch_is_in_hand(backlog: Loop, tier: Tier) -> None:
    backlog.use(FakeCrm(tier))
    backlog.crm.at_once = 2  # type: ignore[misc]  # of its kind for real connectors
    most: list[int] = []

    def look(batch: Sequence[Item]) -> list[Result]:
        time.sleep(0.1)
        most.append(states(backlog)["sending"])
        return [backlog.crm.keep(item) for item in batch]

    backlog.crm.answers = [look, look, look]
    backlog.tick()
    assert most == [10, 10, 5]


def most_in_hand(loop: Loop) -> int:
    """Deliver all, and tell how many were claimed at a time."""
    most: list[int] = []
    beside: list[Future[Batch]] = []

    def claim_beside(batches: Batches) -> bool:
        begun = real(batches)
        beside[:] = [batches._coming] if batches._coming else []
        return begun

    def count(batch: Sequence[Item]) -> list[Result]:
        assert len(batch) <= loop.crm.batch_size
        wait(beside, 60)
        most.append(states(loop)["sending"])
        return [loop.crm.keep(item) for item in batch]

    real = Batches._claim_beside
    loop.monkeypatch.setattr(Batches, "_claim_beside", claim_beside)
    loop.crm.answers = [count] * 20
    loop.tick()
    assert states(loop) == {"confirmed": LONG}
    assert len(loop.crm.written) == len(set(loop.crm.written)) == LONG
    return max(most)


def test_while_the_crm_is_quick_batches_grow(long: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leads.sync.batches._QUICK", 60)
    assert most_in_hand(long) > 40


def test_while_it_is_slow_they_are_one_push_each(long: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leads.sync.batches._QUICK", 0)
    assert most_in_hand(long) == 20


@pytest.mark.parametrize("at_once", [1, 2])
def test_as_many_pushes_run_as_the_connector_allows(long: Loop, at_once: int) -> None:
    running, most = set[int](), [0]

    def push(batch: Sequence[Item]) -> list[Result]:
        running.add(threading.get_ident())
        most.append(len(running))
        time.sleep(0.1)
        running.discard(threading.get_ident())
        return [long.crm.keep(item) for item in batch]

    long.crm.at_once = at_once  # type: ignore[misc]  # of its kind for real connectors
    long.crm.answers = [push] * 20
    long.tick()
    assert max(most) == at_once
    assert len(long.crm.written) == len(set(long.crm.written)) == LONG


def throttled(_loop: Loop) -> None:
    raise Throttled("rate_limit", "Too fast.", retry_after=60)


def stopping(loop: Loop) -> None:
    loop.context.stop.set()


@pytest.mark.parametrize(("event", "sent"), [(throttled, 20), (stopping, 30)])
def test_the_other_pushes_of_a_batch_are_not_begun_when_nothing_more_is_to_be_sent(
    long: Loop, event: Callable[[Loop], None], sent: int
) -> None:
    def well(batch: Sequence[Item]) -> list[Result]:
        return [long.crm.keep(item) for item in batch]

    def last(batch: Sequence[Item]) -> list[Result]:
        event(long)
        return well(batch)

    long.crm.answers = [well, well, last]
    long.tick()
    assert long.crm.answers == []
    assert len(long.crm.written) == sent
    assert states(long) == {"sent": sent, "waiting": LONG - sent}
    with long.database.read() as session:
        rows = session.scalars(select(Delivery).where(Delivery.state == "waiting")).all()
    assert {(row.attempts, row.unknown, row.token) for row in rows} == {(0, False, None)}


def test_the_next_batch_is_begun_while_the_crm_works_for_the_last_push_of_the_one_before(backlog: Loop) -> None:
    both = threading.Barrier(2)

    def together(batch: Sequence[Item]) -> list[Result]:
        both.wait(10)
        return [backlog.crm.keep(item) for item in batch]

    backlog.crm.at_once = 2  # type: ignore[misc]  # of its kind for real connectors
    backlog.crm.answers = [together, together]
    backlog.tick()
    assert not both.broken, "each went alone"
    assert states(backlog) == {"confirmed": BACKLOG}


def begun(sender: Sender, loop: Loop, lane: Lane, number: int, *, more: bool) -> None:
    """Claim so many and send them, as a lane does."""
    since = time.monotonic()
    claimed = outbox.claim(loop.database, lane, number, 60)
    assert len(claimed) == number
    sender.begin(claimed, since, more)


def test_the_last_push_of_a_backlog_is_not_one_too_many(backlog: Loop) -> None:
    running, most = set[int](), [0]
    third = threading.Event()

    def push(batch: Sequence[Item]) -> list[Result]:
        running.add(threading.get_ident())
        most.append(len(running))
        if len(running) > 2:
            third.set()
        third.wait(0.5)
        running.discard(threading.get_ident())
        return [backlog.crm.keep(item) for item in batch]

    backlog.crm.at_once = 2  # type: ignore[misc]  # of its kind for real connectors
    backlog.crm.answers = [push] * 3
    lane = leased(backlog.database, backlog.connection())
    with Sender(backlog.context, backlog.connection(), backlog.crm, lane) as sender:
        begun(sender, backlog, lane, 20, more=True)
        begun(sender, backlog, lane, 5, more=False)
        assert len(sender.answered(more_to_come=False).pushes) == 3
    assert max(most) == 2


def test_no_two_of_one_person_run_at_once_though_staff_send_the_earlier_one_again(loop: Loop) -> None:
    def push(batch: Sequence[Item]) -> list[Result]:
        running.append(len(batch))
        most.append(sum(running))
        time.sleep(0.5)
        running.remove(len(batch))
        return [loop.crm.keep(item) for item in batch]

    running, most = list[int](), list[int]()
    loop.send("Jane")
    lane = leased(loop.database, loop.connection())
    finished(loop.database, lane, outbox.claim(loop.database, lane, 1, 60), "refused")
    loop.clock.forward(seconds=1)
    loop.send("Jane")
    loop.crm.at_once = 2  # type: ignore[misc]  # of its kind for real connectors
    loop.crm.answers = [push] * 2
    with Sender(loop.context, loop.connection(), loop.crm, lane) as sender:
        begun(sender, loop, lane, 1, more=True)
        with loop.database.write() as session:
            [earlier] = session.scalars(select(Delivery).where(Delivery.state == "refused"))
            assert outbox.send_again(session, earlier, "anna", loop.clock())
        begun(sender, loop, lane, 1, more=True)
        pushes = sender.answered(more_to_come=False).pushes
    assert (max(most), len(pushes)) == (1, 2)
    both = [outcome(one, remote_id="r") for push in pushes for one in push.claimed]
    assert outbox.finish(loop.database, lane, both, None) == 0, "two of one person are written down together"
    assert states(loop) == {"sent": 2}


def test_what_went_well_beside_it_does_not_make_a_crm_that_wants_quiet_forgotten(backlog: Loop) -> None:
    second = threading.Event()

    def throttling(batch: Sequence[Item]) -> list[Result]:
        assert second.wait(10)
        raise Throttled("rate_limit", "Too fast.", retry_after=60)

    def well(batch: Sequence[Item]) -> list[Result]:
        second.set()
        time.sleep(0.2)  # answered last
        return [backlog.crm.keep(item) for item in batch]

    backlog.crm.at_once = 2  # type: ignore[misc]  # of its kind for real connectors
    backlog.crm.answers = [throttling, well]
    backlog.tick()
    assert states(backlog) == {"sent": 10, "waiting": 15}
    with backlog.database.read() as session:
        connection = session.get_one(Connection, backlog.connection_id)
    assert connection.code == "rate_limit"
    assert connection.wait_until


def test_what_is_with_the_crm_is_written_down_though_the_next_claim_fails(
    backlog: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog.crm.at_once = 2  # type: ignore[misc]  # of its kind for real connectors
    monkeypatch.setattr("leads.sync.batches.outbox.finish_and_claim", broken)
    with pytest.raises(RuntimeError):
        backlog.tick()
    assert states(backlog)["sent"] == len(backlog.crm.written) >= 20


def test_a_batch_whose_time_is_half_over_goes_on_in_a_new_one(long: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leads.sync.connect.Limits.has_time", lambda *_: False)
    long.tick()
    assert states(long) == {"confirmed": LONG}
    assert len(long.crm.written) == len(set(long.crm.written)) == LONG


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the time of a claim is counted by, moved by the test."""
    here = [1000.0]
    for module in ("batches", "connect"):
        monkeypatch.setattr(f"leads.sync.{module}.time", SimpleNamespace(monotonic=lambda: here[0]))
    return here


def test_what_is_read_back_has_a_time_of_its_own(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, seconds: list[float]
) -> None:
    limits, find = loop.context.limits, loop.crm.find

    def slow(batch: Sequence[Item]) -> list[Result]:
        seconds[0] += 1.1
        return [loop.crm.keep(item) for item in batch]

    def checked(items: Sequence[Item]) -> list[Seen | None]:
        limits.check_budget()
        return find(items)

    limits.lease, limits.timeout = 1.2, 0.2
    monkeypatch.setattr(loop.crm, "find", checked)
    loop.crm.answers = [slow]
    loop.send()
    loop.tick()
    assert states(loop) == {"confirmed": 1}


def test_what_is_claimed_ahead_is_not_sent_once_staff_have_paused_the_connection(backlog: Loop) -> None:
    def pausing(batch: Sequence[Item]) -> list[Result]:
        assert in_hand(backlog, 20)
        with backlog.database.write() as session:
            outbox.pause(session, session.get_one(Connection, backlog.connection_id), backlog.clock())
        return [backlog.crm.keep(item) for item in batch]

    backlog.crm.answers = [pausing]
    backlog.tick()
    assert len(backlog.crm.written) == 10
    assert states(backlog)["sending"] == 0


def test_the_rest_of_a_batch_is_not_sent_once_staff_have_paused_the_connection(
    long: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pausing(batch: Sequence[Item]) -> list[Result]:
        with long.database.write() as session:
            outbox.pause(session, session.get_one(Connection, long.connection_id), long.clock())
        return keeps(long)(batch)

    monkeypatch.setattr("leads.sync.batches._QUICK", 60)
    monkeypatch.setattr("leads.sync.pushes._FRESH", 0)
    long.crm.answers = [keeps(long), keeps(long), pausing]  # the first push of a batch of two or more
    long.tick()
    assert len(long.crm.written) == states(long)["sent"] == 30
    assert states(long)["sending"] == 0


def test_a_bug_in_one_push_takes_along_nothing_of_what_the_others_were_told(
    long: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(vault: Any, connection: Any, claimed: Sequence[Any]) -> list[Any]:
        if not broken_once and len(long.crm.written) == 40:
            broken_once.append(True)
            raise ValueError("a bug")
        return build_all(vault, connection, claimed)

    broken_once, build_all = list[bool](), pushes.build_all
    monkeypatch.setattr("leads.sync.batches._QUICK", 60)
    monkeypatch.setattr(pushes, "build_all", built)
    long.tick()
    assert len(long.crm.written) == states(long)["sent"] + states(long)["confirmed"] == 55
    with long.database.read() as session:
        rows = session.scalars(select(Delivery).where(Delivery.state == "waiting")).all()
    assert {(len(rows), row.attempts, row.code) for row in rows} == {(10, 1, "bug")}
    long.tick(minutes=1)
    assert len(long.crm.written) == len(set(long.crm.written)) == LONG


def test_what_was_sent_is_written_down_though_the_claim_beside_it_failed_and_the_worker_stops(
    backlog: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(batch: Sequence[Item]) -> list[Result]:
        backlog.context.stop.set()
        return [backlog.crm.keep(item) for item in batch]

    def once(*args: Any) -> list[outbox.Claimed]:
        if states(backlog)["sending"]:
            raise RuntimeError("no database")
        return claim(*args)

    claim = outbox.claim
    backlog.crm.answers = [stopping]
    monkeypatch.setattr("leads.sync.batches.outbox.claim", once)
    with pytest.raises(RuntimeError):
        backlog.tick()
    assert states(backlog) == {"sent": 10, "waiting": 15}


def test_what_was_handed_to_the_claim_beside_is_written_down_though_that_failed(
    backlog: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog.crm.answers = [keeps(backlog), keeps(backlog)]
    monkeypatch.setattr("leads.sync.batches.outbox.finish_and_claim", broken)
    with pytest.raises(RuntimeError):
        backlog.tick()
    assert states(backlog) == {"sent": 20, "waiting": 5}


def test_what_was_sent_is_written_down_though_the_rest_cannot_be_given_back(
    long: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttling(batch: Sequence[Item]) -> list[Result]:
        raise Throttled("rate_limit", "Too many calls.")

    long.crm.answers = [keeps(long), keeps(long), keeps(long), throttling]
    monkeypatch.setattr("leads.sync.deliver.outbox.give_back", broken)
    with pytest.raises(RuntimeError):
        long.tick()
    assert states(long)["sent"] == len(long.crm.written) == 30


def keeps(loop: Loop) -> Callable[[Sequence[Item]], list[Result]]:
    """The CRM takes all of them."""
    return lambda batch: [loop.crm.keep(item) for item in batch]


def test_pushes_go_on_in_fewer_threads_where_no_more_can_be_had(long: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("pushes_1"):
            raise RuntimeError("can't start new thread")
        started(thread)

    started = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    long.crm.at_once = 2  # type: ignore[misc]  # of its kind for real connectors
    long.tick()
    assert len(long.crm.written) == len(set(long.crm.written)) == LONG
    assert states(long)["sending"] == 0


def test_a_claim_made_ahead_whose_time_is_over_is_given_back_and_made_anew(backlog: Loop, seconds: list[float]) -> None:
    backlog.context = replace(backlog.context, limits=Limits(1.0, 0.2))

    def slow(batch: Sequence[Item]) -> list[Result]:
        assert in_hand(backlog, 20)
        seconds[0] += 0.9
        return [backlog.crm.keep(item) for item in batch]

    def calling(batch: Sequence[Item]) -> list[Result]:
        backlog.context.limits.check_budget()
        return [backlog.crm.keep(item) for item in batch]

    backlog.crm.answers = [slow, calling, calling]
    backlog.tick()
    assert len(backlog.crm.written) == len(set(backlog.crm.written)) == BACKLOG
    assert set(backlog.verdicts()) == {"sent", "confirmed"}  # and none was told that the CRM was too slow
