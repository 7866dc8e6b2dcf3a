"""`frontdesk keys`: the keys that the database is encrypted with, and how they change while all goes on."""

from __future__ import annotations

import time
from pathlib import Path

import click

from leads.commands.office import Office, as_rows, fail, json_option, say
from leads.plain import number_of
from leads.store import tasks
from leads.store.backup import copies_sealed_with, is_before_rotation
from leads.store.keyfile import add_key, drop_key, seal_with
from leads.store.resealing import TASK, reseal, values_by_key
from leads.store.session import sqlite_file
from leads.store.vault import LOOK, Keys, VaultError, read_keys

_NOTICED = LOOK + 1  # seconds after which no program seals with the key before
_WRITTEN = 60  # seconds after which nothing that was sealed with it is still on its way into the database


@click.group()
def keys() -> None:
    """The keys that the database is encrypted with."""


@keys.command("show")
@json_option
def show(json_: bool) -> None:
    """Show the keys by their ids, what each is for, and how much is sealed with it. Never the keys themselves."""
    office = Office()
    _ = office.vault
    held, values = read_keys(office.settings.keys_file), values_by_key(office.database)
    rows = [
        {"key": kid.hex(), "use": _use(held, kid), "values": values[kid]}
        for kid in [*held.keys, *sorted(values.keys() - held.keys)]
    ]
    as_rows(["key", "use", "values"], rows, "", json_=json_)


def _use(held: Keys, kid: bytes) -> str:
    if kid == held.sealing:
        return "seals and opens"
    if kid == held.next:
        return "opens; seals next"
    return "opens" if kid in held.keys else "not in the key file"


@keys.command("rotate")
@click.option("--yes", is_flag=True, help="Do not ask whether the key file is where it has to be.")
def rotate(yes: bool) -> None:
    """Seal everything with a new key while all goes on. Stopped at any point, the same command goes on from there.

    The old key stays in the key file, since copies of the database that were made before need it: frontdesk keys drop.
    """
    office = Office()
    _ = office.vault  # says what is wrong in a sentence, before anything is changed
    try:
        _rotate(office, office.settings.keys_file, yes=yes)
    except VaultError as error:
        fail(str(error))


def _rotate(office: Office, file: Path, *, yes: bool) -> None:
    held = read_keys(file)
    if held.next or len(held.keys) == 1:
        _begin(office, file, yes=yes)
    elif not _waiting(office):
        _say_done(file)
        say("Until then the keys are not rotated again.")
        return
    _seal_anew(office)
    with office.database.write() as session:
        tasks.done(session, TASK, office.database.now(session))
    _say_done(file)


def _begin(office: Office, file: Path, *, yes: bool) -> None:
    """A new key in the file, and then the one that seals. In between it has to get wherever it will be needed."""
    kid = add_key(file)
    say(f"The key {kid.hex()} is in {file}. So far nothing is sealed with it.")
    say("Copy this file to where you keep it safe: from now on a backup is worth nothing without the new key.")
    if not office.database.is_sqlite:
        say("Copy it to every other host that runs Frontdesk as well. Nothing has to be started again.")
    if not yes:
        click.confirm("Is it there? If not, say no, and run this command again later. Seal with it now?", abort=True)
    seal_with(file, kid)
    office.vault.look()
    with office.database.write() as session:
        office.record(session, "keys_rotated", kid.hex())
    if not office.database.is_sqlite:
        say("It seals from now on here. Copy the file to the other hosts once more, so that it seals there too.")
    time.sleep(_NOTICED)


def _seal_anew(office: Office) -> None:
    unreadable = 0
    with click.progressbar(length=_waiting(office), label="Sealing anew", show_pos=True) as bar:
        for slice_ in reseal(office.database, office.vault):
            unreadable += slice_.unreadable
            bar.update(slice_.looked_at)
    left = _waiting(office)
    if left > unreadable:
        fail(
            f"{_values(left)} not sealed with the new key yet: some program still seals with the old one. Copy the key "
            "file to every host that runs Frontdesk, and run this command again."
        )
    if unreadable:
        fail(f"No key of the file opens {_values(unreadable, verb=False)}: left as it was. See: frontdesk keys show")


def _waiting(office: Office) -> int:
    """How many values are not sealed with the key that seals now."""
    values = values_by_key(office.database)
    return values.total() - values[office.vault.sealing]


def _values(number: int, *, verb: bool = True) -> str:
    return number_of(number, "value is" if verb else "value", "values are" if verb else "values")


@keys.command("drop")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(key: str, yes: bool) -> None:
    """Take the old KEY out of the key file for good, once nothing is sealed with it.

    No copy of the database that was made before the keys were rotated can be read without it.
    """
    office = Office()
    _ = office.vault
    file = office.settings.keys_file
    kid = _unused(office, file, key)
    say(
        f"Copies of the database from before the keys were rotated can only be read with the key {key}: keep {file}, "
        f"as it is now, with these copies, or delete them.{_newer_copy(office)}"
    )
    if not yes:
        click.confirm("Drop it?", abort=True)
    try:
        drop_key(file, kid)
    except VaultError as error:
        fail(str(error))
    with office.database.write() as session:
        office.record(session, "key_dropped", key)
    say(f"The key {key} is no longer in {file}. Put this file into your safe, and on every other host.")


def _newer_copy(office: Office) -> str:
    """What to do for a copy that does without the old key. Of PostgreSQL's backups nothing is known here."""
    if not office.database.is_sqlite:
        return " Make a new backup first, where there is none since."
    with office.database.read() as session:
        is_old = is_before_rotation(session)
    return " There is none since: first make one, by frontdesk db backup FILE." if is_old else ""


def _unused(office: Office, file: Path, key: str) -> bytes:
    """The id of a key that may be dropped. Ends the program with a sentence when it may not."""
    held = read_keys(file)
    kid = next((kid for kid in held.keys if kid.hex() == key.lower()), None)
    if kid is None:
        fail(f"There is no key {key} in {file}. See: frontdesk keys show")
    if kid == held.sealing:
        fail(f"The key {key} is the one that seals. First replace it: frontdesk keys rotate")
    if time.time() - file.stat().st_mtime < _WRITTEN:
        fail(
            "The key file was changed less than a minute ago, and what was sealed before may still be on its way into "
            "the database. Try again in a minute."
        )
    if used := values_by_key(office.database)[kid]:
        fail(f"{_values(used)} still sealed with the key {key}. First seal them anew: frontdesk keys rotate")
    live = sqlite_file(office.settings.database_url)
    if copies := copies_sealed_with(office.settings.data_dir, kid, live):
        names = ", ".join(copy.name for copy in copies)
        fail(f"The key {key} is still needed to read {names} in {office.settings.data_dir}. Delete these copies first.")
    return kid


def _say_done(file: Path) -> None:
    held = read_keys(file)
    old = [kid.hex() for kid in held.keys if kid != held.sealing]
    say(f"Everything is sealed with the key {held.sealing.hex()}.")
    for kid in old:
        say(
            f"The key {kid} now only opens copies of the database that were made before. Make a new one, keep the old "
            f"key file with the old ones or delete them, and then: frontdesk keys drop {kid}"
        )
