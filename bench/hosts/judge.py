"""The verdict: what visitors were promised, what the CRMs hold, how fast they were called, how long each fault hurt."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import requests

from bench.hosts.faults import Fault
from bench.hosts.machines import CRM_PORTS, PACE, SITES, Fleet
from bench.hosts.visitors import Thanks

_WINDOWS = (1.0, 10.0)  # seconds within which CRMs count calls
_MARGIN = 1.0  # seconds; who comes right before the next fault is hit by that one


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a CRM. at: seconds since 1970. caller: the host's address. wrote: event ids."""

    at: float
    caller: str
    wrote: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Book:
    """What one CRM has seen and holds. held: event id → how often."""

    site: str
    calls: Sequence[Call]
    held: Counter[str]
    people: Counter[str]

    def most_within(self, seconds: float, since: float = 0.0, until: float = math.inf) -> int:
        """The most calls in any span of so many seconds between these two moments."""
        most, recent = 0, deque[float]()
        for at in sorted(call.at for call in self.calls if since <= call.at < until):
            recent.append(at)
            while recent[0] <= at - seconds:
                recent.popleft()
            most = max(most, len(recent))
        return most

    def next_delivery(self, after: float, not_by: str) -> float | None:
        """When the first enquiry was written after this moment, by another host than this one."""
        times = (call.at for call in self.calls if call.wrote and call.at >= after and call.caller != not_by)
        return min(times, default=None)


@dataclass(slots=True)
class Verdict:
    """numbers: name → value. broken: invariants that did not hold, as sentences."""

    numbers: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def must_be_none(self, name: str, number: int) -> None:
        self.numbers[name] = number
        if number:
            self.broken.append(f"{name}: {number}")


@dataclass(frozen=True, slots=True)
class Recovery:
    """How one fault was felt, in seconds; None where nothing came. thanked, delivered: until the next enquiry was
    acknowledged, and until every connection delivered again. wait: the longest that a visitor waited for thanks.
    on_the_way: the longest from click to CRM. calls: the most that one CRM got within a second."""

    fault: Fault
    thanked: float | None
    delivered: float | None
    wait: float
    on_the_way: float
    calls: int


def read_books(fleet: Fleet) -> list[Book]:
    """From each CRM."""
    books = []
    with requests.Session() as session:
        session.trust_env = False
        for site, port in zip(SITES, CRM_PORTS, strict=True):
            url = f"http://{fleet.hosts['crm'].address}:{port}"
            calls = [Call(at, caller, tuple(wrote)) for at, caller, wrote in _get(session, f"{url}/book.json")]
            contacts = _get(session, f"{url}/contacts.json")["contacts"]
            held = Counter(one["external_id"] for contact in contacts for one in contact["activities"])
            books.append(Book(site, calls, held, Counter(contact["properties"]["email"] for contact in contacts)))
    return books


def _get(session: requests.Session, url: str) -> Any:
    answer = session.get(url, timeout=30)
    answer.raise_for_status()
    return answer.json()


def wait_until_delivered(fleet: Fleet, thanks: Sequence[Thanks], seconds: float) -> float:
    """Sleep until the CRMs hold all of it, or so long. Returns the seconds it took."""
    began = time.monotonic()
    wanted = {str(one.event_id) for one in thanks}
    while time.monotonic() - began < seconds:
        if wanted <= {event_id for book in read_books(fleet) for event_id in book.held}:
            break
        time.sleep(1)
    return time.monotonic() - began


def judge(thanks: Sequence[Thanks], books: Sequence[Book]) -> Verdict:
    """Compare the promises with what arrived."""
    verdict = Verdict()
    promised = {str(one.event_id) for one in thanks}
    held = sum((book.held for book in books), Counter[str]())
    verdict.numbers["acknowledged"] = len(thanks)
    verdict.must_be_none("acknowledged and not in the CRM", len(promised - set(held)))
    verdict.must_be_none("in the CRM twice", sum(number > 1 for number in held.values()))
    verdict.must_be_none("one visit, two enquiries", len(thanks) - len(promised))
    verdict.must_be_none("in the CRM and acknowledged to nobody", len(set(held) - promised))
    verdict.must_be_none("people in the CRM twice", sum(n > 1 for book in books for n in book.people.values()))
    pushes = Counter(event_id for book in books for call in book.calls for event_id in call.wrote)
    verdict.numbers["written again with the same key"] = sum(number > 1 for number in pushes.values())
    return verdict


def judge_pace(verdict: Verdict, faults: Sequence[Fault], books: Sequence[Book]) -> None:
    """Count the calls that each CRM got, from the moment that all workers were of this version."""
    for seconds, fault in product(_WINDOWS, (one for one in faults if one.paced)):
        most = max(book.most_within(seconds, fault.began, fault.over) for book in books)
        allowed = round(PACE * seconds) + fault.held_up
        if most > allowed:
            verdict.broken.append(f"the pace: {fault.name}: {most} calls within {seconds:g} s, {allowed} allowed")
        elif not fault.held_up:
            name = f"most calls within {seconds:g} s ({allowed} allowed)"
            verdict.numbers[name] = max(most, verdict.numbers.get(name, 0))


def recoveries(faults: Iterable[Fault], thanks: Sequence[Thanks], books: Sequence[Book]) -> list[Recovery]:
    """How each fault was felt."""
    arrived: dict[str, float] = {}
    for call in sorted((call for book in books for call in book.calls), key=lambda call: call.at):
        for event_id in call.wrote:
            arrived.setdefault(event_id, call.at)
    return [_recovery(fault, thanks, books, arrived) for fault in faults]


def _recovery(fault: Fault, thanks: Sequence[Thanks], books: Sequence[Book], arrived: dict[str, float]) -> Recovery:
    during = [one for one in thanks if fault.began <= one.due < fault.over - _MARGIN]
    next_thanks = min(
        (one.at for one in thanks if one.at >= fault.counts_from and one.due >= fault.began), default=None
    )
    delivered = [book.next_delivery(fault.counts_from, fault.lost) for book in books]
    last = None if None in delivered else max(at for at in delivered if at is not None)
    return Recovery(
        fault,
        next_thanks and next_thanks - fault.counts_from,
        last and last - fault.counts_from,
        max((one.at - one.due for one in during), default=0.0),
        max((arrived[str(one.event_id)] - one.due for one in during if str(one.event_id) in arrived), default=0.0),
        max(book.most_within(1.0, fault.began, fault.over) for book in books),
    )
