"""`frontdesk doctor`: looks at an installation and says in plain words what to do."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import UUID

import pysqlite3.dbapi2
from sqlalchemy import func, select

from integrations.core.base import Finding
from integrations.core.registry import kinds, no_connector
from leads.plain import enquiries, number_of
from leads.store import backup, tasks
from leads.store.alerts import open_alerts
from leads.store.erasure_list import ErasureList
from leads.store.models import Alert, Connection, Site, User
from leads.store.queries.balance import recent_balances
from leads.store.queries.erasures import back, unlisted
from leads.store.queries.lists import connections_in_use
from leads.store.queries.lists import sites as all_sites
from leads.store.queries.overview import without_connection
from leads.store.queries.places import number_at
from leads.store.queries.unreadable import number_unseen
from leads.store.schema import open_vault
from leads.store.session import Database, shown_address, sqlite_file
from leads.store.shared_ids import sites_that_share
from leads.store.soundness import inspect
from leads.store.vault import VaultError, read_keys
from leads.upkeep.alerts import EACH_NIGHT, how_old
from leads.upkeep.erasures import told_of
from leads.upkeep.health import NO_WORKER, NOT_ASKED, readiness

_LITTLE_SPACE = 500 * 1024 * 1024  # bytes
_ERASE_AGAIN = "Restored from an older copy? Before anything more is sent, run: frontdesk lead erase-again"
_LET_IT = "Let the user that Frontdesk runs as write there: after a restore nobody else knows who was erased."
_EACH_HOUR = "A worker that can write there adds them within the hour; at once does: frontdesk lead erase-again"
_OTHER_SETTINGS = (
    "The service itself has not met this: perhaps it has other settings than this shell. See: frontdesk config show"
)
_A_SETTING = "FRONTDESK_"  # by which a sentence names one
_START = "Start Frontdesk; if it was started, its log says what keeps the worker from running."
_OF_THE_COPY = "In a database that was just restored, this time is from before its copy was made, and says no more."
_OLD_KEY = "It was made before the keys were rotated, and can only be read with the key file of that time."
_SHARES_IDS = (
    "A form of {} gives one “id” to several visitors, as a page kept by a cache does. Each is stored by itself, but "
    "what one of them sends again waits for a look. Leave “id” out of that form, or make it anew for each visitor."
)
_SAFE_SQLITE = (3, 51, 3)  # older ones can corrupt a file that two processes write (sqlite.org/wal.html#walresetbug)


class Line(NamedTuple):
    """What was found, in a sentence. look: people's daily work; wrong: a fault of the installation."""

    verdict: Literal["ok", "look", "wrong"]
    sentence: str


def examine(
    database: Database,
    data_dir: Path,
    keys_file: Path,
    erasures: ErasureList,
    public_url: str,
    asked: Mapping[UUID, Sequence[Finding]] | None = None,
) -> list[Line]:
    """What is well and what is not, one sentence each. asked: by a connection's id, what its CRM said just now when it
    was asked with the settings of this shell."""
    return [
        _settings(database, data_dir, public_url),
        *_programs(database),
        *_machine(database, data_dir, keys_file),
        *_erasures(database, erasures),
        *_content(database, f"{public_url}/desk", asked or {}),
        *_alarms(database),
    ]


def line(ok: bool, sentence: str) -> Line:
    """What is either well or a fault."""
    return Line("ok" if ok else "wrong", sentence)


def _settings(database: Database, data_dir: Path, public_url: str) -> Line:
    """What was looked at: a shell may have other settings than the service, and then links lead nowhere."""
    places = f"the data folder is {data_dir.absolute()}, the database {shown_address(database.engine.url)}"
    told = f"{places}, and the desk is at {public_url}/desk/ (FRONTDESK_PUBLIC_URL)"
    return line(True, f"As this shell's settings have it, {told}.")


def _programs(database: Database) -> list[Line]:
    found = readiness(database)
    return [line(text == "ok", f"{name.capitalize()}: {text}.{_remedy(name, text)}") for name, text in found.items()]


def _remedy(name: str, text: str) -> str:
    """For what tells how it is and not what helps."""
    if name != "worker" or text in ("ok", NOT_ASKED):
        return ""
    return f" {_START}" if text == NO_WORKER else f" {_START} {_OF_THE_COPY}"


def _machine(database: Database, data_dir: Path, keys_file: Path) -> list[Line]:
    free = shutil.disk_usage(data_dir).free
    lines = [
        line(free > _LITTLE_SPACE, f"Free space in the data folder: {free // 1024**2:,} MiB."),
        *_keys(database, keys_file),
    ]
    if sqlite_file(database.engine.url.render_as_string()):
        trouble = inspect(database, thorough=True)
        lines.append(
            line(not trouble, f"The database file is damaged: {trouble}." if trouble else "The database file is sound.")
        )
        version = pysqlite3.dbapi2.sqlite_version
        lines.append(line(pysqlite3.dbapi2.sqlite_version_info >= _SAFE_SQLITE, f"SQLite {version}."))
        lines += _copies(database)
    return lines


def _copies(database: Database) -> list[Line]:
    """How old the last copy is. Of PostgreSQL's backups nothing is known here, so nothing is said."""
    with database.read() as session:
        now, last = database.now(session), tasks.ran_at(session, backup.TASK)
        begun, is_old = session.scalar(select(func.min(Site.created_at))), backup.is_before_rotation(session)
    if last is None:
        told = "The database was never copied by: frontdesk db backup FILE. See that something else does it."
        return [] if begun is None or now - begun < backup.OLD else [Line("look", told)]
    told = how_old(now - last)
    if is_old:
        return [Line("look", f"{told} {_OLD_KEY} {EACH_NIGHT}")]
    return [Line("look", f"{told} {EACH_NIGHT}") if now - last > backup.OLD else line(True, told)]


def _keys(database: Database, keys_file: Path) -> list[Line]:
    try:
        open_vault(database, keys_file)
        held = len(read_keys(keys_file).keys)
    except VaultError as error:
        return [line(False, str(error))]
    if stat.S_IMODE(keys_file.stat().st_mode) & 0o077:
        return [line(False, f"Others can read the key file. Run: chmod 600 {keys_file}")]
    lines = [line(True, "The key file fits the database and is readable by its owner only.")]
    if held > 1:
        told = f"The key file holds {held} keys, so their rotation has not come to its end. See: frontdesk keys show"
        lines.append(Line("look", told))
    return lines


def _erasures(database: Database, erasures: ErasureList) -> list[Line]:
    """Whether whoever was erased on request is so still, and would be known after a restore. Silent where none was."""
    try:
        listed = erasures.read()
    except OSError as error:
        return [line(False, f"The list of erasures {erasures.file} cannot be read: {error.strerror}.")]
    with database.read() as session:
        found, missing = back(session, listed), unlisted(session, listed)
    told = [Line("look", sentence) for sentence in told_of(found, erasures)]
    if found.again:
        people = number_of(len(found.again), "person is", "people are")
        told.append(line(False, f"{people} here again, though erased on request. {_ERASE_AGAIN}"))
    if not erasures.is_writable():
        told.append(line(False, f"The list of erasures {erasures.file} cannot be written. {_LET_IT}"))
    if missing:
        people = number_of(len(missing), "erased person does", "erased people do")
        told.append(Line("look", f"{people} not stand on the list of erasures {erasures.file} yet. {_EACH_HOUR}"))
    if not told and listed.erased:
        told.append(line(True, f"Nobody on the list of erasures is here again. Erased: {len(listed.erased)}."))
    return told


def _content(database: Database, desk: str, asked: Mapping[UUID, Sequence[Finding]]) -> list[Line]:
    with database.read() as session:
        known = all_sites(session)
        users = session.scalar(select(func.count()).select_from(User)) or 0
        connections = connections_in_use(session)
        alone = without_connection(session, connections)
        waits = {wait.site.id: wait.number for wait in alone if wait.site and wait.reason == "no_connection"}
        need, spam = number_at(session, "needs_you"), number_at(session, "spam")
        unread, sharing = number_unseen(session), sites_that_share(session, known, database.now(session))
    sites, served = {site.id: site.key for site in known}, {row.site_id for row in connections}
    return [
        line(bool(sites), f"Sites: {len(sites)}." if sites else "There is no site yet. Run: frontdesk site add"),
        line(
            users > 0,
            f"Users: {users}." if users else "Nobody can sign in yet. Run: frontdesk user add NAME --role admin",
        ),
        line(
            bool(connections),
            f"Connections: {len(connections)}."
            if connections
            else "No CRM is connected yet. Run: frontdesk connection add",
        ),
        *(
            _unserved(site.key, waits.get(site.id, 0), desk)
            for site in known
            if site.id not in served and (site.closed_at is None or site.id in waits)
        ),
        Line("look", f"Enquiries that need a person: {need}. See: {desk}/leads?state=needs_you")
        if need
        else line(True, "No enquiry needs a person."),
        *([Line("look", f"Held, since it looks like spam: {spam}. See: {desk}/leads?state=spam")] if spam else []),
        *([Line("look", f"Not seen yet, and not understood: {unread}. See: {desk}/unreadable")] if unread else []),
        *(Line("look", _SHARES_IDS.format(site.key)) for site in sharing),
        *(told for row in connections for told in _connection(row, sites[row.site_id], desk, asked.get(row.id, ()))),
    ]


def _unserved(site_key: str, waiting: int, desk: str) -> Line:
    told = f"; {enquiries(waiting, 'waits', 'wait')} for one" if waiting else ""
    helps = f"Run: frontdesk connection add KIND --site {site_key}, or add one there: {desk}/connections/new"
    return Line("look", f"{site_key} has no connection{told}. {helps}")


def _connection(row: Connection, site_key: str, desk: str, asked: Sequence[Finding]) -> Iterator[Line]:
    """Each trouble once: what the CRM says of it just now, or else what is known of it. Silent where all is well."""
    name, page = f"{site_key}, {row.name}:", f"{desk}/connections/{row.id}"
    if row.kind not in kinds():  # also where nothing was to be sent yet, or staff paused it
        yield Line("wrong", f"{name} {no_connector(row.kind)}")
        return
    told = f"{name} {row.sentence or row.state}"
    if row.state == "paused":
        yield Line("look", f"{told} Start it again there: {page}")
    if row.state == "failing" and all(finding.ok or _is_of_settings(finding) for finding in asked):
        is_well = asked and all(finding.ok for finding in asked)
        tried = f"Its CRM says that all is well now, so try it at once: frontdesk connection test {row.id}"
        yield Line("wrong", f"{told} {tried if is_well else f'Mend it there: {page}'}")
        return
    for finding in asked:
        unmet = row.state == "working" and row.code is None and _is_of_settings(finding)
        helps = "" if finding.ok else f" {_OTHER_SETTINGS}" if unmet else f" Mend it there: {page}"
        yield line(finding.ok, f"{name} {finding.sentence}{helps}")


def _is_of_settings(finding: Finding) -> bool:
    """Whether it may be so with the settings of this shell alone. A key that is not accepted is wrong with any."""
    return not finding.ok and _A_SETTING in finding.sentence


def _again(alert: Alert) -> str:
    """How to see that what was wrong is mended, where nothing shows it by itself for long."""
    return f" Once it is mended, run: frontdesk canary run {alert.subject}" if alert.kind == "canary" else ""


def _alarms(database: Database) -> list[Line]:
    """Whether people can be told, and what only an alert knows."""
    with database.read() as session:
        days = recent_balances(session, all_sites(session), database.now(session))
        alerts = open_alerts(session, ["mail", "silence", "canary", "page"])
    # A website may be silent without a fault, and a page not be the clinic's: nobody can know that but the clinic.
    told = [
        Line("look" if alert.kind in ("silence", "page") else "wrong", f"{alert.sentence}{_again(alert)}")
        for alert in alerts
    ]
    open_days = [f"{day.site.name}, {day.day.isoformat()}: {day.unaccounted}" for day in days if not day.closes]
    if open_days:
        told.append(line(False, "Enquiries not accounted for: " + "; ".join(open_days) + ". See: frontdesk balance"))
    elif days:
        told.append(line(True, "Every enquiry of today and yesterday is accounted for."))
    return told
