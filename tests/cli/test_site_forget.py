"""`frontdesk site forget`: a clinic has left, and nothing of its visitors stays here; nobody else's is touched."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from leads.store import departure
from leads.store.models import Action, Base, Connection, ConsentText, Delivery, Event, Lead, Site, Unreadable, new_id
from leads.store.session import Database
from leads.store.staff import add_user
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk
from tests.factory import make_connection, make_site, make_unreadable, send

JANE = {"first_name": "Jane", "email": "jane@example.com"}


@pytest.fixture(autouse=True)
def two_clinics(database: Database, vault: Vault) -> None:
    """Jane wrote to both. So did a caller who became known there, and somebody without consent."""
    for key in ("leaves", "stays"):
        site = make_site(database, key)
        make_connection(database, vault, site, name=f"CRM of {key}")
        send(database, vault, site, visitor_id="v1", **JANE)
        send(database, vault, site, "call_click", visitor_id="v2")
        send(database, vault, site, visitor_id="v2", **JANE)
        send(database, vault, site, consent=False, email="tom@example.com")
        make_unreadable(database, site)
    with database.write() as session:
        session.execute(update(Delivery).where(Delivery.state == "waiting").values(state="confirmed"))


@pytest.fixture
def has_left(frontdesk: Frontdesk) -> None:
    frontdesk("connection", "remove", "CRM of leaves", "--yes")
    frontdesk("site", "close", "leaves")


def _rows(database: Database, *models: type[Base]) -> list[int]:
    with database.read() as session:
        return [session.scalar(select(func.count()).select_from(model)) or 0 for model in models]


def test_a_clinic_that_has_not_left_is_not_forgotten(frontdesk: Frontdesk, database: Database) -> None:
    before = _rows(database, Lead, Event)
    assert "First: frontdesk site close leaves" in frontdesk("site", "forget", "leaves", "--yes", code=1).stderr
    said = frontdesk("site", "close", "leaves").stdout
    assert "“CRM of leaves” goes on, with its key, until all has arrived." in said
    told = frontdesk("site", "forget", "leaves", "--yes", code=1).stderr
    assert "still connected to “CRM of leaves”" in told
    assert _rows(database, Lead, Event) == before


@pytest.mark.usefixtures("has_left")
def test_first_it_is_said_how_much_and_asked(frontdesk: Frontdesk, database: Database) -> None:
    before = _rows(database, Lead, Event)
    said = frontdesk("site", "forget", "leaves", "--dry-run").stdout
    assert "People: 3. Enquiries: 4. Could not be understood: 1." in said
    assert "Not in a CRM, or not known to be: 1." in said
    assert "Delete all of" in frontdesk("site", "forget", "leaves", stdin="n\n", code=1).stdout
    assert _rows(database, Lead, Event) == before


@pytest.mark.usefixtures("has_left")
def test_nothing_of_it_stays_and_all_of_the_other_does(frontdesk: Frontdesk, database: Database) -> None:
    with database.write() as session:
        leaves = session.scalars(select(Site).where(Site.key == "leaves")).one()
        add_user(session, "sam", "staff", database.now(session), [leaves])
        gone = leaves.id
    said = frontdesk("site", "forget", "leaves", "--yes").stdout
    assert "Forgotten, and leaves is not known here any more." in said
    assert "sam looked after this website alone." in said
    assert _rows(database, Lead, Event, Unreadable, Connection, Site, ConsentText) == [3, 4, 1, 1, 1, 1]
    with database.read() as session:
        for model in (Lead, Event, Unreadable, Connection):
            assert gone not in session.scalars(select(model.site_id)).all()
        assert session.scalars(select(Action.what).order_by(Action.id.desc())).first() == "site_forgotten"
    assert "There is no site with the key leaves" in frontdesk("site", "forget", "leaves", "--yes", code=1).stderr


@pytest.mark.usefixtures("has_left")
def test_ended_midway_it_goes_on_where_it_was(
    frontdesk: Frontdesk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departure, "SLICE", 1)
    with database.read() as session:
        gone = session.scalars(select(Site.id).where(Site.key == "leaves")).one()
    slices = departure.forget_all_of(database, gone)
    assert [next(slices), next(slices)] == [1, 1]
    slices.close()  # as where the program is ended
    assert "People: 1." in frontdesk("site", "forget", "leaves", "--dry-run").stdout
    assert "Forgotten" in frontdesk("site", "forget", "leaves", "--yes").stdout
    assert _rows(database, Lead, Site) == [3, 1]


@pytest.mark.usefixtures("has_left")
def test_what_comes_meanwhile_is_not_lost(frontdesk: Frontdesk, database: Database, vault: Vault) -> None:
    """It was opened again."""
    with database.read() as session:
        leaves = session.scalars(select(Site).where(Site.key == "leaves")).one()
    slices = departure.forget_all_of(database, leaves.id)
    next(slices)
    frontdesk("site", "open", "leaves")
    send(database, vault, leaves, email=f"{new_id()}@example.com")
    with pytest.raises(departure.SiteError, match="takes enquiries"):
        next(slices)
    assert _rows(database, Site) == [2]
