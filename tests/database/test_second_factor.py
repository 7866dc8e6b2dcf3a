"""The second factor as it is kept: sealed, each code good once, also where two programs get it at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pyotp
import pytest
from sqlalchemy import func, select

from leads.store import second_factor
from leads.store.models import RecoveryCode, User, new_id
from leads.store.second_factor import Passed, pass_with
from leads.store.session import Database
from leads.store.staff import add_user, remove_user
from leads.store.vault import Vault, VaultError
from tests.database.scan import found_in

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
NOW = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)
BY_APP = Passed(None)


def _code(seconds: int = 0) -> str:
    return pyotp.TOTP(SECRET).at(NOW + timedelta(seconds=seconds))


@pytest.fixture
def codes(database: Database, vault: Vault) -> list[str]:
    """The recovery codes of anna, who has a second factor."""
    with database.write() as session:
        anna, _ = add_user(session, "anna", "admin", NOW)
        add_user(session, "bert", "admin", NOW)
        return second_factor.turn_on(session, vault, anna, SECRET, step=0)


def _passed(database: Database, vault: Vault, typed: str, seconds: int = 0) -> Passed | None:
    with database.write() as session:
        return pass_with(session, vault, _anna(session.scalars), typed, NOW + timedelta(seconds=seconds))


def _anna(scalars: Callable[..., object]) -> User:
    return scalars(select(User).where(User.name == "anna")).one()  # type: ignore[attr-defined, no-any-return]


def test_a_code_is_good_once_and_no_earlier_one_after_it(database: Database, vault: Vault, codes: list[str]) -> None:
    assert _passed(database, vault, "000000") is None
    assert _passed(database, vault, _code()) == BY_APP
    assert _passed(database, vault, _code()) is None
    assert _passed(database, vault, _code(-30)) is None, "seen over the shoulder a moment ago"
    assert _passed(database, vault, _code(), 29) is None
    assert _passed(database, vault, _code(30)) == BY_APP, "the phone's clock is ahead"


def test_of_two_programs_with_the_same_code_one_lets_in(
    database: Database, database_url: str, vault: Vault, codes: list[str]
) -> None:
    for typed, right in ((_code(), BY_APP), (codes[0], Passed(9))):
        answers: list[Passed | None] = []
        other = Database(database_url)
        late = threading.Thread(target=lambda: answers.append(_passed(other, vault, typed)))  # noqa: B023
        with database.write() as session:
            answers.append(pass_with(session, vault, _anna(session.scalars), typed, NOW))
            late.start()
            late.join(0.3)
            assert late.is_alive(), "it waits for the commit"
        late.join(60)
        other.close()
        assert answers == [right, None]


def test_many_at_once_with_the_same_code(database: Database, database_url: str, vault: Vault, codes: list[str]) -> None:
    together, answers = threading.Barrier(6), []

    def one() -> None:
        opened = Database(database_url)
        together.wait()
        answers.append(_passed(opened, vault, _code()))
        opened.close()

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers, key=str) == sorted([BY_APP, *[None] * 5], key=str)


def test_a_recovery_code_is_good_once_however_it_is_typed(database: Database, vault: Vault, codes: list[str]) -> None:
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    assert _passed(database, vault, codes[0]) == Passed(9)
    assert _passed(database, vault, codes[0]) is None
    assert _passed(database, vault, codes[1].replace(" ", "")) == Passed(8)
    assert _passed(database, vault, codes[2].replace(" ", "-")) == Passed(7)
    assert _passed(database, vault, "000000000000") is None


def test_new_recovery_codes_replace_the_old_ones(database: Database, vault: Vault, codes: list[str]) -> None:
    with database.write() as session:
        new = second_factor.new_recovery_codes(session, vault, _anna(session.scalars))
    assert _passed(database, vault, codes[0]) is None
    assert _passed(database, vault, new[0]) == Passed(9)


def test_turned_off_nothing_of_it_is_left(database: Database, vault: Vault, codes: list[str]) -> None:
    with database.write() as session:
        before = _anna(session.scalars).session
        second_factor.turn_off(session, _anna(session.scalars))
    with database.read() as session:
        anna = _anna(session.scalars)
        assert (anna.totp_sealed, anna.totp_step, anna.session == before) == (None, None, False)
        assert session.scalar(select(func.count()).select_from(RecoveryCode)) == 0
    assert _passed(database, vault, _code()) is None
    assert _passed(database, vault, codes[0]) is None


def test_a_removed_user_takes_the_recovery_codes_along(database: Database, vault: Vault, codes: list[str]) -> None:
    with database.write() as session:
        remove_user(session, _anna(session.scalars))
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(RecoveryCode)) == 0


def test_a_code_of_a_session_that_was_ended_meanwhile_is_not_used(
    database: Database, database_url: str, vault: Vault, codes: list[str]
) -> None:
    other = Database(database_url)
    with database.read() as session:
        stale = _anna(session.scalars)
    with other.write() as session:
        _anna(session.scalars).session = new_id()
    with database.write() as session:
        assert pass_with(session, vault, stale, _code(), NOW) is None
    other.close()


def test_nobody_reads_the_secret_or_a_recovery_code_in_the_database(
    database: Database, vault: Vault, codes: list[str]
) -> None:
    digits = [code.replace(" ", "") for code in codes]
    assert found_in(database, [SECRET, *codes, *digits]) == []


def test_a_secret_copied_to_another_user_does_not_open(database: Database, vault: Vault, codes: list[str]) -> None:
    with database.read() as session:
        sealed = _anna(session.scalars).totp_sealed or b""
    with pytest.raises(VaultError):
        second_factor.secret_of(vault, UUID(int=1), sealed)
