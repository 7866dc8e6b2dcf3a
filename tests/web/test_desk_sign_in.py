"""Who gets into the desk, for how long, and who may do what there."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event, Lock

import pytest
import time_machine
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import select

from config.settings import Settings
from leads.app import create_app
from leads.desk.hashing import BusyError, Hashing
from leads.desk.throttle import Throttle
from leads.store.models import Site, User, new_id
from leads.store.session import Database
from leads.store.staff import add_user, is_password, reset_password
from tests.web.desk import PASSWORD, Person, make_user, plain, signed_in

# Nothing here depends on the kind of database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPEN = {"desk.sign_in", "desk.sign_in_code", "desk.static"}


def _paths(app: Flask, method: str) -> dict[str, str]:
    """Endpoint → a path of it, for every page of the desk that takes this method."""
    paths = {}
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if rule.endpoint.startswith("desk.") and method in (rule.methods or ()) and rule.endpoint not in OPEN:
                whats = {"/erasures/": "again", "/events/": "not_spam"}
                what = next((word for part, word in whats.items() if part in rule.rule), "pause")
                values = {"kind": "sandbox", "what": what}
                given = {name: values.get(name, new_id()) for name in rule.arguments}
                paths[rule.endpoint] = app.url_for(rule.endpoint, **given)
    return paths


def test_every_page_asks_who_it_is(app: Flask) -> None:
    stranger = Person(app)
    paths = _paths(app, "GET")
    assert len(paths) > 10
    for path in paths.values():
        answer = stranger.client.get(path)
        assert answer.status_code == 303, path
        assert answer.location.startswith("/desk/sign-in")


def test_every_button_asks_who_it_is(app: Flask) -> None:
    stranger = Person(app)
    for path in _paths(app, "POST").values():
        assert stranger.post(path).location == "/desk/sign-in"


def test_a_form_without_its_token_does_nothing(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    for path in _paths(app, "POST").values():
        answer = anna.client.post(path)
        assert answer.status_code == 400, path
        assert "Nothing was done" in answer.text
    assert "Sign out" in anna.get("/desk/")


def test_sign_in_leads_to_the_page_that_was_asked_for(app: Flask, database: Database) -> None:
    make_user(database)
    anna = Person(app)
    assert anna.client.get("/desk/leads?state=held").location == "/desk/sign-in?next=/desk/leads?state%3Dheld"
    assert anna.sign_in("ANNA ", next="/desk/leads?state=held").location == "/desk/leads?state=held"
    assert "anna" in anna.get("/desk/")


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/desk/", "//evil.example/desk/", "/\\evil.example", "javascript:alert(1)", "/f/demo", "desk"],
)
def test_sign_in_leads_nowhere_else(app: Flask, database: Database, elsewhere: str) -> None:
    make_user(database)
    assert Person(app).sign_in(next=elsewhere).location == "/desk/"


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(app: Flask, database: Database) -> None:
    make_user(database)
    wrong = Person(app).sign_in("anna", "not the password", 401)
    unknown = Person(app).sign_in("nora", "not the password", 401)
    assert plain(wrong.text) == plain(unknown.text)
    assert "The name or the password is not right." in wrong.text


def test_after_ten_wrong_passwords_one_has_to_wait_but_nobody_else_has(app: Flask, database: Database) -> None:
    make_user(database)
    make_user(database, "tom")
    for _ in range(10):
        Person(app, "203.0.113.9").sign_in("anna", "guess", 401)
    late = Person(app, "203.0.113.9").sign_in("anna", PASSWORD, 429)
    assert "Please wait 15 minutes" in late.text
    Person(app, "203.0.113.9").sign_in("tom")  # staff of one clinic share an address
    Person(app, "198.51.100.7").sign_in("anna")  # and a stranger locks nobody out at home


def test_an_address_that_tries_many_names_has_to_wait(database_url: str) -> None:
    throttle = Throttle(failures=2)
    for number in range(10):
        assert throttle.admits(f"name{number}", "2001:db8::1")
    assert not throttle.admits("anna", "2001:db8::2"), "a neighbour in the same network"
    assert throttle.admits("anna", "2001:db8:1::1")


def test_a_name_that_is_tried_from_everywhere_has_to_wait(database_url: str) -> None:
    throttle = Throttle(failures=2)
    for number in range(20):
        assert throttle.admits("anna", f"198.51.100.{number}")
    assert not throttle.admits("Anna ", "203.0.113.9")


def test_right_passwords_are_not_counted(database_url: str) -> None:
    throttle = Throttle(failures=2)
    for _ in range(100):
        assert throttle.admits("anna", "2001:db8::1")
        throttle.succeeded("anna", "2001:db8::1")
    for _ in range(100):
        assert throttle.admits("tom", "2001:db8::1")
        throttle.untried("tom", "2001:db8::1")


def test_of_many_guesses_at_the_same_moment_no_more_are_looked_at_than_in_a_row(
    app: Flask, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user(database)
    looked_at = []
    monkeypatch.setattr(Hashing, "turn", lambda _: nullcontext())
    monkeypatch.setattr("leads.desk.account.is_password", lambda *_: looked_at.append(time.sleep(0.05)))
    guessers = [Person(app, "203.0.113.9") for _ in range(16)]
    forms = [(guesser, {"csrf_token": guesser.token(), "name": "anna", "password": "guess"}) for guesser in guessers]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: one[0].client.post("/desk/sign-in", data=one[1]).status_code, forms))
    assert (len(looked_at), answers.count(401), answers.count(429)) == (10, 10, 6)


def test_a_few_passwords_are_hashed_at_once_and_few_wait(database_url: str) -> None:
    hashing, counting, at_once, most = Hashing(waiting=2, patience=60), Lock(), 0, 0
    away, all_others_are_away = 0, Event()

    def hash_one(_: int) -> bool:
        nonlocal at_once, most, away
        try:
            with hashing.turn():
                with counting:
                    at_once += 1
                    most = max(most, at_once)
                all_others_are_away.wait(60)
                with counting:
                    at_once -= 1
        except BusyError:
            with counting:
                away += 1
                if away == 6:
                    all_others_are_away.set()
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(hash_one, range(10)))
    assert (most, done.count(True)) == (2, 4)
    assert hash_one(0), "the turns are given back"


def test_who_finds_no_turn_is_asked_to_come_back_and_is_not_counted(app: Flask, database: Database) -> None:
    make_user(database)
    nora = signed_in(app, database, "nora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hashing, "turn", _no_turn)
        for _ in range(12):
            assert "try again in a moment" in plain(Person(app).sign_in("anna", PASSWORD, 429).text)
        new = "another long password"
        answer = nora.post("/desk/account", 429, old=PASSWORD, new=new, again=new)
        assert "wait a moment" in answer.text
        nora.post("/desk/users", 429, name="tom", role="staff")
        nora.post(f"/desk/users/{new_id()}/password", 429)
        assert nora.get("/desk/")
    Person(app).sign_in("anna")


def _no_turn(_: Hashing) -> None:
    raise BusyError


def test_a_kept_cookie_is_worth_nothing_after_signing_out(app: Flask, database: Database) -> None:
    make_user(database)
    anna = Person(app)
    anna.sign_in("anna")
    kept = anna.client.get_cookie("frontdesk")
    assert kept
    anna.post("/desk/sign-out")
    anna.client.set_cookie("frontdesk", kept.value)
    assert anna.client.get("/desk/leads").location.startswith("/desk/sign-in")


def test_a_one_time_password_must_be_replaced_first(app: Flask, database: Database) -> None:
    with database.write() as session:
        _, once = add_user(session, "nora", "staff", database.now(session))
    nora = Person(app)
    nora.sign_in("nora", once)
    assert nora.client.get("/desk/leads?state=spam").location == "/desk/account"
    assert "12 characters" in nora.get("/desk/account")
    assert "are not the same" in nora.post("/desk/account", 422, new=PASSWORD, again="other").text
    assert "12 to 200 characters" in nora.post("/desk/account", 422, new="short", again="short").text
    assert "other than the one" in nora.post("/desk/account", 422, new=once, again=once).text
    named, easy = "my words, Nora, and more", "summer winter 12"
    told = plain(nora.post("/desk/account", 422, new=named, again=named).text)
    assert "Your name, “nora”, stands in this password, and others would try it first. Leave it out." in told
    assert "too easy to guess" in nora.post("/desk/account", 422, new=easy, again=easy).text
    onward = nora.post("/desk/account", new=PASSWORD, again=PASSWORD).location
    assert onward == "/desk/leads?state=spam", "where she was going"
    assert nora.post("/desk/account", old=PASSWORD, new=f"{PASSWORD}!", again=f"{PASSWORD}!").location == "/desk/"
    assert "nora" in nora.get("/desk/")
    Person(app).sign_in("nora", once, 401)


def test_blanks_around_a_password_do_not_count(app: Flask, database: Database) -> None:
    with database.write() as session:
        _, once = add_user(session, "nora", "staff", database.now(session))
    nora = Person(app)
    nora.sign_in("nora", f" {once}\t")
    assert "12 to 200 characters" in nora.post("/desk/account", 422, new=" short ".center(30), again="short").text
    assert "other than the one" in nora.post("/desk/account", 422, new=f"{once} ", again=once).text
    nora.post("/desk/account", new=f"  {PASSWORD}", again=f"{PASSWORD} ")
    for typed in (PASSWORD, f" {PASSWORD} "):
        Person(app).sign_in("nora", typed)
    new = "another long password"
    nora.post("/desk/account", old=f"{PASSWORD} ", new=new, again=new)


def test_blanks_of_an_older_password_still_count(app: Flask, database: Database) -> None:
    make_user(database)
    with database.write() as session:
        session.scalars(select(User)).one().password_hash = PasswordHasher().hash(f"{PASSWORD} ")
    Person(app).sign_in("anna", f"{PASSWORD} ")
    Person(app).sign_in("anna", PASSWORD, 401)


def test_a_new_password_ends_all_other_sessions(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    elsewhere = Person(app)
    elsewhere.sign_in()
    new = "another long password"
    assert "not right" in anna.post("/desk/account", 422, old="wrong", new=new, again=new).text
    anna.post("/desk/account", old=PASSWORD, new=new, again=new)
    assert anna.get("/desk/")
    elsewhere.get("/desk/", 303)


def test_who_has_a_session_may_not_guess_the_old_password_on_and_on(app: Flask, database: Database) -> None:
    anna, new = signed_in(app, database), "another long password"
    for guess in range(10):
        assert "not right" in anna.post("/desk/account", 422, old=f"guess {guess}", new=new, again=new).text
    assert "wait 15 minutes" in anna.post("/desk/account", 429, old=PASSWORD, new=new, again=new).text


def test_a_password_that_was_reset_meanwhile_stays_so(
    app: Flask, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, new = signed_in(app, database), "another long password"
    once: list[str] = []

    def slow(user: User | None, password: str) -> bool:
        if not once:
            with database.write() as session:
                once.append(reset_password(session.scalars(select(User)).one()))
        return is_password(user, password)

    monkeypatch.setattr("leads.desk.account.is_password", slow)
    anna.post("/desk/account", old=PASSWORD, new=new, again=new)
    assert "You were signed out here" in anna.get(anna.client.get("/desk/account").location)
    Person(app).sign_in("anna", new, 401)
    assert Person(app).sign_in("anna", once[0]).location == "/desk/"


def test_signing_out(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    assert anna.post("/desk/sign-out").location == "/desk/sign-in"
    anna.get("/desk/", 303)


def test_a_session_ends_after_half_an_idle_hour_even_if_a_page_stays_open(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    with _later(minutes=29):
        assert anna.client.get("/desk/live", headers={"HX-Request": "true"}).status_code == 200
    with _later(minutes=31):
        late = anna.client.get("/desk/live", headers={"HX-Request": "true"})
        assert (late.status_code, late.headers["HX-Refresh"]) == (401, "true")
        anna.get("/desk/", 303)
        assert "since nothing was pressed here for 30 minutes." in anna.get("/desk/sign-in")


def test_a_click_keeps_the_session_alive_until_it_is_twelve_hours_old(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    for minutes in range(29, 12 * 60, 29):
        with _later(minutes=minutes):
            anna.get("/desk/account")
    with _later(hours=12, minutes=1):
        assert anna.client.get("/desk/leads?state=held").location.endswith("next=/desk/leads?state%3Dheld")
        assert "since you signed in more than 12 hours ago." in anna.get("/desk/sign-in")
        assert anna.sign_in(next="/desk/leads?state=held").location == "/desk/leads?state=held"
        anna.get("/desk/leads")


def test_the_ends_of_a_session_can_be_set(settings: Settings, database: Database, site: Site) -> None:
    soon = create_app(replace(settings, session_idle=timedelta(minutes=5), session_longest=timedelta(minutes=7)))
    anna = signed_in(soon, database)
    with _later(minutes=4):
        anna.get("/desk/account")
    with _later(minutes=8):
        anna.get("/desk/account", 303)
        assert "more than 7 minutes ago" in anna.get("/desk/sign-in")


@pytest.mark.parametrize(
    ("page", "back"),
    [
        ("http://localhost/desk/leads?state=held", "/desk/sign-in?next=/desk/leads?state%3Dheld"),
        ("http://localhost/desk/sign-out", "/desk/sign-in"),  # can only be pressed
        ("http://evil.example/desk/leads", "/desk/sign-in"),
    ],
)
def test_who_pressed_a_button_too_late_is_told_and_comes_back_to_its_page(
    app: Flask, database: Database, page: str, back: str
) -> None:
    anna = signed_in(app, database)
    with _later(minutes=31):
        form = {"csrf_token": anna.token(), "name": "tom"}
        assert anna.client.post("/desk/users", data=form, headers={"Referer": page}).location == back
        told = plain(anna.get("/desk/sign-in"))
    assert "nothing was pressed here for 30 minutes. Nothing was done of what you pressed." in told


def test_a_button_of_a_page_whose_session_another_tab_saw_end_says_that_one_is_signed_out(
    app: Flask, database: Database
) -> None:
    anna = signed_in(app, database)
    form = {"csrf_token": anna.token(), "name": "tom"}
    page = {"Referer": "http://localhost/desk/leads?state=held"}
    with _later(minutes=31):
        anna.get("/desk/", 303)
        anna.get("/desk/sign-in")
        answer = anna.client.post("/desk/users", data=form, headers=page)
        assert answer.status_code == 400
        assert "You are signed out. Please sign in" in plain(answer.text)
        assert 'href="/desk/sign-in?next=/desk/leads?state%3Dheld"' in answer.text
        assert "open for too long" not in answer.text
        late = anna.client.post("/desk/sign-in", data=form).text
        assert "open for too long" in late, "the form to sign in itself"
        anna.sign_in()
        again = anna.client.post("/desk/users", data=form, headers=page).text
        assert "you signed in again meanwhile" in again


def test_a_session_that_was_ended_elsewhere_says_so_and_a_stranger_reads_nothing(
    app: Flask, database: Database
) -> None:
    anna, elsewhere, stranger = signed_in(app, database), Person(app), Person(app)
    elsewhere.sign_in()
    elsewhere.post("/desk/sign-out")
    for person, is_told in ((anna, True), (stranger, False)):
        person.get("/desk/leads", 303)
        assert ("You were signed out here" in person.get("/desk/sign-in")) is is_told


def _later(**time: int) -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(**time), tick=False)


def test_staff_may_not_do_what_is_for_admins(app: Flask, database: Database) -> None:
    sam = signed_in(app, database, "sam", "staff")
    gets, posts = _paths(app, "GET"), _paths(app, "POST")
    for_admins = {"user", "connection_new", "connection_kinds", "connection_options", "connection_remove"}
    guarded = [path for name, path in gets.items() if any(name.startswith(f"desk.{word}") for word in for_admins)]
    assert len(guarded) == 8
    for path in guarded:
        assert "Only for admins" in sam.get(path, 403)
    for name, path in posts.items():
        if name.startswith(("desk.user", "desk.connection")):
            sam.post(path, 403)
    assert "Users" not in sam.get("/desk/")
    sam.get("/desk/connections")


def test_the_last_sign_in_is_noted(app: Flask, database: Database) -> None:
    signed_in(app, database)
    with database.read() as session:
        assert session.scalars(select(User.signed_in_at)).one() is not None


def test_a_page_of_the_desk_is_kept_nowhere(app: Flask, database: Database) -> None:
    answer = signed_in(app, database).client.get("/desk/")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Cookie" in answer.headers["Vary"]
