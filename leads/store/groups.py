"""Group commit: what comes in while one transaction is written goes into the next one together.

A commit costs about as much for thirty events as for one, and writers that contend make each other wait. Whoever is
first in line writes for all that wait behind and for those who are almost here; each is answered only after the commit.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_MOMENT = 0.01  # seconds that a group waits at most for who is almost here


class _Place(Generic[Item, Answer]):
    """One request's place in the line. called: released when it is answered, or first in line."""

    __slots__ = ("answer", "called", "error", "item")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.called = threading.Lock()
        self.called.acquire()


class Groups(Generic[Item, Answer]):
    """write: stores items in one transaction and answers each, in order; all or none of them.

    most: items in one group, so that nobody waits long for a transaction that has grown large. trouble: errors that no
    single item is to blame for; whoever waits then is told at once, and not after a wait of his own.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Sequence[Answer]],
        most: int = 32,
        trouble: tuple[type[Exception], ...] = (),
    ) -> None:
        self._write = write
        self._trouble = trouble
        self._most = most
        self._line: deque[_Place[Item, Answer]] = deque()
        self._guard = threading.Lock()
        self._led = False
        self._inside = 0
        self._gathered = threading.Condition(self._guard)

    @contextmanager
    def on_the_way(self) -> Iterator[None]:
        """Within it somebody is going to `add`, or finds that there is nothing to add.

        Without it those who were answered together come back one by one, and every second group is of one alone.
        """
        with self._guard:
            self._inside += 1
        try:
            yield
        finally:
            with self._guard:
                self._inside -= 1
                self._tell_who_gathers()

    def add(self, item: Item) -> Answer:
        """Store this item with whatever else waits. Raises what `write` raises for it."""
        mine = _Place[Item, Answer](item)
        with self._guard:
            self._line.append(mine)
            leads, self._led = not self._led, True
            self._tell_who_gathers()
        if not leads:
            mine.called.acquire()
        if mine.answer is None and mine.error is None:
            self._lead()
        if mine.error is not None:
            raise mine.error
        assert mine.answer is not None  # noqa: S101 - it was written, or there is an error
        return mine.answer

    def _lead(self) -> None:
        self._wait_a_moment()
        group = self._line_up(self._most)
        try:
            self._answer(group)
        finally:
            with self._guard:
                self._led = bool(self._line)
                following = self._line[0] if self._line else None
            if following:
                following.called.release()
            for place in group[1:]:
                place.called.release()

    def _wait_a_moment(self) -> None:
        with self._gathered:
            self._gathered.wait_for(self._all_here, _MOMENT)

    def _all_here(self) -> bool:
        return len(self._line) >= min(self._inside, self._most)

    def _tell_who_gathers(self) -> None:
        if self._all_here():
            self._gathered.notify()

    def _answer(self, group: list[_Place[Item, Answer]]) -> None:
        try:
            for place, answer in zip(group, self._write([place.item for place in group]), strict=True):
                place.answer = answer
        except self._trouble as error:
            for place in group:
                place.error = error
            for place in self._line_up():
                place.error = error
                place.called.release()
        except Exception as error:  # noqa: BLE001 - raised again by whom it concerns
            if len(group) == 1:
                group[0].error = error
            else:
                self._answer_each(group)

    def _answer_each(self, group: list[_Place[Item, Answer]]) -> None:
        """One of them is to blame, so each is written alone; as long as no trouble comes that would make each wait."""
        for number, place in enumerate(group, 1):
            self._answer([place])
            if isinstance(place.error, self._trouble):
                for other in group[number:]:
                    other.error = place.error
                return

    def _line_up(self, most: int = sys.maxsize) -> list[_Place[Item, Answer]]:
        with self._guard:
            return [self._line.popleft() for _ in range(min(len(self._line), most))]
