"""Statements that go past the ORM say the same as it would, for every kind of column."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from leads.store.models import (
    Attempt,
    Base,
    Connection,
    Delivery,
    Event,
    Identity,
    Lead,
    RemoteRecord,
    Site,
    UTCDateTime,
    new_id,
)
from leads.store.past_orm import _converter, any_there, insert_all, update_all, upsert
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import send_in_groups

AT = datetime(2026, 3, 2, 9, 0, 0, 123456, tzinfo=UTC)


def test_values_are_those_that_sqlalchemy_would_write() -> None:
    """A column of a kind that is added later is converted as its type says, or this fails."""
    samples: dict[type, Any] = {str: "word", bytes: b"b", bool: True, int: 7, UUID: new_id()}
    for dialect in (sqlite.dialect(), postgresql.dialect()):
        for model in (Lead, Identity, Event, Delivery, Attempt, RemoteRecord):
            for column in Base.metadata.tables[model.__tablename__].c:
                if column.name == "seen_fields":
                    continue  # JSON, and never written like this
                kind = datetime if isinstance(column.type, UTCDateTime) else column.type.python_type
                value = AT if kind is datetime else samples[kind]
                usual = column.type.dialect_impl(dialect).bind_processor(dialect)
                ours = _converter(dialect, Base.metadata.tables[model.__tablename__], column.name)
                expected = usual(value) if usual else value
                got = ours(value) if ours else value
                assert bytes(got) == bytes(expected) if kind is bytes else got == expected, column


def test_rows_are_written_read_and_changed(timed: Database, site: Site) -> None:
    lead = {"id": new_id(), "site_id": site.id, "code": "ABC-DEF", "person_sealed": b"\x00\xff", "known": True}
    lead |= {"shareable": False, "is_test": False, "created_at": AT, "last_event_at": AT}
    with timed.write() as session:
        insert_all(session, Lead, [lead])
        upsert(session, Lead, [lead | {"known": False, "shareable": True}], ["shareable"])
    with timed.read() as session:
        row = session.scalars(select(Lead)).one()
        assert (row.known, row.shareable, row.person_sealed, row.created_at) == (True, True, b"\x00\xff", AT)
        assert any_there(session, Lead.code, ["XXX-XXX", "ABC-DEF"])
        assert not any_there(session, Lead.code, ["XXX-XXX"])
        assert not any_there(session, Lead.code, [])


def test_only_rows_that_fit_the_key_are_changed(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    """Of three, one has another token and one is in another state: both stay as they are."""
    send_in_groups(timed, vault, site, 3)
    tokens = [new_id() for _ in range(3)]
    with timed.write() as session:
        rows = session.scalars(select(Delivery).order_by(Delivery.id)).all()
        for row, token, state in zip(rows, tokens, ("sending", "sending", "waiting"), strict=True):
            row.token, row.state = token, state
        ids = [row.id for row in rows]
    given = [tokens[0], new_id(), tokens[2]]
    with timed.write() as session:
        changes = [
            {"id": id_, "token": token, "state": "sent", "sent_at": AT, "field": None}
            for id_, token in zip(ids, given, strict=True)
        ]
        changed = update_all(session, Delivery, ("id", "token"), changes, "token = NULL", "delivery.state = 'sending'")
    assert changed == {ids[0]}
    with timed.read() as session:
        after = [session.get_one(Delivery, id_) for id_ in ids]
    assert [row.state for row in after] == ["sent", "sending", "waiting"]
    assert (after[0].token, after[0].sent_at, after[1].token) == (None, AT, tokens[1])
    assert {row.connection_id for row in after} == {connection.id}


def test_nothing_to_write_asks_nothing(timed: Database) -> None:
    with timed.write() as session:
        insert_all(session, Lead, [])
        assert update_all(session, Lead, ("id",), []) == set()
