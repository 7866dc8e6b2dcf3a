"""A CRM's limits: the next call waits before one is met, and the day's last calls are kept for new enquiries."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from types import SimpleNamespace
from typing import ClassVar

import pytest
import responses
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from integrations.core.base import Allowance
from integrations.core.errors import Throttled
from integrations.core.http import Answer
from integrations.sandbox import Sandbox
from leads.desk import words
from leads.store.models import CanaryRun, Connection
from leads.store.quota import is_news
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.canary import Canary
from leads.sync.connect import open_connector
from leads.sync.pace import heed, wait_turn
from tests.database.lanes import Clock
from tests.database.loop import Loop

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that turns have waited."""
    seconds: list[float] = []
    monkeypatch.setattr("leads.sync.pace.time", SimpleNamespace(sleep=seconds.append, monotonic=lambda: 0.0))
    return seconds


@pytest.mark.parametrize("rate", [None, 10.0])
@pytest.mark.parametrize(
    ("left", "seconds", "rest"),
    [(50, 10.0, 0.0), (11, 10.0, 0.0), (5, 10.0, 2.0), (1, 3.0, 3.0), (0, 3.0, 3.0), (0, -1.0, 0.0)],
)
def test_the_next_call_waits_the_longer_the_less_is_left_of_the_window(
    timed: Database,
    connection: Connection,
    slept: list[float],
    rate: float | None,
    left: int,
    seconds: float,
    rest: float,
) -> None:
    heed(timed, connection.id, Allowance(left=left, seconds=seconds))
    wait_turn(timed, connection.id, rate)
    assert sum(slept) == rest


def test_a_long_wait_is_the_connections_and_not_the_workers(
    timed: Database, connection: Connection, slept: list[float], clock: Clock
) -> None:
    heed(timed, connection.id, Allowance(left=0, seconds=300))
    with pytest.raises(Throttled) as told:
        wait_turn(timed, connection.id, 10)
    assert (told.value.retry_after, slept) == (60, [])
    clock.forward(seconds=60)
    wait_turn(timed, connection.id, 10)
    assert sum(slept) == 0


def test_a_turn_that_was_put_off_already_is_not_brought_forward(
    timed: Database, connection: Connection, slept: list[float]
) -> None:
    heed(timed, connection.id, Allowance(left=0, seconds=4))
    heed(timed, connection.id, Allowance(left=10, seconds=1))
    wait_turn(timed, connection.id, None)
    assert slept == [4]


def test_the_days_calls_are_written_down_at_each_hundredth_and_not_at_each_call(loop: Loop) -> None:
    kept = []
    for left in range(15_000, 14_600, -1):
        heed(loop.database, loop.connection_id, Allowance(left_today=left, of_today=15_000))
        kept.append(loop.connection().quota_left)
    assert sorted(set(kept), reverse=True) == [15_000, 14_850, 14_700]  # type: ignore[type-var]  # none is None
    loop.clock.forward(minutes=11)
    heed(loop.database, loop.connection_id, Allowance(left_today=14_601, of_today=15_000))
    assert (loop.connection().quota_left, loop.connection().quota_at) == (14_601, loop.clock())


@pytest.mark.parametrize(("left", "of", "news"), [(99, 100, True), (100, 100, False), (100, 90, True), (0, None, True)])
def test_what_is_news(loop: Loop, left: int, of: int | None, news: bool) -> None:
    loop.set_connection(quota_left=100, quota_of=100, quota_at=loop.clock())
    assert is_news(loop.connection(), left, of, loop.clock()) is news


def say(loop: Loop, percent: int) -> None:
    """The CRM has just told what is left of its day."""
    loop.set_connection(quota_left=percent * 10, quota_of=1000, quota_at=loop.clock())


def test_nightly_looks_leave_a_fifth_of_the_day_to_new_enquiries(loop: Loop) -> None:
    old = loop.send("Ann")
    loop.tick()
    assert loop.crm.looked == [str(old)]
    loop.clock.forward(hours=24)
    say(loop, 20)
    assert not loop.tick(), "a lane that may not look must not be woken, or it would be at every tick"
    new = loop.send("Bob")
    loop.tick()
    assert loop.crm.looked == [str(old), str(new)], "a new one is sent and seen all the same"
    say(loop, 21)
    loop.tick()
    assert loop.crm.looked == [str(old), str(new), str(old)]


def test_near_the_end_of_the_day_enquiries_are_only_sent(loop: Loop) -> None:
    say(loop, 5)
    new = loop.send("Ann")
    loop.tick()
    assert (loop.row().state, loop.crm.written, loop.crm.looked) == ("sent", [str(new)], [])
    assert not loop.tick(minutes=59)
    say(loop, 6)
    loop.tick()
    assert loop.row().state == "confirmed"


def test_what_the_crm_said_an_hour_ago_holds_nothing_up_since_the_day_may_have_ended(loop: Loop) -> None:
    say(loop, 0)
    loop.send("Ann")
    loop.tick()
    assert loop.row().state == "sent"
    loop.tick(hours=1)
    assert loop.row().state == "confirmed"


def test_a_quota_without_a_whole_holds_nothing_up(loop: Loop) -> None:
    loop.set_connection(quota_left=1, quota_of=None, quota_at=loop.clock())
    loop.send("Ann")
    loop.tick()
    assert loop.row().state == "confirmed"


@pytest.mark.parametrize(("percent", "begun"), [(20, 0), (21, 1)])
def test_no_test_enquiry_is_begun_while_calls_are_short(loop: Loop, percent: int, begun: int) -> None:
    say(loop, percent)
    Canary(loop.context, "http://127.0.0.1:1", DAY, HOUR).begin_due()
    with loop.database.read() as session:
        assert session.scalar(select(func.count(CanaryRun.id))) == begun


class Telling(Sandbox):
    """A CRM that tells its limits."""

    kind: ClassVar[str] = "sandbox"

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        left = answer.headers.get("X-Left")
        return Allowance(left=0, seconds=30, left_today=int(left), of_today=15_000) if left else None


def test_every_answer_is_heeded_by_all_workers(
    timed: Database, vault: Vault, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.sync.connect.connector_class", lambda _kind: Telling)
    loop.context.limits.private_hosts = frozenset({"127.0.0.1"})
    one, other = (open_connector(loop.context, loop.connection()) for _ in range(2))
    with responses.RequestsMock() as world:
        world.get("http://127.0.0.1:1/v1/me", headers={"X-Left": "12300"})
        assert [finding.ok for finding in one.check()] == [True]
    with pytest.raises(Throttled, match="used up"):
        other.check()
    assert words.quota(loop.connection(), loop.clock()) == "12,300 of 15,000 calls left today"
    assert words.quota(loop.connection(), loop.clock() + DAY + HOUR) is None


@pytest.mark.parametrize("left", ["soon", "9" * 30])
def test_limits_that_make_no_sense_undo_no_answer(
    timed: Database, vault: Vault, loop: Loop, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    monkeypatch.setattr("leads.sync.connect.connector_class", lambda _kind: Telling)
    loop.context.limits.private_hosts = frozenset({"127.0.0.1"})
    with responses.RequestsMock() as world:
        world.get("http://127.0.0.1:1/v1/me", headers={"X-Left": left})
        assert [finding.ok for finding in open_connector(loop.context, loop.connection()).check()] == [True]
    assert loop.connection().quota_left is None


@pytest.mark.parametrize(("rate", "busy"), [(4.0, 0.2), (20.0, 0.02), (20.0, 0.06), (7.5, 0.3)])
def test_no_second_sees_more_calls_than_the_pace_allows_and_lateness_is_made_up_for(
    timed: Database, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch, rate: float, busy: float
) -> None:
    """busy: seconds at most that the lane takes between two calls, beside a sleep that ends up to 8 ms late."""
    chance = random.Random(f"{rate} {busy}")
    began = clock()

    def sleep(seconds: float) -> None:
        clock.forward(seconds=seconds + chance.uniform(0, 0.008))

    def monotonic() -> float:
        return (clock() - began).total_seconds()

    monkeypatch.setattr("leads.sync.pace.time", SimpleNamespace(sleep=sleep, monotonic=monotonic))
    starts = []
    for _ in range(200):
        wait_turn(timed, connection.id, rate)
        starts.append(monotonic())
        clock.forward(seconds=chance.uniform(0, busy))
    whole = math.ceil(rate)
    assert min(later - one for one, later in zip(starts, starts[whole:], strict=False)) >= 1
    if busy < 2 / rate:  # half of that at an average
        assert len(starts) / starts[-1] >= 0.95 * rate


def test_a_start_that_comes_late_counts_from_when_it_came(
    timed: Database, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it and those of the second after it would be more than the CRM allows."""

    def sleep(seconds: float) -> None:
        clock.forward(seconds=seconds + late.pop() if late else seconds)

    def monotonic() -> float:
        return (clock() - began).total_seconds()

    began, late = clock(), [0.3]
    monkeypatch.setattr("leads.sync.pace.time", SimpleNamespace(sleep=sleep, monotonic=monotonic))
    starts = []
    for _ in range(12):
        wait_turn(timed, connection.id, 10)
        starts.append(monotonic())
    assert starts[0] == pytest.approx(0.3)
    assert starts[1:5] == pytest.approx([0.3] * 3 + [0.4]), "what was missed follows at once"
    assert starts[10] == pytest.approx(0.3 + 1.04)


def test_who_was_idle_has_missed_nothing(
    timed: Database, connection: Connection, clock: Clock, slept: list[float]
) -> None:
    for _ in range(2):
        clock.forward(seconds=60)
        slept.clear()
        for _ in range(3):
            wait_turn(timed, connection.id, 10)
            clock.forward(seconds=slept[-1])
        assert slept == pytest.approx([0, 0.1, 0.1])


@responses.activate
def test_a_database_in_trouble_before_a_call_is_neither_a_doubt_nor_a_fault_of_the_crm(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an enquiry of which nothing was sent would cost a try, or a look of a person."""

    def gone(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("the server closed the connection"))

    loop.context.limits.private_hosts = frozenset({"127.0.0.1"})
    monkeypatch.setattr("leads.sync.pace._is_put_off", gone)
    connector = open_connector(loop.context, loop.connection())
    with pytest.raises(Throttled) as told:
        connector.check()
    assert told.value.code == "no_database"
    assert not responses.calls
