"""What the tests of the desk share: users, somebody at a browser, a worker's heartbeat."""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pyotp
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import Select, select, update
from werkzeug.test import TestResponse

from leads.store.models import Action, Delivery, Event, Site, User, Worker
from leads.store.second_factor import turn_on
from leads.store.session import Database
from leads.store.staff import change_sites
from leads.store.vault import Vault

PASSWORD = "correct horse battery"


def make_user(
    database: Database, name: str = "anna", role: str = "admin", sites: Collection[Site] | None = None
) -> User:
    """A user who has set their own password. sites: whom they look after; None: all."""
    with database.write() as session:
        now = database.now(session)
        user = User(name=name, role=role, password_hash=_password_hash(), one_time=False, created_at=now)
        change_sites(user, sites)
        session.add(user)
    return user


@cache
def _password_hash() -> str:
    """A cheap one, made once: hashing and comparing a password is slow on purpose, by what stands in the hash."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def beat(database: Database, seconds_ago: float = 1) -> None:
    """A worker was last seen then."""
    with database.write() as session:
        now = database.now(session)
        session.merge(Worker(id="w", started_at=now, seen_at=now - timedelta(seconds=seconds_ago)))


def set_state(database: Database, event_id: UUID, state: str, **more: Any) -> UUID:
    """Put the deliveries of an event into a state. Returns the id of one of them."""
    with database.write() as session:
        session.execute(update(Delivery).where(Delivery.event_id == event_id).values(state=state, **more))
        return session.scalars(select(Delivery.id).where(Delivery.event_id == event_id)).first() or UUID(int=0)


def lead_of(database: Database, event_id: UUID) -> UUID:
    """The lead behind an event."""
    with database.read() as session:
        return session.get_one(Event, event_id).lead_id


def decisions() -> Select[Action]:
    """All that people did, in order, but for signing in and looking."""
    looks = ("viewed", "unasked_viewed", "suspected_viewed", "unreadable_viewed")
    return select(Action).where(Action.what.not_in(("signed_in", *looks))).order_by(Action.at, Action.id)


def plain(page: str) -> str:
    """The page as one reads it: without tags, in one line."""
    body = re.sub(r"(?s)<head>.*?</head>|<[^>]+>", " ", re.sub("</?bdi>", "", page))
    return re.sub(r"\s+([.,:;])", r"\1", re.sub(r"\s+", " ", html.unescape(body)))


class Person:
    """Somebody at a browser."""

    def __init__(self, app: Flask, address: str = "192.0.2.1") -> None:
        self.client = app.test_client()
        self.client.environ_base["REMOTE_ADDR"] = address

    def get(self, path: str, status: int = 200) -> str:
        """The page at this path, which must have this status."""
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def post(self, path: str, status: int = 303, **fields: Any) -> TestResponse:
        """Send a form with the token of this session."""
        answer = self.client.post(path, data={"csrf_token": self.token(), **fields})
        assert answer.status_code == status, answer.text
        return answer

    def sign_in(self, name: str = "anna", password: str = PASSWORD, status: int = 303, **more: str) -> TestResponse:
        return self.post("/desk/sign-in", status, name=name, password=password, **more)

    def token(self) -> str:
        """What the forms of this session carry."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get("/desk/sign-in").text)
        assert found is not None
        return found[1]


def signed_in(app: Flask, database: Database, name: str = "anna", role: str = "admin") -> Person:
    """A new user who has just signed in."""
    make_user(database, name, role)
    person = Person(app)
    person.sign_in(name)
    return person


SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def give_second_factor(database: Database, vault: Vault, name: str = "anna") -> list[str]:
    """From now on this user needs a code of SECRET. Returns the recovery codes."""
    with database.write() as session:
        user = session.scalars(select(User).where(User.name == name)).one()
        return turn_on(session, vault, user, SECRET, step=0)


def code_now(secret: str = SECRET, steps: int = 0) -> str:
    """What the app shows now, or so many steps of thirty seconds later."""
    return pyotp.TOTP(secret).at(datetime.now(UTC) + timedelta(seconds=30 * steps))
