"""Who looks after some websites alone sees and changes nothing of the others: whichever page, button or number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import inspect, select
from werkzeug.routing import Rule

from leads import desk
from leads.store import canary, outbox
from leads.store.models import (
    Alert,
    Base,
    CanaryRun,
    Connection,
    Delivery,
    Drift,
    Erasure,
    Event,
    Lead,
    Replay,
    Resubmission,
    Site,
    Unreadable,
    User,
    new_id,
)
from leads.store.outbox.arrivals import delivery_row
from leads.store.outbox.replays import Chosen, load_chosen, start_replay
from leads.store.past_orm import insert_all
from leads.store.queries import leads as queries
from leads.store.queries.leads import LeadFilter, search
from leads.store.queries.lists import deliveries_of
from leads.store.scope import keep_to
from leads.store.session import Database
from leads.store.vault import Vault
from tests.conftest import only_postgres
from tests.factory import make_connection, make_site, send
from tests.web.desk import Person, beat, decisions, make_user, plain, set_state, signed_in

# Whose words must not be found where only the clinic `demo` is to be seen.
_OTHER = "Bravo"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open, and at one moment, so that a page says the same twice."""
    moment = datetime.now(UTC)
    opened = Database(database_url, clock=lambda: moment)
    yield opened
    opened.close()


@pytest.fixture
def mine(database: Database, vault: Vault, site: Site) -> dict[str, UUID]:
    """What stands at the website `demo`."""
    beat(database)
    return _fill(database, vault, site, "Alpha")


@pytest.fixture
def other(database: Database, vault: Vault, mine: dict[str, UUID]) -> Site:
    return make_site(database, "other", f"{_OTHER} Clinic")


@pytest.fixture
def sam(app: Flask, database: Database, site: Site) -> Person:
    """Looks after the website `demo` alone."""
    return _limited(app, database, site)


def _limited(app: Flask, database: Database, *sites: Site) -> Person:
    make_user(database, "sam", "staff", sites)
    person = Person(app)
    person.sign_in("sam")
    return person


def _fill(database: Database, vault: Vault, site: Site, tag: str) -> dict[str, UUID]:
    """Something of everything that a website can have. Returns one id for each name in an address of the desk."""

    def enquiry(number: int, state: str, **more: Any) -> tuple[UUID, UUID]:
        held = {"suspicion": "it looks so"} if more.get("code") == "spam" else {}
        answers = {"first_name": tag, "last_name": f"No{number}", "email": f"{tag.lower()}{number}@example.com"}
        event_id = send(database, vault, site, **held, message=f"{tag} {number}", **answers).event_id
        return event_id, set_state(database, event_id, state, **more)

    removed = make_connection(database, vault, site, name=f"{tag} removed")
    enquiry(1, "refused", code="removed", sentence=f"{tag} was removed.")
    with database.write() as session:
        now = database.now(session)
        session.get_one(Connection, removed.id).removed_at = now
    crm = make_connection(
        database, vault, site, name=f"{tag} CRM", state="failing", code="down", sentence=f"{tag} down"
    )
    event_id, delivery_id = enquiry(2, "refused", code="invalid", sentence=f"{tag} refused it.", field="email")
    enquiry(3, "expired", code="down", sentence=f"{tag} gave up.")
    enquiry(4, "waiting")
    enquiry(5, "held", code="spam")
    unasked, _ = enquiry(6, "held", code="no_consent")
    _, confirmed = enquiry(7, "confirmed", confirmed_at=now)
    erased, _ = enquiry(8, "erased")
    with database.write() as session:
        session.get_one(Event, unasked).hold_code = "no_consent"
        lead_id = session.get_one(Event, event_id).lead_id
        common = {"delivery_id": confirmed, "connection_id": crm.id, "fields": [f"{tag}_field"], "remote_ids": ["1"]}
        drift = Drift(id=new_id(), kind="changed", found_at=now, **common)
        unreadable = Unreadable(id=new_id(), site_id=site.id, body_digest=new_id().bytes, reason=tag, received_at=now)
        unreadable.body_sealed = vault.seal({"text": tag}, "unreadable", "body", unreadable.id)
        again = Resubmission(id=new_id(), event_id=event_id, body_digest=b"", received_at=now)
        again.answers_sealed = vault.seal({"message": f"{tag} again"}, "resubmission", "answers", again.id)
        gone = session.get_one(Lead, session.get_one(Event, erased).lead_id)
        gone.erased_at, gone.erased_by = now, tag
        left = {"state": "needs_you", "due_at": now, "tries_from": now, "attempts": 1, "sentence": f"{tag} stays."}
        erasure = Erasure(lead_id=gone.id, connection_id=crm.id, remote_ids=["9"], copies=[], **left)
        silence = Alert(kind="silence", subject=f"{site.key} call_click", sentence=f"{tag} is silent.", began_at=now)
        session.add_all([drift, unreadable, again, erasure, silence])
        run = canary.start(session, site, tag, now)
        run.state, run.sentence = "failed", f"{tag} failed the test."
        replay = start_replay(session, vault, Chosen("needs_you", site_id=site.id), tag, now)
    return {
        "lead_id": lead_id,
        "event_id": event_id,
        "delivery_id": delivery_id,
        "connection_id": crm.id,
        "drift_id": drift.id,
        "replay_id": replay.id,
        "erased": gone.id,
        "unreadable": unreadable.id,
        "resubmission": again.id,
    }


def _paths(app: Flask, ids: dict[str, UUID]) -> Iterator[tuple[Rule, str, str]]:
    """Every address of the desk that has an id, with each of these ids that it may be about."""
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith("desk.") or not rule.arguments & {*ids, "row_id"}:
            continue
        values: dict[str, Any] = {name: ids[name] for name in rule.arguments if name in ids}
        values |= {"row_id": ids["resubmission" if "resubmission" in rule.endpoint else "unreadable"]}
        if rule.endpoint == "desk.erasure_decide":
            values["lead_id"] = ids["erased"]
        for what in ("pause", "again"):
            for method in (rule.methods or set()) & {"GET", "POST"}:
                try:
                    yield rule, method, adapter.build(rule.endpoint, {"what": what, "kind": "sandbox", **values})
                except Exception:  # noqa: BLE001, S112 - not a word of this address
                    continue


def _pages(app: Flask, person: Person, ids: dict[str, UUID]) -> dict[str, str]:
    """Path → what they read there: every page that they may open."""
    plain_rules = (
        rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("desk.") and not rule.arguments
    )
    paths = {str(rule) for rule in plain_rules if "GET" in (rule.methods or ())}
    paths |= {path for _, method, path in _paths(app, ids) if method == "GET"}
    paths |= {"/desk/leads?state=needs_you", "/desk/leads?state=spam", "/desk/replays?state=waiting"}
    read = {}
    for path in sorted(paths - {"/desk/sign-in", "/desk/sign-in/code"}):
        answer = person.client.get(path)
        if answer.status_code == 200:
            read[path] = re.sub(r'name="csrf_token" value="[^"]+"', "", answer.text)
    for typed in ("Alpha", "Bravo", "bravo2@example.com"):
        found = person.get(person.post("/desk/leads", q=typed).location)
        read[typed] = re.sub(r'name="csrf_token" value="[^"]+"', "", found)
    return read


def test_every_page_reads_as_if_there_were_no_other_website(
    app: Flask, sam: Person, mine: dict[str, UUID], other: Site, database: Database, vault: Vault
) -> None:
    before = _pages(app, sam, mine)
    assert len(before) > 15
    _fill(database, vault, other, _OTHER)
    assert _pages(app, sam, mine) == before
    assert not any(_OTHER in page for path, page in before.items() if path not in ("Bravo", "bravo2@example.com"))


def test_an_admin_reads_of_both(
    app: Flask, mine: dict[str, UUID], other: Site, database: Database, vault: Vault
) -> None:
    """So that the test before this one looks at something."""
    _fill(database, vault, other, _OTHER)
    pages = _pages(app, signed_in(app, database), mine)
    silent_of_them = {path for path, page in pages.items() if _OTHER not in page}
    about_one = {path for path in pages if re.search(r"[0-9a-f]{8}-", path)}
    forms = ("/desk/account", "/desk/users", "/desk/connections/new", "/desk/new-website")
    personal = {path for path in pages if path.startswith(forms)}
    assert silent_of_them - about_one - personal <= {"Alpha", "/desk/actions", "/desk/export", "/desk/put-aside"}


def test_nothing_of_another_website_can_be_opened_or_changed(
    app: Flask, sam: Person, mine: dict[str, UUID], other: Site, database: Database, vault: Vault
) -> None:
    theirs = _fill(database, vault, other, _OTHER)
    before, tried = _rows(database, other), set()
    for rule, method, path in _paths(app, theirs):
        answer = sam.client.open(path, method=method, data={"csrf_token": sam.token()} if method == "POST" else None)
        assert answer.status_code in (403, 404), (method, path)
        tried.add(rule.endpoint)
    assert len(tried) > 20
    assert _rows(database, other) == before


def _rows(database: Database, site: Site) -> dict[str, list[Any]]:
    """All that belongs to this website, as it stands in the tables."""
    with database.read() as session:
        connections = list(session.scalars(select(Connection.id).where(Connection.site_id == site.id)))
        events = list(session.scalars(select(Event.id).where(Event.site_id == site.id)))
        found: dict[type[Base], Any] = {
            **{model: model.site_id == site.id for model in (Connection, Lead, Event, Unreadable, CanaryRun)},
            **{model: model.connection_id.in_(connections) for model in (Delivery, Drift, Erasure)},
            Resubmission: Resubmission.event_id.in_(events),
            Replay: Replay.started_by == _OTHER,
        }
        return {
            model.__name__: sorted(
                repr([getattr(row, column.key) for column in inspect(model).column_attrs])
                for row in session.scalars(select(model).where(here))
            )
            for model, here in found.items()
        }


def test_what_is_done_to_many_is_done_to_theirs_alone(
    sam: Person, site: Site, mine: dict[str, UUID], other: Site, database: Database, vault: Vault
) -> None:
    _fill(database, vault, other, _OTHER)
    before = _rows(database, other)
    sam.post(f"/desk/unreadable/{mine['unreadable']}/all-seen")
    with database.read() as session:
        until = database.now(session).isoformat()
    begun = [
        sam.post("/desk/put-aside", until=until).location,
        sam.post("/desk/replays", state="needs_you").location,
    ]
    assert all(re.fullmatch(r"/desk/replays/[0-9a-f-]{36}", place) for place in begun)
    with database.read() as session:
        for place in begun:
            chosen = load_chosen(session.get_one(Replay, UUID(place.rpartition("/")[2])).chosen)
            assert chosen.site_id == site.id
        assert session.get_one(Unreadable, mine["unreadable"]).seen_at is not None
    sam.post("/desk/put-aside", until=until, site="other")
    sam.post("/desk/replays", state="needs_you", site="other")
    assert _rows(database, other) == before


def test_of_two_websites_many_are_done_for_the_one_that_the_connection_belongs_to(
    app: Flask, site: Site, mine: dict[str, UUID], other: Site, database: Database, vault: Vault
) -> None:
    theirs = _fill(database, vault, other, _OTHER)
    sam = _limited(app, database, site, other)
    assert "Bravo refused it." in sam.get(f"/desk/replays?connection={theirs['connection_id']}")
    page = sam.get("/desk/replays")
    assert "Alpha refused it." in page
    assert "Bravo refused it." not in page
    assert "Bravo refused it." in sam.get("/desk/replays?site=other")


def test_a_website_that_is_theirs_shows_all_of_it(
    app: Flask, site: Site, mine: dict[str, UUID], other: Site, database: Database, vault: Vault
) -> None:
    """With both of both, the pages are those of staff who see everything."""
    _fill(database, vault, other, _OTHER)
    limited = _pages(app, _limited(app, database, site, other), mine)
    everybody = _pages(app, signed_in(app, database, "eve", "staff"), mine)
    differing = {path for path in limited if _nameless(limited[path]) != _nameless(everybody[path])}
    assert {path for path in differing if not path.startswith(("/desk/replays", "/desk/put-aside"))} == set()


def _nameless(page: str) -> str:
    return page.replace("sam", "_").replace("eve", "_")


def test_the_list_of_several_websites_goes_on_page_by_page(database: Database, vault: Vault, site: Site) -> None:
    others = [make_site(database, key) for key in ("second", "third")]
    with database.write() as session:
        for number, of in enumerate([site, *others] * 4):
            heard = database.now(session) + timedelta(minutes=number // 2)  # two at the same moment
            lead = Lead(id=new_id(), site_id=of.id, code=f"AAA-{number:03}", known=True, shareable=True)
            lead.created_at = lead.last_event_at = heard
            lead.person_sealed = vault.seal({"first_name": f"No{number}"}, "lead", "person", lead.id)
            session.add(lead)
    with database.read() as session:
        theirs = (Lead.site_id.in_([site.id, others[1].id]), Lead.is_test.is_(False))
        expected = list(session.scalars(select(Lead.id).where(*theirs).order_by(Lead.last_event_at, Lead.id)))[::-1]
    with database.read() as session:
        keep_to(session, [others[1].id, site.id])
        pages = [queries.leads(session, vault, LeadFilter(), size=3)]
        while pages[-1].older:
            pages.append(queries.leads(session, vault, LeadFilter(), older_than=pages[-1].older, size=3))
        back = queries.leads(session, vault, LeadFilter(), newer_than=pages[2].newer, size=3)
        found = search(session, vault, "No", LeadFilter()).rows
    assert [[row.lead.id for row in page.rows] for page in pages] == [expected[at : at + 3] for at in (0, 3, 6)]
    assert [row.lead.id for row in back.rows] == expected[3:6]
    assert [row.lead.id for row in found] == expected


@only_postgres
def test_what_a_connection_was_given_meanwhile_is_released_as_well(
    database: Database, vault: Vault, site: Site
) -> None:
    """It is given what waits while somebody who looks after some websites has begun to decide about it."""
    event_id = send(database, vault, site, consent=False, first_name="Jane", email="jane@example.com").event_id
    with database.write() as session:
        keep_to(session, [site.id])
        event = session.get_one(Event, event_id)
        lead = session.get_one(Lead, event.lead_id)
        new = make_connection(database, vault, site, name="New CRM")
        with database.write() as giving:
            now = database.now(giving)
            given = delivery_row(event_id, lead.id, new.id, "no_consent", event.received_at, now)
            insert_all(giving, Delivery, [given])
        assert outbox.release_hold(session, vault, event, lead, now) == 2
    with database.read() as session:
        assert [one.state for one in deliveries_of(session, event_id)] == ["waiting", "waiting"]


def test_admins_choose_the_websites_of_a_user(
    app: Flask, site: Site, mine: dict[str, UUID], other: Site, database: Database, vault: Vault
) -> None:
    anna, sam = signed_in(app, database), signed_in(app, database, "sam", "staff")
    theirs = _fill(database, vault, other, _OTHER)
    sam.get(f"/desk/leads/{theirs['lead_id']}")
    with database.read() as session:
        path = f"/desk/users/{session.scalars(select(User.id).where(User.name == 'sam')).one()}/websites"
    assert "All, also those that are added later" in plain(anna.get(path))
    assert "Choose at least one website" in anna.post(path, 422, websites="some").text
    anna.post(path, websites="some", site="demo")
    sam.get(f"/desk/leads/{theirs['lead_id']}", 404)
    assert "Websites: Sunrise" in plain(anna.get("/desk/users"))
    with database.read() as session:
        *_, done = session.scalars(decisions())
    assert done.what == "user_sites_changed"
    assert vault.open(done.note_sealed or b"", "action", "note", done.id) == "sam look after Sunrise"
    anna.post(path, websites="all", site="demo")
    sam.get(f"/desk/leads/{theirs['lead_id']}")
    assert "You ticked websites" in anna.post(path, 422, websites="all", site="demo").text
    sam.get(path, 403)


def test_a_new_user_may_see_some_websites_from_the_first_moment_on(app: Flask, database: Database, other: Site) -> None:
    anna = signed_in(app, database)
    assert re.search(r'value="some" checked', anna.get("/desk/users"))
    anna.post("/desk/users", 200, name="nora", role="staff", websites="some", site="other")
    assert (
        "Choose at least one website" in anna.post("/desk/users", 422, name="bert", role="staff", websites="some").text
    )
    page = anna.post("/desk/users", 422, name="carl", role="staff", websites="all", site="other").text
    assert "You ticked websites. Choose “Only these”" in page
    anna.post("/desk/users", 200, name="alma", role="admin", websites="some", site="other")
    with database.read() as session:
        found = {user.name: user.sites for user in session.scalars(select(User))}
    assert found == {"anna": None, "nora": frozenset({other.id}), "alma": None}


def test_whoever_is_an_admin_for_a_while_sees_all_websites_that_long(
    app: Flask, database: Database, sam: Person, site: Site
) -> None:
    anna = signed_in(app, database)
    with database.read() as session:
        user = session.scalars(select(User).where(User.name == "sam")).one()
    anna.post(f"/desk/users/{user.id}/role", role="admin")
    anna.post(f"/desk/users/{user.id}/websites", 422, websites="some", site="demo")
    with database.read() as session:
        assert session.get_one(User, user.id).sites is None
    anna.post(f"/desk/users/{user.id}/role", role="staff")
    with database.read() as session:
        assert session.get_one(User, user.id).sites == {site.id}


def test_whose_websites_are_all_gone_reads_why_there_is_nothing(app: Flask, database: Database, site: Site) -> None:
    nobody = _limited(app, database, Site(id=new_id(), name="Gone"))
    assert "No website is yours to look after yet. Ask an admin" in plain(nobody.get("/desk/"))
    assert "ask an admin to choose some for you" in plain(nobody.get("/desk/leads"))


def test_every_room_of_the_desk_asks_for_what_its_visitor_may_see() -> None:
    """Those alone open the database by themselves where nobody is signed in yet, or who ask about themselves."""
    rooms = Path(desk.__file__).parent.glob("*.py")
    asks = {file.name for file in rooms if re.search(r"database\.(read|write)\(", file.read_text())}
    assert asks == {"room.py", "auth.py", "account.py", "second_factor.py"}
