"""Visitors from outside: they come at an open rate, and what one web host does not answer is sent to the other, with
the same id, as a load balancer or the website's script does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any
from uuid import UUID

import requests

from bench.hosts.network import Host
from tests.sessions import ThreadSessions

_THREADS = 48
_PATIENCE = (1.0, 5.0)  # seconds that a load balancer waits to be connected, and to be answered
_AGAIN = 0.2  # seconds before it is sent again


@dataclass(frozen=True, slots=True)
class Thanks:
    """One enquiry that was acknowledged. due, at: seconds since 1970. host: the address that said so. stored_by:
    the event's id. tries: posts it took."""

    client_id: str
    event_id: UUID
    due: float
    at: float
    host: str
    tries: int


class Visitors:
    """urls: of the web hosts. sites: the keys of the websites. rate: visitors per second, all sites together."""

    def __init__(self, outside: Host, urls: Sequence[str], sites: Sequence[str], rate: float, dice: Random) -> None:
        self._outside, self._urls, self._sites, self._rate, self._dice = outside, urls, sites, rate, dice
        self.thanks: list[Thanks] = []
        self.came = 0
        self.failed = 0
        self._closed, self._given_up = threading.Event(), threading.Event()
        self._sessions = ThreadSessions()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="visitor", initializer=outside.enter)
        self._door = threading.Thread(target=self._come, name="door")

    def start(self) -> None:
        self._door.start()

    def finish(self, seconds: float) -> int:
        """Let nobody in any more, and wait until all are thanked. Returns how many were not in this time."""
        self._closed.set()
        self._door.join()
        until = time.monotonic() + seconds
        while len(self.thanks) < self.came and time.monotonic() < until:
            time.sleep(0.05)
        self._given_up.set()
        self._pool.shutdown()
        return self.came - len(self.thanks)

    def _come(self) -> None:
        began = time.time()
        for number in count():
            due = began + number / self._rate
            if self._closed.wait(max(due - time.time(), 0)):
                return
            self.came += 1
            self._pool.submit(self._visit, number, due, self._dice.randrange(len(self._urls)))

    def _visit(self, number: int, due: float, first: int) -> None:
        body: dict[str, Any] = {
            "site": self._sites[number % len(self._sites)],
            "id": f"visit-{number}",
            "first_name": f"First{number}",
            "email": f"person{number}@example.com",
            "consent": True,
        }
        for tries in count():
            host = self._urls[(first + tries) % len(self._urls)]
            if event_id := self._post(host, body):
                self.thanks.append(Thanks(body["id"], event_id, due, time.time(), host, tries + 1))
                return
            self.failed += 1
            if self._given_up.wait(_AGAIN):
                return

    def _post(self, url: str, body: dict[str, Any]) -> UUID | None:
        try:
            answer = self._sessions.mine().post(f"{url}/api/v1/consultations", data=json.dumps(body), timeout=_PATIENCE)
            return UUID(answer.json()["id"]) if answer.status_code == 201 else None
        except (requests.RequestException, ValueError):
            return None
