"""No page and no step of the loop reads a growing table from end to end, on either database."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, text

from config.settings import load_settings
from leads.app import create_app
from leads.store.clock import heartbeat
from leads.store.models import Delivery, Event, Lead
from leads.store.outbox import check_all, erase
from leads.store.outbox.canary import forget
from leads.store.queries.balance import recent_balances
from leads.store.queries.journey import journey
from leads.store.queries.leads import Cursor, LeadFilter, leads, search
from leads.store.queries.lists import sites
from leads.store.queries.overview import number_resubmitted
from leads.store.queries.signs import signs
from leads.store.retention import forget_slice, forget_unreadable
from leads.store.scope import keep_to
from leads.store.session import Database
from leads.upkeep.alerts import conditions
from tests.database.loop import Loop
from tests.database.plans import GROWING, Seen
from tests.factory import make_site, send, send_many
from tests.web.desk import PASSWORD, make_user

_TOKEN = "a token of some length"
# Part of a statement → why it may read a growing table through.
EXCEPTIONS: dict[str, str] = {}


@pytest.fixture
def seen(timed: Database) -> Seen:
    return Seen(timed)


def _unexplained(seen: Seen) -> dict[str, str]:
    return {sql: plan for sql, plan in seen.scans().items() if not any(part in sql for part in EXCEPTIONS)}


def test_the_loop_goes_by_indexes(loop: Loop, seen: Seen) -> None:
    """Intake, claim, finish, proof, sweep, retention, tests."""
    with seen.watching():
        loop.send("Jane", visitor_id="v")
        loop.send("Joe", kind="call_click", visitor_id="v2")
        loop.send("Jane", phone="+12015550123")
        loop.send("Spam", suspicion="it looks so")
        loop.tick()
        gone = loop.send("Gone")
        loop.tick()
        with loop.database.read() as session:
            lead_id = session.get_one(Event, gone).lead_id
        assert erase(loop.database, loop.vault, loop.erasures, lead_id, "anna")
        for _ in range(4):
            loop.tick(minutes=1)
        loop.night()
        check_all(loop.database, loop.connection_id, 30)
        loop.tick(minutes=1)
        assert loop.crm.erased
        heartbeat(loop.database, "w1")
        with loop.database.read() as session:
            conditions(signs(session, loop.clock()), timedelta(minutes=5))
            number_resubmitted(session)
        loop.clock.forward(days=400)
        heartbeat(loop.database, "w1")
        loop.clock.forward(hours=2)
        heartbeat(loop.database, "w1")
        with loop.database.write() as session:
            forget(session, loop.clock())
        forget_slice(loop.database, loop.clock() - timedelta(days=365))
        forget_unreadable(loop.database, loop.clock() - timedelta(days=365))
    assert len(seen.statements) > 40
    assert _unexplained(seen) == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_days_are_counted_by_the_index_alone(loop: Loop, seen: Seen) -> None:
    """A row that is read for each enquiry of two days is what costs most on the first page."""
    loop.send("Jane")
    with seen.watching(), loop.database.read() as session:
        [*_] = recent_balances(session, sites(session), loop.clock())
    counted = [plan for sql, plan in seen.plans().items() if "GROUP BY event.id" in sql]
    assert [re.findall(r"SEARCH event USING (\w+) INDEX ix_event_site_day", plan) for plan in counted] == [
        ["COVERING"] * 2
    ]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_no_kept_plan_is_one_for_small_tables(loop: Loop) -> None:
    """A connection keeps what it planned, so while the tables are small already nothing is read from end to end."""
    for number in range(12):  # a plan is kept from the sixth time on
        loop.send(f"Jane {number}")
        loop.tick(minutes=1)
    loop.database.engine.dispose()  # a connection that ends tells what it has counted
    counted: dict[str, tuple[int, int]] = {}
    until = time.monotonic() + 20
    while counted.get("event", (0, 0))[1] != 12 and time.monotonic() < until:
        time.sleep(0.1)
        with loop.database.read() as session:
            rows = session.execute(text("SELECT relname, seq_scan, n_tup_ins FROM pg_stat_user_tables"))
            counted = {name: (scans, written) for name, scans, written in rows}
    assert counted["event"][1] == 12
    assert {name: counted[name][0] for name in GROWING if counted[name][0]} == {}


@pytest.fixture
def app(loop: Loop, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr("leads.app.Database", lambda _url, **_: loop.database)
    settings = load_settings({}, database_url=database_url, data_dir=str(tmp_path), metrics_token=_TOKEN)
    return create_app(settings)


@pytest.mark.parametrize("whose", ["all websites", "one website", "two websites"])
def test_every_page_goes_by_indexes(loop: Loop, app: Flask, seen: Seen, whose: str) -> None:
    loop.send("Jane")
    loop.tick(minutes=1)
    lead_id, delivery_id = _ids(loop.database)
    if whose == "all websites":
        make_user(loop.database)
    else:
        others = [make_site(loop.database, "other")] if whose == "two websites" else []
        make_user(loop.database, role="staff", sites=[loop.site, *others])
    client = app.test_client()
    form = {"name": "anna", "password": PASSWORD, "csrf_token": _token(client.get("/desk/sign-in").text)}
    assert client.post("/desk/sign-in", data=form).status_code in (302, 303)
    told = {"lead_id": lead_id, "connection_id": loop.connection_id, "delivery_id": delivery_id}
    adapter = app.url_map.bind("localhost")
    visited = []
    with seen.watching():
        for rule in app.url_map.iter_rules():
            if "GET" in (rule.methods or ()) and set(rule.arguments) <= set(told):
                path = adapter.build(rule.endpoint, {name: told[name] for name in rule.arguments})
                answer = client.get(path, headers={"Authorization": f"Bearer {_TOKEN}"})
                visited.append((path, answer.status_code))
        states = [f"state={place}" for place in ("needs_you", "in_the_crm", "handled", "erased")]
        for asked in (*states, "kind=call_click", "site=demo&period=7"):
            assert client.get(f"/desk/leads?{asked}").status_code == 200
        put_aside = "/desk/put-aside?site=demo&period=7&kind=call_click"
        assert client.get(put_aside).status_code == 200
        start = f"{loop.clock().isoformat()}~{UUID(int=1).hex}"
        assert client.get("/desk/consent", query_string={"site": "demo", "start": start}).status_code == 200
        newest = f"{loop.clock().isoformat()}~{UUID(int=2**128 - 1).hex}"
        assert client.get(f"/desk/leads/{lead_id}", query_string={"older": newest}).status_code == 200
        with loop.database.read() as session:
            page = journey(session, loop.vault, lead_id, size=0)
        assert page is not None
        assert page.older
        for typed in ("Jane", "jane@example.com", "2015550123", "ABC-DEF"):
            form = {"q": typed, "csrf_token": _token(client.get("/desk/leads").text)}
            assert client.post("/desk/leads", data=form, follow_redirects=True).status_code == 200
    assert [path for path, status in visited if status >= 500 and path != "/readyz"] == []  # no worker runs here
    assert sum(status == 200 for _, status in visited) > 15
    assert _unexplained(seen) == {}


def test_the_newest_of_some_websites_are_found_by_the_index_of_each(loop: Loop, seen: Seen) -> None:
    """By the index of all, whoever looks after two small ones would wait until those of all others are gone through."""
    loop.send("Jane")
    other = make_site(loop.database, "other")
    with loop.database.read() as session, seen.watching():
        keep_to(session, [loop.site.id, other.id])
        leads(session, loop.vault, LeadFilter())
        leads(session, loop.vault, LeadFilter(), newer_than=Cursor(loop.clock(), UUID(int=0)))
        search(session, loop.vault, "Jane", LeadFilter())
    plans = [plan for sql, plan in seen.plans().items() if "UNION ALL" in sql]
    assert len(plans) == 3
    assert all(plan.count("ix_lead_site_recent") == 2 and "ix_lead_recent" not in plan for plan in plans)


@pytest.mark.parametrize("kept_to_it", [False, True])
def test_what_is_held_where_no_connection_is_has_an_index(loop: Loop, seen: Seen, kept_to_it: bool) -> None:
    """Or the list of spam would go through all that a website without a CRM ever got."""
    bare = make_site(loop.database, "bare")
    send(loop.database, loop.vault, bare, email="bot@example.com", suspicion="it looks so")
    with loop.database.read() as session:
        if kept_to_it:
            keep_to(session, [bare.id])
        with seen.watching():
            pages = [leads(session, loop.vault, LeadFilter(place=place)) for place in ("spam", "not_now", "needs_you")]
    assert [len(page.rows) for page in pages] == [1, 1, 0]
    assert sum("ix_event_held" in plan for plan in seen.plans().values()) == 3
    assert _unexplained(seen) == {}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_it_is_known_how_much_is_of_some_websites(loop: Loop, seen: Seen) -> None:
    """Or a list that is soon full would be made by sorting all there is."""
    send_many(loop.database, loop.vault, loop.site, [loop.clock()] * 2000)
    with loop.database.write() as session:
        session.execute(text("ANALYZE"))
    with loop.database.read() as session:
        keep_to(session, [loop.site.id])
        with seen.watching():
            session.scalars(select(Event.id)).all()
    [plan] = seen.plans().values()
    found = re.search(r"rows=(\d+)", plan)
    assert found
    assert int(found[1]) > 1000


def _token(page: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    return found[1] if found else ""


def _ids(database: Database) -> tuple[UUID, UUID]:
    with database.read() as session:
        return session.scalars(select(Lead.id)).one(), session.scalars(select(Delivery.id)).one()
