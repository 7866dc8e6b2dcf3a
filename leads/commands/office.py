"""What the commands share: settings, database and keys, opened when first asked for; answers as text or JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NoReturn

import click
from pysqlite3 import dbapi2 as sqlite
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from config.settings import Settings, SettingsError, load_settings
from leads.store import failpoint, staff
from leads.store.backup import NoSpaceError, copy_before_upgrade
from leads.store.erasure_list import ErasureList
from leads.store.models import Lead, Site
from leads.store.owner import barring, whose
from leads.store.queries.leads import lead_by_code
from leads.store.schema import SchemaError, open_vault, require_current, upgrade, upgrades_from
from leads.store.session import Database, sqlite_file
from leads.store.sites import find_site
from leads.store.soundness import DamagedError, require_sound
from leads.store.vault import Vault, VaultError
from leads.sync.connect import Limits
from leads.sync.setup import Setup

ME = "command line"  # who did it, in the record of actions
# Controls but for tab and line feed, and what turns the direction of what follows.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
WRONG, CANNOT_OPEN = 1, 3  # exit codes; 2 is click's own, for a wrong command line


class Office:
    """Opened once per command."""

    def __init__(self, *, migrate: bool = False, new: bool = False, copy: bool = True, thorough: bool = False) -> None:
        """migrate: bring the tables up to date. new: make a database although its key is there already. copy: copy an
        SQLite file first. thorough: read all of it first."""
        self._migrate, self._new, self._copy, self._thorough = migrate, new, copy, thorough

    @cached_property
    def settings(self) -> Settings:
        """The settings. Ends the program with a sentence when they are wrong."""
        try:
            settings = load_settings()
            failpoint.parse(settings.fail_at)
        except SettingsError as error:
            fail(f"The configuration is wrong.\n{error}", CANNOT_OPEN)
        except ValueError as error:
            fail(f"The configuration is wrong.\nFRONTDESK_FAIL_AT: {error}", CANNOT_OPEN)
        return settings

    @cached_property
    def database(self) -> Database:
        """The database, up to date. Ends the program with a sentence when it cannot be had."""
        _prepare_folder(self.settings, make=self._migrate)
        database = Database(self.settings.database_url, min_free=self.settings.min_free_mb * 2**20)
        click.get_current_context().call_on_close(database.close)
        try:
            if not self._new:
                require_sound(database, self.settings.keys_file, make=self._migrate, thorough=self._thorough)
            if self._migrate:
                database.make_file()
                if self._copy:
                    _copy_first(self.settings, upgrades_from(database))
                upgrade(database)
            else:
                require_current(database)
        except (SchemaError, DamagedError) as error:
            fail(str(error), CANNOT_OPEN)
        return database

    @cached_property
    def vault(self) -> Vault:
        """The keys. Ends the program with a sentence when they do not fit."""
        try:
            return open_vault(self.database, self.settings.keys_file)
        except VaultError as error:
            fail(str(error), CANNOT_OPEN)

    @cached_property
    def erasures(self) -> ErasureList:
        """Where it is written down who was erased."""
        return ErasureList(self.settings.data_dir)

    @cached_property
    def limits(self) -> Limits:
        """What a call to a CRM must keep to."""
        return Limits(
            self.settings.lease_seconds,
            self.settings.crm_timeout,
            self.settings.allowed_private_hosts,
            self.settings.sweep_days,
        )

    @cached_property
    def setup(self) -> Setup:
        """Makes and changes connections, in the name of the command line."""
        return Setup(self.database, self.vault, self.limits, by=ME)

    def record(self, session: Session, what: str, note: str = "") -> None:
        """Write down that it was done by a command. note: kept encrypted."""
        staff.record(session, ME, what, self.database.now(session), vault=self.vault, note=note)


class HomePath(click.Path):
    """A path that may begin with ~ also where no shell has seen to it, as in quotes or after NAME=."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(from_home(value), param, ctx)


class HomeFile(click.File):
    """The same of a file to read; - is the standard input."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(from_home(value), param, ctx)


def from_home(path: str) -> str:
    """A path without the ~ that it may begin with."""
    return os.path.expanduser(path)  # noqa: PTH111 - unknown users stay as typed


def _prepare_folder(settings: Settings, *, make: bool) -> None:
    """make: a folder that is not there is made. A command that only looks would answer a mistyped name with "empty"."""
    folder = settings.data_dir.absolute()
    if barring(folder):
        fail(f"The data folder {folder} may not be looked into. {whose(folder)}", CANNOT_OPEN)
    file = sqlite_file(settings.database_url)
    if not make and not folder.is_dir():
        keys = settings.keys_file.absolute()
        more = "" if file else f"On one more host, make it and copy the key file of a host that runs to {keys}. "
        fail(
            f"There is no data folder {folder}. Does the service run in this folder and with these settings? Go to its "
            f"folder, or set FRONTDESK_DATA_DIR as it has it. {more}Only for a new, empty installation: "
            "frontdesk db upgrade",
            CANNOT_OPEN,
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why = f" {whose(folder)}" if isinstance(error, PermissionError) else ""
        fail(f"The data folder {folder} cannot be made: {error.strerror}.{why} Set FRONTDESK_DATA_DIR.", CANNOT_OPEN)
    for place in {folder, file.parent} if file else {folder}:
        if not os.access(place, os.W_OK | os.X_OK):
            fail(f"The data folder {place} cannot be written to. {whose(place)}", CANNOT_OPEN)


def _copy_first(settings: Settings, revision: str | None) -> None:
    """Before the tables change: whoever upgrades may have forgotten the backup. revision: of the tables now."""
    file = sqlite_file(settings.database_url)
    if file is None or revision is None:
        return
    try:
        copy = copy_before_upgrade(file, settings.data_dir, revision, settings.min_free_mb * 2**20)
    except NoSpaceError as error:
        fail(
            f"The tables have to change, and {settings.data_dir} has no room to copy the database first: "
            f"{error.needed // 2**20:,} MiB are needed, {error.free // 2**20:,} MiB are free. Make room, or copy it "
            "elsewhere and run: frontdesk db upgrade --no-copy",
            CANNOT_OPEN,
        )
    except (OSError, sqlite.Error) as error:
        fail(
            f"The tables have to change, and the database could not be copied to {settings.data_dir} first: "
            f"{getattr(error, 'strerror', None) or error}. Nothing was changed.",
            CANNOT_OPEN,
        )
    say(f"The tables are brought up to date. How the database was before is kept in {copy}")


def site_named(session: Session, key: str) -> Site:
    """The site with this key. Ends the program with a sentence when there is none."""
    found = find_site(session, key)
    if found is None:
        fail(f"There is no site with the key {key}.")
    return found


def lead_named(session: Session, code: str) -> Lead:
    """The lead with this code. Ends the program with a sentence when there is none."""
    return lead_by_code(session, code) or no_lead(code)


def no_lead(code: str) -> NoReturn:
    """Say so and end."""
    fail(f"There is no lead with the code {code}.")


def fail(sentence: str, code: int = WRONG) -> NoReturn:
    """Say what is wrong on standard error and end."""
    say(sentence, err=True)
    sys.exit(code)


def harmless(text: str) -> str:
    """As it may be shown: what a visitor typed must not move the cursor, fill the clipboard or turn the line around."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print for people: no command prints by itself. err: on standard error. nl: with a line feed at the end."""
    click.echo(harmless(text), err=err, nl=nl)


def as_json(value: Any) -> None:
    """Print for programs."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    click.echo(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def as_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], empty: str, *, json_: bool = False) -> None:
    """Print a table of these columns, or the sentence for an empty one. json_: all that the rows hold, for programs."""
    if json_:
        as_json(rows)
        return
    if not rows:
        say(empty)
        return
    table = Table(*(column.replace("_", " ").capitalize() for column in columns), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(in_words(row.get(column)) for column in columns))
    width = None if sys.stdout.isatty() else 200  # a pipe has no width, and 80 columns would cut the ids
    Console(width=width, highlight=False, markup=False).print(table)


def in_words(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return harmless(", ".join(value) if isinstance(value, list) else str(value))


json_option = click.option("--json", "json_", is_flag=True, help="Print JSON, for programs.")
