"""A CRM without a network, where a test is about what we make of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from integrations.core.base import Connector, Draft, Finding, Item, Options, Pushed, Result, Seen, Tier
from integrations.core.errors import DeliveryError
from integrations.core.http import Http


class FakeCrm(Connector):
    """Holds events by id. answers: what the next pushes answer instead, one list or exception each; `None` in a list
    keeps the item."""

    kind = "fake"
    label = "Fake"
    options = Options
    batch_size = 10
    fields = {}  # noqa: RUF012 - the base declares it

    def __init__(self, tier: Tier = "A", settle: float = 0.0, *, readable: bool = True) -> None:
        super().__init__({}, Http())
        self.tier, self.settle = tier, settle
        self.readable = readable  # type: ignore[misc]  # of its kind for real connectors, of one test here
        self.held: dict[str, Seen] = {}
        self.written: list[str] = []
        self.looked: list[str] = []
        self.answers: list[Exception | Callable[[Sequence[Item]], list[Result]]] = []
        self.findings = [Finding(True, "Well.")]
        self.checks = 0
        self.erased: list[str] = []
        self.merged: dict[str, str] = {}  # what staff made one with another: of each the one that stayed
        self.erasing: list[DeliveryError] = []  # what the next ones answer instead

    def check(self) -> list[Finding]:
        self.checks += 1
        return self.findings

    def push(self, batch: Sequence[Item]) -> list[Result]:
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer(batch)
        return [self.keep(item) for item in batch]

    def keep(self, item: Item) -> Pushed:
        """Write an item."""
        remote_id = f"r{item.event_id}"
        self.written.append(item.event_id)
        self.held[item.event_id] = Seen(remote_id, None, dict(item.record))
        return Pushed(remote_id)

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        self.looked += [item.event_id for item in items]
        return [self._stays(seen) if (seen := self.held.get(item.event_id)) else None for item in items]

    def _stays(self, seen: Seen) -> Seen:
        return replace(seen, remote_id=self.merged.get(seen.remote_id, seen.remote_id))

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        there = {seen.remote_id: seen.record or {} for seen in self.held.values()}
        return [there.get(item.remote_id or "") for item in items]

    def draft(self, item: Item) -> list[Draft]:
        return [Draft("POST", "https://crm.example/people", dict(item.record))]

    def merged_with(self, remote_ids: Sequence[str]) -> list[str]:
        return list(dict.fromkeys([*(self.merged[one] for one in remote_ids if one in self.merged), *remote_ids]))

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        stays = {event: self.merged.get(seen.remote_id, seen.remote_id) for event, seen in self.held.items()}
        return {event for event, one in stays.items() if one in remote_ids}

    def erase(self, remote_ids: Sequence[str]) -> None:
        self.erased += remote_ids
        if self.erasing:
            raise self.erasing.pop(0)


def an_item(number: int, **more: Any) -> Item:
    """An event whose id is its number."""
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    return Item(f"lead-{number}", str(number), "consultation_request", at, "Consultation request", {}, **more)
