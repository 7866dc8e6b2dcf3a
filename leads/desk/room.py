"""What all routes of the desk share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from flask import abort, redirect, url_for
from flask_login import current_user
from sqlalchemy.orm import Session

from leads.desk.hashing import Hashing
from leads.desk.throttle import FailureNotes, Throttle
from leads.store.erasure_list import ErasureList
from leads.store.models import Connection
from leads.store.scope import keep_to
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from leads.sync.sign_in import CALLBACK
from leads.window import Window


@dataclass(frozen=True, slots=True)
class Room:
    """limits: what a call to a CRM may cost when somebody tests a connection. public_url: where visitors and staff
    reach us. erasures: where it is written down who was erased. keep: how long after the last enquiry a person is
    forgotten; zero: never. can_mail: whether those who are told of one website alone can be told. hashing: who may hash
    a password now. throttle, notes: of wrong passwords and codes. codes: tried for one user, from wherever, by whoever
    knows the password."""

    database: Database
    vault: Vault
    limits: Limits
    public_url: str
    erasures: ErasureList
    keep: timedelta = timedelta()
    can_mail: bool = False
    hashing: Hashing = field(default_factory=Hashing)
    throttle: Throttle = field(default_factory=Throttle)
    notes: FailureNotes = field(default_factory=FailureNotes)
    codes: Window = field(default_factory=lambda: Window(10, 900.0))

    @property
    def callback(self) -> str:
        """The address that a CRM sends people back to after they have signed in there."""
        return self.public_url + CALLBACK

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading what the person who is signed in may see."""
        with self.database.read() as session:
            _keep_to_theirs(session)
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One writing transaction, see `Database.write`, in which there is nothing but what they may see."""
        with self.database.write() as session:
            _keep_to_theirs(session)
            yield session

    def setup(self) -> Setup:
        """Changes to connections, in the name of the person who is signed in."""
        return Setup(self.database, self.vault, self.limits, by=current_user.name)


def _keep_to_theirs(session: Session) -> None:
    if current_user.sites is not None:
        keep_to(session, current_user.sites)


def existing(room: Room, connection_id: UUID) -> Connection:
    """A connection in use. Of one that was removed the answer leads to its page, which says so; else it is 404."""
    row = existed(room, connection_id)
    if row.removed_at is not None:
        abort(redirect(url_for("desk.connection", connection_id=row.id), 303))
    return row


def existed(room: Room, connection_id: UUID) -> Connection:
    """A connection in use or removed; otherwise the answer is 404."""
    with room.read() as session:
        return session.get(Connection, connection_id) or abort(404)
