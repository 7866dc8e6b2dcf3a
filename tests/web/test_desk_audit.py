"""Who did what: what is written down, what is not, and how it is told."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, update

from leads.audit import GROUPS
from leads.desk import words
from leads.desk.throttle import FailureNotes
from leads.store.models import ACTION_KINDS, Action, Site, new_id
from leads.store.retention import delete_leads
from leads.store.session import Database
from leads.store.space import NoRoomError
from leads.store.staff import note_view, record
from leads.store.vault import Vault
from tests.factory import make_unreadable, send
from tests.statements import statements
from tests.web.desk import Person, lead_of, make_user, plain, set_state, signed_in


def _done(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        return [(row.user_name, row.what) for row in session.scalars(select(Action).order_by(Action.at, Action.id))]


def test_each_kind_has_its_sentence() -> None:
    told = [what for group in GROUPS.values() for what in group.sentences]
    assert sorted(told) == sorted(ACTION_KINDS)
    assert set(words.ACTIONS) <= set(ACTION_KINDS)


def test_what_has_no_sentence_cannot_be_written_down(database: Database) -> None:
    with database.write() as session, pytest.raises(ValueError, match="no such kind"):
        record(session, "anna", "dance", database.now(session))


def test_signing_in_and_out_is_written_down(app: Flask, database: Database) -> None:
    signed_in(app, database).post("/desk/sign-out")
    assert _done(database) == [("anna", "signed_in"), ("anna", "signed_out")]


def test_a_wrong_password_is_written_down_once_an_hour_and_never_what_was_typed(
    app: Flask, database: Database, vault: Vault
) -> None:
    make_user(database)
    for name in ("anna", "Anna", "correct horse", "battery staple"):
        Person(app, "203.0.113.9").sign_in(name, "guess", 401)
    Person(app, "203.0.113.10").sign_in("anna", "guess", 401)
    assert _done(database) == [("anna", "sign_in_failed"), ("somebody", "sign_in_unknown"), ("anna", "sign_in_failed")]
    with database.read() as session:
        row = session.scalars(select(Action).order_by(Action.at).limit(1)).one()
    assert row.note_sealed
    assert vault.open(row.note_sealed, "action", "note", row.id) == "203.0.113.9"


def test_guesses_from_everywhere_do_not_fill_the_database() -> None:
    notes = FailureNotes(most=3)
    assert [notes.is_news("anna", f"198.51.100.{number}") for number in range(5)] == [True] * 3 + [False] * 2


def test_opening_a_lead_is_written_down_once_an_hour_for_each_person(
    app: Flask, database: Database, vault: Vault, site: Site
) -> None:
    first, other = (
        lead_of(database, send(database, vault, site, email=f"{name}@example.com").event_id) for name in "ab"
    )
    anna, sam = signed_in(app, database), signed_in(app, database, "sam", "staff")
    for person in (anna, anna, sam):
        person.get(f"/desk/leads/{first}")
        person.get(f"/desk/leads/{first}/live")
    anna.get(f"/desk/leads/{other}")
    anna.get("/desk/leads")
    views = [("anna", "viewed"), ("sam", "viewed"), ("anna", "viewed")]
    assert _done(database)[2:] == views
    with database.write() as session:
        session.execute(update(Action).values(at=database.now(session) - timedelta(minutes=61)))
    anna.get(f"/desk/leads/{first}")
    assert _done(database).count(("anna", "viewed")) == 3


def test_no_page_with_the_details_of_a_lead_is_read_without_a_note(
    app: Flask, database: Database, vault: Vault, site: Site
) -> None:
    lead = lead_of(database, send(database, vault, site, email="a@example.com").event_id)
    for name, part in (("anna", "live"), ("ben", "erase")):
        person = signed_in(app, database, name)
        for _ in range(2):
            assert "a@example.com" in person.get(f"/desk/leads/{lead}/{part}")
        assert _done(database).count((name, "viewed")) == 1
    with database.write() as session:
        session.execute(update(Action).values(at=database.now(session) - timedelta(hours=8)))
    person.get(f"/desk/leads/{lead}/live")
    assert _done(database).count(("ben", "viewed")) == 1, "a page that was left open is no new look"


@pytest.mark.parametrize("path", ["consent", "put-aside", "unreadable"])
def test_a_list_with_details_is_read_with_a_note_where_it_holds_any(
    app: Flask, database: Database, vault: Vault, site: Site, path: str
) -> None:
    what = {"consent": "unasked_viewed", "put-aside": "suspected_viewed"}.get(path, "unreadable_viewed")
    anna = signed_in(app, database)
    anna.get(f"/desk/{path}")
    assert ("anna", what) not in _done(database), "there was nothing to see"
    send(database, vault, site, email="a@example.com", consent=False)
    send(database, vault, site, email="b@example.com", suspicion="Too quick.")
    row_id = new_id()
    make_unreadable(database, site, id=row_id, body_sealed=_sealed(vault, row_id))
    for _ in range(2):
        anna.get(f"/desk/{path}")
    assert _done(database).count(("anna", what)) == 1


def _sealed(vault: Vault, row_id: UUID) -> bytes:
    return vault.seal({"text": "name=Jane", "content_type": ""}, "unreadable", "body", row_id)


def test_a_second_look_costs_one_question(app: Flask, database: Database, vault: Vault, site: Site) -> None:
    lead = lead_of(database, send(database, vault, site).event_id)
    now = database.time()
    note_view(database, "anna", lead, now)
    with statements(database) as sent:
        note_view(database, "anna", lead, now)
    assert len(sent) == 1


def test_a_lead_can_be_looked_at_when_nothing_can_be_written(
    app: Flask, database: Database, vault: Vault, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = lead_of(database, send(database, vault, site, email="jane@example.com").event_id)
    anna = signed_in(app, database)

    def full(_: Database) -> None:
        raise NoRoomError("full")

    monkeypatch.setattr(Database, "write", full)
    assert "jane@example.com" in anna.get(f"/desk/leads/{lead}")


def test_who_looked_goes_with_the_lead(app: Flask, database: Database, vault: Vault, site: Site) -> None:
    lead = lead_of(database, send(database, vault, site).event_id)
    signed_in(app, database).get(f"/desk/leads/{lead}")
    with database.write() as session:
        delete_leads(session, [lead])
    assert _done(database) == [("anna", "signed_in")]


def test_the_page_tells_it_newest_first_without_a_visitors_details(
    app: Flask, database: Database, vault: Vault, site: Site
) -> None:
    event_id = send(database, vault, site, first_name="Jane", last_name="Doe", email="jane@example.com").event_id
    lead, delivery = lead_of(database, event_id), set_state(database, event_id, "refused")
    anna = signed_in(app, database)
    code = anna.get(f"/desk/leads/{lead}").split('class="code">')[1].split("<")[0]
    anna.post(f"/desk/deliveries/{delivery}/handled")
    anna.post("/desk/users", 200, name="nora", role="staff")
    page = plain(anna.get("/desk/actions"))
    told = [
        "anna added the user nora.",
        f"anna took care of the enquiry {code}.",
        f"anna looked at the enquiry {code}.",
        "anna signed in.",
    ]
    assert sorted(told, key=page.index) == told
    for personal in ("Jane", "jane@example.com", "Doe"):
        assert personal not in page


def test_the_page_is_filtered_and_paged(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    with database.write() as session:
        now = database.now(session)
        for number in range(60):
            record(session, f"user{number:02}", "signed_out", now - timedelta(minutes=number + 1))
    first = anna.get("/desk/actions?group=sign_ins")
    assert ("user48" in first, "user49" in first) == (True, False)
    older = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    rest = anna.get(older)
    assert ("user48" in rest, "user49" in rest, "user59" in rest) == (False, True, True)
    assert 'rel="next"' not in rest
    assert "user07 signed out." in plain(anna.get("/desk/actions?who=User07"))
    assert "Nothing fits" in anna.get("/desk/actions?who=user07&group=connections")


def test_it_is_for_admins(app: Flask, database: Database) -> None:
    assert "Only for admins" in signed_in(app, database, "sam", "staff").get("/desk/actions", 403)
