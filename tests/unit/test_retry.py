"""What happens next, as pure functions: the schedule, free verdicts, and the health of a connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.core.base import Pushed, Result
from integrations.core.errors import Misconfigured, Refused, Throttled, TryLater, Unknown
from leads.store.outbox import Health
from leads.sync.retry import FAILURES_TO_PAUSE, Decision, Policy, assess, decide, describe, throttle

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
POLICY = Policy(tuple(timedelta(seconds=s) for s in (0, 5, 60, 3600)))
WORKING = Health("working", 0, 0)
PUSHED = Pushed("42")
TRY_LATER = TryLater("timeout", "The CRM did not answer.")
UNKNOWN = Unknown("cut_off", "The answer never came.")
REFUSED = Refused("bad_phone", "The CRM does not take this phone.", field="phone")
MISCONFIGURED = Misconfigured("bad_key", "The CRM does not accept the key.")
BUG = ZeroDivisionError("Jane Doe")

fractions = st.floats(0, 1)
ages = st.timedeltas(timedelta(0), timedelta(days=30))
failures_that_count = st.sampled_from([TRY_LATER, UNKNOWN, BUG])


def throttled(retry_after: float | None) -> Throttled:
    return Throttled("rate_limit", "The CRM asks for a pause.", retry_after=retry_after)


def decided(
    result: Result | Exception, *, attempts: int = 0, age: timedelta = timedelta(0), probing: bool = False
) -> Decision:
    """The decision with the middle of the spread."""
    return decide(result, attempts=attempts, age=age, now=NOW, policy=POLICY, chance=0.5, probing=probing)


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 5), (1, 60), (2, 3600)])
def test_a_failed_try_waits_for_its_slot_of_the_schedule(attempts: int, seconds: int) -> None:
    assert decided(TRY_LATER, attempts=attempts) == Decision("waiting", NOW + timedelta(seconds=seconds), counts=True)


@pytest.mark.parametrize("result", [TRY_LATER, UNKNOWN, BUG])
def test_after_the_last_slot_it_expires(result: Exception) -> None:
    assert decided(result, attempts=3).state == "expired"


@given(failures_that_count, st.integers(0, 2), fractions)
def test_the_wait_is_spread_by_a_fifth_at_most(result: Exception, attempts: int, chance: float) -> None:
    due = decide(result, attempts=attempts, age=timedelta(0), now=NOW, policy=POLICY, chance=chance).due_at
    slot = POLICY.schedule[attempts + 1]
    assert slot * 0.8 <= due - NOW <= slot * 1.2


@given(failures_that_count, fractions)
def test_failing_for_ever_ends_after_as_many_tries_as_there_are_slots(result: Exception, chance: float) -> None:
    attempts, age = 0, timedelta(0)
    while True:
        decision = decide(result, attempts=attempts, age=age, now=NOW, policy=POLICY, chance=chance)
        attempts += decision.counts
        if decision.state == "expired":
            break
        age += decision.due_at - NOW
    assert attempts <= len(POLICY.schedule)


def test_success_and_refusal_are_final() -> None:
    assert decided(PUSHED).state == "sent"
    assert decided(REFUSED).state == "refused"


def test_an_answer_in_time_is_a_success_however_old_the_enquiry() -> None:
    assert decided(PUSHED, age=timedelta(days=30)).state == "sent"
    assert decided(REFUSED, age=timedelta(days=30)).state == "refused"


@given(st.sampled_from([MISCONFIGURED, throttled(None), throttled(7)]), st.integers(0, 50), ages)
def test_what_is_not_the_enquirys_fault_costs_nothing_until_it_is_too_old(
    result: Exception, attempts: int, age: timedelta
) -> None:
    decision = decide(result, attempts=attempts, age=age, now=NOW, policy=POLICY, chance=0.5)
    assert not decision.counts
    assert decision.state == ("expired" if age >= POLICY.max_age else "waiting")


@pytest.mark.parametrize("result", [MISCONFIGURED, throttled(7), TRY_LATER])
def test_the_end_of_the_schedule_is_the_end(result: Exception) -> None:
    instant = timedelta(microseconds=1)
    assert decided(result, age=POLICY.max_age - instant).state == "waiting"
    assert decided(result, age=POLICY.max_age).state == "expired"


def test_a_wrong_key_leaves_the_enquiry_due() -> None:
    assert decided(MISCONFIGURED) == Decision("waiting", NOW)


@given(st.integers(0, 50), st.sampled_from([TRY_LATER, UNKNOWN, BUG]))
def test_a_probe_costs_nothing(attempts: int, result: Exception) -> None:
    decision = decided(result, attempts=attempts, probing=True)
    assert (decision.state, decision.due_at, decision.counts) == ("waiting", NOW, False)


@pytest.mark.parametrize("probing", [False, True])
def test_only_an_unknown_outcome_is_looked_up_first(probing: bool) -> None:
    assert decided(UNKNOWN, probing=probing).unknown
    assert not decided(TRY_LATER, probing=probing).unknown


@pytest.mark.parametrize("result", [UNKNOWN, BUG])
@pytest.mark.parametrize("probing", [False, True])
def test_without_keys_an_unknown_outcome_waits_until_even_a_late_write_shows(result: Exception, probing: bool) -> None:
    common = {"attempts": 0, "age": timedelta(0), "now": NOW, "policy": POLICY, "chance": 0.0, "probing": probing}
    decision = decide(result, **common, tier="B", settle=90)  # type: ignore[arg-type]  # a dict of mixed values
    assert (decision.state, decision.due_at, decision.unknown) == ("waiting", NOW + timedelta(seconds=90), True)
    sure = decide(TRY_LATER, **common, tier="B", settle=90)  # type: ignore[arg-type]  # as above
    assert sure.due_at < NOW + timedelta(seconds=90)


@pytest.mark.parametrize("result", [UNKNOWN, BUG])
@given(st.integers(0, 50), ages, st.booleans())
def test_where_the_crm_cannot_be_asked_an_unknown_outcome_goes_to_a_person(
    result: Exception, attempts: int, age: timedelta, probing: bool
) -> None:
    decision = decide(result, attempts=attempts, age=age, now=NOW, policy=POLICY, chance=0.5, probing=probing, tier="C")
    assert (decision.state, decision.unknown) == ("refused", False), "once a person says send, it is sent"
    code, sentence = describe(result, "C")
    assert code == "unknown_outcome"
    assert "may have arrived" in sentence


def test_what_surely_did_not_arrive_is_tried_again_with_every_tier() -> None:
    decision = decide(TRY_LATER, attempts=0, age=timedelta(0), now=NOW, policy=POLICY, chance=0.5, tier="C")
    assert decision == decided(TRY_LATER)


def test_an_unknown_outcome_stays_unknown_when_it_expires() -> None:
    assert decided(UNKNOWN, attempts=3).unknown


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 30), (0, 1), (-5, 1), (0.2, 1), (7, 7), (1e5, 86400), (float("inf"), 86400)]
)
def test_a_pause_is_what_the_crm_asks_for_within_reason(asked: float | None, seconds: int) -> None:
    assert throttle(throttled(asked)) == timedelta(seconds=seconds)
    assert decided(throttled(asked)).due_at == NOW + timedelta(seconds=seconds)


def test_a_connection_is_out_of_use_after_three_failures_in_a_row() -> None:
    health, states = WORKING, []
    for _ in range(FAILURES_TO_PAUSE):
        health = assess([TRY_LATER, TRY_LATER], health, NOW)
        states.append(health.state)
    assert states == ["working", "working", "failing"]
    assert health.probe_at == NOW + timedelta(seconds=5)
    assert (health.code, health.sentence) == (TRY_LATER.code, TRY_LATER.sentence)


@pytest.mark.parametrize("good", [PUSHED, REFUSED])
def test_any_answer_to_a_record_ends_the_row_of_failures(good: Result) -> None:
    assert assess([TRY_LATER, good], Health("working", 4, 0), NOW) == WORKING
    assert assess([good], Health("failing", 9, 4, "timeout", "Down."), NOW) == WORKING


def waits(result: Exception, before: Health, times: int) -> list[float]:
    """Seconds until each of the next probes, when all of them fail."""
    found = []
    for _ in range(times):
        before = assess([result], before, NOW)
        assert before.state == "failing"
        assert before.probe_at is not None
        found.append((before.probe_at - NOW).total_seconds())
    return found


def test_probes_wait_twice_as_long_each_time_up_to_a_minute() -> None:
    assert waits(TRY_LATER, Health("working", 4, 0), 6) == [5, 10, 20, 40, 60, 60]


def test_a_wrong_key_takes_the_connection_out_at_once_and_is_probed_rarely() -> None:
    assert waits(MISCONFIGURED, WORKING, 8) == [5, 10, 20, 40, 80, 160, 300, 300]


def test_one_wrong_key_outweighs_the_rest_of_the_batch() -> None:
    health = assess([PUSHED, throttled(9), MISCONFIGURED], WORKING, NOW)
    assert (health.state, health.code) == ("failing", "bad_key")
    assert health.wait_until == NOW + timedelta(seconds=9)  # its probe keeps quiet as well


def test_a_throttled_connection_works_and_is_quiet_as_long_as_the_longest_says() -> None:
    health = assess([PUSHED, throttled(3), throttled(9)], Health("failing", 8, 3), NOW)
    assert (health.state, health.failures, health.probes) == ("working", 0, 0)
    assert health.wait_until == NOW + timedelta(seconds=9)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_however_long_it_is_down_it_is_probed_within_a_minute(failures: int, probes: int) -> None:
    [wait] = waits(TRY_LATER, Health("failing", failures, probes), 1)
    assert 5 <= wait <= 60


def test_a_bug_is_described_without_what_it_says() -> None:
    code, sentence = describe(BUG)
    assert code == "bug"
    assert "Jane" not in sentence
