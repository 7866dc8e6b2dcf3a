"""A store full of invented enquiries, as the intake and the worker would have left them, to see what growth costs.

All but the newest have arrived. Every value is sealed and hashed with the store's own keys, so pages, search and
retention work on them as on real ones. The e-mail addresses are of `example.com` and the numbers of 555-01.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection as Opened
from sqlalchemy import func, select

from leads.demo.invent import SLICE, Maker, Plan, Rows
from leads.store.models import Connection, Lead
from leads.store.session import Database
from leads.store.sites import add_site, find_site
from leads.store.vault import Vault
from leads.sync.setup import Setup

A_DAY = 1000  # leads, unless said otherwise: a store grows by becoming older
_AHEAD = 4  # slices that are made while others are written
_SITES = ("New York", "Los Angeles", "Chicago", "Miami")


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
    starts = iter(range(start, plan.leads, SLICE))
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
    for table, some in rows.items():
        columns = list(some[0])
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of ours, and marks
        raw.executemany(sql, [tuple(row.values()) for row in some])
    raw.execute("COMMIT")


def _write_postgres(raw: Any, rows: Rows) -> None:
    with raw.transaction(), raw.cursor() as cursor:
        for table, some in rows.items():
            with cursor.copy(f"COPY {table} ({', '.join(some[0])}) FROM STDIN") as copy:
                for row in some:
                    copy.write_row(tuple(row.values()))


_makers: list[Maker] = []  # one in each process of the pool


def _open(keys: Path, plan: Plan) -> None:
    _makers.append(Maker(Vault(keys), plan))


def _make(first: int) -> Rows:
    return _makers[0].rows(first)
