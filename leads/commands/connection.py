"""`frontdesk connection`: the CRM accounts that enquiries go to."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from marshmallow import fields
from sqlalchemy import select

from integrations.core.base import Finding
from integrations.core.registry import connector_class, kinds
from leads.commands.office import WRONG, Office, as_rows, fail, from_home, json_option, say
from leads.store.models import Connection, Site
from leads.store.queries.lists import connections_in_use
from leads.sync import sign_in
from leads.sync.options import SetupError
from leads.sync.setup import CALLERS

_KIND = click.Choice(sorted(kinds()))
_set = click.option("--set", "typed", multiple=True, metavar="NAME=VALUE", help="An option that is no secret.")
_file = click.option("--file", "files", multiple=True, metavar="NAME=PATH", help="An option from a file; - is stdin.")
_WITHOUT_IT = "Store it even when the CRM does not accept it now"
_anyway = click.option("--anyway", is_flag=True, help=f"{_WITHOUT_IT}.")


@click.group()
def connection() -> None:
    """CRM accounts that enquiries go to."""


@connection.command("add", epilog=f"KIND is one of: {', '.join(_KIND.choices)}.")
@click.argument("kind", type=_KIND, metavar="KIND")
@click.option("--site", "site_key", required=True, help="Key of the website whose enquiries go there.")
@click.option(
    "--name", default="", help="What staff call it. Left out: the CRM's name, with the site's if it is taken."
)
@click.option(
    "--unknown-callers",
    type=click.Choice(list(CALLERS)),
    default="record",
    show_default=True,
    help="What becomes of a call click by someone not yet known.",
)
@click.option("--pace", default="", help="Calls a second at most. Left out: what the CRM allows every account.")
@_set
@_file
@click.option("--anyway", is_flag=True, help=f"{_WITHOUT_IT}, or seems to be connected to this website already.")
def add(
    kind: str,
    site_key: str,
    name: str,
    unknown_callers: str,
    pace: str,
    typed: list[str],
    files: list[str],
    anyway: bool,
) -> None:
    """Connect a CRM. Asks for what it needs; secrets are never taken from the command line."""
    office = Office()
    try:
        office.setup.require_site(site_key)
        office.setup.require_free(name)
        office.setup.require_pace(kind, pace)
        options = _ask(kind, _given(kind, typed, files), required=True)
        _warn(office.setup.connected(site_key, kind, options), anyway)
        wrong = must_be_well(office.setup.try_out(kind, options), anyway)
        made = office.setup.create(site_key, kind, name, options, unknown_callers, wrong, pace, once=not anyway)
    except SetupError as error:
        fail(_told(error, kind))
    goes = f"are kept until {made.name} works" if wrong else f"now go to {made.name}"
    say(f"Stored as {made.id}. Enquiries of {site_key} {goes}.")
    _say_where_to_sign_in(office, made)


@connection.command("list")
@json_option
def list_connections(json_: bool) -> None:
    """Show the connections and how they are."""
    database = Office().database
    with database.read() as session:
        now, sites = database.now(session), {row.id: row.key for row in session.scalars(select(Site))}
        rows = [_shown(row, sites[row.site_id], now) for row in connections_in_use(session)]
    empty = "No CRM is connected yet. Connect one: frontdesk connection add KIND --site KEY"
    as_rows(["id", "site", "kind", "name", "state", "since", "ends", "sentence"], rows, empty, json_=json_)


@connection.command("test")
@click.argument("name")
def test(name: str) -> None:
    """Ask the CRM whether all is as it should be. NAME: the connection's name or id.

    One that a fault had stopped is tried again at once when it is.
    """
    office = Office()
    found = find_connection(office, name)
    findings = office.setup.test(found.id)
    _say_where_to_sign_in(office, found)
    must_be_well(findings, anyway=False)
    if office.setup.start_if_well(found.id, findings):
        say("A fault had stopped it. It is tried again now.")


@connection.command("pause")
@click.argument("name")
def pause(name: str) -> None:
    """Send nothing until it is resumed; enquiries are kept."""
    office = Office()
    found = find_connection(office, name)
    office.setup.pause(found.id)
    say(f"Paused. Enquiries are kept until: frontdesk connection resume {shlex.quote(found.name)}")


@connection.command("resume")
@click.argument("name")
def resume(name: str) -> None:
    """Start it again, or try it at once."""
    office = Office()
    office.setup.resume(find_connection(office, name).id)
    say("Resumed. It is tried now.")


@connection.command("check-all")
@click.argument("name")
def check_all(name: str) -> None:
    """Look now, and not at night, whether the CRM still holds what was confirmed lately."""
    office = Office()
    found = find_connection(office, name)
    connector = office.setup.connector(found)
    if connector is None or not connector.readable:
        fail(f"{found.name} cannot be read back: its answer is all the proof there is.")
    say(f"Enquiries that are looked at now: {office.setup.check_all(found.id)}. The desk tells what is found.")


@connection.command("rotate")
@click.argument("name")
@_set
@_file
@_anyway
def rotate(name: str, typed: list[str], files: list[str], anyway: bool) -> None:
    """Replace the key or other options. What is not given stays as it is; `--set NAME=` empties an option."""
    office = Office()
    found = find_connection(office, name)
    try:
        given = _given(found.kind, typed, files) or _ask(found.kind, {}, required=False)
        if not given:
            fail(f"Nothing to replace was given. {_options_of(found.kind)}", 2)
        wrong = must_be_well(office.setup.try_out(found.kind, office.setup.merged(found, given), found), anyway)
        found = office.setup.replace(found.id, given, wrong)
    except SetupError as error:
        fail(_told(error, found.kind))
    if not _say_where_to_sign_in(office, found):
        say("Replaced. What waited is sent now.")


@connection.command("change")
@click.argument("name")
@click.option(
    "--unknown-callers",
    type=click.Choice(list(CALLERS)),
    help="What becomes of a call click by someone not yet known; with record, what was held for that is sent too.",
)
@click.option("--pace", help="Calls a second at most; '' for what the CRM allows every account.")
def change(name: str, unknown_callers: str | None, pace: str | None) -> None:
    """Change what is given of how it is used, and nothing else."""
    if unknown_callers is None and pace is None:
        raise click.UsageError("Say what to change, such as --pace.")
    office = Office()
    try:
        changed = office.setup.change(find_connection(office, name).id, unknown_callers, pace)
    except SetupError as error:
        fail(str(error))
    say(changed or "It was so already.")


@connection.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Take a connection out of use."""
    office = Office()
    found = find_connection(office, name)
    if not yes:
        click.confirm(
            f"Remove {found.name} and forget its key? What has not arrived yet is kept for a new one.", abort=True
        )
    left = office.setup.remove(found.id)
    say(f"Removed. Enquiries that had not arrived and are kept: {left}")


def find_connection(office: Office, name: str) -> Connection:
    """The connection of this name or id. Ends the program with a sentence when it is not clear which."""
    with office.database.read() as session:
        found = [row for row in connections_in_use(session) if name in (row.name, str(row.id))]
        sites = {row.id: row.name for row in session.scalars(select(Site))}
    if not found:
        fail(f"There is no connection {name}. See: frontdesk connection list")
    if len(found) > 1:
        these = "".join(f"\n{row.id}  of {sites[row.site_id]}" for row in found)
        fail(f"Several connections are called {name}. Use the id of the one that you mean:{these}")
    return found[0]


def _told(error: SetupError, kind: str) -> str:
    """The sentences call an option as the desk does, so what it is called here is told as well."""
    return f"{error}\n{_options_of(kind)}" if error.errors.keys() - {"name", "pace"} else str(error)


def _options_of(kind: str) -> str:
    schema = connector_class(kind).options().fields.items()
    given = [f"--file {name}=PATH" if about.metadata.get("secret") else f"--set {name}=VALUE" for name, about in schema]
    return f"The options of {kind}: {', '.join(given)}"


def _given(kind: str, typed: Iterable[str], files: Iterable[str]) -> dict[str, Any]:
    schema = connector_class(kind).options().fields
    given: dict[str, Any] = dict(_pair(text, "--set") for text in typed)
    for name, value in given.items():
        if name in schema and schema[name].metadata.get("secret"):
            if value:
                fail(f"{name} is a secret: others on this machine can read a command line. Use --file {name}=PATH.", 2)
            given[name] = None
    for name, path in (_pair(text, "--file") for text in files):
        given[name] = _read(name, path)
    return given


def _read(name: str, path: str) -> str:
    path = from_home(path)
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")).strip()
    except OSError as error:
        fail(f"The file for {name} cannot be read: {path}: {error.strerror}.", 2)
    except UnicodeDecodeError:
        fail(f"The file for {name} cannot be read: {path} holds no text.", 2)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        fail(f"{option} needs NAME=VALUE.", 2)
    return name, value


def _ask(kind: str, given: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """Ask a person at a terminal for what is missing; a program gets an error that names it."""
    missing = {name: field for name, field in connector_class(kind).options().fields.items() if name not in given}
    if not sys.stdin.isatty():
        return given
    answers = {name: _prompt(field, name, required) for name, field in missing.items()}
    return given | {name: answer for name, answer in answers.items() if answer}


def _prompt(field: fields.Field[Any], name: str, required: bool) -> str:
    about = field.metadata
    if about.get("help"):
        say(str(about["help"]))
    default = None if required and field.required else ""
    if about.get("lines"):
        path: str = click.prompt(f"File with the {about['label']}", default=default, show_default=False)
        return _read(name, path) if path else ""
    answer: str = click.prompt(
        str(about.get("label", name)), default=default, show_default=False, hide_input=bool(about.get("secret"))
    )
    return answer


def _say_where_to_sign_in(office: Office, row: Connection) -> bool:
    """A browser is needed for that. Returns whether somebody has to do it now."""
    if row.tokens_sealed is not None or sign_in.sign_in_of(office.setup, row) is None:
        return False
    url = office.settings.public_url
    say(f"Enter this redirect address for the app in the CRM: {url}{sign_in.CALLBACK}")
    say(f"Then press “Sign in” at the desk: {url}/desk/connections/{row.id}")
    return True


def _warn(twice: str, anyway: bool) -> None:
    """Ends the program where it is so, unless it is to be done anyway."""
    if twice and not anyway:
        fail(f"{twice} Is it another account, or meant to be so? Then add --anyway.")
    if twice:
        say(twice, err=True)


def must_be_well(findings: list[Finding], anyway: bool) -> list[Finding]:
    """Print each finding and return those that are wrong. Ends the program unless it is to be done anyway."""
    for finding in findings:
        say(("ok    " if finding.ok else "wrong ") + finding.sentence)
    wrong = [finding for finding in findings if not finding.ok]
    if wrong and not anyway:
        sys.exit(WRONG)
    return wrong


def _shown(row: Connection, site_key: str, now: datetime) -> dict[str, Any]:
    reason = _reason(row, now)
    return {
        "id": row.id,
        "site": site_key,
        "kind": row.kind,
        "name": row.name,
        "state": row.state,
        "since": row.state_since,
        "code": row.code if reason else None,
        "signed_in": row.tokens_sealed is not None,
        "ends": row.sign_in_ends_at,
        "sentence": reason,
        "unknown_callers": row.unknown_callers,
        "pace": row.pace,
        "quota_left": row.quota_left,
        "quota_of": row.quota_of,
        "quota_at": row.quota_at,
    }


def _reason(row: Connection, now: datetime) -> str | None:
    """Why it is not sending. One that works keeps its last reason until something is sent: that may be long over."""
    if row.state != "working" or (row.wait_until and row.wait_until > now):
        return row.sentence
    return f"The last try failed: {row.sentence}" if row.failures else None
