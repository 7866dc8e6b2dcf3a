"""A website that takes no more enquiries: nobody is thanked, nothing that was thanked elsewhere is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from leads.store.alerts import Condition, settle
from leads.store.models import Site
from leads.store.queries.lists import served_sites
from leads.store.queries.signs import signs
from leads.store.session import Database
from leads.store.sites import SiteError, change_site, close_site, hook_token, open_site
from leads.store.vault import Vault
from tests.factory import send
from tests.web.desk import Person, decisions, plain, signed_in
from tests.web.pages import FORM, ORIGIN, filled
from tests.web.stored import Stored

ADA = {"site": "demo", "id": "ada-1", "first_name": "Ada", "email": "ada@example.org", "consent": True}
TAP = {"site": "demo", "id": "tap-1", "tel": "+12015550100"}


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


@pytest.fixture
def closed(database: Database, site: Site) -> Site:
    with database.write() as session:
        found = session.get_one(Site, site.id)
        close_site(session, found, database.now(session))
    return found


def test_the_form_says_so_and_thanks_nobody(
    client: FlaskClient, database: Database, site: Site, stored: Stored
) -> None:
    answers = filled(client)
    with database.write() as session:
        found = session.get_one(Site, site.id)
        change_site(session, found, {"language": "de"}, database.now(session))
        close_site(session, found, database.now(session))
    page = client.get(FORM)
    assert page.status_code == 410
    assert page.headers["Cache-Control"] == "no-store"
    assert "nimmt hier keine Anfragen mehr entgegen" in page.text
    assert "<form" not in page.text
    assert "nicht gesendet" not in page.text
    answer = client.post(FORM, data=answers, headers={"Origin": ORIGIN})
    assert answer.status_code == 410
    assert "Ihre Anfrage wurde nicht gesendet." in answer.text
    assert f'href="{ORIGIN}"' in answer.text
    assert f"frame-ancestors 'self' {ORIGIN}" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert (stored.events(), stored.unreadable()) == ([], [])


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(("path", "body"), [("consultations", ADA), ("call-clicks", TAP)])
def test_the_api_says_so_to_a_script_of_the_website(
    client: FlaskClient, stored: Stored, path: str, body: dict[str, object]
) -> None:
    answer = client.post(f"/api/v1/{path}", json=body, headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.mimetype) == (410, "application/problem+json")
    assert "takes no more enquiries" in answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert (stored.events(), stored.unreadable()) == ([], [])


def test_what_form_plugins_send_is_kept_for_a_person(
    client: FlaskClient, closed: Site, stored: Stored, vault: Vault
) -> None:
    answer = client.post(f"/hooks/demo/{hook_token(vault, closed)}", json={"name": "Ada", "email": "ada@example.org"})
    assert answer.status_code == 200, "some show the visitor an error for any other"
    assert stored.events() == []
    [kept] = stored.unreadable()
    assert kept.site_id == closed.id
    assert kept.reason.startswith("This website is closed")
    assert len(kept.reason) <= 200
    assert "ada@example.org" in stored.body()["text"]


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("path", [FORM, "/api/v1/consultations"])
def test_so_is_what_a_plugin_sends_to_the_open_addresses(client: FlaskClient, stored: Stored, path: str) -> None:
    body = {"site": "demo", "your-mail": "ada@example.org"}
    assert client.post(path, **({"data": body} if path == FORM else {"json": body})).status_code == 410
    assert "ada@example.org" in stored.body()["text"]
    garbled = client.post(FORM, data=b"\x00", content_type="application/octet-stream")
    assert (garbled.status_code, len(stored.unreadable())) == (410, 2)


def test_an_admin_closes_it_after_a_question_and_opens_it_again(
    anna: Person, client: FlaskClient, database: Database, site: Site
) -> None:
    page = f"/desk/websites/{site.key}"
    assert "You can open the website again" in anna.get(f"{page}/close")
    assert client.get(FORM).status_code == 200
    anna.post(f"{page}/close")
    shown = plain(anna.get(page))
    assert "Closed since" in shown
    assert "Code for the website" not in shown
    assert "(closed)" in plain(anna.get("/desk/websites"))
    assert client.get(FORM).status_code == 410
    anna.post(f"{page}/close")
    assert "is closed already" in anna.get(page)
    anna.post(f"{page}/open")
    assert "Closed since" not in anna.get(page)
    assert client.post(FORM, data=filled(client)).status_code == 303
    with database.read() as session:
        assert [done.what for done in session.scalars(decisions())] == ["site_closed", "site_opened"]
    told = plain(anna.get("/desk/actions"))
    assert "anna closed the website demo: it takes no more enquiries." in told
    assert "anna opened the website demo again." in told


def test_staff_cannot(app: Flask, database: Database, site: Site) -> None:
    sam = signed_in(app, database, "sam", "staff")
    sam.get(f"/desk/websites/{site.key}/close", 403)
    sam.post(f"/desk/websites/{site.key}/close", 403)
    sam.post(f"/desk/websites/{site.key}/open", 403)


def test_what_had_come_still_goes_and_its_silence_is_no_fault(
    database: Database, vault: Vault, site: Site, stored: Stored
) -> None:
    send(database, vault, site, email="jane@example.com")
    with database.write() as session:
        now = database.now(session)
        settle(session, [Condition("silence", "demo consultation_request", "Silent.")], ["silence"], now)
        close_site(session, session.get_one(Site, site.id), now)
    assert [row.state for row in stored.deliveries()] == ["waiting"]
    with database.read() as session:
        seen = signs(session, now + timedelta(minutes=1))
        assert (seen.rhythms, seen.canaries, served_sites(session)) == ([], [], [])
        assert [load.waiting for load in seen.loads] == [1]


def test_it_is_closed_once(database: Database, closed: Site) -> None:
    with pytest.raises(SiteError, match="closed already"), database.write() as session:
        close_site(session, session.get_one(Site, closed.id), database.now(session))
    with database.write() as session:
        open_site(session, session.get_one(Site, closed.id))
    with pytest.raises(SiteError, match="not closed"), database.write() as session:
        open_site(session, session.get_one(Site, closed.id))


def test_no_test_enquiry_goes_to_it(anna: Person, closed: Site) -> None:
    anna.post(f"/desk/canary/{closed.key}", 404)
