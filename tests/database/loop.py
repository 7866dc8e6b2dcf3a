"""The worker's loop against a CRM without a network, in a time that only the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from leads.store import outbox
from leads.store.erasure_list import ErasureList
from leads.store.models import Attempt, Connection, Delivery, Drift, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Context, Limits
from leads.sync.deliver import run_lane
from leads.sync.retry import Policy
from tests.database.lanes import Clock
from tests.factory import send
from tests.fakes import FakeCrm

POLICY = Policy(tuple(timedelta(seconds=seconds) for seconds in (0, 5, 60, 300, 1800, 7200, 86400)))


@dataclass
class Loop:
    """One site with one connection to `crm`."""

    database: Database
    vault: Vault
    clock: Clock
    site: Site
    connection_id: UUID
    crm: FakeCrm
    erasures: ErasureList
    monkeypatch: pytest.MonkeyPatch
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        self.context = Context(self.database, self.vault, "w1", Limits(60, 5), POLICY)
        self.use(self.crm)

    def use(self, crm: FakeCrm) -> None:
        """From now on the connection leads to this CRM."""
        self.crm = crm
        self.monkeypatch.setattr("leads.sync.deliver.open_connector", lambda _context, _connection: crm)

    def send(self, name: str = "Jane", **more: Any) -> UUID:
        """An enquiry comes in. Returns the event's id."""
        return send(self.database, self.vault, self.site, first_name=name, email=f"{name}@example.com", **more).event_id

    def tick(self, **later: float) -> bool:
        """Let time pass, then do what the worker does. Returns whether there was anything to do."""
        self.clock.forward(**later)
        with self.database.read() as session:
            ready = self.connection_id in outbox.ready(session, self.clock())
        if ready:
            run_lane(self.context, self.connection_id)
        return ready

    def night(self) -> None:
        """The next night's looks."""
        self.tick(hours=24)

    def row(self, event_id: UUID | None = None) -> Delivery:
        """The delivery of an event, or the only one."""
        with self.database.read() as session:
            every = select(Delivery)
            return session.scalars(every.where(Delivery.event_id == event_id) if event_id else every).one()

    def connection(self) -> Connection:
        with self.database.read() as session:
            return session.get_one(Connection, self.connection_id)

    def set_connection(self, **values: Any) -> None:
        with self.database.write() as session:
            session.execute(update(Connection).values(**values))

    def drifts(self, kind: str | None = None) -> list[Drift]:
        """What was ever found, oldest first."""
        with self.database.read() as session:
            found = session.scalars(select(Drift).order_by(Drift.found_at, Drift.id)).all()
        return [one for one in found if kind in (None, one.kind)]

    def open(self) -> list[str]:
        """Kinds of what is open."""
        return [one.kind for one in self.drifts() if one.settled_at is None]

    def settle(self, by: str = "anna") -> None:
        """A person says of all that is open: that is right so."""
        with self.database.write() as session:
            for found in session.scalars(select(Drift).where(Drift.settled_at.is_(None))).all():
                outbox.settle(session, found, by, self.clock())

    def verdicts(self) -> list[str]:
        """Of every try, in order."""
        with self.database.read() as session:
            return list(session.scalars(select(Attempt.verdict).order_by(Attempt.started_at, Attempt.id)))
