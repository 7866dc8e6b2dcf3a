"""A page that sends again and again and is not listed is told on the first page, with what to press."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from leads.store.models import Site
from leads.store.session import Database
from leads.store.sites import change_site
from tests.factory import make_site
from tests.web.desk import Person, beat, make_user, plain, signed_in
from tests.web.pages import FORM, JANE, ORIGIN

NEW = "https://www.clinic.example"


def _sent(client: FlaskClient, number: int, origin: str = NEW) -> None:
    for index in range(number):
        answers = JANE | {"email": f"jane{index}@example.com", "phone": ""}
        client.post(
            FORM, data=answers, headers={"Origin": origin}, environ_overrides={"REMOTE_ADDR": f"192.0.2.{index}"}
        )


def test_a_page_that_sends_often_is_told_until_it_is_listed(
    app: Flask, client: FlaskClient, database: Database
) -> None:
    beat(database)
    anna = signed_in(app, database)
    _sent(client, 2)
    assert "not among the addresses" not in plain(anna.get("/desk/"))
    _sent(client, 4)
    page = anna.get("/desk/")
    assert f"4 of the latest came from {NEW}, which is not among the addresses of Sunrise." in plain(page)
    assert "/desk/websites/demo/settings" in page
    with database.write() as session:
        [site] = session.query(Site).all()
        change_site(session, site, {"origins": [ORIGIN, NEW]}, database.now(session))
    assert "not among the addresses" not in plain(anna.get("/desk/"))


def test_whoever_is_no_admin_is_told_whom_to_ask(
    app: Flask, client: FlaskClient, database: Database, site: Site
) -> None:
    beat(database)
    _sent(client, 3)
    other = make_site(database, "other", "Elsewhere")
    for name, its in (("sam", site), ("otto", other)):
        make_user(database, name, "staff", [its])
    sam, otto = Person(app), Person(app, "192.0.2.7")
    sam.sign_in("sam")
    otto.sign_in("otto")
    page = sam.get("/desk/")
    assert "ask an admin of this desk to add it" in plain(page)
    assert "/settings" not in page
    assert NEW not in otto.get("/desk/")
