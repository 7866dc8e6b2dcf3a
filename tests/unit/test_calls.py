"""Calls to a connector that fails in any way: one answer per item comes back, and the guilty stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.core.base import Item, Pushed, Result, Seen
from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, Unknown
from leads.sync import calls
from tests.fakes import FakeCrm, an_item

ITEMS = [an_item(number) for number in range(8)]


def said(answers: Sequence[Any]) -> list[str]:
    return [getattr(one, "remote_id", None) or getattr(one, "code", None) or type(one).__name__ for one in answers]


class Picky(FakeCrm):
    """Fails with `error` as a whole when one of the guilty is in the batch."""

    def __init__(self, guilty: set[int], error: Exception) -> None:
        super().__init__()
        self.guilty, self.error, self.batches = guilty, error, 0

    def push(self, batch: Sequence[Item]) -> list[Result]:
        self.batches += 1
        if self.guilty & {int(item.event_id) for item in batch}:
            raise self.error
        return super().push(batch)

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        if self.guilty & {int(item.event_id) for item in items}:
            raise self.error
        return super().find(items)


@given(st.sets(st.integers(0, 7)))
def test_a_batch_refused_as_a_whole_is_split_until_the_guilty_stand_alone(guilty: set[int]) -> None:
    crm = Picky(guilty, Refused("bad", "This record is wrong."))
    answers = calls.push(crm, ITEMS, ())
    assert [isinstance(answer, Refused) for answer in answers] == [number in guilty for number in range(8)]
    assert sorted(crm.written) == sorted(str(number) for number in range(8) if number not in guilty)


def test_one_that_breaks_the_connector_takes_no_other_with_it() -> None:
    crm = Picky({3}, KeyError("Jane Doe"))
    assert said(calls.push(crm, ITEMS, ())) == ["r0", "r1", "r2", "KeyError", "r4", "r5", "r6", "r7"]


@pytest.mark.parametrize(
    "error",
    [
        TryLater("timeout", "."),
        Throttled("busy", "."),
        Misconfigured("bad_key", "."),
        Unknown("cut", "."),
    ],
)
def test_what_is_wrong_with_the_crm_is_asked_once(error: DeliveryError) -> None:
    crm = Picky({3}, error)
    assert calls.push(crm, ITEMS, ()) == [error] * 8
    assert crm.batches == 1


@pytest.mark.parametrize("remote_id", ["", "  ", "null", "None", "x" * 201, "a\x00b"])
def test_a_yes_without_an_id_is_never_a_success(remote_id: str) -> None:
    class Nameless(FakeCrm):
        def push(self, batch: Sequence[Item]) -> list[Result]:
            return [Pushed(remote_id) for _ in batch]

        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            return [Seen(remote_id) for _ in items]

    assert said(calls.push(Nameless(), ITEMS[:1], ())) == ["no_id"]
    assert said(calls.look_up(Nameless(), ITEMS[:1])) == ["no_id"]


def test_an_address_that_no_page_can_hold_is_left_out() -> None:
    class Odd(FakeCrm):
        def push(self, batch: Sequence[Item]) -> list[Result]:
            return [Pushed("1", "https://crm.example/\x00") for _ in batch]

    assert calls.push(Odd(), ITEMS[:1], ()) == [Pushed("1")]


def test_an_answer_too_few_is_a_bug_and_no_success() -> None:
    class Silent(FakeCrm):
        def push(self, batch: Sequence[Item]) -> list[Result]:
            return []

    assert said(calls.push(Silent(), ITEMS[:2], ())) == ["ValueError", "ValueError"]


def test_what_may_be_there_already_is_looked_up_and_not_written_again() -> None:
    crm = FakeCrm()
    crm.push(ITEMS[:2])
    crm.written.clear()
    answers = calls.push(crm, ITEMS[:4], {"1", "2"})
    assert said(answers) == ["r0", "r1", "r2", "r3"]
    assert crm.written == ["0", "2", "3"], "1 was found; 2 was looked for in vain; 0 and 3 were in no doubt"


def test_what_was_kept_in_part_only_is_written_again() -> None:
    class Partial(FakeCrm):
        def find(self, items: Sequence[Item]) -> list[Seen | None]:
            return [Seen("r0", whole=False) for _ in items]

    crm = Partial()
    calls.push(crm, ITEMS[:1], {"0"})
    assert crm.written == ["0"]


def test_a_bug_after_some_was_written_repeats_nothing_where_that_would_stand_twice() -> None:
    class Breaks(FakeCrm):
        """Writes, and cannot read the answer where the third is among them."""

        def push(self, batch: Sequence[Item]) -> list[Result]:
            for item in batch:
                self.written.append(item.event_id)
            if any(item.event_id == "3" for item in batch):
                raise KeyError("id")
            return [self.keep(item) for item in batch]

    crm = Breaks("B")
    assert said(calls.push(crm, ITEMS[:5], ())) == ["KeyError"] * 5
    assert crm.written == ["0", "1", "2", "3", "4"]


def test_a_bug_after_a_batch_was_split_repeats_nothing_either() -> None:
    class Breaks(FakeCrm):
        """Refuses the third with all beside it before it writes, and cannot read the answer to more than one."""

        def push(self, batch: Sequence[Item]) -> list[Result]:
            if any(item.event_id == "3" for item in batch):
                raise Refused("bad", "This record is wrong.")
            kept = [self.keep(item) for item in batch]
            if len(batch) > 1:
                raise KeyError("id")
            return kept

    crm = Breaks("B")
    assert said(calls.push(crm, ITEMS[:4], ())) == ["KeyError", "KeyError", "r2", "bad"]
    assert crm.written == ["0", "1", "2"]


class PickyWriter(Picky):
    """Where a repeated write may come to stand twice. It can be read, and holds nothing yet."""

    def __init__(self, guilty: set[int], error: Exception) -> None:
        super().__init__(guilty, error)
        self.tier = "B"

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        return [None for _ in items]


def test_what_broke_off_before_goes_alone_where_it_might_stand_twice() -> None:
    crm = PickyWriter({3}, KeyError("Jane Doe"))
    answers = calls.push(crm, ITEMS[:6], {"2", "3", "4"})
    assert said(answers) == ["r0", "r1", "r2", "KeyError", "r4", "r5"]
    assert crm.batches == 4, "0, 1 and 5 in one go"


def test_once_the_crm_ails_the_next_of_those_who_go_alone_is_not_tried() -> None:
    crm = PickyWriter({2}, TryLater("down", "."))
    assert said(calls.push(crm, ITEMS[:5], {"1", "2", "3", "4"})) == ["r0", "r1", "down", "down", "down"]
    assert crm.batches == 3


def test_when_it_cannot_be_looked_up_it_is_not_written() -> None:
    crm = Picky({0}, TryLater("timeout", "."))
    assert said(calls.push(crm, ITEMS[:1], {"0"})) == ["timeout"]
    assert crm.written == []


class Busy(FakeCrm):
    """Wants quiet from its second call on. called: how often it was."""

    called = 0

    def _call(self) -> None:
        self.called += 1
        if self.called > 1:
            raise Throttled("busy", "Not now.", retry_after=7)

    def push(self, batch: Sequence[Item]) -> list[Result]:
        self._call()
        if len(batch) > 1:
            raise Refused("bad", "One of these is wrong.")
        return super().push(batch)

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        self._call()
        return super().find(items)


def test_when_the_crm_wants_quiet_the_rest_of_the_batch_is_not_called_for() -> None:
    crm = Busy()
    answers = calls.push(crm, ITEMS, ())
    assert crm.called == 2
    assert all(isinstance(answer, Throttled) for answer in answers)


def test_when_a_look_up_finds_the_crm_busy_nothing_is_sent() -> None:
    crm = Busy()
    crm.called = 1
    answers = calls.push(crm, ITEMS, {"3"})
    assert crm.called == 2
    assert all(isinstance(answer, Throttled) for answer in answers)
