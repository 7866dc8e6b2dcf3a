"""A store full of invented enquiries, as the intake and the worker would have left them, to see what growth costs.

All but the newest have arrived. Every value is sealed and hashed with the store's own keys, so pages, search and
retention work on them as on real ones. The e-mail addresses are of `example.com` and the numbers of 555-01.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import Connection as Opened
from sqlalchemy import func, select

from leads.store.codes import CODES, code_of
from leads.store.holds import HOLD_SENTENCES
from leads.store.models import Attempt, Base, Connection, Delivery, Event, Identity, Lead, RemoteRecord
from leads.store.session import Database
from leads.store.sites import add_site, find_site
from leads.store.vault import Vault
from leads.sync.setup import Setup

A_DAY = 1000  # leads, unless said otherwise: a store grows by becoming older
_AT_ONCE = 2000  # leads in one commit
_AHEAD = 4  # slices that are made while others are written
_SITES = ("New York", "Los Angeles", "Chicago", "Miami")
_FIRST = ("Maria", "James", "Olivia", "Noah", "Emma", "Liam", "Ava", "Ethan", "Mia", "Lucas", "Zoë", "Mateo", "Amir")
_LAST = ("Example", "Sample", "Invented", "Madeup", "Specimen", "Fictional", "Placeholder", "Nobody", "Testman")
_WISHES = ("weekday mornings", "weekday evenings", "Saturday", "any time")
_SERVICES = ("Dental implants", "Check-up", "Whitening", "Orthodontics")
_MESSAGE = "I would like to know whether this is possible for me, and what it would cost. This enquiry is invented."
# Of the newest: how many, and where they stand. The others are confirmed.
_NEWEST = (
    (20, "waiting", None, None),
    (20, "sent", None, None),
    (10, "refused", "rejected", "The CRM did not take it."),
    (10, "refused", "unknown_outcome", "Nobody knows whether the CRM took it."),
    (10, "expired", "expired", "It was tried for too long."),
    (20, "held", "spam", HOLD_SENTENCES["spam"]),
)
_TABLES: Mapping[type[Base], tuple[str, ...]] = {
    Lead: ("id", "site_id", "code", "person_sealed", "known", "shareable", "is_test", "created_at", "last_event_at"),
    Identity: ("digest", "lead_id", "kind", "seen_at"),
    Event: (
        "id",
        "site_id",
        "lead_id",
        "kind",
        "client_digest",
        "body_digest",
        "answers_sealed",
        "source",
        "consent_given",
        "consent_version",
        "hold_code",
        "is_test",
        "received_at",
    ),
    Delivery: (
        "id",
        "event_id",
        "connection_id",
        "lead_id",
        "state",
        "due_at",
        "attempts",
        "unknown",
        "missing",
        "code",
        "sentence",
        "remote_id",
        "created_at",
        "tries_from",
        "sent_at",
        "check_at",
        "confirmed_at",
    ),
    Attempt: ("id", "delivery_id", "started_at", "milliseconds", "verdict"),
    RemoteRecord: ("lead_id", "connection_id", "remote_id", "retire"),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_MILLISECOND, _LOW_BITS = timedelta(milliseconds=1), (1 << 62) - 1
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be there in the end. leads: in all. until: when the newest came. sites: id → its connections' ids."""

    leads: int
    days: float
    seed: int
    until: datetime
    sweep_days: int
    sites: tuple[tuple[UUID, tuple[UUID, ...]], ...]

    def received(self, number: int) -> datetime:
        """When this lead came: evenly over the days."""
        return self.until - timedelta(days=self.days) * ((self.leads - number) / self.leads)


def prepare(setup: Setup, leads: int, days: float, seed: int) -> Plan:
    """The sites and connections that the invented enquiries belong to: made where they are missing."""
    with setup.database.write() as session:
        now = setup.database.now(session)
        made = []
        for name in _SITES:
            key = f"demo-data-{name.lower().replace(' ', '-')}"
            site = find_site(session, key)
            if site is None:
                site = add_site(
                    session,
                    key=key,
                    name=f"Sunrise {name} (invented)",
                    region="US",
                    time_zone="America/New_York",
                    now=now,
                )
                site.created_at = now - timedelta(days=days)
            made.append((site.id, key, name))
    for number, (site_id, key, name) in enumerate(made):
        _connect(setup, site_id, key, ("Sandbox CRM", "Second CRM")[: 2 if number == 0 else 1], name)
    with setup.database.write() as session:
        ways = []
        for site_id, _, _ in made:
            rows = session.scalars(select(Connection).where(Connection.site_id == site_id).order_by(Connection.id))
            connections = rows.all()
            for row in connections:
                row.created_at = min(row.created_at, now - timedelta(days=days))
            ways.append((site_id, tuple(row.id for row in connections)))
    return Plan(leads, days, seed, now, setup.limits.sweep_days, tuple(ways))


def _connect(setup: Setup, site_id: UUID, key: str, names: Sequence[str], place: str) -> None:
    with setup.database.read() as session:
        here = set(session.scalars(select(Connection.name).where(Connection.site_id == site_id)))
    for name in names:
        if f"{name} {place}" not in here:
            setup.create(key, "sandbox", f"{name} {place}", {"url": "http://127.0.0.1:1", "key": "sandbox-key"})


def count_leads(database: Database) -> int:
    """How many there are."""
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Lead)) or 0


def fill(database: Database, keys: Path, plan: Plan, start: int, processes: int = 2) -> Generator[int]:
    """Write leads number `start` to plan.leads, slice by slice, each in one commit. Gives how many each slice had.

    Encryption is the cost, so it is done in processes of its own. Stopped in the midst, it can go on where it was.
    """
    starts = iter(range(start, plan.leads, _AT_ONCE))
    with (
        multiprocessing.get_context("spawn").Pool(processes, _open, (keys, plan)) as pool,
        database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as opened,
    ):
        _in_a_hurry(database, opened)
        coming = deque(pool.apply_async(_make, (first,)) for _, first in zip(range(_AHEAD), starts, strict=False))
        while coming:
            rows = coming.popleft().get()
            if (first := next(starts, None)) is not None:
                coming.append(pool.apply_async(_make, (first,)))
            (_write_sqlite if database.is_sqlite else _write_postgres)(opened.connection.driver_connection, rows)
            yield len(rows[Lead.__tablename__])
        if database.is_sqlite:
            opened.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            opened.exec_driver_sql("ANALYZE")
        opened.detach()  # nobody else is to be in a hurry


def _in_a_hurry(database: Database, opened: Opened) -> None:
    """Invented enquiries need not outlive a power cut."""
    if database.is_sqlite:
        for pragma in ("synchronous=OFF", "cache_size=-1000000", "wal_autocheckpoint=50000", "foreign_keys=OFF"):
            opened.exec_driver_sql(f"PRAGMA {pragma}")
    else:
        opened.exec_driver_sql("SET synchronous_commit = off; SET statement_timeout = 0; SET timezone = 'UTC'")


def _write_sqlite(raw: Any, rows: Rows) -> None:
    raw.execute("BEGIN IMMEDIATE")
    for model, columns in _TABLES.items():
        marks = ", ".join("?" * len(columns))
        table = model.__tablename__
        raw.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows[table])  # noqa: S608
    raw.execute("COMMIT")


def _write_postgres(raw: Any, rows: Rows) -> None:
    with raw.transaction(), raw.cursor() as cursor:
        for model, columns in _TABLES.items():
            table = model.__tablename__
            with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
                for row in rows[table]:
                    copy.write_row(row)


_makers: list[_Maker] = []  # one in each process of the pool


def _open(keys: Path, plan: Plan) -> None:
    _makers.append(_Maker(Vault(keys), plan))


def _make(first: int) -> Rows:
    return _makers[0].rows(first)


class _Maker:
    """Makes rows as both databases take them: ids as hex digits, times as text in UTC."""

    def __init__(self, vault: Vault, plan: Plan) -> None:
        self._vault, self._plan = vault, plan
        self._sites = [(site.hex, [one.hex for one in connections]) for site, connections in plan.sites]
        self._swept_from = plan.until.replace(tzinfo=None) - timedelta(days=plan.sweep_days)
        self._random = Random()  # noqa: S311 - invented data
        self._rows: Rows = {}

    def rows(self, first: int) -> Rows:
        """Of one slice."""
        self._random = Random(f"{self._plan.seed} {first}")  # noqa: S311 - invented data
        self._rows = {model.__tablename__: [] for model in _TABLES}
        for number in range(first, min(first + _AT_ONCE, self._plan.leads)):
            self._lead(number)
        return self._rows

    def _id(self, at: datetime) -> str:
        """Sorts by its time, as RFC 9562 has it."""
        milliseconds = (at - _EPOCH) // _MILLISECOND
        bits = self._random.getrandbits(74)
        return f"{milliseconds:012x}7{bits >> 62:03x}{bits & _LOW_BITS | 2 << 62:016x}"

    def _lead(self, number: int) -> None:
        plan, vault, at = self._plan, self._vault, self._plan.received(number).replace(tzinfo=None)
        site_id, connections = self._sites[number % len(self._sites)]
        lead_id, text_at = self._id(at), _text(at)
        is_caller = number % 12 == 11  # tapped on "Call us", and nobody knows who it was
        person = {} if is_caller else self._person(number)
        site = plan.sites[number % len(plan.sites)][0]
        visitor = {"visitor": f"visitor-{plan.seed}-{number}"} if is_caller or number % 3 == 0 else {}
        digests = [
            (vault.digest(kind, site, text), kind)
            for kind, text in (visitor | person).items()
            if kind in ("visitor", "email", "phone")
        ]
        rows, sealed = self._rows, vault.seal(person, "lead", "person", _hyphenated(lead_id))
        state, code, sentence = self._standing(number)
        trusted = not is_caller and code != "spam"
        rows["lead"].append((lead_id, site_id, _code(number), sealed, not is_caller, trusted, False, text_at, text_at))
        rows["identity"] += [(digest, lead_id, kind, text_at) for digest, kind in digests]
        event_id = self._event(number, site, lead_id, person, at, code)
        for connection_id in connections:
            self._delivery(number, event_id, connection_id, lead_id, at, (state, code, sentence))

    def _person(self, number: int) -> dict[str, str]:
        first, last = self._random.choice(_FIRST), self._random.choice(_LAST)
        phone = f"+1{201 + number // 100 % 700}55501{number % 100:02d}"
        return {
            "first_name": first,
            "last_name": f"{last}-{number}",
            "email": f"{first.lower()}.{self._plan.seed}.{number}@example.com",
            "phone": phone,
            "phone_typed": phone[2:],
        }

    def _standing(self, number: int) -> tuple[str, str | None, str | None]:
        left = self._plan.leads - 1 - number
        for how_many, state, code, sentence in _NEWEST:
            if left < how_many:
                return state, code, sentence
            left -= how_many
        return "confirmed", None, None

    def _event(
        self, number: int, site_id: UUID, lead_id: str, person: Mapping[str, str], at: datetime, code: str | None
    ) -> str:
        vault, event_id = self._vault, self._id(at)
        kind = "consultation_request" if person else "call_click"
        answers: dict[str, Any] = {"page": "https://clinic.example/implants"}
        if person:
            wishes = {"preferred_time": _WISHES[number % 4], "service": _SERVICES[number % 4], "message": _MESSAGE}
            answers |= {**person, **wishes}
        kept = {**answers, "suspicion": "invented"} if code == "spam" else answers
        consent = True if person else None
        self._rows["event"].append(
            (
                event_id,
                site_id.hex,
                lead_id,
                kind,
                vault.digest("client", site_id, f"{kind}:demo-{self._plan.seed}-{number}"),
                vault.digest("body", kind, sorted(answers.items()), consent),
                vault.seal(kept, "event", "answers", _hyphenated(event_id)),
                "website",
                consent,
                "1" if person else None,
                "spam" if code == "spam" else None,
                False,
                _text(at),
            )
        )
        return event_id

    def _delivery(
        self,
        number: int,
        event_id: str,
        connection_id: str,
        lead_id: str,
        at: datetime,
        standing: tuple[str, str | None, str | None],
    ) -> None:
        rows, (state, code, sentence) = self._rows, standing
        delivery_id, sent, seen = self._id(at), at + timedelta(seconds=1), at + timedelta(seconds=7)
        text_at, arrived = _text(at), state in ("sent", "confirmed")
        tried = [] if state in ("waiting", "held") else [(sent, 180, "sent" if arrived else "Refused")]
        tried += [(seen, 90, "confirmed")] if state == "confirmed" else []
        remote_id = f"demo-{number}" if arrived else None
        rows["delivery"].append(
            (
                delivery_id,
                event_id,
                connection_id,
                lead_id,
                state,
                text_at,
                1 if tried else 0,
                code == "unknown_outcome",
                0,
                code,
                sentence,
                remote_id,
                text_at,
                text_at,
                _text(sent) if arrived else None,
                self._check_at(number, state, at),
                _text(seen) if state == "confirmed" else None,
            )
        )
        rows["attempt"] += [(self._id(when), delivery_id, _text(when), took, verdict) for when, took, verdict in tried]
        if remote_id:
            rows["remote_record"].append((lead_id, connection_id, remote_id, False))

    def _check_at(self, number: int, state: str, at: datetime) -> str | None:
        """Of what is sent, soon; what is confirmed is looked at each night for some weeks, next in the coming one."""
        if state == "sent":
            return _text(self._plan.until + timedelta(hours=1))
        if state == "confirmed" and at > self._swept_from:
            return _text(self._plan.until + timedelta(hours=1, seconds=number % 80_000))
        return None


def _text(at: datetime) -> str:
    return at.isoformat(" ", "microseconds")[:26]  # without the zone: it is UTC


def _hyphenated(digits: str) -> str:
    """An id as it is bound into what is sealed."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _code(number: int) -> str:
    """A code of its own for each number: the factor has no divisor in common with how many codes there are."""
    return code_of((number * 387_420_489 + 271_828_183) % CODES)
