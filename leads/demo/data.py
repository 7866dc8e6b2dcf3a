"""Many invented enquiries, as if they had come and been delivered long ago: to see how everything does in a full store.

Rows are what the intake and the worker would have written, encrypted and all. They go past both, into a store that
holds no enquiry yet, and what only serves looking up is built at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, select, text
from sqlalchemy.orm import Session

from leads.store.models import Attempt, Base, Connection, Delivery, Event, Identity, Lead, RemoteRecord
from leads.store.past_orm import insert_all
from leads.store.people import CODES, code_of, trace
from leads.store.session import Database
from leads.store.vault import Vault

PER_DAY = 3_000
_CHUNK = 2_000  # leads in one transaction
_FILLED = (Lead, Identity, Event, Delivery, Attempt, RemoteRecord)
_NAMES = ("Maria", "James", "Aisha", "Chen", "Olga", "Pedro", "Fatima", "Liam", "Noor", "Ivan")
_SURNAMES = ("Example", "Sample", "Specimen", "Placeholder", "Invented", "Madeup")
_ASKED = ("Dental implants", "Invisalign", "Root canal", "Whitening", "Check-up")
# What stands where, of a hundred thousand: nearly all has arrived.
_STATES = (("confirmed", None), ("refused", "invalid_phone"), ("held", "spam"), ("sent", None))
_WEIGHTS = (99_900, 20, 60, 20)


class NotEmptyError(Exception):
    """There are enquiries already. Invented ones are never mixed with real ones."""


def fill(database: Database, vault: Vault, number: int, seed: int, per_day: int = PER_DAY) -> Iterator[int]:
    """Write so many leads, each with one delivered enquiry, to the connections that are there; yields how many at a
    time. The newest came just now, and as many on each day before. Raises NotEmptyError.
    """
    with database.read() as session:
        if session.scalar(select(Event.id).limit(1)) is not None:
            raise NotEmptyError
        now = database.now(session)
        ways = [(one.site_id, one.id) for one in session.scalars(select(Connection).order_by(Connection.created_at))]
    dice = Random(seed)  # noqa: S311 - it guards nothing
    with _unindexed(database):
        for start in range(0, number, _CHUNK):
            some = range(start, min(start + _CHUNK, number))
            moments = [now - timedelta(days=1) * ((number - 1 - one) / per_day) for one in some]
            with database.write() as session:
                _write(session, vault, dice, ways, list(zip(some, moments, strict=True)))
            yield len(some)


def _write(
    session: Session,
    vault: Vault,
    dice: Random,
    ways: list[tuple[UUID, UUID]],
    some: list[tuple[int, datetime]],
) -> None:
    rows: dict[type[Base], list[dict[str, Any]]] = {table: [] for table in _FILLED}
    for one, at in some:
        site_id, connection_id = dice.choice(ways)
        _one(rows, vault, dice, site_id, connection_id, one, at, _code(one))
    for table, found in rows.items():
        insert_all(session, table, found)


def _one(
    rows: dict[type[Base], list[dict[str, Any]]],
    vault: Vault,
    dice: Random,
    site_id: UUID,
    connection_id: UUID,
    one: int,
    at: datetime,
    code: str,
) -> None:
    lead, event, delivery, attempt = (_id(at, dice) for _ in range(4))
    person = {
        "first_name": dice.choice(_NAMES),
        "last_name": f"{dice.choice(_SURNAMES)}{one}",
        "email": f"person{one}@example.com",
        "phone": f"+1201{2_000_000 + one % 7_000_000}",
    }
    answers = person | {"service": dice.choice(_ASKED), "message": "Please call me about an appointment."}
    ((state, why),) = dice.choices(_STATES, _WEIGHTS)
    arrived = state in ("confirmed", "sent")
    remote = f"demo-{one}" if arrived else None
    rows[Lead].append(
        {
            "id": lead,
            "site_id": site_id,
            "code": code,
            "person_sealed": vault.seal(person, "lead", "person", lead),
            "known": True,
            "shareable": why != "spam",
            "is_test": False,
            "created_at": at,
            "last_event_at": at,
        }
    )
    rows[Identity] += [
        {"digest": digest, "lead_id": lead, "kind": kind, "seen_at": at}
        for kind, digest in trace(vault, site_id, answers, None).digests.items()
    ]
    rows[Event].append(
        {
            "id": event,
            "site_id": site_id,
            "lead_id": lead,
            "kind": "consultation_request",
            "client_digest": event.bytes,
            "body_digest": lead.bytes,
            "answers_sealed": vault.seal(answers, "event", "answers", event),
            "source": "website",
            "consent_given": True,
            "consent_version": "1",
            "hold_code": "spam" if why == "spam" else None,
            "is_test": False,
            "received_at": at,
        }
    )
    rows[Delivery].append(
        {
            "id": delivery,
            "event_id": event,
            "connection_id": connection_id,
            "lead_id": lead,
            "state": state,
            "due_at": at,
            "attempts": int(why != "spam"),
            "unknown": False,
            "missing": 0,
            "code": why,
            "sentence": "An invented enquiry." if why else None,
            "remote_id": remote,
            "created_at": at,
            "tries_from": at,
            "sent_at": at if arrived else None,
            "confirmed_at": at if state == "confirmed" else None,
        }
    )
    if why != "spam":
        verdict = "sent" if arrived else "Refused"
        told = {"verdict": verdict, "code": why, "milliseconds": dice.randrange(80, 900)}
        rows[Attempt].append({"id": attempt, "delivery_id": delivery, "started_at": at} | told)
    if remote:
        rows[RemoteRecord].append(
            {"lead_id": lead, "connection_id": connection_id, "remote_id": remote, "retire": False}
        )


def _id(at: datetime, dice: Random) -> UUID:
    """As if it had been made then (UUID version 7, RFC 9562): rows lie in the order in which they came."""
    milliseconds, chance = int(at.timestamp() * 1000), dice.getrandbits(74)
    return UUID(int=milliseconds << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1)


def _code(one: int) -> str:
    """Each another one, and not in order."""
    return code_of(one * 612_689_743 % CODES)


@contextmanager
def _unindexed(database: Database) -> Iterator[None]:
    """Without the indexes of what is filled: to build them once takes a fraction of the time."""
    indexes = [index for model in _FILLED for index in cast("Table", model.__table__).indexes]
    with database.engine.begin() as connection:
        for index in indexes:
            index.drop(connection, checkfirst=True)
    try:
        yield
    finally:
        with database.engine.begin() as connection:
            for index in indexes:
                index.create(connection, checkfirst=True)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
