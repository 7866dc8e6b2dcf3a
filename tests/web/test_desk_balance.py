"""The balance on the desk: on the first page and on a page of its own."""

from __future__ import annotations

import re
from datetime import date, timedelta
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import delete, update

from leads.store.alerts import Condition, settle
from leads.store.models import Connection, Delivery, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_site, send
from tests.web.desk import Person, beat, plain, set_state, signed_in

JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com"}


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    beat(database)
    with database.write() as session:  # well before the enquiries of the test
        earlier = database.now(session) - timedelta(days=40)
        session.execute(update(Connection).values(created_at=earlier))
        session.execute(update(Site).values(created_at=earlier))
    return signed_in(app, database)


def _lose(database: Database, event_id: UUID) -> None:
    with database.write() as session:
        session.execute(delete(Delivery).where(Delivery.event_id == event_id))


def test_a_day_that_closes(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    set_state(database, send(database, vault, site, **JANE).event_id, "confirmed")
    send(database, vault, site, "call_click")
    page = plain(anna.get("/desk/balance"))
    assert "2 enquiries 1 in the CRM; 1 waiting ✓ Closes" in page
    assert "Does not close" not in page
    assert "All accounted for" in plain(anna.get("/desk/"))


def test_a_day_that_does_not_close_is_bad_news_before_all_else(
    anna: Person, database: Database, vault: Vault, site: Site
) -> None:
    set_state(database, send(database, vault, site, **JANE).event_id, "refused")
    lost = send(database, vault, site, "call_click")
    _lose(database, lost.event_id)
    home = anna.get("/desk/live")
    assert re.search(r'headline tone-bad".*?role="status">1 enquiry is not accounted for\.<', home, re.DOTALL)
    assert "The balance does not close" in home
    page = plain(anna.get("/desk/balance"))
    assert "2 enquiries 1 refused ! Does not close 1 enquiry not accounted for." in page
    assert lost.reference in page


def test_the_days_that_are_shown_stand_in_the_form(anna: Person, database: Database) -> None:
    with database.read() as session:
        today = database.now(session).date()
    shown = re.findall(r'<input type="date" name="(?:from|to)" value="(.+?)">', anna.get("/desk/balance"))
    since, until = (date.fromisoformat(day) for day in shown)
    assert since < until
    assert abs(until - today) <= timedelta(days=1)  # the site's day, not ours


def test_days_and_sites_are_chosen(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    make_site(database, "other")
    today = date.today()  # noqa: DTZ011 - only to name some days
    assert anna.get("/desk/balance").count('<tr role="row">') == 14 + 1 + 1 + 1
    chosen = anna.get(f"/desk/balance?site=demo&from={today - timedelta(days=9)}&to={today - timedelta(days=3)}")
    assert chosen.count('<tr role="row">') == 7 + 1
    assert (today - timedelta(days=3)).isoformat() in chosen
    assert today.isoformat() not in chosen


@pytest.mark.parametrize(
    "query",
    [
        "from=nonsense",
        "from=0001-01-01&to=0001-01-01",
        "to=9999-12-31",
        "from=9999-12-31",
        "site=nowhere",
        "from=0001-01-01",
    ],
)
def test_what_cannot_be_asked_for_breaks_nothing(anna: Person, query: str) -> None:
    assert anna.get(f"/desk/balance?{query}").count('<th scope="row"') <= 92


def test_days_before_the_website_was_added_are_not_shown(anna: Person, database: Database, site: Site) -> None:
    make_site(database, "new")
    assert anna.get("/desk/balance?site=new").count('<tr role="row">') == 1 + 1
    with database.read() as session:
        before = database.now(session).date() - timedelta(days=50)
    page = anna.get(f"/desk/balance?site=demo&from={before}&to={before}")
    assert "<table" not in page
    assert re.search(rf"Nothing to show for these days: {site.name} has been here since \d+ \w+ \d+", plain(page))
    longest = anna.get(f"/desk/balance?site=demo&from={before}")
    assert 40 <= longest.count('<th scope="row"') <= 42


def test_only_who_is_signed_in_sees_it(app: Flask) -> None:
    assert app.test_client().get("/desk/balance").status_code == 303


def test_what_only_an_alert_knows_is_told_on_the_first_page(anna: Person, database: Database) -> None:
    assert 'id="alerts"' not in anna.get("/desk/")
    told = [
        Condition("mail", "e-mail", "Notices by e-mail cannot be sent: The mail server cannot be reached."),
        Condition("worker", "worker", "Told by the page itself."),
    ]
    with database.write() as session:
        settle(session, told, ["mail", "worker"], database.now(session))
    page = plain(anna.get("/desk/"))
    assert "Notices by e-mail cannot be sent: The mail server cannot be reached." in page
    assert "Told by the page itself." not in page
    with database.write() as session:
        settle(session, [], ["mail", "worker"], database.now(session))
    assert 'id="alerts"' not in anna.get("/desk/")
