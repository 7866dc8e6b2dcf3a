"""`frontdesk lead put-aside`: says what it would be, asks, and touches nothing but what looks like spam."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from leads.store.models import Action, Delivery, Event
from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk
from tests.factory import make_connection, make_site, send


@pytest.fixture(autouse=True)
def held(database: Database, vault: Vault) -> None:
    """Two that look like spam, of two websites, and one without consent."""
    for key in ("demo", "other"):
        site = make_site(database, key)
        make_connection(database, vault, site, name=key)
        send(database, vault, site, email=f"{key}@example.com", suspicion="Too quick.")
    send(database, vault, site, email="no@example.com", consent=False)


def _standing(database: Database) -> list[tuple[str, str | None]]:
    with database.read() as session:
        return [(state, code) for state, code in session.execute(select(Delivery.state, Delivery.code))]


def test_a_dry_run_tells_how_many_and_some_of_them(frontdesk: Frontdesk, database: Database) -> None:
    said = frontdesk("lead", "put-aside", "--dry-run").stdout
    assert "Held as spam: 2 enquiries, from 20" in said
    assert "other@example.com  Too quick." in said
    assert ("held", "spam") in _standing(database)


def test_a_damaged_one_takes_no_other_away(frontdesk: Frontdesk, database: Database) -> None:
    with database.write() as session:
        session.execute(update(Event).values(answers_sealed=b"damaged"))
    said = frontdesk("lead", "put-aside", "--dry-run").stdout
    assert "Held as spam: 2 enquiries" in said
    assert "other@example.com" in said


def test_it_asks_and_leaves_what_is_held_for_another_reason(frontdesk: Frontdesk, database: Database) -> None:
    assert "Put aside: 1" in frontdesk("lead", "put-aside", "--site", "other", "--days", "3", "--yes").stdout
    assert sorted(_standing(database)) == [("handled", "by_hand"), ("held", "no_consent"), ("held", "spam")]
    assert "Put aside: 1" in frontdesk("lead", "put-aside", stdin="y\n").stdout
    assert "so nothing was put aside" in frontdesk("lead", "put-aside").stdout
    with database.read() as session:
        done = session.scalars(select(Action.what).order_by(Action.at, Action.id)).all()
    assert done == ["put_aside_started", "put_aside"] * 2
    assert "no site with the key" in frontdesk("lead", "put-aside", "--site", "nowhere", code=1).stderr
    assert "is not in the range" in frontdesk("lead", "put-aside", "--days", "999999", code=2).stderr
