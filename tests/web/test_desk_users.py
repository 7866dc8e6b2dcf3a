"""Who may sign in, as admins decide it."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from leads.store.models import User, new_id
from leads.store.session import Database
from leads.store.staff import StaffError, change_role
from leads.store.vault import Vault
from tests.web.desk import Person, decisions, make_user, plain, signed_in


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


def _id(database: Database, name: str) -> UUID:
    with database.read() as session:
        return session.scalars(select(User.id).where(User.name == name)).one()


def _shown(page: str) -> str:
    found = re.search(r'class="secret"><code>([^<]+)<', page)
    assert found is not None
    return found[1]


def _mark(person: Person, path: str) -> str:
    """What the form that leads there carries now."""
    found = re.search(rf'action="{path}".*?name="mark" value="([^"]+)"', person.get("/desk/users"), re.DOTALL)
    assert found is not None
    return found[1]


def test_a_new_user_gets_a_password_that_is_shown_once(
    anna: Person, app: Flask, database: Database, vault: Vault
) -> None:
    password = _shown(anna.post("/desk/users", 200, name="nora", role="staff").text)
    page = anna.get("/desk/users")
    assert password not in page
    assert "one-time password" in page
    assert Person(app).sign_in("nora", password).location == "/desk/"
    with database.read() as session:
        done = session.scalars(decisions()).one()
    assert (done.user_name, done.what) == ("anna", "user_added")
    assert done.note_sealed is not None
    assert vault.open(done.note_sealed, "action", "note", done.id) == "nora"


def test_a_user_that_cannot_be_is_told_why(anna: Person) -> None:
    assert "may have letters" in anna.post("/desk/users", 422, name="<b>", role="staff").text
    assert "already a user called anna" in anna.post("/desk/users", 422, name="Anna", role="admin").text
    assert "The role must be" in anna.post("/desk/users", 422, name="nora", role="boss").text


def test_a_new_password_ends_the_users_sessions(anna: Person, app: Flask, database: Database) -> None:
    sam = signed_in(app, database, "sam", "staff")
    path = f"/desk/users/{_id(database, 'sam')}/password"
    password = _shown(anna.post(path, 200, mark=_mark(anna, path)).text)
    sam.get("/desk/", 303)
    assert Person(app).sign_in("sam", password).status_code == 303
    assert anna.post(f"/desk/users/{_id(database, 'anna')}/password").location == "/desk/account"
    anna.post(f"/desk/users/{new_id()}/password", 404)


def test_the_page_with_a_new_password_loaded_anew_makes_no_second_one(
    anna: Person, app: Flask, database: Database
) -> None:
    make_user(database, "sam", "staff")
    path = f"/desk/users/{_id(database, 'sam')}/password"
    mark = _mark(anna, path)
    first = anna.post(path, 200, mark=mark)
    assert anna.post(path, mark=mark).location == "/desk/users"
    page = plain(anna.get("/desk/users"))
    assert "Nothing was done: sam has another password since that page was opened." in page
    anna.post(path)  # a form without it
    assert Person(app).sign_in("sam", _shown(first.text)).status_code == 303
    anna.post("/desk/users", 200, name="nora", role="staff")
    assert 'class="secret"' not in anna.post("/desk/users", 422, name="nora", role="staff").text
    with database.read() as session:
        assert [one.what for one in session.scalars(decisions())] == ["password_reset", "user_added"]


def test_remove_a_user(anna: Person, app: Flask, database: Database) -> None:
    sam = signed_in(app, database, "sam", "staff")
    path = f"/desk/users/{_id(database, 'sam')}/remove"
    assert "Remove sam?" in anna.get(path)
    anna.post(path)
    sam.get("/desk/", 303)
    assert "sam can no longer sign in." in anna.get("/desk/users")
    anna.post(path, 404)


@pytest.mark.parametrize("what", ["remove", "second-factor"])
def test_a_page_that_only_asks_does_not_wait_for_who_writes(
    anna: Person, app: Flask, database: Database, what: str
) -> None:
    signed_in(app, database, "sam", "staff")
    path = f"/desk/users/{_id(database, 'sam')}/{what}"
    with database.write() as session:
        session.scalars(select(User).with_for_update()).all()
        assert "sam" in anna.get(path)


def test_another_role_counts_from_the_next_click_on(anna: Person, app: Flask, database: Database) -> None:
    sam = signed_in(app, database, "sam", "staff")
    sam.get("/desk/users", 403)
    path = f"/desk/users/{_id(database, 'sam')}/role"
    assert "Make admin" in anna.get("/desk/users")
    assert anna.post(path, role="admin").location == "/desk/users"
    page = anna.get("/desk/users")
    assert "sam has the role admin now" in page
    assert "Make staff" in page
    sam.get("/desk/users")
    anna.post(path, role="admin")  # sent once more
    anna.post(path, role="staff")
    sam.get("/desk/users", 403)
    told = plain(anna.get("/desk/actions?group=setup"))
    assert told.count("anna gave sam the role admin.") == 1
    assert "anna gave sam the role staff." in told
    anna.post(path, role="boss")
    assert "The role must be" in anna.get("/desk/users")
    sam.post(path, 403, role="admin")
    anna.post(f"/desk/users/{new_id()}/role", 404, role="admin")


def test_nobody_changes_their_own_role(anna: Person, database: Database) -> None:
    make_user(database, "bert", "admin")
    anna.post(f"/desk/users/{_id(database, 'anna')}/role", role="staff")
    assert "Your own role is for another admin to change." in anna.get("/desk/users")


def test_the_last_admin_stays_one(database: Database) -> None:
    last = make_user(database, "anna", "admin")
    with database.write() as session, pytest.raises(StaffError, match="anna is the last admin"):
        change_role(session, session.get_one(User, last.id), "staff")


def test_the_last_admin_cannot_be_removed(anna: Person, app: Flask, database: Database) -> None:
    path = f"/desk/users/{_id(database, 'anna')}/remove"
    anna.post(path)
    assert "anna is the last admin" in anna.get("/desk/users")
    make_user(database, "bert", "admin")
    bert = Person(app)
    bert.sign_in("bert")
    bert.post(path)
    anna.get("/desk/", 303)
