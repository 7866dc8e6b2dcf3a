"""Signing in at a CRM from the desk: the way there, the way back, and everybody who must not get through."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select, update

from config.settings import Settings, load_settings
from integrations.core.registry import kinds
from leads.store.models import Connection, Delivery, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.options import load_options, needs_person
from leads.sync.setup import Setup
from tests.contract.connection import FIXTURES, connection_of, signs_in
from tests.factory import send
from tests.pretend.oauth import CLIENT_ID, CLIENT_SECRET, PretendSignIn, register
from tests.pretend.server import Reply
from tests.web.desk import Person, beat, decisions, make_user, plain, signed_in

PUBLIC = "https://frontdesk.clinic.example"
BACK = f"{PUBLIC}/desk/oauth/callback"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    more = {"data_dir": str(tmp_path), "public_url": PUBLIC, "allowed_private_hosts": "127.0.0.1"}
    return load_settings({}, database_url=database_url, **more)


@pytest.fixture
def crm(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendSignIn]:
    register(monkeypatch)
    with PretendSignIn(BACK) as server:
        assert isinstance(server, PretendSignIn)
        yield server


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config["SESSION_COOKIE_SECURE"] = False  # the test's browser speaks plain http
    return app


@pytest.fixture
def anna(app: Flask, database: Database, crm: PretendSignIn) -> Person:
    return signed_in(app, database)


def _row(database: Database) -> Connection:
    with database.read() as session:
        return session.scalars(select(Connection).where(Connection.kind == "tiny")).one()


def _add(person: Person, crm: PretendSignIn) -> str:
    """Returns the page that leads to the CRM."""
    options = {"option-url": crm.url, "option-client_id": CLIENT_ID, "option-client_secret": CLIENT_SECRET}
    more = {"site": "demo", "name": "Tiny", "option-way": "person"}
    return person.post("/desk/connections/new/tiny", 200, **more, **options).text


def _address(page: str) -> str:
    """Where this page takes the browser by itself."""
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page)
    assert found is not None
    return html.unescape(found[1])


def _back(address: str) -> str:
    """What the browser asks of us when the CRM sends it back."""
    parts = urlsplit(address)
    assert f"{parts.scheme}://{parts.netloc}" == PUBLIC
    return f"{parts.path}?{parts.query}"


def _path(database: Database) -> str:
    return f"/desk/connections/{_row(database).id}"


def test_add_and_sign_in(anna: Person, database: Database, crm: PretendSignIn) -> None:
    assert BACK in anna.get("/desk/connections/new/tiny")
    assert BACK not in anna.get("/desk/connections/new/sandbox")
    there = _address(_add(anna, crm))
    page = anna.get(_path(database))
    assert "Nobody has signed in yet." in plain(page)
    assert BACK in page
    answer = anna.client.get(_back(crm.allow(there)))
    assert (answer.status_code, answer.location) == (303, _path(database))
    page = anna.get(_path(database))
    assert "Signed in for “Tiny”. Tested: everything is as it should be." in plain(page)
    assert "Signed in; the sign-in ends in 59 days." in plain(page)
    assert "anna signed in at the CRM" in plain(page)
    assert "The sign-in ends in 59 days." in plain(anna.get("/desk/connections"))
    assert _row(database).state == "working"
    assert not [secret for secret in [*crm.given, CLIENT_SECRET] if secret in page]


def test_the_way_there_leaks_nothing(anna: Person, database: Database, crm: PretendSignIn) -> None:
    page = _add(anna, crm)
    assert CLIENT_SECRET not in page
    with anna.client.session_transaction("/desk/") as session:
        verifier = session["crm_sign_in"]["verifier"]
    assert verifier not in page
    assert len(verifier) >= 43


def test_a_page_comes_back_only_once(anna: Person, database: Database, crm: PretendSignIn) -> None:
    back = _back(crm.allow(_address(_add(anna, crm))))
    anna.client.get(back)
    assert "Nothing was changed" in anna.get(back, 400)
    assert crm.grants == ["authorization_code"]


@pytest.mark.parametrize("state", ["", "wrong", "wr\u00f6ng", None])
def test_another_state_is_refused_and_the_right_one_still_works(
    anna: Person, database: Database, crm: PretendSignIn, state: str | None
) -> None:
    back = _back(crm.allow(_address(_add(anna, crm))))
    code = back.partition("code=")[2].partition("&")[0]
    wrong = anna.client.get("/desk/oauth/callback", query_string={"code": code} | ({"state": state} if state else {}))
    assert wrong.status_code == 400
    assert "not a sign-in that you began here" in plain(wrong.text)
    assert _row(database).tokens_sealed is None
    assert anna.client.get(back).status_code == 303


def test_ten_minutes_are_enough(anna: Person, database: Database, crm: PretendSignIn) -> None:
    back = _back(crm.allow(_address(_add(anna, crm))))
    with time_machine.travel(timedelta(minutes=10, seconds=1)):
        assert "last ten minutes" in anna.get(back, 400)
    assert crm.grants == []


def test_nobody_finishes_what_another_one_began(
    app: Flask, anna: Person, database: Database, crm: PretendSignIn
) -> None:
    back = _back(crm.allow(_address(_add(anna, crm))))
    stranger = Person(app)
    assert stranger.client.get(back).location.startswith("/desk/sign-in?next=")
    bert = signed_in(app, database, "bert")
    assert "not a sign-in that you began here" in plain(bert.get(back, 400))
    with anna.client.session_transaction("/desk/") as session:
        begun = dict(session["crm_sign_in"])
    with bert.client.session_transaction("/desk/") as session:
        session["crm_sign_in"] = begun
    bert.get(back, 400)
    anna.post("/desk/sign-out")
    make_user(database, "carl")
    anna.sign_in("carl")
    anna.get(back, 400)
    assert crm.grants == []


def test_staff_may_not_sign_in_there(app: Flask, anna: Person, database: Database, crm: PretendSignIn) -> None:
    _add(anna, crm)
    sam = signed_in(app, database, "sam", "staff")
    assert "Only for admins" in sam.post(f"{_path(database)}/sign-in", 403).text
    sam.get("/desk/oauth/callback?state=x&code=y", 403)
    page = sam.get(_path(database))
    assert "Ask an admin of this desk to sign in." in page
    assert re.findall(r"<button[^>]*>([^<]+)</button>", page) == ["Sign out"]


def _again(anna: Person, database: Database) -> str:
    return _address(anna.post(f"{_path(database)}/sign-in", 200).text)


def test_who_says_no_changes_nothing(anna: Person, database: Database, crm: PretendSignIn) -> None:
    _add(anna, crm)
    page = anna.get(_back(crm.deny(_again(anna, database))), 400)
    assert "The CRM was told not to let Frontdesk in." in page
    assert "Back to Tiny" in page
    back = _back(crm.deny(_again(anna, database)))
    assert "It says: invalid_scope." in anna.get(back.replace("access_denied", "invalid_scope"), 400)
    back = _back(crm.deny(_again(anna, database)))
    page = anna.get(back.replace("access_denied", "%3Cb%3Ecall%20+1%20555"), 400)
    assert "It says" not in page
    back = _back(crm.allow(_again(anna, database)))
    assert "without what we need" in anna.get(re.sub(r"code=[^&]+", "code=", back), 400)
    assert _row(database).tokens_sealed is None


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(400, {"error": "invalid_grant"}), "no longer accepts this sign-in"),
        (Reply(401, {"error": "invalid_client"}), "does not accept the client secret"),
        (Reply(500), "is not working just now"),
        (Reply(200, b"<html>"), "without a token"),
    ],
)
def test_what_the_crm_says_of_the_code_is_told(
    anna: Person, database: Database, crm: PretendSignIn, reply: Reply, told: str
) -> None:
    crm.told_wrong = [reply]
    back = _back(crm.allow(_address(_add(anna, crm))))
    assert told in plain(anna.get(back, 400))
    assert _row(database).code == "signed_out"


def test_the_code_is_bound_to_who_asked_for_it(anna: Person, database: Database, crm: PretendSignIn) -> None:
    """A code stolen on its way is of no use with another verifier (PKCE)."""
    stolen = _back(crm.allow(_address(_add(anna, crm)))).partition("code=")[2].partition("&")[0]
    mine = _back(crm.allow(_again(anna, database)))
    assert "no longer accepts" in plain(anna.get(re.sub(r"code=[^&]+", f"code={stolen}", mine), 400))


def test_what_is_wrong_there_is_told_after_the_sign_in(anna: Person, database: Database, crm: PretendSignIn) -> None:
    there = _address(_add(anna, crm))
    crm.life = 0.001
    anna.client.get(_back(crm.allow(there)))
    page = plain(anna.get(_path(database)))
    assert "Tested: not all is as it should be." in page
    assert "The CRM does not accept the key." in page


def test_a_connection_that_staff_paused_stays_so(anna: Person, database: Database, crm: PretendSignIn) -> None:
    _add(anna, crm)
    anna.post(f"{_path(database)}/pause")
    anna.client.get(_back(crm.allow(_again(anna, database))))
    assert (_row(database).state, _row(database).tokens_sealed is not None) == ("paused", True)


def test_a_connection_that_is_gone(anna: Person, database: Database, crm: PretendSignIn) -> None:
    back = _back(crm.allow(_address(_add(anna, crm))))
    path = _path(database)
    anna.post(f"{path}/remove")
    assert anna.client.get(back).location == path
    assert anna.post(f"{path}/sign-in").location == path
    assert "Removed" in anna.get(path)


def test_staff_are_told_whom_to_tell_whatever_is_wrong(
    anna: Person, app: Flask, database: Database, crm: PretendSignIn
) -> None:
    anna.client.get(_back(crm.allow(_address(_add(anna, crm)))))
    sam = signed_in(app, database, "sam", "staff")
    for code, told in (("signed_out", "Ask an admin of this desk to sign in."), ("forbidden", "please tell one.")):
        with database.write() as session:
            session.execute(update(Connection).values(state="failing", code=code, sentence="Give it more rights."))
        assert told in plain(sam.get(_path(database))), code


def test_one_button_signs_in_again(
    anna: Person, database: Database, vault: Vault, site: Site, crm: PretendSignIn
) -> None:
    anna.client.get(_back(crm.allow(_address(_add(anna, crm)))))
    event = send(database, vault, site, email="jane@example.com").event_id
    with database.write() as session:
        session.execute(
            update(Connection).where(Connection.kind == "tiny").values(state="failing", code="signed_out", sentence="x")
        )
    crm.end_sign_in()
    page = anna.get(_path(database))
    assert "Sign in again" in page
    anna.client.get(_back(crm.allow(_again(anna, database))))
    assert _row(database).state == "working"
    with database.read() as session:
        here = (Delivery.event_id == event, Delivery.connection_id == _row(database).id)
        assert session.scalars(select(Delivery.state).where(*here)).one() == "waiting"
        done = [action.what for action in session.scalars(decisions())]
    assert done == ["connection_added", "connection_signed_in", "connection_signed_in"]


def test_where_a_person_is_needed_nobody_is_told_that_we_keep_trying(
    anna: Person, database: Database, vault: Vault, site: Site, crm: PretendSignIn
) -> None:
    beat(database)
    _add(anna, crm)
    page = plain(anna.get("/desk/"))
    assert "An admin has to sign in at the CRM." in page
    assert "trying" not in page
    assert "next try" not in page
    send(database, vault, site, email="jane@example.com")
    page = plain(anna.get("/desk/"))
    assert "Nothing is lost. An admin has to sign in at the CRM." in page
    assert "by ourselves" not in page


def test_the_secret_may_be_replaced_and_another_app_needs_a_sign_in(
    anna: Person, database: Database, crm: PretendSignIn
) -> None:
    anna.client.get(_back(crm.allow(_address(_add(anna, crm)))))
    typed: dict[str, Any] = {"option-url": crm.url, "option-client_id": CLIENT_ID, "option-way": "person"}
    crm.secret = "canary-new-secret"
    wrong = anna.post(f"{_path(database)}/options", 422, **typed, **{"option-client_secret": "canary-typo"}).text
    assert "does not accept the client secret" in plain(wrong)
    assert "canary-typo" not in wrong
    anna.post(f"{_path(database)}/options", **typed, **{"option-client_secret": crm.secret})
    assert "Signed in;" in plain(anna.get(_path(database)))
    anna.post(f"{_path(database)}/options", **(typed | {"option-client_id": "another"}))
    page = plain(anna.get(_path(database)))
    assert "One step is left: somebody has to sign in at the CRM." in page
    assert "Nobody has signed in yet." in page


def test_a_program_that_is_let_in_no_longer_is_told_why(anna: Person, database: Database) -> None:
    with database.write() as session:
        told = {"state": "failing", "code": "signed_out", "sentence": "The app was taken out of the CRM."}
        found = update(Connection).where(Connection.kind == "sandbox").values(**told).returning(Connection.id)
        path = f"/desk/connections/{session.scalars(found).one()}"
    assert told["sentence"] in plain(anna.get(path))


def _signed_in_to(kind: str) -> dict[str, Any]:
    """Options by which somebody signs in there."""
    more = json.loads((FIXTURES / kind / "expired_token.json").read_text()).get("settings", {})
    return load_options(kind, {**connection_of(kind)["settings"], **more})


@pytest.mark.parametrize("kind", [kind for kind in kinds() if signs_in(kinds()[kind])])
def test_the_redirect_address_is_shown_where_somebody_may_have_to_sign_in(anna: Person, kind: str) -> None:
    form = anna.get(f"/desk/connections/new/{kind}")
    assert (BACK in form) is needs_person(kind, _signed_in_to(kind))


@pytest.mark.parametrize(
    "kind", [kind for kind in kinds() if signs_in(kinds()[kind]) and needs_person(kind, _signed_in_to(kind))]
)
def test_a_connection_can_be_seen_before_anybody_has_signed_in(
    anna: Person, database: Database, vault: Vault, site: Site, kind: str
) -> None:
    row = Setup(database, vault, Limits(60, 1), by="anna").create(site.key, kind, "", _signed_in_to(kind))
    send(database, vault, site, email="jane@example.com")
    path = f"/desk/connections/{row.id}"
    assert "Nobody has signed in" in plain(anna.post(f"{path}/test", 200).text)
    for page in ("", "/mapping", "/dry-run"):
        anna.get(f"{path}{page}")


def test_a_connection_with_a_key_has_nothing_to_sign_in(anna: Person, database: Database) -> None:
    with database.read() as session:
        path = f"/desk/connections/{session.scalars(select(Connection.id).where(Connection.kind == 'sandbox')).one()}"
    assert "Signing in" not in anna.get(path)
    assert "Nobody has to sign in at the CRM for this connection." in anna.post(f"{path}/sign-in", 400).text
