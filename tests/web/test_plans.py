"""No page, no call and no step of the loop reads through a table that grows: each statement's plan uses an index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection as DbConnection
from sqlalchemy import event, select

from leads.store import outbox
from leads.store.models import Connection, Lead, Site
from leads.store.queries.signs import signs
from leads.store.retention import forget_slice, forget_unreadable
from leads.store.session import Database
from leads.store.vault import Vault
from leads.upkeep.metrics import _Rows
from tests.database.lanes import delivered, leased
from tests.factory import send, send_in_groups
from tests.web.desk import Person, beat, make_user

_GROW = "lead|event|delivery|attempt|identity|remote_record|resubmission|unreadable|drift|action"
# Which statements may do it all the same, by words that stand in them, and why.
_MAY_READ_ALL = {
    "FROM unreadable ORDER BY unreadable.seen_at IS NOT NULL": "at most fifty are shown, and what staff have seen goes",
}
_PAGES = (
    "/desk/",
    "/desk/live",
    "/desk/leads",
    "/desk/leads?state=needs_you",
    "/desk/leads?state=arrived&site={site}&period=week",
    "/desk/leads?kind=call_click",
    "/desk/leads?q=jane%40example.com",
    "/desk/leads?q=Jane",
    "/desk/leads?q={code}",
    "/desk/leads/{lead}",
    "/desk/leads/{lead}/live",
    "/desk/connections",
    "/desk/connections/{connection}",
    "/desk/balance",
    "/desk/replays?state=refused",
    "/desk/unreadable",
    "/readyz",
)


@pytest.fixture
def filled(database: Database, vault: Vault, site: Site) -> dict[str, Any]:
    """Enough rows that a plan matters. What stands for words in the addresses."""
    with database.read() as session:
        connection = session.scalars(select(Connection)).one()
    send(database, vault, site, email="jane@example.com", first_name="Jane")
    send_in_groups(database, vault, site, 96)
    delivered(database, connection)
    send_in_groups(database, vault, site, 32)
    send(database, vault, site, "call_click", visitor_id="v1")
    with database.read() as session:
        lead = session.scalars(select(Lead)).first()
    assert lead
    return {"site": site.key, "lead": lead.id, "code": lead.code, "connection": connection.id}


def test_pages_and_calls_use_indexes(app: Flask, database: Database, filled: dict[str, Any]) -> None:
    make_user(database)
    beat(database)
    anna = Person(app)
    anna.sign_in()
    with _listening(database) as heard:
        for page in _PAGES:
            anna.client.get(page.format(**filled))
        body = {"site": filled["site"], "id": "x", "visitor_id": "v1", "email": "jane@example.com", "consent": True}
        assert app.test_client().post("/api/v1/consultations", json=body).status_code == 201
    assert len(heard) > 60
    assert _reading_all(database, heard) == []


def test_the_loop_the_watch_and_retention_use_indexes(
    database: Database, filled: dict[str, Any], site: Site, vault: Vault
) -> None:
    with database.read() as session:
        connection = session.get_one(Connection, filled["connection"])
    with _listening(database) as heard:
        with database.read() as session:
            now = database.now(session)
            outbox.ready(session, now)
            signs(session, now)
        list(_Rows(database).collect())
        delivered(database, connection)
        lane = leased(database, connection)
        outbox.to_check(database, lane, 50)
        outbox.to_retire(database, lane)
        outbox.release(database, lane)
        forget_slice(database, now + timedelta(days=1))
        forget_unreadable(database, now + timedelta(days=1))
    assert len(heard) > 20
    assert _reading_all(database, heard) == []


def test_one_that_reads_all_is_seen(database: Database, site: Site) -> None:
    bad = "SELECT count(*) FROM lead WHERE known AND shareable"
    assert _reading_all(database, {bad: ()}) == [bad]


@contextmanager
def _listening(database: Database) -> Iterator[dict[str, Any]]:
    """Each statement that is run, with the values it was run with last."""
    heard: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.lstrip("(").startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            heard[statement] = values[0] if isinstance(values, list) else values

    event.listen(database.engine, "before_cursor_execute", note)
    yield heard
    event.remove(database.engine, "before_cursor_execute", note)


def _reading_all(database: Database, heard: dict[str, Any]) -> list[str]:
    """The statements that no index serves."""
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET enable_seqscan = off")  # it is taken only where nothing else is possible
        found = [statement for statement, values in heard.items() if _scans(connection, statement, values)]
    flat = [" ".join(statement.split()) for statement in found]
    return [statement for statement in flat if not any(words in statement for words in _MAY_READ_ALL)]


def _scans(connection: DbConnection, statement: str, values: Any) -> bool:
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        lines = [str(row[3]) for row in plan]
        scans = [line for line in lines if re.match(rf"SCAN ({_GROW})(_\d+)?\b", line)]
        return any("INDEX" not in line for line in scans)
    lines = [str(row[0]) for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values)]
    return any(re.search(rf"Seq Scan on ({_GROW})\b", line) for line in lines)
