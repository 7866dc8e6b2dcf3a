"""Sending many again from the desk: first how many and why, then a button, progress, and a stop."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from leads.store.models import Connection, Delivery, Replay, Site, new_id
from leads.store.outbox.replays import replay_slice
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import send
from tests.web.desk import Person, beat, plain, set_state, signed_in


@pytest.fixture
def sam(app: Flask, database: Database) -> Person:
    return signed_in(app, database, "sam", "staff")


@pytest.fixture
def refused(database: Database, vault: Vault, site: Site) -> None:
    """Three refused for one reason, one for another, one given up."""
    for number in range(5):
        event = send(database, vault, site, email=f"p{number}@example.com")
        code, sentence = ("bad_phone", "Not this phone number.") if number < 3 else ("bad_mail", "Not this address.")
        set_state(database, event.event_id, "expired" if number == 4 else "refused", code=code, sentence=sentence)


def _replay(database: Database) -> Replay:
    with database.read() as session:
        return session.scalars(select(Replay)).one()


@pytest.mark.usefixtures("refused")
def test_first_how_many_and_why_then_one_button(sam: Person, database: Database) -> None:
    page = plain(sam.get("/desk/replays?state=refused"))
    assert "4 to send again, and why" in page
    assert "3 at Sandbox CRM Not this phone number." in page
    assert "1 at Sandbox CRM Not this address." in page
    assert "Send all 4 again" in page
    location = sam.post("/desk/replays", state="refused").location
    row = _replay(database)
    assert location == f"/desk/replays/{row.id}"
    assert (row.state, row.total, row.started_by) == ("running", 4, "sam")
    assert "On its way: 0 of 4 given another try." in plain(sam.get(location))
    assert 'hx-trigger="every 1s"' in sam.get(location)
    replay_slice(database, row.id)
    assert "Finished" in sam.get(f"{location}/live")
    assert "4 of 4 given another try." in plain(sam.get(location))
    assert "Stop" not in plain(sam.get(location))
    listed = plain(sam.get("/desk/replays"))
    assert "Refused, by sam. Finished: 4 of 4 given another try." in listed
    assert "Send it again" in listed, "the one that was given up is left"


@pytest.mark.usefixtures("refused")
def test_the_stop_button(sam: Person, database: Database) -> None:
    location = sam.post("/desk/replays", state="needs_you").location
    row = _replay(database)
    assert sam.post(f"{location}/stop").location == location
    assert "Stopped" in plain(sam.get(location))
    replay_slice(database, row.id)
    with database.read() as session:
        assert set(session.scalars(select(Delivery.state))) == {"refused", "expired"}


@pytest.mark.usefixtures("refused")
def test_the_filter_stands_in_the_address(sam: Person, database: Database) -> None:
    with database.read() as session:
        connection = session.scalars(select(Connection)).one()
    page = sam.get(f"/desk/replays?state=refused&code=bad_mail&connection={connection.id}&period=7&site=demo")
    assert "1 to send again, and why" in plain(page)
    sam.post("/desk/replays", state="refused", code="bad_mail", connection=str(connection.id), period="7", site="demo")
    row = _replay(database)
    assert row.total == 1
    told = plain(sam.get(f"/desk/replays/{row.id}"))
    assert "Refused at Sandbox CRM of Sunrise with the code bad_mail received since" in told
    assert "4 to send again" in plain(sam.get("/desk/replays?state=refused&connection=nonsense&period=x&site=y"))


@pytest.mark.usefixtures("refused")
def test_today_means_today_as_in_the_list_that_leads_here(sam: Person, database: Database) -> None:
    with database.write() as session:
        oldest = session.scalars(select(Delivery).order_by(Delivery.id)).first()
        assert oldest is not None
        oldest.created_at -= timedelta(days=2)
    assert "4 to send again, and why" in plain(sam.get("/desk/replays?state=refused"))
    assert "3 to send again, and why" in plain(sam.get("/desk/replays?state=refused&period=today"))


def test_nothing_to_send_again(sam: Person, database: Database) -> None:
    assert "nothing to send again. Choose otherwise above" in plain(sam.get("/desk/replays"))
    assert sam.post("/desk/replays", state="refused").location == "/desk/replays"
    assert "Nothing fits this choice any more" in plain(sam.get("/desk/replays"))
    sam.get("/desk/replays/00000000-0000-0000-0000-000000000000", 404)


@pytest.mark.usefixtures("refused")
def test_pages_lead_to_it_with_the_filter(sam: Person, database: Database) -> None:
    beat(database)
    with database.read() as session:
        connection = session.scalars(select(Connection)).one()
    assert f'href="/desk/replays?state=refused&amp;connection={connection.id}"' in sam.get("/desk/")
    assert "/desk/replays?state=needs_you" in sam.get("/desk/leads?state=needs_you")


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("what", ["connection", "site", "state", "period"])
def test_what_was_meant_for_some_is_never_done_to_all(sam: Person, database: Database, what: str) -> None:
    chosen = {"state": "refused", what: str(new_id())}  # such as a connection that was removed since the page was shown
    assert sam.post("/desk/replays", **chosen).location == "/desk/replays"
    assert "Nothing was done: what you chose is not there any more." in plain(sam.get("/desk/replays"))
    with database.read() as session:
        assert session.scalars(select(Replay)).all() == []
