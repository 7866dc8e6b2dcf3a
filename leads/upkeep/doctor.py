"""`frontdesk doctor`: looks at an installation and says in plain words what to do."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pysqlite3.dbapi2
from sqlalchemy import and_, func, or_, select

from leads.store.alerts import open_alerts
from leads.store.models import Connection, Delivery, Site, User
from leads.store.queries.balance import recent_balances
from leads.store.queries.lists import is_real
from leads.store.queries.lists import sites as all_sites
from leads.store.schema import open_vault
from leads.store.session import Database, sqlite_file
from leads.store.soundness import inspect
from leads.store.vault import VaultError
from leads.upkeep.health import readiness

_LITTLE_SPACE = 500 * 1024 * 1024  # bytes
_SAFE_SQLITE = (3, 51, 3)  # older ones can corrupt a file that two processes write (sqlite.org/wal.html#walresetbug)

Line = tuple[bool, str]


def examine(database: Database, data_dir: Path, keys_file: Path) -> list[Line]:
    """What is well and what is not, one sentence each."""
    return [*_programs(database), *_machine(database, data_dir, keys_file), *_content(database), *_alarms(database)]


def _programs(database: Database) -> list[Line]:
    return [(text == "ok", f"{name.capitalize()}: {text}.") for name, text in readiness(database).items()]


def _machine(database: Database, data_dir: Path, keys_file: Path) -> list[Line]:
    free = shutil.disk_usage(data_dir).free
    lines = [
        (free > _LITTLE_SPACE, f"Free space in the data folder: {free // 1024**2:,} MiB."),
        _keys(database, keys_file),
    ]
    if sqlite_file(database.engine.url.render_as_string()):
        trouble = inspect(database, thorough=True)
        lines.append(
            (not trouble, f"The database file is damaged: {trouble}." if trouble else "The database file is sound.")
        )
        version = pysqlite3.dbapi2.sqlite_version
        lines.append((pysqlite3.dbapi2.sqlite_version_info >= _SAFE_SQLITE, f"SQLite {version}."))
    return lines


def _keys(database: Database, keys_file: Path) -> Line:
    try:
        open_vault(database, keys_file)
    except VaultError as error:
        return False, str(error)
    if stat.S_IMODE(keys_file.stat().st_mode) & 0o077:
        return False, f"Others can read the key file. Run: chmod 600 {keys_file}"
    return True, "The key file fits the database and is readable by its owner only."


def _content(database: Database) -> list[Line]:
    with database.read() as session:
        sites = session.scalar(select(func.count()).select_from(Site)) or 0
        users = session.scalar(select(func.count()).select_from(User)) or 0
        connections = session.scalars(select(Connection).where(Connection.removed_at.is_(None))).all()
        asks_a_person = or_(
            Delivery.state.in_(("refused", "expired")),
            and_(Delivery.state == "held", Delivery.code.in_(("spam", "no_consent", "removed"))),
        )
        need = session.scalar(select(func.count()).where(asks_a_person, is_real())) or 0
    lines = [
        (sites > 0, f"Sites: {sites}." if sites else "There is no site yet. Run: frontdesk site add"),
        (
            users > 0,
            f"Users: {users}." if users else "Nobody can sign in yet. Run: frontdesk user add NAME --role admin",
        ),
        (
            bool(connections),
            f"Connections: {len(connections)}."
            if connections
            else "No CRM is connected yet. Run: frontdesk connection add",
        ),
        (need == 0, f"Deliveries that need a person: {need}." if need else "No delivery needs a person."),
    ]
    return lines + [
        (False, f"{row.name}: {row.sentence or row.state}") for row in connections if row.state != "working"
    ]


def _alarms(database: Database) -> list[Line]:
    """Whether people can be told, and what only an alert knows."""
    with database.read() as session:
        days = recent_balances(session, all_sites(session), database.now(session))
        told = [(False, alert.sentence) for alert in open_alerts(session, ["mail", "silence", "canary"])]
    open_days = [f"{day.site.name}, {day.day.isoformat()}: {day.unaccounted}" for day in days if not day.closes]
    if open_days:
        told.append((False, "Enquiries not accounted for: " + "; ".join(open_days) + ". See: frontdesk balance"))
    elif days:
        told.append((True, "Every enquiry of today and yesterday is accounted for."))
    return told
