"""The `frontdesk` command: thin, it calls the rooms.

Exit codes: 0 all is well; 1 something is wrong or was refused; 2 the command line is wrong; 3 the configuration, the
database or its keys cannot be opened.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.exc import SQLAlchemyError

from config.settings import PREFIX, Settings, shown
from integrations.core.base import Finding
from integrations.core.registry import UnknownKindError, kinds
from leads.commands.actions import actions
from leads.commands.alerts import alerts, nobody_told, nobody_told_of_a_website, start_watchman
from leads.commands.balance import balance
from leads.commands.canary import canary
from leads.commands.connection import connection
from leads.commands.demo_data import demo_data
from leads.commands.erase_again import erase_again
from leads.commands.export import export
from leads.commands.keys import keys
from leads.commands.lead import lead
from leads.commands.mapping import mapping, try_dry
from leads.commands.office import CANNOT_OPEN, WRONG, HomePath, Office, as_json, fail, json_option, say
from leads.commands.purge import purge
from leads.commands.replay import put_aside, retry
from leads.commands.site import site
from leads.commands.user import user
from leads.plain import enquiries
from leads.store import backup, failpoint, outbox, tasks
from leads.store.queries.lists import connections_in_use, sites
from leads.store.schema import current
from leads.store.session import at_leisure, is_away, shown_address, sqlite_file, why_no_connection
from leads.sync import worker as sync_worker
from leads.sync.options import SetupError
from leads.upkeep import logs
from leads.upkeep.doctor import Line, examine, line
from leads.upkeep.erasures import Listing
from leads.upkeep.retention import EVERY, Retention

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _Plain(click.Group):
    """Says in one sentence what any command may meet, instead of a page of traceback that may quote somebody's name."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if any("\udc80" <= letter <= "\udcff" for letter in "".join(sys.argv)):  # bytes that are no text
            fail("The command line holds a letter that is not UTF-8. Is the terminal set to another encoding?", 2)
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            _drop_what_is_left()
            fail(f"The output could not be written: {error.strerror}.")

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SetupError, UnknownKindError) as error:
            fail(str(error))
        except SQLAlchemyError as error:
            name = type(error).__name__
            if why := why_no_connection(error):
                fail(f"The database cannot be reached ({why}). Check FRONTDESK_DATABASE_URL.", CANNOT_OPEN)
            if is_away(error):
                fail(f"The database does not answer ({name}). Check FRONTDESK_DATABASE_URL.", CANNOT_OPEN)
            fail(f"Frontdesk made a mistake of its own: the database refused a statement ({name}). Please report it.")


def _drop_what_is_left() -> None:
    """Else the interpreter tries once more to write it when it ends, and complains in its own way."""
    with suppress(OSError, ValueError):  # no real file, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=_Plain, context_settings={"help_option_names": ["-h", "--help"]}, epilog=(__doc__ or "").split("\n\n")[1]
)
@click.version_option(package_name="frontdesk")
def main() -> None:
    """Frontdesk takes a clinic's website enquiries, keeps them safe and brings them into the CRM, with proof."""


for group in (site, connection, lead, user, actions, alerts, balance, canary, purge, keys, demo_data):
    main.add_command(group)
for command in (mapping, try_dry):
    connection.add_command(command)
for command in (retry, put_aside, erase_again, export):
    lead.add_command(command)


@main.command()
@click.option("--demo", is_flag=True, help="With a demo clinic's page and a sandbox CRM to try things out.")
def serve(demo: bool) -> None:
    """Start all: web and worker, and start them again when one dies."""
    from leads.commands.serve import run  # noqa: PLC0415 - the other commands start quicker without it

    run(Office(migrate=True), demo=demo)


@main.command()
def web() -> None:
    """Serve the website's side and the desk alone."""
    from leads.serve import ServeError, require_port, serve_web  # noqa: PLC0415 - as above

    office = Office()
    logs.configure(office.settings.log_level)
    failpoint.arm(office.settings.fail_at)
    _ = office.vault  # says what is wrong in a sentence, before the server starts
    try:
        require_port(office.settings.host, office.settings.port, "FRONTDESK_PORT")
    except ServeError as error:
        fail(str(error), CANNOT_OPEN)
    start_watchman(office)
    serve_web(office.settings)


@main.command()
def worker() -> None:
    """Sync enquiries to the CRMs. Any number may run, on any number of machines with one PostgreSQL."""
    office = Office()
    logs.configure(office.settings.log_level)
    failpoint.arm(office.settings.fail_at)
    _ = office.vault  # says what is wrong in a sentence, before anything is begun that would outlive it
    stop = sync_worker.set_by_signals()
    start_watchman(office, stop)
    retention = Retention(office.database, timedelta(days=office.settings.keep_days), stop)
    listing = Listing(office.database, office.erasures)
    upkeep = [(job, EVERY.total_seconds()) for job in (retention.round, listing.round)]
    sync_worker.run(office.database, office.vault, office.limits, office.settings, stop, upkeep)


@main.group()
def db() -> None:
    """The database."""


@db.command("upgrade")
@click.option("--new", is_flag=True, help="Make a new database although its key file is there already.")
@click.option("--no-copy", is_flag=True, help="Do not copy an SQLite file to the data folder first.")
def db_upgrade(new: bool, no_copy: bool) -> None:
    """Bring the tables up to date; make them, and the keys, in an empty database."""
    office = Office(migrate=True, new=new, copy=not no_copy)
    _ = office.vault
    say(f"The database is up to date (migration {current(office.database)}).")


@db.command("backup")
@click.argument("file", type=HomePath(path_type=Path, dir_okay=False))
def db_backup(file: Path) -> None:
    """Copy the SQLite database to FILE while all goes on. The key file is not in it: keep that apart."""
    office = Office()
    source = sqlite_file(office.settings.database_url)
    if source is None:
        fail("This is for SQLite. PostgreSQL has tools of its own: pg_dump, or a base backup with its log.")
    _ = office.database  # says what is wrong with it in a sentence
    try:
        backup.back_up(source, file)
    except FileExistsError:
        fail(f"{file} is there already, and nothing is written over. Choose another name.")
    except (OSError, sqlite.Error) as error:
        fail(f"The copy {file.absolute()} could not be made: {getattr(error, 'strerror', None) or error}.")
    with office.database.write() as session:
        tasks.done(session, backup.TASK, office.database.now(session))
    say(f"Copied to {file}. Without the key file ({office.settings.keys_file}) nobody can read it.")


@db.command("restored")
@click.option("--yes", is_flag=True, help="Do not ask.")
def db_restored(yes: bool) -> None:
    """After a restore, before Frontdesk starts: look before anything is sent that may have been sent since.

    What had not arrived when the copy was made is looked up in its CRM; where that cannot be asked, the desk asks a
    person. Safe to repeat.
    """
    office = Office(thorough=True)  # what SQLite left of the old file may have been written into the copy
    _ = office.vault
    if not yes:
        click.confirm(
            "This is only for a copy of the database that was just put back. Whatever has not arrived yet is looked up "
            "in its CRM before it is sent, and where that cannot be asked, a person has to look at each. Was a copy "
            "put back?",
            abort=True,
        )
    with office.database.write() as session, at_leisure(session):
        number = enquiries(outbox.doubt_all(session))
        office.record(session, "restored", number)
    say(f"To be looked up before it is sent: {number}.")


@main.command()
@click.option("--online", is_flag=True, help="Ask each CRM as well.")
@json_option
def doctor(online: bool, json_: bool) -> None:
    """Examine the installation and say what to do. Only what is wrong ends it with 1, not what staff should look at."""
    office = Office()
    settings = office.settings
    asked = _ask_each_crm(office) if online else {}
    lines = examine(office.database, settings.data_dir, settings.keys_file, office.erasures, settings.public_url, asked)
    lines += [*_told_in_vain(office), *_told_nobody(settings)]
    if settings.rate_limit_store:
        from leads.intake import limit  # noqa: PLC0415 - the other commands start quicker without it

        lines.append(line(*limit.examine(settings.rate_limit_store)))
    if json_:
        as_json([found._asdict() for found in lines])
    for found in [] if json_ else lines:
        say(f"{found.verdict:<5} {found.sentence}")
    if any(found.verdict == "wrong" for found in lines):
        raise SystemExit(WRONG)


def _told_in_vain(office: Office) -> list[Line]:
    """Websites whose own people get no notices, since nobody is told of all or no mail can be sent."""
    if not (reason := nobody_told_of_a_website(office.settings)):
        return []
    with office.database.read() as session:
        keys = [site.key for site in sites(session) if site.alert_emails]
    told = f"Notices of {', '.join(keys)} do not reach those who are told of one website alone. {reason}"
    return [line(False, told)] if keys else []


def _told_nobody(settings: Settings) -> list[Line]:
    """Without alerts whoever is at the desk sees what is wrong; addresses that cannot be right were meant to work."""
    reason = nobody_told(settings)
    return [Line("wrong" if settings.tells_somebody else "look", reason)] if reason else []


def _ask_each_crm(office: Office) -> dict[UUID, list[Finding]]:
    with office.database.read() as session:
        known = [row.id for row in connections_in_use(session) if row.kind in kinds()]
    return {connection_id: office.setup.test(connection_id) for connection_id in known}


@main.group()
def config() -> None:
    """The configuration."""


@config.command("show")
@json_option
def config_show(json_: bool) -> None:
    """Print every setting as it is now. Of a secret only whether it is set."""
    settings = Office().settings
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    secrets = {field.name for field in fields(settings) if not field.repr}
    told = {name: _is_set(value) if name in secrets else shown(value) for name, value in values.items()}
    told["database_url"] = shown_address(settings.database_url)
    if json_:
        as_json(told)
        return
    for name, text in told.items():
        say(f"{PREFIX}{name.upper()}={text}")


def _is_set(secret: str) -> str:
    return "(set, not shown)" if secret else ""
