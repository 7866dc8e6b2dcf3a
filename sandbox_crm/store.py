"""What the sandbox CRM holds: contacts, unique by external id and by e-mail, and the activities on them."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS contact (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    external_id TEXT NOT NULL UNIQUE,
    email TEXT UNIQUE,
    properties TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS activity (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    external_id TEXT NOT NULL UNIQUE,
    contact_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    title TEXT NOT NULL,
    properties TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS activity_by_contact ON activity (contact_id);
"""


@dataclass(frozen=True, slots=True)
class Written:
    """A record that was taken. new: whether it was created just now. external_id: the one it was sent with."""

    id: str
    external_id: str
    new: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was not taken. id: the record that stands in its way, if one does."""

    external_id: str
    code: str
    message: str
    field: str | None = None
    id: str | None = None


class Store:
    """Contacts and activities in one SQLite file, or in memory. Safe to use from many threads."""

    def __init__(self, path: str = ":memory:") -> None:
        self._lock = RLock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(TABLES)

    def upsert_contacts(self, inputs: Sequence[dict[str, Any]], *, keep: bool = True) -> list[Written | Rejected]:
        """Create or update each contact, one answer per input. keep=False: answer as if, and forget it all."""
        with self._writing(keep) as db:
            return [_upsert_contact(db, one) for one in inputs]

    def upsert_activities(self, inputs: Sequence[dict[str, Any]], *, keep: bool = True) -> list[Written | Rejected]:
        """Create each activity or update it, moved to the contact it now names. keep=False as above."""
        with self._writing(keep) as db:
            return [_upsert_activity(db, one, any_contact=not keep) for one in inputs]

    def archive(self, ids: Sequence[str], *, keep: bool = True) -> None:
        """Delete contacts with their activities. One that is not there is no error. keep=False as above."""
        with self._writing(keep) as db:
            db.executemany("DELETE FROM activity WHERE contact_id = ?", [(one,) for one in ids])
            db.executemany("DELETE FROM contact WHERE id = ?", [(one,) for one in ids])

    def clear(self) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM activity")
            db.execute("DELETE FROM contact")

    def count(self) -> tuple[int, int]:
        """How many contacts and how many activities there are."""
        with self._lock:
            row = self._db.execute("SELECT (SELECT count(*) FROM contact), (SELECT count(*) FROM activity)")
            contacts, activities = row.fetchone()
            return contacts, activities

    def newest(self, limit: int = -1) -> list[dict[str, Any]]:
        """The contacts made last, with their activities, at most `limit` of them (-1: all)."""
        with self._lock:
            return self._with_activities("SELECT * FROM contact ORDER BY number DESC LIMIT ?", limit)

    def find(self, ids: Sequence[str], external_ids: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The contacts with one of these ids or external ids, with their activities."""
        sql = """SELECT * FROM contact WHERE id IN (SELECT value FROM json_each(?))
                 OR external_id IN (SELECT value FROM json_each(?)) ORDER BY number"""
        with self._lock:
            return self._with_activities(sql, json.dumps(ids), json.dumps(external_ids))

    def _with_activities(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        contacts = [_as_dict(row) | {"activities": []} for row in self._db.execute(sql, parameters)]
        by_id = {contact["id"]: contact for contact in contacts}
        activities = self._db.execute(
            """SELECT * FROM activity WHERE contact_id IN (SELECT value FROM json_each(?))
               ORDER BY number DESC""",
            [json.dumps(list(by_id))],
        )
        for row in activities:
            by_id[row["contact_id"]]["activities"].append(_as_dict(row))
        return contacts

    @contextmanager
    def _writing(self, keep: bool = True) -> Iterator[sqlite3.Connection]:
        with self._lock, self._db:
            yield self._db
            if not keep:
                self._db.rollback()


def _upsert_contact(db: sqlite3.Connection, sent: dict[str, Any]) -> Written | Rejected:
    found = _named_contact(db, sent)
    if sent.get("id") and found is None:
        return Rejected(sent["external_id"], "not_found", "There is no contact with this id.", "id")
    properties = (json.loads(found["properties"]) if found else {}) | sent["properties"]
    email = str(properties.get("email") or "").strip().lower() or None
    owner = db.execute("SELECT id FROM contact WHERE email = ?", [email]).fetchone()
    if owner and (found is None or owner["id"] != found["id"]):
        message = "Another contact has this e-mail address already."
        return Rejected(sent["external_id"], "duplicate", message, "email", owner["id"])
    if found:
        db.execute(
            "UPDATE contact SET email = ?, properties = ? WHERE id = ?",
            [email, json.dumps(properties), found["id"]],
        )
        return Written(found["id"], sent["external_id"], new=False)
    made = Written(secrets.token_hex(8), sent["external_id"], new=True)
    db.execute(
        "INSERT INTO contact (id, external_id, email, properties) VALUES (?, ?, ?, ?)",
        [made.id, made.external_id, email, json.dumps(properties)],
    )
    return made


def _named_contact(db: sqlite3.Connection, sent: dict[str, Any]) -> sqlite3.Row | None:
    """The contact a write means: by its id where one is given, by its external id otherwise."""
    if sent.get("id"):
        found = db.execute("SELECT * FROM contact WHERE id = ?", [sent["id"]])
    else:
        found = db.execute("SELECT * FROM contact WHERE external_id = ?", [sent["external_id"]])
    row: sqlite3.Row | None = found.fetchone()
    return row


def _upsert_activity(db: sqlite3.Connection, sent: dict[str, Any], *, any_contact: bool) -> Written | Rejected:
    """any_contact: take the activity even when its contact does not exist."""
    contact = db.execute("SELECT 1 FROM contact WHERE id = ?", [sent["contact_id"]]).fetchone()
    if contact is None and not any_contact:
        message = "There is no contact with this id."
        return Rejected(sent["external_id"], "contact_not_found", message, "contact_id")
    found = db.execute("SELECT id FROM activity WHERE external_id = ?", [sent["external_id"]]).fetchone()
    written = Written(found["id"] if found else secrets.token_hex(8), sent["external_id"], new=found is None)
    db.execute(
        """INSERT INTO activity (id, external_id, contact_id, kind, occurred_at, title, properties)
           VALUES (:id, :external_id, :contact_id, :kind, :occurred_at, :title, :properties)
           ON CONFLICT (external_id) DO UPDATE SET contact_id = excluded.contact_id, kind = excluded.kind,
           occurred_at = excluded.occurred_at, title = excluded.title, properties = excluded.properties""",
        {**sent, "id": written.id, "properties": json.dumps(sent["properties"])},
    )
    return written


def _as_dict(row: sqlite3.Row) -> dict[str, Any]:
    hidden = {"number", "email", "contact_id"}  # the e-mail is among the properties, as it was sent
    shown = {name: row[name] for name in row.keys() if name not in hidden}  # noqa: SIM118 - a Row is no dict
    return shown | {"properties": json.loads(row["properties"])}
