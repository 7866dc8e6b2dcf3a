"""Connections in the desk, tried against a CRM that really answers."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, update

from config.settings import Settings, load_settings
from integrations.core.registry import no_connector
from leads.desk import forms
from leads.desk.room import existed
from leads.store import outbox
from leads.store.models import Connection, Delivery, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.factory import make_connection, make_site, send
from tests.web.desk import Person, beat, decisions, plain, set_state, signed_in

KEY = "sandbox-key-that-is-right"
WRONG = "sandbox-key-that-is-wrong"
JANE = {"first_name": "Jane", "email": "jane@example.com"}


class _Crm(BaseHTTPRequestHandler):
    """Knows one key and answers nothing else."""

    def do_GET(self) -> None:
        right = self.headers["Authorization"] == f"Bearer {KEY}"
        body = json.dumps({"account": "demo"} if right else {"code": "bad_key"}).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def crm() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Crm)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load_settings({}, database_url=database_url, data_dir=str(tmp_path), allowed_private_hosts="127.0.0.1")


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


def _connection(database: Database, name: str = "Sandbox CRM") -> Connection:
    with database.read() as session:
        return session.scalars(select(Connection).where(Connection.name == name)).one()


def _options(database: Database, vault: Vault, name: str) -> dict[str, str]:
    row = _connection(database, name)
    options: dict[str, str] = vault.open(row.options_sealed, "connection", "options", row.id)
    return options


def _typed(crm: str, key: str = KEY, **more: str) -> dict[str, str]:
    return {"site": "demo", "name": "Main CRM", "option-url": crm, "option-key": key} | more


def test_settings_that_cannot_be_read_any_more_can_be_entered_again(
    anna: Person, database: Database, vault: Vault, crm: str
) -> None:
    connection = _connection(database, "Sandbox CRM")
    path = f"/desk/connections/{connection.id}"
    with database.write() as session:
        damaged = b"\x01" + vault.sealing + bytes(40)
        session.execute(update(Connection).values(options_sealed=damaged, state="failing", code="bad_options"))
    for page in ("", "/options", "/mapping", "/remove"):
        assert "Sandbox CRM" in anna.get(path + page)
    assert "cannot be used any more" in anna.post(f"{path}/test", 200).text
    anna.post(f"{path}/options", **_typed(crm, name="Sandbox CRM"))
    assert _connection(database, "Sandbox CRM").state == "working"


def test_add_a_connection(anna: Person, database: Database, vault: Vault, crm: str) -> None:
    assert "/desk/connections/new/sandbox" in anna.get("/desk/connections/new")
    assert 'type="password"' in anna.get("/desk/connections/new/sandbox")
    answer = anna.post("/desk/connections/new/sandbox", **_typed(crm, unknown_callers="wait"))
    row = _connection(database, "Main CRM")
    assert answer.location == f"/desk/connections/{row.id}"
    assert (row.state, row.unknown_callers) == ("working", "wait")
    assert _options(database, vault, "Main CRM").items() >= {"url": crm, "key": KEY}.items()
    page = anna.get(answer.location)
    assert "“Main CRM” is saved. Tested: everything is as it should be." in plain(page)
    assert KEY not in page
    assert "anna added it" in plain(page)


def test_a_second_one_of_a_kind_is_named_after_its_website(anna: Person, database: Database, crm: str) -> None:
    make_site(database, "other")
    for _ in range(2):
        anna.post("/desk/connections/new/sandbox", **_typed(crm, site="other", name="", anyway="yes"))
    with database.read() as session:
        names = session.scalars(select(Connection.name).order_by(Connection.created_at)).all()
    assert names == ["Sandbox CRM", "Sandbox CRM of Sunrise", "Sandbox CRM of Sunrise (2)"]


def test_the_same_account_twice_at_one_website_is_told_before(anna: Person, database: Database, crm: str) -> None:
    make_site(database, "other")
    anna.post("/desk/connections/new/sandbox", **_typed(crm))
    for same in (crm, f"{crm}/"):
        page = anna.post("/desk/connections/new/sandbox", 422, **_typed(same, name="")).text
        assert "seem to go to this CRM account already, by “Main CRM”: each would stand there twice." in plain(page)
        assert "Save all the same" in page
    anna.post("/desk/connections/new/sandbox", **_typed(crm, name="", site="other"))
    anna.post("/desk/connections/new/sandbox", **_typed(crm, name="Meant so", anyway="yes"))
    assert _connection(database, "Meant so").state == "working"


def test_no_two_connections_get_the_same_name(anna: Person, database: Database, crm: str) -> None:
    taken = "Another connection is called “sandbox crm” already. Choose another name."
    down = "http://127.0.0.1:9"  # a name is looked at before the CRM is asked
    page = anna.post("/desk/connections/new/sandbox", 422, **_typed(down, name=" sandbox crm ")).text
    assert f'href="#name">Name</a>: {taken}' in page
    assert re.search(r'id="name"[^>]* aria-invalid="true"', page)
    anna.post("/desk/connections/new/sandbox", **_typed(crm))
    path = f"/desk/connections/{_connection(database, 'Main CRM').id}"
    assert taken in anna.post(f"{path}/options", 422, **_typed(down, name="sandbox crm")).text
    anna.post(f"{path}/remove")
    anna.post("/desk/connections/new/sandbox", **_typed(crm))  # of one that was removed the name is free again


def test_a_connection_gets_another_name(anna: Person, database: Database, vault: Vault, site: Site, crm: str) -> None:
    path = f"/desk/connections/{_connection(database).id}"
    make_connection(database, vault, site)  # of the same name, from when that was allowed
    for name in ("Sandbox CRM", "Main CRM", "main CRM", ""):
        assert anna.post(f"{path}/options", **_typed(crm, name=name)).location == path
    page = plain(anna.get(path))
    assert "“main CRM” is saved." in page
    assert "anna changed its name, key or options" in page
    assert 'name="name" maxlength="100" value="main CRM"' in anna.get(f"{path}/options")


def test_a_wrong_key_is_told_in_plain_words(anna: Person, database: Database, crm: str) -> None:
    page = anna.post("/desk/connections/new/sandbox", 422, **_typed(crm, WRONG)).text
    assert "The CRM does not accept the key. Enter a new one." in page
    assert "Save all the same" in page
    assert WRONG not in page
    assert "Please type it again: what is secret is never put back into a page." in page
    assert re.search(r'<input id="option-key"[^>]* required', page), "left empty it would be another one that is saved"
    assert f'value="{crm}"' in page
    with database.read() as session:
        assert session.scalars(select(Connection).where(Connection.name == "Main CRM")).all() == []
    anna.post("/desk/connections/new/sandbox", **_typed(crm, WRONG, anyway="yes"))
    row = _connection(database, "Main CRM")
    assert (row.state, row.sentence) == ("failing", "The CRM does not accept the key. Enter a new one.")
    page = anna.get("/desk/")
    told = "It was not right when tested: The CRM does not accept the key. Enter a new one."
    assert re.findall(r'<p class="note" role="status">(.*)</p>', page) == [f"“Main CRM” is saved. {told}"]


def test_to_save_all_the_same_can_be_said_again(anna: Person, crm: str) -> None:
    page = anna.post("/desk/connections/new/sandbox", 422, **_typed(crm, "", anyway="yes")).text
    assert "Save all the same" in page


def test_a_crm_that_is_not_there_is_told_in_plain_words(anna: Person) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    page = anna.post("/desk/connections/new/sandbox", 422, **_typed(address)).text
    assert "The CRM could not be asked: No connection to the CRM" in plain(page)
    assert KEY not in page


def test_what_is_missing_is_told_beside_its_field(anna: Person) -> None:
    page = anna.post("/desk/connections/new/sandbox", 422, **_typed("", KEY)).text
    assert 'href="#option-url">Address</a>: Please fill this in.' in page
    assert re.search(r'id="option-url"[^>]* aria-invalid="true"', page)
    assert KEY not in page
    page = anna.post("/desk/connections/new/sandbox", 422, **_typed("http://127.0.0.1:1", site="none", anyway="yes"))
    assert "There is no site with the key none." in page.text


def test_a_key_of_several_lines_keeps_them(anna: Person) -> None:
    shown = {option.name: option.type for option in forms.draw("salesforce")}
    assert (shown["private_key"], shown["client_secret"]) == ("lines", "password")
    assert '<textarea id="option-private_key"' in anna.get("/desk/connections/new/salesforce")
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    page = anna.post("/desk/connections/new/salesforce", 422, **{"option-private_key": key}).text
    assert key not in page, "a secret comes back into a page"


def test_what_is_wrong_is_told_in_words_of_ours(anna: Person) -> None:
    page = anna.post("/desk/connections/new/sandbox", 422, **_typed("clinic", **{"option-settle": "soon"})).text
    assert "Write the whole address, such as https://crm.example.com." in page
    assert "Write a number." in page
    assert "Not a valid" not in page


def test_only_what_may_stay_empty_is_called_optional(anna: Person) -> None:
    page = anna.get("/desk/connections/new/pipedrive")
    assert re.search(r"API token <span[^>]*>\(optional\)", page)
    assert "Signs in by</label>" in page
    assert "Sign-in address</label>" in page


def test_the_kinds_stand_in_the_order_of_their_names(anna: Person) -> None:
    page = anna.get("/desk/connections/new")
    assert page.index("HubSpot") < page.index("Microsoft Dynamics 365") < page.index("Odoo")
    assert page.index("Zoho CRM") < page.index("For trying out") < page.index("Sandbox CRM")


def test_a_choice_is_told_in_words(anna: Person, database: Database, crm: str) -> None:
    page = anna.get("/desk/connections/new/sandbox")
    assert '<option value="B">B: we look before we send again</option>' in page
    anna.post("/desk/connections/new/sandbox", **_typed(crm, **{"option-tier": "B"}))
    page = plain(anna.get(f"/desk/connections/{_connection(database, 'Main CRM').id}"))
    assert "What keeps people from being there twice B: we look before we send again" in page


def test_there_is_no_such_kind_or_connection(anna: Person) -> None:
    anna.get("/desk/connections/new/nothing", 404)
    anna.get("/desk/connections/01890000-0000-7000-8000-000000000000", 404)


def test_replace_the_key_and_keep_what_was_left_empty(anna: Person, database: Database, vault: Vault, crm: str) -> None:
    anna.post("/desk/connections/new/sandbox", **_typed("http://127.0.0.1:1", anyway="yes"))
    path = f"/desk/connections/{_connection(database, 'Main CRM').id}"
    form = anna.get(f"{path}/options")
    assert 'value="http://127.0.0.1:1"' in form
    assert KEY not in form
    assert "Leave it empty to keep the one you have." in form
    anna.post(f"{path}/options", **{"option-url": crm, "option-key": ""})
    assert _options(database, vault, "Main CRM").items() >= {"url": crm, "key": KEY}.items()
    page = anna.post(f"{path}/options", 422, **{"option-url": crm, "option-key": WRONG}).text
    assert "does not accept the key" in page
    assert WRONG not in page
    assert "Leave it empty" not in page, "it would keep the key from before, and look as if the new one were saved"
    anna.post(f"{path}/options", **{"option-url": crm, "option-key": WRONG, "anyway": "yes"})
    assert _options(database, vault, "Main CRM")["key"] == WRONG
    assert "does not accept the key" in anna.post(f"{path}/test", 200).text


def test_what_a_colleague_removed_meanwhile_is_told(
    anna: Person, database: Database, crm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna.post("/desk/connections/new/sandbox", **_typed(crm))
    path = f"/desk/connections/{_connection(database, 'Main CRM').id}"
    anna.post(f"{path}/remove")
    monkeypatch.setattr("leads.desk.connections.existing", existed)  # as if it had been looked up a moment before
    assert anna.post(f"{path}/pause").location == "/desk/connections"
    assert "This connection was removed meanwhile." in anna.get("/desk/connections")


def test_an_option_that_is_no_secret_can_be_emptied(anna: Person, database: Database, vault: Vault, crm: str) -> None:
    anna.post("/desk/connections/new/sandbox", **_typed(crm, **{"option-settle": "7"}))
    assert _options(database, vault, "Main CRM")["settle"] == 7
    path = f"/desk/connections/{_connection(database, 'Main CRM').id}"
    anna.post(f"{path}/options", **{"option-url": crm, "option-key": "", "option-settle": ""})
    assert _options(database, vault, "Main CRM")["settle"] == 0
    assert _options(database, vault, "Main CRM")["key"] == KEY


def test_a_secret_that_is_not_needed_can_be_removed(anna: Person, database: Database, vault: Vault) -> None:
    new, old = ("whsec_" + base64.b64encode(text * 32).decode() for text in (b"n", b"o"))
    hook = {"option-url": "http://127.0.0.1:1/", "option-secret": new, "anyway": "yes"}
    anna.post("/desk/connections/new/webhook", site="demo", name="Main CRM", **hook)
    path = f"/desk/connections/{_connection(database, 'Main CRM').id}/options"
    assert "remove the one you have" not in anna.get(path)
    anna.post(path, **hook, **{"option-previous_secret": old})
    assert _options(database, vault, "Main CRM")["previous_secret"] == old
    page = anna.get(path)
    assert 'name="remove-previous_secret"' in page
    assert 'name="remove-secret"' not in page
    anna.post(path, **hook, **{"option-previous_secret": ""})
    assert _options(database, vault, "Main CRM")["previous_secret"] == old
    anna.post(path, **hook, **{"option-previous_secret": "", "remove-previous_secret": "yes"})
    assert "previous_secret" not in _options(database, vault, "Main CRM")
    assert _options(database, vault, "Main CRM")["secret"] == new


def test_unknown_callers_and_the_pace_can_be_changed(anna: Person, database: Database, crm: str) -> None:
    anna.post("/desk/connections/new/sandbox", **_typed(crm, pace="2.5"))
    row = _connection(database, "Main CRM")
    assert (row.unknown_callers, row.pace) == ("record", 2.5)
    path = f"/desk/connections/{row.id}"
    same = {"option-url": crm, "option-key": ""}
    for typed in ("0", "quick", "nan", "1e9"):
        page = anna.post(f"{path}/options", 422, **same, pace=typed, unknown_callers="wait").text
        assert f'value="{typed}"' in page
        assert 'href="#pace"' in page
        assert "Write a number of calls a second" in plain(page)
    assert _connection(database, "Main CRM").unknown_callers == "record"
    assert 'value="2.5"' in anna.get(f"{path}/options")
    anna.post(f"{path}/options", **same, pace="4", unknown_callers="wait")
    row = _connection(database, "Main CRM")
    assert (row.unknown_callers, row.pace) == ("wait", 4)
    page = plain(anna.get(path))
    assert "Unknown callers wait until they are known" in page
    told = "Unknown callers now wait until they are known. The pace is now at most 4 calls a second."
    assert f"anna changed its name, key or options. {told}" in page
    anna.post(f"{path}/options", **same)
    row = _connection(database, "Main CRM")
    assert (row.unknown_callers, row.pace) == ("wait", 4), "what a form does not ask stays"
    anna.post(f"{path}/options", **same, pace="")
    assert _connection(database, "Main CRM").pace is None, "the sandbox has no pace of its own"


def test_a_form_that_was_opened_before_undoes_nothing(anna: Person, database: Database, vault: Vault, crm: str) -> None:
    anna.post("/desk/connections/new/sandbox", **_typed(crm, pace="2.5", unknown_callers="wait"))
    path = f"/desk/connections/{_connection(database, 'Main CRM').id}/options"
    opened = dict(re.findall(r'name="(mark)" value="([^"]+)"', anna.get(path)))
    typed = {"option-url": crm, "option-key": "", "unknown_callers": "wait"}
    page = anna.post(path, 422, **typed, **opened, name="Main CRM", pace="quick").text
    assert dict(re.findall(r'name="(mark)" value="([^"]+)"', page)) == opened, "it is still that page"
    anna.post(path, **typed, **opened, name="Main CRM", pace="4")  # a colleague
    assert anna.post(path, **typed, **opened, name="CRM", pace="2.5").location == path
    assert "it has been changed meanwhile" in anna.get(path)
    row = _connection(database, "Main CRM")
    assert (row.pace, _options(database, vault, "Main CRM")["key"]) == (4, KEY)
    anna.post(path, **typed, **dict(re.findall(r'name="(mark)" value="([^"]+)"', anna.get(path))), name="CRM", pace="4")
    assert _connection(database, "CRM").pace == 4


def test_test_a_connection(anna: Person, database: Database, crm: str) -> None:
    anna.post("/desk/connections/new/sandbox", **_typed(crm))
    path = f"/desk/connections/{_connection(database, 'Main CRM').id}"
    assert "answers and accepts the key" in anna.post(f"{path}/test", 200).text
    assert anna.client.get(f"{path}/test").location == path  # opened again, from the history


@pytest.mark.parametrize("state", ["failing", "paused"])
def test_one_that_a_fault_had_stopped_is_tried_once_its_test_finds_all_well(
    anna: Person, database: Database, vault: Vault, site: Site, crm: str, state: str
) -> None:
    anna.post("/desk/connections/new/sandbox", **_typed(crm))
    row, told = _connection(database, "Main CRM"), "The CRM does not accept the key."
    path = f"/desk/connections/{row.id}"
    event = send(database, vault, site, **JANE)
    with database.write() as session:
        later = database.now(session) + timedelta(minutes=5)
        here = update(Connection).where(Connection.id == row.id)
        session.execute(here.values(state=state, code="bad_key", sentence=told, probe_at=later, probes=3))
        session.execute(update(Delivery).where(Delivery.event_id == event.event_id).values(due_at=later))
    page = plain(anna.post(f"{path}/test", 200).text)
    assert "answers and accepts the key" in page
    assert ("Being tried now" in page) == (state == "failing")
    assert ("So it is tried again now" in page) == (state == "failing")
    assert "Has a problem" not in page
    assert ("anna started it again" in page) == (state == "failing")
    with database.read() as session:
        here = (Delivery.event_id == event.event_id, Delivery.connection_id == row.id)
        due = session.scalars(select(Delivery.due_at).where(*here)).one()
    assert (due < later) == (state == "failing")
    assert _connection(database, "Main CRM").state == state
    assert "So it is tried again now" not in plain(anna.get(path))


def test_one_whose_test_finds_a_fault_is_not_tried(anna: Person, database: Database, crm: str) -> None:
    anna.post("/desk/connections/new/sandbox", **_typed(crm, key=WRONG, anyway="yes"))
    row = _connection(database, "Main CRM")
    with database.write() as session:
        later = database.now(session) + timedelta(minutes=5)
        session.execute(update(Connection).where(Connection.id == row.id).values(probe_at=later))
    anna.post(f"/desk/connections/{row.id}/test", 200)
    assert _connection(database, "Main CRM").probe_at == later


def test_what_is_left_of_the_days_calls_is_shown(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    page = f"/desk/connections/{_connection(database).id}"
    assert "Daily limit" not in anna.get(page)
    with database.write() as session:
        session.execute(update(Connection).values(quota_left=12300, quota_of=15000, quota_at=database.now(session)))
    assert "Daily limit 12,300 of 15,000 calls left today" in plain(anna.get(page))


def test_pause_and_start_again(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    path = f"/desk/connections/{_connection(database).id}"
    event = send(database, vault, site, **JANE)
    anna.post(f"{path}/pause")
    assert _state_of(database, event.event_id) == "held"
    assert "Paused by staff" in anna.get(path)
    assert anna.post(f"{path}/resume", back="home").location == "/desk/"
    assert _state_of(database, event.event_id) == "waiting"
    assert "anna started it again" in plain(anna.get(path))


def test_remove_a_connection(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    row = _connection(database)
    event = send(database, vault, site, **JANE)
    path = f"/desk/connections/{row.id}"
    assert "1 enquiry that did not arrive stays here" in plain(anna.get(f"{path}/remove"))
    assert anna.post(f"{path}/remove").location == "/desk/connections"
    assert _options(database, vault, row.name) == {}
    assert _state_of(database, event.event_id) == "held"
    assert "No CRM is connected yet" in anna.get("/desk/connections")
    with database.read() as session:
        assert [action.what for action in session.scalars(decisions())] == ["connection_removed"]


def test_an_old_link_to_a_removed_connection_tells_what_became_of_it_and_leads_to_the_present_one(
    anna: Person, app: Flask, database: Database, vault: Vault, site: Site
) -> None:
    old = _connection(database)
    path = f"/desk/connections/{old.id}"
    for number, state in enumerate(("confirmed", "confirmed", "handled", "waiting", "sending", "waiting")):
        held = {"suspicion": "trap"} if number == 5 else {}
        event = send(database, vault, site, email=f"jane{number}@example.com", **held)
        set_state(database, event.event_id, state) if not held else None
    anna.post(f"{path}/remove")
    page = plain(anna.get(path))
    assert re.search(r"– Removed It was removed today, [\d:]+ \w+ by anna, and its key forgotten\.", page)
    assert "In the CRM 2 Not sent for now 1 Need you 2 Taken care of 1" in page
    assert "Show who needs you Show what looks like spam" in page
    assert "Nowhere: no CRM is connected." in page
    assert "Connect a CRM" in page
    new = make_connection(database, vault, site, name="New CRM")
    make_connection(database, vault, make_site(database, "other"), name="Of another website")
    outbox.take_over(database, new.id)
    sam = signed_in(app, database, "sam", "staff")
    page = sam.get(path)
    assert "In the CRM 2 Need you 1 Taken care of 1 Handed over 2" in plain(page)
    assert f'<a href="/desk/connections/{new.id}">New CRM</a>' in page
    assert "Of another website" not in page
    assert ("sandbox-key" in page, "http://127.0.0.1:1" in page) == (False, False)


def test_what_was_removed_meanwhile_is_said_whatever_was_to_be_done_with_it(anna: Person, database: Database) -> None:
    path = f"/desk/connections/{_connection(database).id}"
    anna.post(f"{path}/remove")
    for page in ("options", "mapping", "dry-run", "test", "remove"):
        assert anna.client.get(f"{path}/{page}").location == path
    for button in ("pause", "resume", "test", "check-all", "remove", "options"):
        assert anna.post(f"{path}/{button}").location == path
    with database.read() as session:
        assert [action.what for action in session.scalars(decisions())] == ["connection_removed"]


def test_staff_see_how_connections_are_and_nothing_to_press(
    app: Flask, database: Database, vault: Vault, site: Site
) -> None:
    sam = signed_in(app, database, "sam", "staff")
    set_state(database, send(database, vault, site, **JANE).event_id, "confirmed")
    assert "Sandbox CRM" in sam.get("/desk/connections")
    page = sam.get(f"/desk/connections/{_connection(database).id}")
    assert "In the CRM 1" in plain(page)
    assert re.findall(r"<button[^>]*>([^<]+)</button>", page) == ["Sign out"]


def _state_of(database: Database, event_id: UUID) -> str:
    with database.read() as session:
        return session.scalars(select(Delivery.state).where(Delivery.event_id == event_id)).one()


def test_a_connection_whose_connector_is_no_longer_there_is_still_listed(anna: Person, database: Database) -> None:
    connection = _connection(database)
    with database.write() as session:
        session.execute(update(Connection).values(kind="former"))
    for page in ("/desk/", "/desk/connections", f"/desk/connections/{connection.id}"):
        assert connection.name in anna.get(page)
    assert "former" in plain(anna.get("/desk/connections"))
    path = f"/desk/connections/{connection.id}"
    assert "Test" not in plain(anna.get(path))
    failing = {"state": "failing", "code": "no_connector", "sentence": no_connector("former")}
    with database.write() as session:
        session.execute(update(Connection).values(failing))
    beat(database)
    assert "the CRM “Sandbox CRM” has no connector here any more. Whoever looks after" in plain(anna.get("/desk/"))
    assert "no connector for its kind, “former”, any more." in plain(anna.get(path))
    for page in ("options", "mapping"):
        assert "There is no such page" in anna.get(f"{path}/{page}", 404)
    anna.post(f"{path}/test", 404)
    anna.post(f"{path}/remove")
    assert "former" not in anna.get("/desk/connections")
