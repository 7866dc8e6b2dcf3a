"""A clinic in virtual time: days pass in seconds, for the real loop. Only the clock is pretended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import event as hooks
from sqlalchemy import select, text

from leads.store import outbox
from leads.store.models import Connection, Delivery
from leads.store.outbox import Accepted
from leads.store.schema import open_vault
from leads.store.session import Database
from leads.sync.connect import Context, Limits
from leads.sync.deliver import run_lane
from leads.sync.retry import Policy
from leads.sync.setup import Setup
from tests.factory import make_site, send

SCHEDULE = (0, 5, 60, 300, 1800, 7200, 18000, 36000, 36000, *[86400] * 6)  # seconds, as the settings have it


class Clock:
    """A time that only we move. It begins shortly before a change to summer time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 27, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=max(seconds, 0))


@contextmanager
def virtual_time(clock: Clock) -> Iterator[None]:
    """Waiting for the pace takes no time, and a `Retry-After` date is compared with the clock."""
    with (
        patch("leads.sync.pace.time", clock),
        patch("integrations.core.http.utc_now", clock),
    ):
        yield


class Clinic:
    """A site and a worker whose clock we move, on a database that has all tables."""

    def __init__(
        self, url: str, folder: Path, clock: Clock, schedule: tuple[int, ...] = SCHEDULE, timeout: float = 5
    ) -> None:
        """folder: for the keys. schedule: seconds before each try. timeout: seconds a call to a CRM may take."""
        self.clock, self.database = clock, Database(url, clock)
        hooks.listen(self.database.engine, "connect", self._be_quick)
        self.vault = open_vault(self.database, folder / "keys.json")
        limits = Limits(120, timeout, frozenset({"127.0.0.1"}), sweep_days=0)
        policy = Policy(tuple(timedelta(seconds=wait) for wait in schedule))
        self.context = Context(self.database, self.vault, "worker", limits, policy)
        self.setup = Setup(self.database, self.vault, limits, by="test")
        self.site = make_site(self.database)

    def _be_quick(self, raw: Any, _record: object) -> None:
        """No power cut comes here."""
        raw.execute("PRAGMA synchronous=OFF" if self.database.is_sqlite else "SET synchronous_commit = off")
        raw.commit()

    def connect(self, kind: str, name: str, options: dict[str, str]) -> UUID:
        return self.setup.create("demo", kind, name, options).id

    def send(self, person: int) -> Accepted:
        """An enquiry of the person with this number."""
        return send(self.database, self.vault, self.site, first_name=f"P{person}", email=email_of(person))

    def tick(self) -> list[UUID]:
        """What the worker does when its clock ticks: a lane for each connection that is ready. Returns which were."""
        ready = self.ready()
        for connection_id in ready:
            run_lane(self.context_of(connection_id), connection_id)
        return ready

    def context_of(self, _connection_id: UUID) -> Context:
        """What this lane is given."""
        return self.context

    def ready(self) -> list[UUID]:
        with self.database.read() as session:
            return outbox.ready(session, self.clock())

    def pass_time(self, whole: timedelta, step: timedelta) -> None:
        until = self.clock.now + whole
        while self.clock.now < until:
            self.clock.now += step
            self.tick()

    def connection(self, connection_id: UUID) -> Connection:
        with self.database.read() as session:
            return session.get_one(Connection, connection_id)

    def settle_down(self) -> None:
        """What a database does for itself within minutes of real time, which do not pass here."""
        with self.database.write() as session:
            session.execute(text("ANALYZE"))

    def connections(self) -> list[Connection]:
        with self.database.read() as session:
            return list(session.scalars(select(Connection)))

    def deliveries(self, *which: Any) -> list[Delivery]:
        with self.database.read() as session:
            return list(session.scalars(select(Delivery).where(*which)))


def email_of(person: int) -> str:
    return f"p{person}@example.com"
