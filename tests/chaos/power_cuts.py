"""The process in which the power goes: it runs with `power.c` preloaded and forks the writers that are cut off."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

from sqlalchemy import event as hooks
from sqlalchemy import func, text
from sqlalchemy import select as sql
from sqlalchemy.exc import DatabaseError

from leads.store.models import Delivery, Event, Site
from leads.store.schema import open_vault, upgrade
from leads.store.session import Database
from leads.store.vault import Vault, VaultError
from tests.chaos.plan import Figures
from tests.factory import make_connection, make_site, send

_LIFE = 25  # cuts that one database goes through before a fresh one takes its place
_FILE = "frontdesk.sqlite3"
_BLOCK, _SECTOR = 4096, 512


@dataclass(frozen=True, slots=True)
class Disk:
    """folder: what the programs see. image: what the library keeps, see `power.c`."""

    folder: Path
    image: Path

    def insert(self, source: Path) -> None:
        """Start with this database alone, all of it synced."""
        self._clear()
        (self.image / "entry").mkdir(parents=True)
        shutil.copyfile(source, self.image / "entry" / _FILE)
        self._start()

    def lose_power(self, dice: random.Random, torn: bool) -> None:
        """Put the folder back to what was synced. torn: some sectors of what was not are there too."""
        if torn:
            self._keep_some(dice)
        entries = self.image.with_name("entries")
        (self.image / "entry").rename(entries)
        self._clear()
        self.image.mkdir()
        entries.rename(self.image / "entry")
        self._start()

    def _clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.image, ignore_errors=True)

    def _start(self) -> None:
        self.folder.mkdir()
        (self.image / "data").mkdir()
        (self.image / "dirty").mkdir()
        for entry in (self.image / "entry").iterdir():
            os.link(entry, self.image / "data" / entry.name)
            shutil.copyfile(entry, self.folder / entry.name)

    def _keep_some(self, dice: random.Random) -> None:
        names_kept = dice.random() < 0.5
        share = dice.choice((0.1, 0.5, 0.9))
        for data in (self.image / "data").iterdir():
            entry, live = self.image / "entry" / data.name, self.folder / data.name
            if names_kept and not (entry.exists() and entry.samefile(data)):
                entry.unlink(missing_ok=True)
                os.link(data, entry)
            if live.exists():
                _copy_sectors(live, data, _dirty(self.image / "dirty" / data.name), dice, share)


def _dirty(path: Path) -> Iterator[int]:
    """The blocks that were written and not synced."""
    marks = path.read_bytes() if path.exists() else b""
    place = marks.find(1)
    while place >= 0:
        yield place
        place = marks.find(1, place + 1)


def _copy_sectors(live: Path, data: Path, blocks: Iterator[int], dice: random.Random, share: float) -> None:
    with live.open("rb") as source, data.open("r+b") as target:
        for block in blocks:
            for at in range(block * _BLOCK, (block + 1) * _BLOCK, _SECTOR):
                if dice.random() < share:
                    source.seek(at)
                    target.seek(at)
                    target.write(source.read(_SECTOR))


@dataclass(frozen=True, slots=True)
class Clinic:
    """What the writers share. They open the database themselves: an open one must not go through a fork."""

    vault: Vault
    site: Site


def template(folder: Path) -> tuple[Path, Clinic]:
    """A closed database with a site and a connection."""
    path = folder / "template.sqlite3"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    vault = open_vault(database, folder / "keys.json")
    site = make_site(database)
    make_connection(database, vault, site)
    send(database, vault, site, email="warm@example.com")  # so that nothing is imported after the fork
    database.close()
    return path, Clinic(vault, site)


def fork_writer(disk: Disk, clinic: Clinic, acknowledge: int, pragmas: Mapping[str, Any], seed: float) -> int:
    """A process that takes enquiries until it is killed. acknowledge: gets the 16 bytes of each id. Returns the pid."""
    if pid := os.fork():
        return pid
    try:
        ctypes.CDLL(None).power_watch(os.fsencode(disk.folder), os.fsencode(disk.image))
        dice = random.Random(seed)
        while True:
            _take_enquiries(disk, clinic, acknowledge, pragmas, dice)
    except BaseException:  # noqa: BLE001 - a fork must never come back; the parent sees that it was not killed
        with (disk.folder.parent / "writers.log").open("a") as log:
            traceback.print_exc(file=log)
    finally:
        os._exit(1)


def _take_enquiries(
    disk: Disk, clinic: Clinic, acknowledge: int, pragmas: Mapping[str, Any], dice: random.Random
) -> None:
    """From opening the database to closing it, which writes the log back and deletes it."""
    database = Database(f"sqlite:///{disk.folder / _FILE}")
    hooks.listen(database.engine, "connect", lambda connection, _: _set(connection, pragmas))
    until = time.monotonic() + dice.uniform(0.02, 0.3)

    def accept() -> None:
        while time.monotonic() < until:
            accepted = send(database, clinic.vault, clinic.site, email=f"p{dice.randrange(40)}@example.com")
            os.write(acknowledge, accepted.event_id.bytes)

    threads = [Thread(target=accept) for _ in range(dice.choice((1, 2, 4)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()


def _set(connection: Any, pragmas: Mapping[str, Any]) -> None:
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name}={value}")


def work_until_cut(
    disk: Disk, clinic: Clinic, pragmas: Mapping[str, Any], dice: random.Random
) -> tuple[set[UUID], bool]:
    """Start writers, kill them at some moment. Returns what they have acknowledged, and whether they were well."""
    acks, acknowledge = os.pipe()
    writers = [fork_writer(disk, clinic, acknowledge, pragmas, dice.random()) for _ in range(dice.choice((1, 1, 2)))]
    os.close(acknowledge)
    if dice.random() < 0.9:  # else the power may go while the database is opened and put in order
        select.select([acks], [], [], 10)
    time.sleep(dice.uniform(0, 0.12))
    for pid in writers:
        os.kill(pid, signal.SIGKILL)
    ended_by = {os.waitpid(pid, 0)[1] for pid in writers}
    with os.fdopen(acks, "rb") as pipe:
        said = pipe.read()
    return {UUID(bytes=said[at : at + 16]) for at in range(0, len(said), 16)}, ended_by == {signal.SIGKILL}


def examine(folder: Path, clinic: Clinic) -> tuple[set[UUID], list[str]]:
    """Open the database as the product does. Returns the events that are there whole, and what is wrong."""
    database = Database(f"sqlite:///{folder / _FILE}")
    try:
        return _look(database, clinic)
    except DatabaseError as error:
        return set(), [f"it cannot be read: {error.orig}"]
    except (ValueError, VaultError) as error:  # rows of zeros, answers that do not decrypt
        return set(), [f"it holds what nobody wrote: {type(error).__name__}"]
    finally:
        database.close()


def _look(database: Database, clinic: Clinic) -> tuple[set[UUID], list[str]]:
    with database.read() as session:
        faults = [f"integrity_check: {row}" for row in session.scalars(text("PRAGMA integrity_check")) if row != "ok"]
        faults += [f"foreign_key_check: {row}" for row in session.execute(text("PRAGMA foreign_key_check"))]
        events = session.scalars(sql(Event).join(Delivery, Delivery.event_id == Event.id)).all()
        if len(events) != session.scalar(sql(func.count()).select_from(Event)):
            faults.append("an event has no delivery")
    for one in events:
        clinic.vault.open(one.answers_sealed, "event", "answers", one.id)
    return {one.id for one in events}, faults


def main(arguments: Sequence[str]) -> None:
    """Usage: FOLDER SEED CUTS SYNCHRONOUS. The last line is the figures as JSON."""
    folder, seed, cuts, synchronous = Path(arguments[0]).resolve(), arguments[1], int(arguments[2]), arguments[3]
    dice = random.Random(f"{seed}:{synchronous}")
    source, clinic = template(folder)
    disk, figures = Disk(folder / "disk", folder / "image"), Figures()
    promised, broken = set[UUID](), 0
    gc.collect()
    gc.freeze()
    for number in range(cuts):
        if number % _LIFE == 0 or len(figures.broken) > broken:
            disk.insert(source)
            promised, broken = set(), len(figures.broken)
        promised = _one_cut(disk, clinic, synchronous, promised, dice, figures)
        if number % 100 == 99:
            print(f"{number + 1} of {cuts} cuts", flush=True)
    print(json.dumps(asdict(figures)))


def _one_cut(
    disk: Disk, clinic: Clinic, synchronous: str, promised: set[UUID], dice: random.Random, figures: Figures
) -> set[UUID]:
    """Returns what of all that was promised to this database is there."""
    pragmas = {"synchronous": synchronous, "wal_autocheckpoint": dice.choice((1000, 50, 4))}
    acknowledged, well = work_until_cut(disk, clinic, pragmas, dice)
    torn = dice.random() < 0.5
    disk.lose_power(dice, torn)
    copy = disk.folder.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(disk.folder, copy)  # the next writers find the disk as the cut left it
    stored, faults = examine(copy, clinic)
    promised = promised | acknowledged
    figures.must(well, "the writers work until they are killed, see writers.log")
    figures.broken += [f"after a {'torn' if torn else 'clean'} cut: {fault}" for fault in faults]
    lost = len(promised - stored)
    for name, number in (("cuts", 1), ("torn_cuts", torn), ("acknowledged", len(acknowledged)), ("lost", lost)):
        figures.add(name, number)
    return promised & stored


if __name__ == "__main__":
    main(sys.argv[1:])
