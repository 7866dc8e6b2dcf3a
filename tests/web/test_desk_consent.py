"""Letting many go that are held for want of consent: who is listed, what one vouches for, and what is written down."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, update

from leads.store.models import Action, Connection, Delivery, Event, Site
from leads.store.queries import unasked
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_connection, make_site, send
from tests.web.desk import Person, decisions, make_user, plain, set_state, signed_in

VOUCHED = "I have made sure that each of those who are ticked agreed that their details are shared with the CRM."


@pytest.fixture
def sam(app: Flask, database: Database) -> Person:
    return signed_in(app, database, "sam", "staff")


def _come(database: Database, vault: Vault, site: Site, name: str, **more: Any) -> UUID:
    given = {"consent": None, "email": f"{name}@example.com", "first_name": name} | more
    return send(database, vault, site, **given).event_id


@pytest.fixture
def held(database: Database, vault: Vault, site: Site) -> list[UUID]:
    """Three whom nobody asked; of the others nobody can vouch for many."""
    come = [_come(database, vault, site, name, message="It hurts") for name in ("Ada", "Bob", "Cem")]
    _come(database, vault, site, "Spam", suspicion="trap")
    _come(database, vault, site, "Fine", consent=True)
    for consent in (True, False):
        _come(database, vault, site, "Later", client_id="later", consent=consent)
    set_state(database, _come(database, vault, site, "Done"), "handled", code="by_hand")
    return come


def _states(database: Database, events: list[UUID]) -> list[str]:
    with database.read() as session:
        rows = session.execute(select(Delivery.event_id, Delivery.state)).all()
    found = {row.event_id: row.state for row in rows}
    return [found[one] for one in events]


def _ticks(page: str) -> list[tuple[str, bool]]:
    found = re.findall(r'name="event" value="[^"]+"( checked)?> <span><strong><bdi>(\w+)</bdi></strong>', page)
    return [(name, bool(tick)) for tick, name in found]


def test_who_is_held_is_listed_with_a_tick_and_what_one_vouches_for(
    sam: Person, database: Database, vault: Vault, site: Site, held: list[UUID]
) -> None:
    _come(database, vault, site, "Dora", consent=False)
    assert 'href="/desk/consent?site=demo">Decide on many at once' in sam.get("/desk/")
    assert 'href="/desk/consent">Let many go' in sam.get("/desk/leads?state=needs_you")
    page = sam.get("/desk/consent")
    assert _ticks(page) == [("Ada", True), ("Bob", True), ("Cem", True), ("Dora", False)], "the oldest first"
    told = plain(page)
    for said in ("4 enquiries are held", "Ada, Ada@example.com", "“It hurts”", VOUCHED, "with your name"):
        assert said in told
    assert told.count("The form asked, and they did not agree there.") == 1
    assert _states(database, held) == ["held"] * 3


def test_nothing_goes_before_somebody_vouches_for_it(sam: Person, database: Database, held: list[UUID]) -> None:
    sam.post("/desk/consent", event=held)
    assert "Nothing was done: tick below that you have made sure" in plain(sam.get("/desk/consent"))
    sam.post("/desk/consent", vouched="yes")
    assert "Nothing was done: nobody was ticked." in plain(sam.get("/desk/consent"))
    sam.post("/desk/consent", vouched="yes", event=["rubbish", str(UUID(int=7))])
    assert "1 enquiry was left alone, having moved on meanwhile" in plain(sam.get("/desk/consent"))
    assert _states(database, held) == ["held"] * 3
    with database.read() as session:
        assert session.scalars(decisions()).all() == []


def test_those_who_are_ticked_go_and_each_decision_is_written_down(
    sam: Person, app: Flask, database: Database, held: list[UUID]
) -> None:
    assert sam.post("/desk/consent", vouched="yes", event=held[:2], site="demo").location == "/desk/consent?site=demo"
    page = sam.get("/desk/consent")
    assert "Noted: 2 enquiries are on their way to the CRM." in plain(page)
    assert _ticks(page) == [("Cem", True)]
    assert _states(database, held) == ["waiting", "waiting", "held"]
    with database.read() as session:
        told = session.scalars(select(Action).where(Action.what == "consent_given")).all()
        ids = session.scalars(select(Delivery.id).where(Delivery.event_id.in_(held[:2]))).all()
        assert [session.get_one(Event, one).hold_code for one in held] == [None, None, "no_consent"]
    assert {(one.user_name, one.delivery_id) for one in told} == {("sam", one) for one in ids}
    anna = signed_in(app, database)
    assert plain(anna.get("/desk/actions")).count("that consent was given.") == 2


def test_what_a_colleague_took_care_of_since_the_list_was_opened_is_left_alone(
    sam: Person, database: Database, held: list[UUID]
) -> None:
    """As by calling somebody who said no."""
    with database.read() as session:
        delivery_id = session.scalars(select(Delivery.id).where(Delivery.event_id == held[0])).one()
    sam.post(f"/desk/deliveries/{delivery_id}/handled")
    sam.post("/desk/consent", vouched="yes", event=held)
    assert _states(database, held) == ["handled", "waiting", "waiting"]
    assert "1 enquiry was left alone" in plain(sam.get("/desk/consent"))


def test_what_moved_on_meanwhile_is_left_alone_and_told(
    sam: Person, database: Database, vault: Vault, site: Site, held: list[UUID]
) -> None:
    mine = _come(database, vault, site, "Eva", client_id="e")
    _come(database, vault, site, "Eva", client_id="e", consent=True)
    _come(database, vault, site, "Eva", client_id="e", consent=False)
    sam.post(f"/desk/events/{held[0]}/consent_given")
    sam.post("/desk/consent", vouched="yes", event=[*held, mine])
    told = plain(sam.get("/desk/consent"))
    assert "Noted: 2 enquiries are on their way to the CRM. 2 enquiries were left alone" in told
    assert "Nobody is held for want of consent, or they said no later" in told
    assert _states(database, [mine]) == ["held"]
    with database.read() as session:
        assert len(session.scalars(select(Action).where(Action.what == "consent_given")).all()) == 3


def test_what_cannot_go_yet_says_so(sam: Person, database: Database, site: Site, held: list[UUID]) -> None:
    sam.get("/desk/consent")
    with database.write() as session:
        session.execute(update(Connection).values(state="paused"))
    sam.post("/desk/consent", vouched="yes", event=held[0])
    told = plain(sam.get(f"/desk/consent?site={site.key}"))
    assert "Noted: 1 enquiry goes as soon as a connection can take it." in told


def test_many_are_looked_through_page_by_page(
    sam: Person, database: Database, held: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unasked, "PAGE", 2)
    first = sam.get("/desk/consent")
    assert _ticks(first) == [("Ada", True), ("Bob", True)]
    assert "3 enquiries are held" in plain(first)
    assert "below are 2 of them" in plain(first)
    found = re.search(r'rel="next" href="([^"]+)"', first)
    assert found
    start = found[1].replace("&amp;", "&")
    second = sam.get(start)
    assert _ticks(second) == [("Cem", True)]
    back = re.search(r'name="start" value="([^"]+)"', second)
    assert back
    location = sam.post("/desk/consent", vouched="yes", event=held[2], start=back[1]).location
    assert "Begin with the oldest" in sam.get(location)
    assert _ticks(sam.get("/desk/consent")) == [("Ada", True), ("Bob", True)]


def test_nobody_decides_about_another_website(
    app: Flask, database: Database, vault: Vault, site: Site, held: list[UUID]
) -> None:
    other = make_site(database, "other", "Other")
    make_connection(database, vault, other, name="Other CRM")
    theirs = _come(database, vault, other, "Fay")
    make_user(database, "tom", "staff", [other])
    tom = Person(app)
    tom.sign_in("tom")
    assert _ticks(tom.get("/desk/consent")) == [("Fay", True)]
    tom.post("/desk/consent", vouched="yes", event=[*held, theirs])
    assert _states(database, [*held, theirs]) == ["held"] * 3 + ["waiting"]
    sam = signed_in(app, database, "sam", "staff")
    assert len(_ticks(sam.get("/desk/consent?site=demo"))) == 3
    assert _ticks(sam.get("/desk/consent?site=other")) == []
    assert sam.client.post("/desk/consent", data={"vouched": "yes", "event": held}).status_code in (302, 303, 400)
    assert _states(database, held) == ["held"] * 3
