"""Opening a database: its tables brought up to date, its keys checked against the data."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from leads.store.keyfile import create_keys
from leads.store.models import Meta
from leads.store.owner import barring, whose
from leads.store.postgres import unhurried
from leads.store.session import Database
from leads.store.vault import Vault, VaultError

KEY_CHECK = "key_check"  # under this name a value stands by which keys and data are told to belong together
_READABLE = "Frontdesk can read this."
# The oldest migration whose programs work on our tables too, and under which name they find that in a database that is
# newer than they are: whoever goes back, or dies in an upgrade without a stop, starts again. A migration that takes
# away or renames what its predecessor's programs use raises it to itself.
WORKS_FROM = "0023"
_WORKS_FROM = "works_from"


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


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def current(database: Database) -> str | None:
    """The last migration that this database has had; None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database) -> None:
    """Run the migrations that are missing. Two at once wait for each other. Raises SchemaError for a newer schema on
    which this version does not work; one on which it does stays as it is."""
    if _is_newer(database, current(database)):
        return
    with (
        database.engine.connect().execution_options(write=True) as connection,
        connection.begin(),
        nullcontext() if database.is_sqlite else unhurried(connection),
    ):
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(7261001)"))
        command.upgrade(_config(connection), "head")
        connection.execute(delete(Meta).where(Meta.name == _WORKS_FROM))
        connection.execute(insert(Meta).values(name=_WORKS_FROM, value=WORKS_FROM.encode()))


def upgrades_from(database: Database) -> str | None:
    """The last migration of a database that others are missing in; None: there is no data, or none is missing.

    Raises SchemaError for a newer schema on which this version does not work.
    """
    now = current(database)
    return None if now is None or now == head() or _is_newer(database, now) else now


def _is_newer(database: Database, revision: str | None) -> bool:
    """Whether the tables are of a newer version that this one works on too. Raises SchemaError where it does not."""
    if revision is None or revision in _known():
        return False
    if (_meta(database, _WORKS_FROM) or b"").decode() not in _known():
        raise SchemaError("The database was made by a newer Frontdesk. Install that version or restore a backup.")
    return True


def is_current(database: Database) -> bool:
    """Whether all migrations have run, be it also newer ones on which this version works."""
    try:
        require_current(database)
    except SchemaError:
        return False
    return True


def require_current(database: Database) -> None:
    """Raises SchemaError unless all migrations have run."""
    now = current(database)
    if now != head() and not _is_newer(database, now):
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
    return _meta(database, KEY_CHECK)


def _meta(database: Database, name: str) -> bytes | None:
    if not inspect(database.engine).has_table("meta"):
        return None
    with database.read() as session:
        return session.scalar(select(Meta.value).where(Meta.name == name))
