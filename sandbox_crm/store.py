"""What the sandbox CRM holds: contacts, and the activities on them."""

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
CREATE TABLE contact (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    external_id TEXT,
    email TEXT,
    properties TEXT NOT NULL
);
CREATE INDEX contact_by_external_id ON contact (external_id);
CREATE INDEX contact_by_email ON contact (email);
CREATE TABLE activity (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    external_id TEXT NOT NULL,
    contact_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    title TEXT NOT NULL,
    properties TEXT NOT NULL
);
CREATE INDEX activity_by_external_id ON activity (external_id);
CREATE INDEX activity_by_contact ON activity (contact_id);
PRAGMA user_version = 2;
"""
# A file of the first version: its tables could not hold two records of one external id.
_ASIDE = "ALTER TABLE contact RENAME TO old_contact; ALTER TABLE activity RENAME TO old_activity;"
_ASIDE += "DROP INDEX IF EXISTS activity_by_contact;"
_BACK = "INSERT INTO contact SELECT * FROM old_contact; INSERT INTO activity SELECT * FROM old_activity;"
_BACK += "DROP TABLE old_contact; DROP TABLE old_activity;"


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
    """Contacts and activities in one SQLite file, or in memory. Safe to use from many threads.

    unique: whether the API holds one record only per external id and per e-mail. If not, each write that names no id
    makes a new record, as in a CRM without keys. What people do by hand is free either way.
    """

    def __init__(self, path: str = ":memory:", *, unique: bool = True) -> None:
        self.unique = unique
        self._lock = RLock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        _make_tables(self._db)

    def upsert_contacts(self, inputs: Sequence[dict[str, Any]], *, keep: bool = True) -> list[Written | Rejected]:
        """Create or update each contact, one answer per input. keep=False: answer as if, and forget it all."""
        with self._writing(keep) as db:
            return [_upsert_contact(db, one, self.unique) for one in inputs]

    def upsert_activities(self, inputs: Sequence[dict[str, Any]], *, keep: bool = True) -> list[Written | Rejected]:
        """Create each activity or update it, moved to the contact it now names. keep=False as above."""
        with self._writing(keep) as db:
            return [_upsert_activity(db, one, self.unique, any_contact=not keep) for one in inputs]

    def archive(self, ids: Sequence[str], *, keep: bool = True) -> None:
        """Delete contacts with their activities. One that is not there is no error. keep=False as above."""
        with self._writing(keep) as db:
            db.executemany("DELETE FROM activity WHERE contact_id = ?", [(one,) for one in ids])
            db.executemany("DELETE FROM contact WHERE id = ?", [(one,) for one in ids])

    def archive_activity(self, activity_id: str) -> None:
        """Delete one activity. One that is not there is no error."""
        with self._writing() as db:
            db.execute("DELETE FROM activity WHERE id = ?", [activity_id])

    def edit(self, contact_id: str, name: str, value: str) -> bool:
        """Set one property by hand, whatever other contacts hold. False: there is no such contact."""
        with self._writing() as db:
            found = db.execute("SELECT properties FROM contact WHERE id = ?", [contact_id]).fetchone()
            if found:
                _set_properties(db, contact_id, json.loads(found["properties"]) | {name: value})
            return found is not None

    def duplicate(self, contact_id: str) -> str | None:
        """Make a copy by hand, without external id and activities. Returns its id; None: there is no such contact."""
        with self._writing() as db:
            found = db.execute("SELECT properties FROM contact WHERE id = ?", [contact_id]).fetchone()
            return _insert_contact(db, None, json.loads(found["properties"])) if found else None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

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

    def find(
        self, ids: Sequence[str] = (), external_ids: Sequence[str] = (), emails: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """The contacts with one of these ids, external ids or e-mail addresses, with their activities."""
        sql = """SELECT * FROM contact WHERE id IN (SELECT value FROM json_each(?))
                 OR external_id IN (SELECT value FROM json_each(?))
                 OR email IN (SELECT value FROM json_each(?)) ORDER BY number"""
        wanted = (ids, external_ids, [_plain_email(one) for one in emails])
        with self._lock:
            return self._with_activities(sql, *(json.dumps(list(one)) for one in wanted))

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


def _make_tables(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA user_version").fetchone()[0] == 2:
        return
    old = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'contact'").fetchone()
    db.executescript(f"BEGIN; {_ASIDE if old else ''} {TABLES} {_BACK if old else ''} COMMIT;")


def _upsert_contact(db: sqlite3.Connection, sent: dict[str, Any], unique: bool) -> Written | Rejected:
    found = _named_contact(db, sent, unique)
    if sent.get("id") and found is None:
        return Rejected(sent["external_id"], "not_found", "There is no contact with this id.", "id")
    properties = (json.loads(found["properties"]) if found else {}) | sent["properties"]
    if unique and (owner := _owner(db, properties, found)):
        message = "Another contact has this e-mail address already."
        return Rejected(sent["external_id"], "duplicate", message, "email", owner)
    if found:
        _set_properties(db, found["id"], properties)
        return Written(found["id"], sent["external_id"], new=False)
    return Written(_insert_contact(db, sent["external_id"], properties), sent["external_id"], new=True)


def _named_contact(db: sqlite3.Connection, sent: dict[str, Any], unique: bool) -> sqlite3.Row | None:
    """The contact a write means: by its id where one is given, by its external id where that is unique."""
    if sent.get("id"):
        found = db.execute("SELECT * FROM contact WHERE id = ?", [sent["id"]])
    else:
        found = db.execute("SELECT * FROM contact WHERE external_id = ? AND ?", [sent["external_id"], unique])
    row: sqlite3.Row | None = found.fetchone()
    return row


def _owner(db: sqlite3.Connection, properties: dict[str, Any], found: sqlite3.Row | None) -> str | None:
    """The id of another contact that has this e-mail address."""
    sql = "SELECT id FROM contact WHERE email = ? AND id IS NOT ?"
    owner = db.execute(sql, [_plain_email(properties.get("email")), found["id"] if found else None]).fetchone()
    return str(owner["id"]) if owner else None


def _insert_contact(db: sqlite3.Connection, external_id: str | None, properties: dict[str, Any]) -> str:
    made = secrets.token_hex(8)
    values = [made, external_id, _plain_email(properties.get("email")), json.dumps(properties)]
    db.execute("INSERT INTO contact (id, external_id, email, properties) VALUES (?, ?, ?, ?)", values)
    return made


def _set_properties(db: sqlite3.Connection, contact_id: str, properties: dict[str, Any]) -> None:
    values = [_plain_email(properties.get("email")), json.dumps(properties), contact_id]
    db.execute("UPDATE contact SET email = ?, properties = ? WHERE id = ?", values)


def _plain_email(value: object) -> str | None:
    return str(value or "").strip().lower() or None


def _upsert_activity(
    db: sqlite3.Connection, sent: dict[str, Any], unique: bool, *, any_contact: bool
) -> Written | Rejected:
    """any_contact: take the activity even when its contact does not exist."""
    contact = db.execute("SELECT 1 FROM contact WHERE id = ?", [sent["contact_id"]]).fetchone()
    if contact is None and not any_contact:
        message = "There is no contact with this id."
        return Rejected(sent["external_id"], "contact_not_found", message, "contact_id")
    sql = "SELECT id FROM activity WHERE external_id = ? AND ?"
    found = db.execute(sql, [sent["external_id"], unique]).fetchone()
    written = Written(found["id"] if found else secrets.token_hex(8), sent["external_id"], new=found is None)
    db.execute(
        """INSERT INTO activity (id, external_id, contact_id, kind, occurred_at, title, properties)
           VALUES (:id, :external_id, :contact_id, :kind, :occurred_at, :title, :properties)
           ON CONFLICT (id) DO UPDATE SET contact_id = excluded.contact_id, kind = excluded.kind,
           occurred_at = excluded.occurred_at, title = excluded.title, properties = excluded.properties""",
        {**sent, "id": written.id, "properties": json.dumps(sent["properties"])},
    )
    return written


def _as_dict(row: sqlite3.Row) -> dict[str, Any]:
    hidden = {"number", "email", "contact_id"}  # the e-mail is among the properties, as it was sent
    shown = {name: row[name] for name in row.keys() if name not in hidden}  # noqa: SIM118 - a Row is no dict
    return shown | {"properties": json.loads(row["properties"])}
