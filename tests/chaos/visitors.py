"""Visitors of the clinic's website: they send at an open rate, and again with the same id until they are thanked."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

import requests

from tests.sessions import ThreadSessions

KINDS = ("form", "call", "form elsewhere")
_THREADS = 6
_IMPATIENT = 5.0  # seconds a browser waits for an answer
_AGAIN = 0.1  # seconds before it sends again


@dataclass(frozen=True, slots=True)
class Visit:
    """One thing a visitor does. path: which endpoint. twice: sent once more after the thanks, on purpose."""

    path: str
    body: dict[str, Any]
    twice: bool


@dataclass(slots=True)
class Log:
    """What the visitors saw. thanked: the browser's id → every event id it was given. late: thanks for an enquiry
    that an earlier, unanswered try had stored: a commit of unknown outcome, seen from outside. erased: events of people
    whom staff have erased."""

    thanked: dict[str, set[UUID]] = field(default_factory=dict)
    erased: set[UUID] = field(default_factory=set)
    numbers: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def thank(self, client_id: str, event_id: UUID, *, late: bool) -> None:
        with self._lock:
            self.thanked.setdefault(client_id, set()).add(event_id)
            self.numbers["late"] += late

    def count(self, name: str) -> None:
        with self._lock:
            self.numbers[name] += 1


def plan_visits(number: int, dice: Random, kinds: tuple[str, ...] = KINDS) -> list[Visit]:
    """A day at the clinic: forms, calls by people not yet known, returning patients, double clicks.

    Every person sends one form with e-mail and browser id, so that in the end each is one person, whatever came first.
    """
    people = max(int(number * 0.7), 1)
    visits = [_visit(one, one, "form", dice) for one in range(people)]
    visits += [_visit(extra, dice.randrange(people), dice.choice(kinds), dice) for extra in range(people, number)]
    dice.shuffle(visits)
    return visits


def _visit(number: int, person: int, kind: str, dice: Random) -> Visit:
    body: dict[str, Any] = {"site": "demo", "id": f"visit-{number}"}
    if kind != "form elsewhere":
        body["visitor_id"] = f"browser-{person}"
    if kind == "call":
        return Visit("call-clicks", body, dice.random() < 0.1)
    body |= {"first_name": f"First{person}", "email": f"person{person}@example.com", "consent": True}
    return Visit("consultations", body, dice.random() < 0.1)


class Visitors:
    """Sends visits from several threads, each due at its time whether or not the ones before are through."""

    def __init__(self, url: str, visits: list[Visit], rate: float, *, wave: int = 1) -> None:
        """rate: visits per second. wave: so many of them come at once."""
        self._url, self._visits, self._rate, self._wave = url, visits, rate, wave
        self.log = Log()
        self._pool = ThreadPoolExecutor(max(_THREADS, wave), thread_name_prefix="visitor")
        self._sessions = ThreadSessions()
        self._over = threading.Event()
        self._started = time.monotonic()

    def start(self) -> None:
        self._started = time.monotonic()
        self._sent = [self._pool.submit(self._send, place, visit) for place, visit in enumerate(self._visits)]

    def wait_for(self, share: float) -> None:
        """Sleep until this share of the visits has been thanked. Raises AssertionError when that takes minutes."""
        until = time.monotonic() + 120
        while self.done < share * len(self._visits):
            assert time.monotonic() < until, "nobody is thanked any more"
            time.sleep(0.01)

    def wait_for_wave(self) -> None:
        """Sleep until the next visitors come."""
        whole = self._wave / self._rate
        time.sleep(whole - (time.monotonic() - self._started) % whole)

    @property
    def done(self) -> int:
        """How many visits have been thanked."""
        return len(self.log.thanked)

    def finish(self, seconds: float) -> bool:
        """Wait until all are through. False: some were never thanked."""
        until = time.monotonic() + seconds
        while self.done < len(self._visits) and time.monotonic() < until:
            time.sleep(0.05)
        self._over.set()
        self._pool.shutdown(cancel_futures=True)
        for sent in self._sent:
            if not sent.cancelled():
                sent.result()  # a mistake of ours must not pass for a quiet visitor
        return self.done == len(self._visits)

    def _send(self, place: int, visit: Visit) -> None:
        due = self._started + place // self._wave * self._wave / self._rate
        self._over.wait(max(due - time.monotonic(), 0))
        thanks = 0
        while thanks < 1 + visit.twice and not self._over.is_set():
            if self._post(visit, first=not thanks):
                thanks += 1
            else:
                self._over.wait(_AGAIN)

    def _post(self, visit: Visit, *, first: bool) -> bool:
        asked = time.time()
        self.log.count("posts")
        try:
            answer = self._sessions.mine().post(
                f"{self._url}/api/v1/{visit.path}", data=json.dumps(visit.body), timeout=_IMPATIENT
            )
        except requests.RequestException:
            self.log.count("unanswered")
            return False
        if answer.status_code != 201:
            self.log.count(f"answered_{answer.status_code}")
            return False
        thanks = answer.json()
        stored = datetime.fromisoformat(thanks["received_at"]).timestamp()
        self.log.thank(visit.body["id"], UUID(thanks["id"]), late=first and stored < asked)
        return True
