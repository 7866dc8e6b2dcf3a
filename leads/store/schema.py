"""Opening a database: its tables brought up to date, its keys checked against the data."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import IntegrityError

from leads.store.keyfile import create_keys
from leads.store.models import Meta
from leads.store.owner import barring, whose
from leads.store.postgres import unhurried
from leads.store.session import Database
from leads.store.vault import Vault, VaultError

KEY_CHECK = "key_check"  # under this name a value stands by which keys and data are told to belong together
_READABLE = "Frontdesk can read this."


class SchemaError(Exception):
    """The tables do not fit this version of the program. The text says what to do."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "leads.store:migrations")
    config.attributes["connection"] = connection
    return config


@cache
def head() -> str | None:
    """The migration that this version of the program needs. Read once: it takes ten milliseconds, and strangers ask."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def current(database: Database) -> str | None:
    """The last migration that this database has had; None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database) -> None:
    """Run the migrations that are missing. Two at once wait for each other. Raises SchemaError for a newer schema."""
    if (now := current(database)) is not None:
        _require_known(now)
    with (
        database.engine.connect().execution_options(write=True) as connection,
        connection.begin(),
        nullcontext() if database.is_sqlite else unhurried(connection),
    ):
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(7261001)"))
        command.upgrade(_config(connection), "head")


def upgrades_from(database: Database) -> str | None:
    """The last migration of a database that others are missing in; None: there is no data, or none is missing.

    Raises SchemaError for a newer schema.
    """
    now = current(database)
    if now is None or now == head():
        return None
    _require_known(now)
    return now


def _require_known(revision: str) -> None:
    if revision not in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}:
        raise SchemaError("The database was made by a newer Frontdesk. Install that version or restore a backup.")


def require_current(database: Database) -> None:
    """Raises SchemaError unless all migrations have run."""
    now = current(database)
    if now is not None:
        _require_known(now)
    if now != head():
        raise SchemaError("The database is not up to date. Run: frontdesk db upgrade")


def open_vault(database: Database, keys_file: Path) -> Vault:
    """Load the keys and make sure that they fit this database; make them where there is neither key nor data.

    Raises VaultError when the key is missing, another one, or may not be used: it is never made anew where data exists.
    """
    check = _key_check(database)
    if check is None:
        _make_missing(keys_file)
    vault = Vault(keys_file)
    if check is None:
        check = _first_check(database, vault)
    try:
        vault.open(check, "meta", "value", KEY_CHECK)
    except VaultError as error:
        raise VaultError(
            f"The key file {keys_file} does not belong to this database. Restore the one from the same backup; if keys "
            "were rotated on another host, copy it from there."
        ) from error
    return vault


def _first_check(database: Database, vault: Vault) -> bytes:
    """Write it. Where another program has just been quicker, its own counts."""
    made = vault.seal(_READABLE, "meta", "value", KEY_CHECK)
    try:
        with database.write() as session:
            session.add(Meta(name=KEY_CHECK, value=made))
    except IntegrityError:
        return _key_check(database) or made
    return made


def _make_missing(keys_file: Path) -> None:
    if barring(keys_file) or keys_file.exists():
        return  # reading it says what is wrong with it
    try:
        create_keys(keys_file)
    except OSError as error:
        why = whose(keys_file) if isinstance(error, PermissionError) else "Set FRONTDESK_KEYS_FILE."
        raise VaultError(f"The key file {keys_file} cannot be made: {error.strerror}. {why}") from error


def _key_check(database: Database) -> bytes | None:
    if not inspect(database.engine).has_table("meta"):
        return None
    with database.read() as session:
        return session.scalar(select(Meta.value).where(Meta.name == KEY_CHECK))
