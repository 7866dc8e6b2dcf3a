"""Many requests are written together, and each is answered for itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from leads.store.groups import Groups


class Slow:
    """Writes numbers; the first group waits until it is let go. A negative number cannot be written."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, numbers: Sequence[int]) -> list[str]:
        self.groups.append(list(numbers))
        self.begun.set()
        assert self.go.wait(60)
        if min(numbers) < 0:
            raise ValueError(f"{min(numbers)}")
        return [str(number) for number in numbers]


def _send(slow: Slow, pool: ThreadPoolExecutor, first: int, others: Sequence[int], most: int = 32) -> list[Future[str]]:
    """The others come, one after the other, while the first one is being written."""
    groups = Groups(slow.write, most)
    futures = [pool.submit(groups.add, first)]
    assert slow.begun.wait(60)
    for number in others:
        before = len(groups._line)
        futures.append(pool.submit(groups.add, number))
        while len(groups._line) == before:
            pass
    slow.go.set()
    return futures


@pytest.fixture
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is as long as a busy machine needs to let everybody come."""
    monkeypatch.setattr("leads.store.groups._MOMENT", 30)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as threads:
        yield threads


def test_one_alone_waits_for_nobody(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    slow.go.set()
    assert Groups(slow.write).add(1) == "1"
    assert slow.groups == [[1]]


def test_what_comes_during_a_write_goes_together(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    futures = _send(slow, pool, 0, range(1, 6))
    assert [future.result(60) for future in futures] == ["0", "1", "2", "3", "4", "5"]
    assert slow.groups == [[0], [1, 2, 3, 4, 5]]


def test_no_group_grows_without_bound(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    futures = _send(slow, pool, 0, range(1, 8), most=3)
    assert [future.result(60) for future in futures] == [str(number) for number in range(8)]
    assert slow.groups == [[0], [1, 2, 3], [4, 5, 6], [7]]


def test_what_is_wrong_with_one_is_no_others_fault(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    good, bad, also_good = _send(slow, pool, 0, [-1, 2])
    assert (good.result(60), also_good.result(60)) == ("0", "2")
    with pytest.raises(ValueError, match="-1"):
        bad.result(60)


def test_it_goes_on_after_an_error(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    slow.go.set()
    groups = Groups(slow.write)
    with pytest.raises(ValueError, match="-1"):
        groups.add(-1)
    assert groups.add(1) == "1"


def test_when_the_database_is_in_trouble_whoever_waits_is_told_at_once(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    groups = Groups(slow.write, trouble=(ValueError,))
    futures = [pool.submit(groups.add, -1)]
    assert slow.begun.wait(60)
    futures += [pool.submit(groups.add, number) for number in (1, 2)]
    while len(groups._line) < 2:
        pass
    slow.go.set()
    for future in futures:
        with pytest.raises(ValueError, match="-1"):
            future.result(60)
    assert slow.groups == [[-1]]
    assert groups.add(3) == "3"


@pytest.mark.usefixtures("_patience")
def test_of_those_that_are_written_alone_none_waits_for_trouble_that_another_met(pool: ThreadPoolExecutor) -> None:
    written: list[list[int]] = []
    all_inside = threading.Barrier(3)

    def write(numbers: Sequence[int]) -> list[str]:
        written.append(list(numbers))
        raise LookupError if len(numbers) > 1 else ValueError

    groups = Groups(write, trouble=(ValueError,))

    def come(number: int) -> str:
        with groups.on_the_way():
            all_inside.wait()
            return groups.add(number)

    for future in [pool.submit(come, number) for number in range(3)]:
        with pytest.raises(ValueError):  # noqa: PT011 - it has no words
            future.result(60)
    assert list(map(len, written)) == [3, 1]


@pytest.mark.usefixtures("_patience")
def test_a_group_waits_a_moment_for_who_is_almost_here(pool: ThreadPoolExecutor) -> None:
    written: list[list[int]] = []

    def write(numbers: Sequence[int]) -> list[str]:
        written.append(list(numbers))
        return [str(number) for number in numbers]

    groups, all_inside = Groups(write), threading.Barrier(8)

    def come(number: int) -> str:
        with groups.on_the_way():
            all_inside.wait()
            return groups.add(number)

    assert sorted(pool.map(come, range(8))) == [str(number) for number in range(8)]
    assert len(written) == 1


def test_it_does_not_wait_long_for_who_never_adds_anything(pool: ThreadPoolExecutor) -> None:
    groups: Groups[int, str] = Groups(lambda numbers: [str(number) for number in numbers])
    leave = threading.Event()

    def look_around() -> None:
        with groups.on_the_way():
            leave.wait(60)

    lingering = pool.submit(look_around)
    while not groups._inside:
        pass
    with groups.on_the_way():
        assert groups.add(1) == "1"
    leave.set()
    lingering.result(60)
    assert groups._inside == 0
