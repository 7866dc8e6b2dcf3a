"""A second factor: set up by whoever wants or has to, asked for after the password, taken away with a lost phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from config.settings import Settings
from leads.app import create_app
from leads.desk.throttle import Throttle
from leads.store.keyfile import add_key, drop_key, seal_with
from leads.store.models import Action, Site, User, new_id
from leads.store.resealing import reseal
from leads.store.session import Database
from leads.store.staff import add_user, note_of, reset_password
from leads.store.vault import Vault
from tests.web.desk import PASSWORD, Person, code_now, give_second_factor, make_user, plain, signed_in

# Nothing here depends on the kind of database: what does is in tests/database/test_second_factor.py.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CODE = "/desk/sign-in/code"
FACTOR = "/desk/account/second-factor"
CONFIRM = f"{FACTOR}/confirm"


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Coordinates]:
    """Stands still at the begin of a step, unless a test moves it."""
    with time_machine.travel(datetime.now(UTC).replace(second=0, microsecond=0), tick=False) as moved:
        yield moved


@pytest.fixture
def codes(app: Flask, database: Database, vault: Vault) -> list[str]:
    """anna's recovery codes: she has a second factor, and nobody has signed in."""
    make_user(database)
    return give_second_factor(database, vault)


def _secret(page: str) -> str:
    found = re.search(r'class="key"><code>([A-Z2-7 ]+)<', page)
    assert found is not None
    assert all(len(group) == 4 for group in found[1].split(" "))
    return found[1].replace(" ", "")


def _shown(page: str) -> list[str]:
    return re.findall(r"<li><code>(\d{4} \d{4} \d{4})<", page)


def _done(database: Database, vault: Vault) -> list[tuple[str, str, str | None]]:
    with database.read() as session:
        rows = session.scalars(select(Action).order_by(Action.id)).all()
    return [(row.user_name, row.what, note_of(vault, row)) for row in rows]


def _id(database: Database, name: str = "anna") -> UUID:
    with database.read() as session:
        return session.scalars(select(User.id).where(User.name == name)).one()


def _set_up(anna: Person) -> tuple[str, list[str]]:
    """The secret and the recovery codes."""
    secret = _secret(anna.post(FACTOR, 200, what="on", password=PASSWORD).text)
    return secret, _shown(anna.post(CONFIRM, 200, code=code_now(secret)).text)


def test_set_up_and_sign_in(app: Flask, database: Database, vault: Vault, clock: time_machine.Coordinates) -> None:
    anna, elsewhere = signed_in(app, database), Person(app)
    elsewhere.sign_in()
    assert "Off: whoever learns your password" in anna.get("/desk/account")
    assert "The password is not right." in anna.post(FACTOR, 422, what="on", password="wrong").text
    page = anna.post(FACTOR, 200, what="on", password=PASSWORD).text
    secret = _secret(page)
    assert "<svg" in page
    assert not re.search(r"<(script|style)[ >](?![^>]*src=)|style=|https?://", page.split("<main")[1])
    wrong = anna.post(CONFIRM, 422, code="000000").text
    assert "nothing was changed yet" in wrong
    assert "clock of the phone and that of the server do not agree" in wrong
    assert _secret(wrong) == secret, "the phone has it already"
    anna.sign_in()  # by the password alone: it is not on yet
    secret, codes = _set_up(anna)
    assert len(codes) == 10
    elsewhere.get("/desk/", 303)
    page = anna.get(FACTOR)
    assert secret not in page.replace(" ", "")
    assert not _shown(page)
    assert "10 left" in plain(page)
    person = Person(app)
    assert person.sign_in(next="/desk/leads?state=held").location == CODE
    assert "not right, or it was used already" in plain(person.post(CODE, 401, code=code_now(secret)).text), "by set-up"
    clock.shift(30)
    first, last = code_now(secret)[:3], code_now(secret)[3:]
    assert person.post(CODE, code=f"{first} {last}").location == "/desk/leads?state=held"
    assert "anna" in person.get("/desk/")
    assert [what for _, what, _ in _done(database, vault)][3:] == ["second_factor_on", "code_failed", "signed_in"]


def test_the_sign_in_page_tells_nobody_who_has_one(app: Flask, database: Database, codes: list[str]) -> None:
    make_user(database, "tom")
    answers = [plain(Person(app).sign_in(name, "guess", 401).text).replace(name, "") for name in ("anna", "tom")]
    assert answers[0] == answers[1]


def test_with_the_password_alone_no_page_opens(app: Flask, database: Database, codes: list[str]) -> None:
    thief = Person(app)
    assert thief.sign_in().location == CODE
    for path in ("/desk/", "/desk/leads", "/desk/account", FACTOR):
        assert thief.client.get(path).location.startswith("/desk/sign-in?next="), path
    thief.post(FACTOR, what="off", password=PASSWORD)
    thief.post(CONFIRM, code=code_now())
    assert thief.client.get("/desk/users").location.startswith("/desk/sign-in")
    assert "The 6 digits from the app on your phone" in thief.get(CODE)
    thief.post(CODE, code=code_now())
    assert "anna" in thief.get("/desk/")


def test_a_code_without_the_password_is_not_looked_at(app: Flask, database: Database, codes: list[str]) -> None:
    stranger = Person(app)
    assert stranger.post(CODE, code=code_now()).location == "/desk/sign-in"
    assert stranger.client.get(CODE).location == "/desk/sign-in"
    assert "five minutes" not in stranger.get("/desk/sign-in")


def test_the_code_has_to_come_within_five_minutes(
    app: Flask, codes: list[str], database: Database, clock: time_machine.Coordinates
) -> None:
    late, in_time = Person(app), Person(app)
    for person in (late, in_time):
        person.sign_in(next="/desk/leads?state=held")
    clock.shift(299)
    assert in_time.post(CODE, code=code_now()).location == "/desk/leads?state=held"
    clock.shift(31)
    assert late.post(CODE, code=code_now()).location == "/desk/sign-in?next=/desk/leads?state%3Dheld"
    assert "within five minutes of the password" in late.get("/desk/sign-in")
    late.get("/desk/", 303)


def test_signing_in_makes_a_fresh_session_twice(app: Flask, codes: list[str], database: Database) -> None:
    anna = Person(app)
    tokens = [anna.token()]
    anna.sign_in()
    tokens.append(anna.token())
    anna.post(CODE, code=code_now())
    tokens.append(anna.token())
    assert len(set(tokens)) == 3
    with anna.client.session_transaction("/desk/") as kept:
        assert "half_signed_in" not in kept


@pytest.mark.parametrize("elsewhere", ["https://evil.example/desk/", "//evil.example", "/f/demo"])
def test_the_code_leads_nowhere_else(app: Flask, codes: list[str], elsewhere: str) -> None:
    anna = Person(app)
    anna.sign_in(next=elsewhere)
    assert anna.post(CODE, code=code_now()).location == "/desk/"


def test_what_ends_the_sessions_ends_the_half_ones_too(app: Flask, database: Database, codes: list[str]) -> None:
    anna = Person(app)
    anna.sign_in()
    with database.write() as session:
        session.get_one(User, _id(database)).session = new_id()
    assert anna.post(CODE, code=code_now()).location.startswith("/desk/sign-in")
    anna.get("/desk/", 303)


def test_a_kept_half_cookie_needs_another_code(
    app: Flask, codes: list[str], database: Database, clock: time_machine.Coordinates
) -> None:
    anna = Person(app)
    anna.sign_in()
    kept = anna.client.get_cookie("frontdesk")
    assert kept
    anna.post(CODE, code=code_now())
    anna.client.set_cookie("frontdesk", kept.value)
    anna.post(CODE, 401, code=code_now())
    anna.get("/desk/", 303)


def test_wrong_codes_are_counted_with_the_wrong_passwords_and_the_password_clears_nothing(
    app: Flask, database: Database, vault: Vault, codes: list[str]
) -> None:
    for number in range(10):
        thief = Person(app, "203.0.113.9")
        if number % 2:
            thief.sign_in("anna", "guess", 401)
        else:
            thief.sign_in()
            thief.post(CODE, 401, code="000000")
    half = Person(app, "198.51.100.7")
    half.sign_in()
    half.client.environ_base["REMOTE_ADDR"] = "203.0.113.9"
    assert "Please wait 15 minutes" in half.post(CODE, 429, code=code_now()).text
    Person(app, "203.0.113.9").sign_in("anna", PASSWORD, 429)
    assert _done(database, vault) == [
        ("anna", "code_failed", "203.0.113.9"),
        ("anna", "sign_in_failed", "203.0.113.9"),
    ]
    half.client.environ_base["REMOTE_ADDR"] = "198.51.100.7"
    half.post(CODE, code=code_now())
    page = plain(half.get("/desk/actions?group=sign_ins"))
    assert "The right password and then a wrong code were given for anna, from 203.0.113.9." in page


def test_many_right_codes_are_not_counted(
    app: Flask, codes: list[str], database: Database, clock: time_machine.Coordinates
) -> None:
    for _ in range(12):
        anna = Person(app)
        anna.sign_in()
        anna.post(CODE, code=code_now())
        clock.shift(30)


def test_a_recovery_code_is_good_once_and_what_is_left_is_told(
    app: Flask, database: Database, vault: Vault, codes: list[str]
) -> None:
    for number, code in enumerate(codes, 1):
        anna = Person(app)
        anna.sign_in()
        anna.post(CODE, code=code.replace(" ", "-") if number % 2 else code)
        home = plain(anna.get("/desk/"))
        left = 10 - number
        assert f"You used a recovery code: {left} {'is' if left == 1 else 'are'} left." in home
        assert ("Make new ones" in home) is (left <= 3)
        assert ("anna", "recovery_code_used", str(left)) in _done(database, vault)
    again = Person(app)
    again.sign_in()
    again.post(CODE, 401, code=codes[0])
    assert "anna signed in with a recovery code. Left: 9." in plain(anna.get("/desk/actions"))


def test_new_recovery_codes_need_the_password(app: Flask, database: Database, codes: list[str]) -> None:
    anna = Person(app)
    anna.sign_in()
    anna.post(CODE, code=code_now())
    assert not _shown(anna.post(FACTOR, 422, what="codes", password="wrong").text)
    new = _shown(anna.post(FACTOR, 200, what="codes", password=PASSWORD).text)
    assert len(set(new) - set(codes)) == 10
    person = Person(app)
    person.sign_in()
    person.post(CODE, 401, code=codes[0])
    person.post(CODE, code=new[0])


def test_turning_it_off_needs_the_password_and_ends_other_sessions(
    app: Flask, database: Database, codes: list[str]
) -> None:
    anna, elsewhere = Person(app), Person(app)
    for person, steps in ((anna, 0), (elsewhere, 1)):
        person.sign_in()
        person.post(CODE, code=code_now(steps=steps))
    assert "not right" in anna.post(FACTOR, 422, what="off", password="wrong").text
    assert anna.post(FACTOR, what="off", password=PASSWORD).location == FACTOR
    assert "The second factor is off." in anna.get(FACTOR)
    elsewhere.get("/desk/", 303)
    assert Person(app).sign_in().location == "/desk/"


def test_guessing_the_password_of_an_open_session_is_throttled(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    for _ in range(10):
        anna.post(FACTOR, 422, what="on", password="guess")
    assert "Please wait 15 minutes" in anna.post(FACTOR, 422, what="on", password=PASSWORD).text


def test_a_page_that_is_out_of_date_changes_nothing(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    for what in ("off", "codes"):
        assert anna.post(FACTOR, what=what, password=PASSWORD).location == FACTOR
    secret, _ = _set_up(anna)
    for path, form in ((FACTOR, {"what": "on", "password": PASSWORD}), (CONFIRM, {"code": code_now(secret)})):
        assert anna.post(path, **form).location == FACTOR
    assert "10 left" in plain(anna.get(FACTOR))


def test_a_set_up_is_this_browsers_and_ends_in_time(
    app: Flask, database: Database, clock: time_machine.Coordinates
) -> None:
    anna, elsewhere = signed_in(app, database), Person(app)
    elsewhere.sign_in()
    secret = _secret(anna.post(FACTOR, 200, what="on", password=PASSWORD).text)
    assert elsewhere.post(CONFIRM, code=code_now(secret)).location == FACTOR
    clock.shift(901)
    anna.post(CONFIRM, code=code_now(secret))
    assert "That took too long. Nothing was changed." in anna.get(FACTOR)
    assert "Off: whoever learns" in anna.get("/desk/account")


def test_a_set_up_that_is_under_way_when_its_key_is_dropped_begins_again(
    app: Flask, database: Database, settings: Settings
) -> None:
    anna = signed_in(app, database)
    secret = _secret(anna.post(FACTOR, 200, what="on", password=PASSWORD).text)
    old = Vault(settings.keys_file).sealing
    seal_with(settings.keys_file, add_key(settings.keys_file))
    list(reseal(database, Vault(settings.keys_file)))
    drop_key(settings.keys_file, old)
    kept = anna.client.get_cookie("frontdesk")
    assert kept
    again = Person(create_app(settings))
    again.client.set_cookie("frontdesk", kept.value)
    assert again.post(CONFIRM, code=code_now(secret)).location == FACTOR


def test_the_secret_in_the_session_cookie_cannot_be_read(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    secret = _secret(anna.post(FACTOR, 200, what="on", password=PASSWORD).text)
    with anna.client.session_transaction("/desk/") as kept:
        assert secret not in str(dict(kept))


def test_required_leads_to_the_set_up_first(
    settings: Settings, app: Flask, database: Database, site: Site, clock: time_machine.Coordinates
) -> None:
    strict = create_app(replace(settings, second_factor="required"))
    with database.write() as session:
        _, once = add_user(session, "nora", "staff", database.now(session))
    nora = Person(strict)
    nora.sign_in("nora", once)
    assert nora.client.get("/desk/leads").location == "/desk/account"
    assert nora.post("/desk/account", new=PASSWORD, again=PASSWORD).location == "/desk/leads"
    for path in ("/desk/", "/desk/account", "/desk/leads?state=spam"):
        assert nora.client.get(path).location == FACTOR, path
    live = nora.client.get("/desk/live", headers={"HX-Request": "true"})
    assert (live.status_code, live.headers["HX-Refresh"]) == (401, "true"), "of a page that was open before"
    page = nora.get(FACTOR)
    assert "Everybody at this desk needs a second factor." in page
    assert ">Leads<" not in page
    assert "Not now, sign out" in page
    secret = _secret(nora.post(FACTOR, 200, what="on", password=PASSWORD).text)
    done = nora.post(CONFIRM, 200, code=code_now(secret)).text
    assert len(_shown(done)) == 10
    assert 'href="/desk/leads?state=spam">I have them' in done, "where she was going"
    assert ">Leads<" in nora.get("/desk/leads")
    assert "Turn off and set up again" in nora.get(FACTOR)
    nora.post(FACTOR, what="off", password=PASSWORD)
    assert nora.client.get("/desk/leads").location == FACTOR
    nora.post("/desk/sign-out")
    nora.sign_in("nora")
    assert nora.client.get("/desk/").location == FACTOR


def test_an_admin_takes_it_away_when_the_phone_is_lost(
    app: Flask, database: Database, vault: Vault, codes: list[str]
) -> None:
    anna, bert = Person(app), signed_in(app, database, "bert")
    anna.sign_in()
    anna.post(CODE, code=code_now())
    assert plain(bert.get("/desk/users")).count("Second factor: on") == 1
    path = f"/desk/users/{_id(database)}/second-factor"
    assert "Be sure that it is really anna who asks" in plain(bert.get(path))
    bert.post(path)
    assert "anna has no second factor any more." in bert.get("/desk/users")
    assert "Second factor: on" not in plain(bert.get("/desk/users"))
    anna.get("/desk/", 303)
    assert Person(app).sign_in().location == "/desk/"
    assert _done(database, vault)[-2:] == [("bert", "second_factor_reset", "anna"), ("anna", "signed_in", None)]
    assert "bert took the second factor of anna away." in plain(bert.get("/desk/actions"))
    assert bert.post(f"/desk/users/{_id(database, 'bert')}/second-factor").location == FACTOR
    bert.post(f"/desk/users/{new_id()}/second-factor", 404)


def test_a_new_one_time_password_leaves_the_second_factor(app: Flask, database: Database, codes: list[str]) -> None:
    with database.write() as session:
        once = reset_password(session.get_one(User, _id(database)))
    anna = Person(app)
    assert anna.sign_in("anna", once).location == CODE
    anna.post(CODE, code=code_now())
    assert anna.client.get("/desk/").location == "/desk/account"


def test_a_user_removed_between_password_and_code_is_out(app: Flask, database: Database, codes: list[str]) -> None:
    make_user(database, "bert")
    anna = Person(app)
    anna.sign_in()
    with database.write() as session:
        session.delete(session.get_one(User, _id(database)))
    assert anna.post(CODE, code=code_now()).location.startswith("/desk/sign-in")


def test_no_code_and_no_secret_is_logged(
    app: Flask, database: Database, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    anna = signed_in(app, database)
    secret, codes = _set_up(anna)
    person = Person(app)
    person.sign_in()
    person.post(CODE, 401, code=code_now(secret, steps=5))
    person.post(CODE, code=codes[0])
    told = caplog.text + "".join(capfd.readouterr())
    needles = [secret, code_now(secret), code_now(secret, steps=5), *codes]
    assert [needle for needle in needles if needle in told] == []


def test_a_password_that_is_reset_while_the_code_is_looked_at_lets_nobody_in(
    app: Flask, database: Database, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, admits = Person(app), Throttle.admits
    anna.sign_in()

    def meanwhile(throttle: Throttle, name: str, address: str) -> bool:
        with database.write() as session:
            reset_password(session.get_one(User, _id(database)))
        return admits(throttle, name, address)

    monkeypatch.setattr(Throttle, "admits", meanwhile)
    assert anna.post(CODE, code=codes[0]).location.startswith("/desk/sign-in")
    anna.get("/desk/", 303)


def test_codes_are_not_guessed_from_many_addresses(app: Flask, codes: list[str]) -> None:
    for number in range(10):
        half = Person(app, f"203.0.113.{number}")
        half.sign_in("anna", PASSWORD)
        half.post(CODE, 401, code="000000")
    half = Person(app, "198.51.100.1")
    half.sign_in("anna", PASSWORD)
    assert "Please wait 15 minutes" in half.post(CODE, 429, code=code_now()).text
