"""What the database holds, read past the application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from leads.store.models import Delivery, Event, Lead, Resubmission, Unreadable
from leads.store.session import Database
from leads.store.vault import Vault


@dataclass(frozen=True)
class Stored:
    database: Database
    vault: Vault

    def events(self) -> list[Event]:
        return self._all(Event, Event.received_at)

    def leads(self) -> list[Lead]:
        return self._all(Lead, Lead.created_at)

    def deliveries(self) -> list[Delivery]:
        return self._all(Delivery, Delivery.created_at)

    def unreadable(self) -> list[Unreadable]:
        return self._all(Unreadable, Unreadable.received_at)

    def resubmissions(self) -> list[Resubmission]:
        return self._all(Resubmission, Resubmission.received_at)

    def answers(self) -> dict[str, Any]:
        """The answers of the last event."""
        event = self.events()[-1]
        answers: dict[str, Any] = self.vault.open(event.answers_sealed, "event", "answers", event.id)
        return answers

    def body(self) -> dict[str, str]:
        """The last body that could not be understood."""
        row = self.unreadable()[-1]
        body: dict[str, str] = self.vault.open(row.body_sealed, "unreadable", "body", row.id)
        return body

    def _all(self, model: Any, order: Any) -> list[Any]:
        with self.database.read() as session:
            return list(session.scalars(select(model).order_by(order)))
