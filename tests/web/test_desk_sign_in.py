"""Who gets into the desk, for how long, and who may do what there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from leads.desk.auth import Throttle
from leads.store.models import User, new_id
from leads.store.session import Database
from leads.store.staff import add_user
from tests.web.desk import PASSWORD, Person, make_user, plain, signed_in

# Nothing here depends on the kind of database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPEN = {"desk.sign_in", "desk.static"}


def _paths(app: Flask, method: str) -> dict[str, str]:
    """Endpoint → a path of it, for every page of the desk that takes this method."""
    values = {"kind": "sandbox", "what": "pause"}
    paths = {}
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if rule.endpoint.startswith("desk.") and method in (rule.methods or ()) and rule.endpoint not in OPEN:
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
        assert throttle.allows(f"name{number}", "2001:db8::1")
        throttle.failed(f"name{number}", "2001:db8::1")
    throttle.succeeded("name3", "2001:db8::1")
    assert not throttle.allows("anna", "2001:db8::2"), "a neighbour in the same network"
    assert throttle.allows("anna", "2001:db8:1::1")


def test_a_name_that_is_tried_from_everywhere_has_to_wait(database_url: str) -> None:
    throttle = Throttle(failures=2)
    for number in range(20):
        assert throttle.allows("anna", f"198.51.100.{number}")
        throttle.failed("anna", f"198.51.100.{number}")
    assert not throttle.allows("Anna ", "203.0.113.9")


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
    assert nora.client.get("/desk/leads").location == "/desk/account"
    assert "12 characters" in nora.get("/desk/account")
    assert "are not the same" in nora.post("/desk/account", 422, new=PASSWORD, again="other").text
    assert "12 to 200 characters" in nora.post("/desk/account", 422, new="short", again="short").text
    assert "other than the one" in nora.post("/desk/account", 422, new=once, again=once).text
    assert nora.post("/desk/account", new=PASSWORD, again=PASSWORD).location == "/desk/"
    assert "nora" in nora.get("/desk/")
    Person(app).sign_in("nora", once, 401)


def test_a_new_password_ends_all_other_sessions(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    elsewhere = Person(app)
    elsewhere.sign_in()
    new = "another long password"
    assert "not right" in anna.post("/desk/account", 422, old="wrong", new=new, again=new).text
    anna.post("/desk/account", old=PASSWORD, new=new, again=new)
    assert anna.get("/desk/")
    elsewhere.get("/desk/", 303)


def test_signing_out(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    assert anna.post("/desk/sign-out").location == "/desk/sign-in"
    anna.get("/desk/", 303)


def test_a_session_ends_after_eight_idle_hours_even_if_a_page_stays_open(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=7), tick=False):
        assert anna.client.get("/desk/live", headers={"HX-Request": "true"}).status_code == 200
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=9), tick=False):
        late = anna.client.get("/desk/live", headers={"HX-Request": "true"})
        assert (late.status_code, late.headers["HX-Refresh"]) == (401, "true")
        anna.get("/desk/", 303)


def test_a_click_keeps_the_session_alive(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    for hours in (7, 14, 21):
        with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours), tick=False):
            anna.get("/desk/leads")


def test_staff_may_not_do_what_is_for_admins(app: Flask, database: Database) -> None:
    sam = signed_in(app, database, "sam", "staff")
    gets, posts = _paths(app, "GET"), _paths(app, "POST")
    for_admins = {"user", "connection_new", "connection_kinds", "connection_options", "connection_remove"}
    guarded = [path for name, path in gets.items() if any(name.startswith(f"desk.{word}") for word in for_admins)]
    assert len(guarded) == 6
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
