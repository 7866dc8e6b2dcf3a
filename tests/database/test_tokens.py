"""Signing in at a CRM: renewed ahead of its end, by one alone, and kept before it is used."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from operator import itemgetter, methodcaller
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError, TimeoutError  # noqa: A004 - that of a pool and of the line of writers

from integrations.core.errors import Misconfigured, Throttled, TryLater
from integrations.core.oauth import Token, redeem, renew
from leads.store import tokens
from leads.store.keyfile import add_key, seal_with
from leads.store.models import Connection, Delivery, Site
from leads.store.queries.signs import signs
from leads.store.resealing import reseal
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync import sign_in
from leads.sync import tokens as sync_tokens
from leads.sync.connect import Context, Limits, options_of, tokens_of
from leads.sync.deliver import run_lane
from leads.sync.options import SetupError
from leads.sync.retry import Policy
from leads.sync.setup import Setup
from leads.sync.tokens import Tokens, ends
from leads.upkeep.alerts import conditions
from tests.database.lanes import Clock
from tests.database.scan import found_in
from tests.factory import make_site, send
from tests.pretend.oauth import CLIENT_SECRET, PretendSignIn, Tiny, register
from tests.pretend.server import Reply
from tests.programs import ROOT, wait_for

BACK = "https://frontdesk.example/desk/oauth/callback"
LIMITS = Limits(60, 10, frozenset({"127.0.0.1"}))
POLICY = Policy(tuple(timedelta(seconds=seconds) for seconds in (0, 5, 60, 300, 1800, 7200, 86400)))


class Desk:
    """A connection to a CRM that somebody signs in to."""

    def __init__(self, database: Database, vault: Vault, site: Site, crm: PretendSignIn) -> None:
        self.database, self.vault, self.site, self.crm = database, vault, site, crm
        self.setup = Setup(database, vault, LIMITS, by="anna")
        self.context = Context(database, vault, "w1", LIMITS, POLICY)
        self.id = self.setup.create(site.key, "tiny", "", crm.settings()).id

    def row(self) -> Connection:
        with self.database.read() as session:
            return session.get_one(Connection, self.id)

    def sign_in(self) -> None:
        way = sign_in.begin(self.setup, self.row(), BACK)
        code = self.crm.allow(way.address).partition("code=")[2].partition("&")[0]
        sign_in.complete(self.setup, self.id, BACK, code, way.verifier)

    def replace(self, client_id: str) -> None:
        self.setup.replace(self.id, {"client_id": client_id})

    def signed(self, database: Database | None = None) -> Tokens:
        row = self.row()
        found = tokens_of(database or self.database, self.vault, LIMITS, row, options_of(self.vault, row))
        assert found is not None
        return found

    def token(self) -> Token:
        sealed = self.row().tokens_sealed
        assert sealed is not None
        return Token.load(self.vault.open(sealed, "connection", "tokens", self.id))

    def states(self) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(Delivery.state)))


@pytest.fixture
def crm(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendSignIn]:
    register(monkeypatch)
    with PretendSignIn(BACK, clock) as server:
        assert isinstance(server, PretendSignIn)
        yield server


@pytest.fixture
def desk(timed: Database, vault: Vault, site: Site, crm: PretendSignIn) -> Desk:
    return Desk(timed, vault, site, crm)


def test_nobody_has_signed_in_yet(desk: Desk, clock: Clock) -> None:
    assert (desk.row().state, desk.row().code) == ("failing", "signed_out")
    send(desk.database, desk.vault, desk.site, email="jane@example.com")
    run_lane(desk.context, desk.id)
    assert (desk.row().state, desk.row().code, desk.states()) == ("failing", "signed_out", ["waiting"])
    assert [finding.sentence for finding in desk.setup.test(desk.id)] == [desk.row().sentence]
    assert desk.crm.calls == []
    desk.sign_in()
    run_lane(desk.context, desk.id)
    assert (desk.row().state, desk.states()) == ("working", ["confirmed"])


def test_a_sign_in_at_another_account_changes_nothing(desk: Desk) -> None:
    desk.sign_in()
    send(desk.database, desk.vault, desk.site, email="jane@example.com")
    run_lane(desk.context, desk.id)
    desk.sign_in()
    before = desk.token()
    desk.crm.held.clear()
    with pytest.raises(SetupError, match=r"another account.*nothing was changed"):
        desk.sign_in()
    assert desk.token() == before


def test_no_token_and_no_secret_stands_in_the_database(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.forward(hours=2)
    desk.signed().header()
    assert len(desk.crm.given) == 5
    assert found_in(desk.database, [*desk.crm.given, CLIENT_SECRET]) == []


def test_it_is_renewed_ahead_of_its_end_and_not_before(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    first = desk.signed().header()
    clock.forward(minutes=54)
    assert desk.signed().header() == first
    clock.forward(minutes=2)
    second = desk.signed().header()
    assert second == f"Bearer {desk.token().access_token}" != first
    assert desk.crm.grants == ["authorization_code", "refresh_token"]


def test_a_token_that_is_no_longer_accepted_is_renewed_once(desk: Desk) -> None:
    desk.sign_in()
    desk.crm.end_tokens()
    assert [finding.ok for finding in desk.setup.test(desk.id)] == [True]
    assert (desk.crm.refused, desk.crm.grants[1:]) == (1, ["refresh_token"])
    old = desk.signed().header()
    assert desk.signed().renew("Bearer of long ago"), "somebody renewed it meanwhile"
    assert desk.signed().header() == old


def test_what_the_crm_said_beside_the_token_stays(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.forward(hours=2)
    assert desk.setup.connector(desk.row()).settings["token"]["account"] == "tiny-7"  # type: ignore[union-attr]


def test_a_day_with_tokens_of_an_hour(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    for number in range(26):
        send(desk.database, desk.vault, desk.site, email=f"p{number}@example.com")
        run_lane(desk.context, desk.id)
        clock.forward(minutes=56)
    assert desk.states() == ["confirmed"] * 26
    assert sum(len(person.events) for person in desk.crm.people()) == 26
    assert desk.crm.refused == 0, "no call ever met a token that had ended"
    assert desk.crm.grants.count("refresh_token") == 25


def test_threads_renew_once(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.forward(hours=2)
    desk.crm.slow = 0.3
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(desk.signed().header())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), desk.crm.grants.count("refresh_token")) == (6, 1, 1)


def test_who_comes_second_does_not_wait_while_the_old_one_holds(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.forward(minutes=57)
    old = desk.signed().header()
    clock.forward(minutes=57)
    desk.crm.slow = 5
    thread = threading.Thread(target=lambda: desk.signed().header())
    thread.start()
    wait_for(lambda: desk.crm.grants.count("refresh_token") == 2)
    header = desk.signed().header()
    assert thread.is_alive(), "the CRM has not answered yet"
    desk.crm.slow = 0
    thread.join()
    assert header != desk.signed().header()
    assert (old == header, desk.crm.grants.count("refresh_token")) == (True, 2)


def test_a_renewal_that_takes_too_long_is_waited_for_no_longer_than_a_call(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.forward(hours=2)
    assert tokens.lease(desk.database, desk.id, 60)
    with pytest.raises(TryLater) as caught:
        desk.signed().header()
    assert caught.value.code == "renewing"
    clock.forward(seconds=61)
    assert desk.signed().header(), "a dead one's lease runs out"


def test_a_crm_in_trouble_does_not_trouble_us_before_the_old_token_ends(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    first = desk.signed().header()
    clock.forward(minutes=56)
    desk.crm.told_wrong = [Reply(503), Reply(400, {"error": "Access Denied"})]
    assert desk.signed().header() == first
    assert desk.signed().header() == first
    assert len(desk.crm.told_wrong) == 1, "it is left alone for a while"
    clock.forward(seconds=31)
    assert desk.signed().header() == first
    clock.forward(seconds=31)
    assert desk.signed().header() != first


def test_what_the_token_endpoint_asks_for_is_heeded(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.forward(hours=2)
    desk.crm.told_wrong = [Reply(400, {"error": "Access Denied"})]
    send(desk.database, desk.vault, desk.site, email="jane@example.com")
    run_lane(desk.context, desk.id)
    row = desk.row()
    assert (row.state, row.wait_until) == ("working", clock() + timedelta(minutes=10))
    assert desk.states() == ["waiting"]


def test_a_sign_in_that_the_crm_ended_pauses_the_connection_and_is_told_once(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    desk.crm.end_sign_in()
    send(desk.database, desk.vault, desk.site, email="jane@example.com")
    for _ in range(3):
        run_lane(desk.context, desk.id)
        clock.forward(minutes=6)
    row = desk.row()
    assert (row.state, row.code) == ("failing", "signed_out")
    with desk.database.read() as session:
        told = [one for one in conditions(signs(session, clock()), timedelta(minutes=30)) if one.connection_id]
    assert [(one.kind, "Press “Sign in again”" in one.sentence) for one in told] == [("connection", True)]
    desk.sign_in()
    run_lane(desk.context, desk.id)
    assert (desk.row().state, desk.states()) == ("working", ["confirmed"])


@pytest.mark.parametrize("trouble", [OperationalError("", {}, Exception()), TimeoutError("no turn came")])
def test_a_token_is_stored_again_when_the_database_was_in_trouble(
    desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    desk.sign_in()
    clock.forward(hours=2)
    keep, fails = tokens.keep, [True, True]

    def in_trouble(database: Database, *more: Any) -> bool:
        if len(fails) == 1:  # committed, and nobody knows
            keep(database, *more)
        if fails:
            fails.pop()
            raise trouble
        return keep(database, *more)

    monkeypatch.setattr("leads.sync.tokens.tokens.keep", in_trouble)
    monkeypatch.setattr("leads.sync.tokens._KEEP_AGAIN", (0.01, 0.01, 0.01))
    assert desk.signed().header() == f"Bearer {desk.token().access_token}"
    assert desk.crm.grants.count("refresh_token") == 1


def in_vain(*_: object) -> None:
    raise OperationalError("", {}, Exception())


@pytest.mark.parametrize("ask", [itemgetter("account"), methodcaller("get", "account"), dict, len])
def test_what_the_crm_said_is_asked_for_again_where_the_database_was_in_trouble(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Any], object]
) -> None:
    desk.sign_in()
    connector = desk.setup.connector(desk.row())
    assert connector is not None
    monkeypatch.setattr("leads.sync.tokens.tokens.held", in_vain)
    with pytest.raises(Throttled, match="Frontdesk's own database did not answer"):
        ask(connector.settings["token"])


def test_somebody_who_signs_in_meanwhile_is_not_undone(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.forward(hours=2)
    lease = tokens.lease(desk.database, desk.id, 60)
    assert lease is not None
    desk.sign_in()
    newer = desk.row().tokens_sealed
    assert not tokens.keep(desk.database, lease, b"of the old sign-in", None)
    assert desk.row().tokens_sealed == newer


def test_a_renewal_that_came_too_late_takes_what_the_other_one_got(desk: Desk, clock: Clock) -> None:
    """Its lease ran out while it slept: the CRM no longer takes its refresh token, and that means nothing."""
    desk.sign_in()
    clock.forward(hours=2)
    lease = tokens.lease(desk.database, desk.id, 60)
    assert lease is not None
    clock.forward(seconds=61)
    fresh = desk.signed().header()
    late = desk.signed()
    assert late._header(late._exchanged(lease)) == fresh
    assert desk.row().code is None


def test_a_program_needs_nobody(desk: Desk, clock: Clock) -> None:
    options = desk.crm.settings() | {"way": "program"}
    assert [finding.ok for finding in desk.setup.try_out("tiny", options)] == [True]
    desk.id = desk.setup.create("demo", "tiny", "Robot", options).id
    assert (desk.row().state, desk.row().tokens_sealed) == ("working", None)
    assert [finding.ok for finding in desk.setup.test(desk.id)] == [True]
    clock.forward(hours=2)
    assert [finding.ok for finding in desk.setup.test(desk.id)] == [True]
    assert desk.crm.grants == ["client_credentials"] * 3
    with pytest.raises(Exception, match="Nobody has to sign in"):
        sign_in.begin(desk.setup, desk.row(), BACK)


def test_an_answer_that_nobody_thought_of_is_told_like_any_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.sign_in()
    monkeypatch.setattr(Tiny, "check", lambda _: {}["jane@example.com"])
    assert [(one.ok, one.sentence) for one in desk.setup.test(desk.id)] == [
        (False, "What the CRM answered could not be read.")
    ]


def test_a_new_secret_is_tried_and_the_sign_in_stays(desk: Desk) -> None:
    desk.sign_in()
    desk.crm.secret = "another-canary-secret"
    old, new = (desk.setup.merged(desk.row(), {"client_secret": text}) for text in ("", desk.crm.secret))
    assert [finding.ok for finding in desk.setup.try_out("tiny", old, desk.row())] == [False]
    assert [finding.ok for finding in desk.setup.try_out("tiny", new, desk.row())] == [True]
    desk.setup.replace(desk.id, {"client_secret": desk.crm.secret})
    assert desk.row().tokens_sealed is not None
    assert desk.row().state == "working"


def test_another_app_needs_another_sign_in(desk: Desk) -> None:
    desk.sign_in()
    desk.replace("another")
    assert (desk.row().tokens_sealed, desk.row().code) == (None, "signed_out")
    desk.replace(desk.crm.settings()["client_id"])
    desk.sign_in()
    desk.setup.remove(desk.id)
    assert (desk.row().tokens_sealed, desk.row().sign_in_ends_at) == (None, None)


@pytest.mark.parametrize(
    "change",
    [lambda desk: desk.setup.remove(desk.id), lambda desk: desk.replace("another")],
    ids=["removed", "changed"],
)
def test_what_was_signed_in_to_must_still_be_there(
    desk: Desk, change: Callable[[Desk], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*args: Any) -> Token:
        change(desk)
        return redeem(*args)

    monkeypatch.setattr(sign_in, "redeem", slowly)
    with pytest.raises(SetupError, match="meanwhile"):
        desk.sign_in()
    assert desk.row().tokens_sealed is None


def _sealed_anew(desk: Desk, file: Path) -> None:
    """The keys are rotated, and all is under the new one."""
    seal_with(file, add_key(file))
    desk.vault.look()
    list(reseal(desk.database, desk.vault))


def test_a_token_is_kept_that_comes_while_the_old_one_is_sealed_anew(
    desk: Desk, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.sign_in()
    clock.forward(hours=2)

    def slowly(*args: Any) -> Token:
        fresh = renew(*args)
        _sealed_anew(desk, tmp_path / "keys.json")
        return fresh

    monkeypatch.setattr(sync_tokens, "renew", slowly)
    header = desk.signed().header()
    assert header == f"Bearer {desk.token().access_token}"
    assert desk.signed().header() == header


def test_a_refused_sign_in_that_is_sealed_anew_meanwhile_is_none_of_somebody_else(
    desk: Desk, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.sign_in()
    clock.forward(hours=2)

    def refused(*_: Any) -> Token:
        _sealed_anew(desk, tmp_path / "keys.json")
        raise Misconfigured("signed_out", "The sign-in has ended.")

    monkeypatch.setattr(sync_tokens, "renew", refused)
    with pytest.raises(Misconfigured):
        desk.signed().header()


def test_somebody_signs_in_while_the_options_are_sealed_anew(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*args: Any) -> Token:
        _sealed_anew(desk, tmp_path / "keys.json")
        return redeem(*args)

    monkeypatch.setattr(sign_in, "redeem", slowly)
    desk.sign_in()
    assert desk.signed().header()


def test_an_unused_sign_in_is_kept_alive(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    assert desk.row().sign_in_ends_at == clock() + timedelta(days=60)
    for _ in range(60):
        clock.forward(days=2)
        sign_in.keep_alive(desk.context)
        assert desk.row().sign_in_ends_at > clock() + timedelta(days=14)
    assert 2 <= desk.crm.grants.count("refresh_token") <= 4


def test_one_that_cannot_be_read_keeps_no_other_from_being_renewed(desk: Desk, clock: Clock) -> None:
    other = Desk(desk.database, desk.vault, desk.site, desk.crm)
    desk.sign_in()
    other.sign_in()
    with desk.database.write() as session:
        session.execute(update(Connection).where(Connection.id == desk.id).values(options_sealed=b"damaged"))
    clock.forward(days=40)
    sign_in.keep_alive(desk.context)
    assert other.row().sign_in_ends_at == clock() + timedelta(days=60)


def _told(database: Database, clock: Clock) -> list[str]:
    with database.read() as session:
        found = conditions(signs(session, clock()), timedelta(days=99))
    return [one.sentence for one in found if one.kind == "sign_in"]


def test_an_end_is_told_two_weeks_before(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.forward(days=46)
    assert _told(desk.database, clock) == []
    clock.forward(hours=25)
    assert (
        "“Tiny CRM” (Sunrise) lets us in for a short time only: its key or sign-in ends in 12 days."
        in _told(desk.database, clock)[0]
    )
    clock.forward(days=20)
    assert "has ended" in _told(desk.database, clock)[0]
    with desk.database.write() as session:
        session.execute(update(Connection).values(state="failing"))
    assert _told(desk.database, clock) == [], "the fault is told, and that is enough"
    sign_in.keep_alive(desk.context)
    with desk.database.write() as session:
        session.execute(update(Connection).values(state="working"))
    assert _told(desk.database, clock) == []


def test_a_key_with_an_end_is_told_as_well(desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    last = date(2026, 3, 12)
    monkeypatch.setattr(Tiny, "key_ends", classmethod(lambda *_: last))
    desk.sign_in()
    assert desk.row().sign_in_ends_at == ends(None, last, clock())
    assert "ends in 9 days" in _told(desk.database, clock)[0]


def _program(desk: Desk, tmp_path: Path, what: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.pretend.renewer", desk.database.engine.url.render_as_string(False)]
    whole = [*command, str(tmp_path / "keys.json"), str(desk.id), what]
    return subprocess.Popen(whole, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _run(programs: list[subprocess.Popen[str]]) -> list[str]:
    """All at once. What each printed."""
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    return [program.communicate(timeout=120)[0] for program in programs]


@pytest.fixture
def real(database: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The same in real time, as several programs live in it."""
    register(monkeypatch)
    with PretendSignIn(BACK) as server:
        assert isinstance(server, PretendSignIn)
        desk = Desk(database, vault, make_site(database), server)
        server.life = -1
        desk.sign_in()
        with database.write() as session:
            token = desk.token()
            over = Token(token.access_token, token.expires_at - timedelta(hours=3), token.refresh_token, token.extra)
            sealed = vault.seal(over.dump(), "connection", "tokens", desk.id)
            session.execute(update(Connection).values(tokens_sealed=sealed))
        server.life = 3600
        yield desk


def test_two_programs_renew_once(real: Desk, tmp_path: Path) -> None:
    real.crm.slow = 0.5
    headers = _run([_program(real, tmp_path, "once") for _ in range(2)])
    assert headers == [f"Bearer {real.token().access_token}\n"] * 2
    assert real.crm.grants == ["authorization_code", "refresh_token"]


def test_killed_between_answer_and_commit_somebody_has_to_sign_in_again(
    real: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh token that works once is lost then; nothing can bring it back, so it must be told."""
    assert _run([_program(real, tmp_path, "die")]) == [""]
    assert real.crm.grants == ["authorization_code", "refresh_token"]
    with real.database.write() as session:  # the dead program's lease runs out
        session.execute(update(Connection).values(token_lease_until=real.row().created_at))
    with pytest.raises(Misconfigured) as caught:
        real.signed().header()
    assert caught.value.code == "signed_out"
    real.sign_in()
    assert real.signed().header()


def test_killed_where_the_refresh_token_stays_nothing_is_lost(real: Desk, tmp_path: Path) -> None:
    real.crm.rotate = False
    _run([_program(real, tmp_path, "die")])
    with real.database.write() as session:
        session.execute(update(Connection).values(token_lease_until=real.row().created_at))
    assert real.signed().header() == f"Bearer {real.token().access_token}"
