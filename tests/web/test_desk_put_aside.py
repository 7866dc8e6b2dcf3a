"""Putting aside all that looks like spam: what the page tells, what it does, and the way back for one that is real."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, update

from leads.store.models import Action, Connection, Delivery, Event, Lead, Replay, Site
from leads.store.outbox.replays import replay_slice
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_connection, make_site, send
from tests.web.desk import Person, lead_of, plain, set_state, signed_in

SPAM = {"suspicion": "The form was filled in within a second.", "message": "Buy our pills"}


@pytest.fixture
def sam(app: Flask, database: Database) -> Person:
    return signed_in(app, database, "sam", "staff")


@pytest.fixture
def held(database: Database, vault: Vault, site: Site) -> list[UUID]:
    """Three that look like spam, one of them without consent; one without consent alone, and one that staff paused."""
    spam = [send(database, vault, site, email=f"p{n}@example.com", consent=n > 0, **SPAM).event_id for n in range(3)]
    send(database, vault, site, email="no@example.com", consent=False)
    set_state(database, send(database, vault, site, email="paused@example.com").event_id, "held", code="paused")
    return spam


def _standing(database: Database) -> dict[str, int]:
    with database.read() as session:
        rows = session.execute(select(Delivery.state, Delivery.code)).all()
    told = [f"{state} {code}" for state, code in rows]
    return {one: told.count(one) for one in sorted(set(told))}


def _press(person: Person, path: str = "/desk/put-aside", **more: Any) -> str:
    fields = dict(re.findall(r'type="hidden" name="(until|site|kind|period)" value="([^"]+)"', person.get(path)))
    return str(person.post("/desk/put-aside", **(fields | more)).location)


def _run(database: Database) -> Replay:
    with database.read() as session:
        row = session.scalars(select(Replay).order_by(Replay.started_at.desc())).first()
    assert row is not None
    while replay_slice(database, row.id):
        pass
    with database.read() as session:
        return session.get_one(Replay, row.id)


def test_first_what_they_are_then_one_button(sam: Person, database: Database, held: list[UUID]) -> None:
    found = re.findall(r'href="([^"]+)">None of these is real: put them aside', sam.get("/desk/leads?state=spam"))
    assert "put them aside" not in sam.get("/desk/leads?state=not_now")
    page = plain(sam.get(found[0].replace("&amp;", "&")))
    assert "Put 3 enquiries aside as spam?" in page
    assert re.search(r"The oldest came today, .*?, the newest today", page)
    assert "p2@example.com, Consultation request" in page
    assert "“Buy our pills” The form was filled in within a second." in page
    assert "None is real: put all 3 aside" in page
    location = _press(sam)
    assert "0 of 3 put aside" in plain(sam.get(location))
    assert _run(database).state == "finished"
    assert _standing(database) == {"handled by_hand": 3, "held no_consent": 1, "held paused": 1}
    told = plain(sam.get(location))
    assert "What looks like spam received" not in told
    assert "3 of 3 put aside." in told
    assert "What looks like spam, by sam. Finished: 3 of 3 put aside." in plain(sam.get("/desk/replays"))
    assert "Nothing that fits this choice is held as spam" in sam.get("/desk/put-aside")
    assert "looks like spam" not in plain(sam.get("/desk/"))


def test_it_is_written_down_who_did_it(app: Flask, sam: Person, database: Database, held: list[UUID]) -> None:
    _press(sam)
    _run(database)
    with database.read() as session:
        asides = session.scalars(select(Action).where(Action.what == "put_aside")).all()
    assert [one.user_name for one in asides] == ["sam"] * 3
    told = plain(signed_in(app, database).get("/desk/actions?group=enquiries"))
    assert "sam had all that looks like spam put aside: 3 deliveries." in told
    assert re.search(r"sam put the enquiry \w{3}-\w{3} aside as spam\.", told)
    assert "sam put it aside as spam" in plain(sam.get(f"/desk/leads/{lead_of(database, held[0])}"))


@pytest.mark.parametrize("by_one_button", [True, False])
def test_one_that_is_real_after_all_is_found_and_sent(
    sam: Person, database: Database, held: list[UUID], by_one_button: bool
) -> None:
    if by_one_button:
        _press(sam)
        _run(database)
    else:
        for event_id in held:
            sam.post(f"/desk/deliveries/{set_state(database, event_id, 'held')}/handled")
    assert "p1@example.com" in sam.get("/desk/leads?state=handled")
    page = f"/desk/leads/{lead_of(database, held[1])}"
    assert "This was put aside as spam. The form was filled in" in plain(sam.get(page))
    assert sam.post(f"/desk/events/{held[1]}/not_spam").location == page
    assert _standing(database)["waiting None"] == 1
    assert "Not spam" not in plain(sam.get(page))
    sam.post(f"/desk/events/{held[0]}/not_spam")  # it came without consent, so that is asked next
    assert _standing(database) == {"handled by_hand": 1, "held no_consent": 2, "held paused": 1, "waiting None": 1}
    with database.read() as session:
        released = session.scalars(select(Action.what).where(Action.what == "not_spam")).all()
    assert len(released) == 2


def test_what_comes_in_after_the_page_was_opened_is_left(
    sam: Person, database: Database, vault: Vault, site: Site, held: list[UUID]
) -> None:
    fields = dict(re.findall(r'name="(until)" value="([^"]+)"', sam.get("/desk/put-aside")))
    late = send(database, vault, site, email="real@example.com", suspicion="Hasty.").event_id
    sam.post("/desk/put-aside", **fields)
    assert _run(database).done == 3
    with database.read() as session:
        assert session.scalars(select(Delivery.state).where(Delivery.event_id == late)).one() == "held"
    for nonsense in ("", "yesterday", "2026-01-01T00:00:00"):
        assert sam.post("/desk/put-aside", until=nonsense).location == "/desk/put-aside"
    assert "Put 1 enquiry aside as spam?" in plain(sam.get("/desk/put-aside"))


@pytest.mark.usefixtures("held")
def test_the_filters_of_the_list_hold(sam: Person, database: Database, vault: Vault, site: Site) -> None:
    other = make_site(database, "other")
    make_connection(database, vault, other, name="Other")
    send(database, vault, other, email="o@example.com", **SPAM)
    send(database, vault, site, "call_click", visitor_id="v", suspicion="Too many.")
    old = send(database, vault, site, email="old@example.com", **SPAM).event_id
    with database.write() as session:
        ago = database.now(session) - timedelta(days=9)
        session.execute(update(Delivery).where(Delivery.event_id == old).values(created_at=ago))
        session.execute(update(Event).where(Event.id == old).values(received_at=ago))
    for query, number in (
        ("", 6),
        ("site=other", 1),
        ("kind=call_click", 1),
        ("site=demo&period=7", 4),
        ("period=x", 6),
    ):
        told = plain(sam.get(f"/desk/put-aside?{query}"))
        assert re.search(rf"Put {number} enquir(y|ies) aside", told), query
    _press(sam, "/desk/put-aside?site=demo&period=7&kind=consultation_request")
    assert _run(database).done == 3
    assert _standing(database)["held spam"] == 3


def test_each_enquiry_counts_once_and_goes_from_every_crm_also_a_removed_one(
    sam: Person, database: Database, vault: Vault, site: Site
) -> None:
    second = make_connection(database, vault, site, name="Second")
    send(database, vault, site, email="p@example.com", **SPAM)
    with database.write() as session:
        session.get_one(Connection, second.id).removed_at = database.now(session)
    page = plain(sam.get("/desk/put-aside"))
    assert "Put 1 enquiry aside as spam?" in page
    assert "2 deliveries are counted" in page
    _press(sam)
    _run(database)
    assert _standing(database) == {"handled by_hand": 2}


def test_the_stop_button(sam: Person, database: Database, held: list[UUID]) -> None:
    location = _press(sam)
    sam.post(f"{location}/stop")
    sam.post(f"{location}/stop")  # no second stop is written down
    assert _run(database).state == "stopped"
    assert _standing(database)["held spam"] == 3
    with database.read() as session:
        assert session.scalars(select(Action.what).where(Action.what.like("%stopped"))).all() == ["put_aside_stopped"]
        assert session.scalar(select(Lead.id).limit(1)) is not None


@pytest.mark.usefixtures("held")
def test_what_was_meant_for_one_website_is_never_done_to_all(sam: Person, database: Database) -> None:
    assert _press(sam, site="removed-since") == "/desk/put-aside"
    assert "Nothing was done: what you chose is not there any more." in plain(sam.get("/desk/put-aside"))
    with database.read() as session:
        assert session.scalars(select(Replay)).all() == []


@pytest.mark.usefixtures("held")
def test_where_no_crm_is_connected_it_is_said_that_it_comes_later(sam: Person, database: Database) -> None:
    with database.write() as session:
        session.execute(update(Connection).values(removed_at=database.now(session)))
    page = plain(sam.get("/desk/leads?state=spam"))
    assert "It can be put aside once a CRM is connected." in page
    assert "None of these is real" not in page
