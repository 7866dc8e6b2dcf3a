"""Keys rotate while others write: every sealed value comes under the new key, and none is lost or set back."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import LargeBinary, select, update

from leads.store import resealing
from leads.store import vault as store_vault
from leads.store.keyfile import add_key, drop_key, seal_with
from leads.store.models import Action, Base, Connection, Event, Lead, Meta, Resubmission, Site, Unreadable, User, new_id
from leads.store.people import answers_of, person_of
from leads.store.resealing import places, reseal, values_by_key
from leads.store.schema import open_vault
from leads.store.second_factor import secret_of, turn_on
from leads.store.session import Database
from leads.store.staff import add_user, note_of, record
from leads.store.vault import Vault, VaultError
from tests.factory import make_connection, make_site, send
from tests.programs import ROOT, wait_for

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
PERSON = {"first_name": "Jane", "email": "jane@example.com", "phone": "+12015550123"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_vault, "LOOK", 0.1)
    monkeypatch.setattr(resealing, "_BREATH", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of the keys; `vault` makes it."""
    return tmp_path / "keys.json"


@pytest.fixture
def everything(database: Database, vault: Vault) -> Site:
    """A value in each sealed column."""
    site = make_site(database)
    connection = make_connection(database, vault, site)
    for service in ("implants", "whitening"):  # the second is kept as a resubmission
        send(database, vault, site, client_id="one", visitor_id="v", service=service, **PERSON)
    with database.write() as session:
        row = session.get_one(Connection, connection.id)
        row.tokens_sealed = vault.seal({"access_token": "a"}, "connection", "tokens", row.id)
        unread = {"site_id": site.id, "body_digest": bytes(16), "reason": "not_json"}
        other = Unreadable(id=new_id(), received_at=database.now(session), **unread)
        other.body_sealed = vault.seal({"text": "?"}, "unreadable", "body", other.id)
        session.add(other)
        record(session, "anna", "purged", database.now(session), vault=vault, note="3 people")
        anna, _ = add_user(session, "anna", "admin", database.now(session))
        turn_on(session, vault, anna, SECRET, 0)
    return site


def _new_key(file: Path, vault: Vault) -> bytes:
    kid = add_key(file)
    seal_with(file, kid)
    vault.look()
    return kid


def _raw(database: Database) -> list[bytes]:
    """What stands in any column of bytes, however it is called."""
    with database.read() as session:
        columns = [c for table in Base.metadata.sorted_tables for c in table.c if isinstance(c.type, LargeBinary)]
        return [value for column in columns for value in session.scalars(select(column)) if value is not None]


def test_every_sealed_value_comes_under_the_new_key(
    database: Database, vault: Vault, file: Path, everything: Site
) -> None:
    for place in places():
        with database.read() as session:
            found = session.scalars(select(place.sealed).where(place.only)).all()
        assert any(found), f"{place.table}.{place.name} holds nothing: fill it in `everything`"
    old, number = vault.sealing, values_by_key(database).total()
    new = _new_key(file, vault)
    done = list(reseal(database, vault))
    assert sum(slice_.looked_at for slice_ in done) == number
    assert sum(slice_.unreadable for slice_ in done) == 0
    assert values_by_key(database) == {new: number}
    assert [value for value in _raw(database) if value.startswith(b"\x01" + old)] == []
    drop_key(file, old)
    opened = open_vault(database, file)
    with database.read() as session:
        assert person_of(opened, session.scalars(select(Lead)).one())["email"] == "jane@example.com"
        assert answers_of(opened, session.scalars(select(Event)).one())["service"] == "implants"
        again = session.scalars(select(Resubmission)).one()
        assert opened.open(again.answers_sealed, "resubmission", "answers", again.id)["service"] == "whitening"
        row = session.scalars(select(Connection)).one()
        assert opened.open(row.options_sealed, "connection", "options", row.id)["key"] == "sandbox-key"
        assert opened.open(row.tokens_sealed or b"", "connection", "tokens", row.id) == {"access_token": "a"}
        other = session.scalars(select(Unreadable)).one()
        assert opened.open(other.body_sealed, "unreadable", "body", other.id) == {"text": "?"}
        assert note_of(opened, session.scalars(select(Action)).one()) == "3 people"
        anna = session.scalars(select(User)).one()
        assert secret_of(opened, anna.id, anna.totp_sealed or b"") == SECRET
    assert list(reseal(database, opened)) == []


def test_whatever_the_code_seals_has_its_place() -> None:
    known = {(place.table, place.name) for place in places()}
    sealed = {found for path in (ROOT / "leads").rglob("*.py") for found in _sealed_in(path)}
    assert sealed == known


def _sealed_in(path: Path) -> list[tuple[str, str]]:
    """(table, column) of each `seal(value, table, column, row)`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    seals = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "seal"]
    return [(ast.literal_eval(node.args[1]), ast.literal_eval(node.args[2])) for node in seals]


def test_stopped_half_way_it_goes_on(database: Database, vault: Vault, file: Path) -> None:
    site = make_site(database)
    for number in range(7):
        send(database, vault, site, email=f"p{number}@example.com")
    old, new = vault.sealing, _new_key(file, vault)
    before = values_by_key(database)[old]
    assert next(reseal(database, vault, size=3)).looked_at == 3
    assert values_by_key(database) == {new: 3, old: before - 3}
    assert sum(slice_.looked_at for slice_ in reseal(database, Vault(file), size=3)) == before - 3
    assert values_by_key(database) == {new: before}


class _Interrupted(Vault):
    """Somebody writes while a value is on its way under the new key."""

    def __init__(self, path: Path, meanwhile: Callable[[], None]) -> None:
        super().__init__(path)
        self.meanwhile = meanwhile

    def reseal(self, sealed: bytes, table: str, column: str, row: UUID | str) -> bytes:
        anew = super().reseal(sealed, table, column, row)
        if table == "lead":
            self.meanwhile()
        return anew


def test_what_changed_meanwhile_is_not_set_back(database: Database, vault: Vault, file: Path) -> None:
    site = make_site(database)
    send(database, vault, site, **PERSON)
    _new_key(file, vault)

    def corrected() -> None:
        with database.write() as session:
            lead = session.scalars(select(Lead)).one()
            lead.person_sealed = vault.seal({"email": "new@example.com"}, "lead", "person", lead.id)

    list(reseal(database, _Interrupted(file, corrected)))
    with database.read() as session:
        assert person_of(vault, session.scalars(select(Lead)).one()) == {"email": "new@example.com"}
    assert list(values_by_key(database)) == [vault.sealing]


def test_what_no_key_opens_is_counted_and_left(database: Database, vault: Vault, file: Path) -> None:
    site = make_site(database)
    for name in ("jane", "mia"):
        send(database, vault, site, email=f"{name}@example.com")
    broken = b"\x01lost" + bytes(40)
    with database.write() as session:
        first = session.scalars(select(Lead.id).order_by(Lead.id)).first()
        session.execute(update(Lead).where(Lead.id == first).values(person_sealed=broken))
    new = _new_key(file, vault)
    assert sum(slice_.unreadable for slice_ in reseal(database, vault, size=1)) == 1
    assert values_by_key(database) == {new: 4, b"lost": 1}
    with database.read() as session:
        assert session.get_one(Lead, first).person_sealed == broken


def test_nobody_who_writes_waits_for_more_than_a_slice(database: Database, vault: Vault, file: Path) -> None:
    site = make_site(database)
    send(database, vault, site, **PERSON)
    _new_key(file, vault)
    for _ in reseal(database, vault):
        with database.write() as session:
            session.add(Meta(name=str(new_id()), value=b"written between two slices"))


class _Program(threading.Thread):
    """Takes enquiries and reads them, as a program that read the key file at its start."""

    def __init__(self, url: str, file: Path, site: Site, name: str) -> None:
        super().__init__(name=name)
        self._database, self._vault, self._site = Database(url), Vault(file), site
        self.sent: list[UUID] = []
        self.keys: set[bytes] = set()
        self.stop = threading.Event()
        self.trouble: Exception | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self._once()
        except Exception as error:  # noqa: BLE001 - told by the test
            self.trouble = error
        finally:
            self._database.close()

    def _once(self) -> None:
        number = len(self.sent)
        answers: dict[str, Any] = {"email": f"{self.name}{number // 2}@example.com", "service": str(number)}
        self.sent.append(send(self._database, self._vault, self._site, **answers).event_id)
        with self._database.read() as session:
            for event in session.scalars(select(Event).order_by(Event.id.desc()).limit(5)):
                answers_of(self._vault, event)
                self.keys.add(event.answers_sealed[1:5])
            for lead in session.scalars(select(Lead).order_by(Lead.id).limit(5)):
                person_of(self._vault, lead)


def _go_on(programs: Sequence[_Program]) -> bool:
    assert [program.trouble for program in programs] == [None] * len(programs)
    return True


def test_programs_go_on_while_the_keys_rotate(database: Database, database_url: str, vault: Vault, file: Path) -> None:
    site, old = make_site(database), vault.sealing
    programs = [_Program(database_url, file, site, name) for name in ("web", "other", "worker")]
    for program in programs:
        program.start()
    wait_for(lambda: _go_on(programs) and all(old in program.keys for program in programs))
    new = _new_key(file, vault)
    wait_for(lambda: all(new in program.keys for program in programs))
    list(reseal(database, vault, size=10))
    assert values_by_key(database).keys() == {new}, "nobody seals with the old one any more"
    drop_key(file, old)
    before = [len(program.sent) for program in programs]
    wait_for(lambda: _go_on(programs) and all(len(one.sent) > n + 3 for one, n in zip(programs, before, strict=True)))
    for program in programs:
        program.stop.set()
        program.join(60)
    assert [program.trouble for program in programs] == [None] * 3
    assert all(program.keys == {old, new} for program in programs), "each met both"
    with database.read() as session:
        opened = open_vault(database, file)
        events = session.scalars(select(Event)).all()
        said = {event.id: answers_of(opened, event)["service"] for event in events}
    assert said == {event: str(number) for program in programs for number, event in enumerate(program.sent)}


def test_a_key_file_from_before_a_rotation_is_refused(database: Database, vault: Vault, file: Path) -> None:
    before = file.read_bytes()
    _new_key(file, vault)
    list(reseal(database, vault))
    file.write_bytes(before)
    with pytest.raises(VaultError, match="rotated on another host, copy it from there"):
        open_vault(database, file)
