"""Changing on the desk what goes into a CRM, and a dry run, against a sandbox CRM that really answers."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from markupsafe import escape
from sqlalchemy import select, update

from config.settings import Settings, load_settings
from leads.store.models import Connection, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.plan import default_plan
from tests.factory import make_connection, make_site, send
from tests.sandbox import Sandbox, sandbox
from tests.web.desk import Person, decisions, plain, signed_in

JANE = {"first_name": "Jane", "last_name": "Doe", "email": "jane@example.com", "phone": "+12015550123"}
SECRETS = ("Jane", "Doe", "jane@example.com", "+12015550123", "My tooth")
RULES = [
    {"to": "email", "from": "email", "write": "when_empty"},
    {"to": "lead_source", "value": "website", "write": "always"},
]


@pytest.fixture(scope="module")
def crm() -> Iterator[Sandbox]:
    with sandbox() as crm:
        yield crm


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load_settings({}, database_url=database_url, data_dir=str(tmp_path), allowed_private_hosts="127.0.0.1")


@pytest.fixture
def site(database: Database, vault: Vault, crm: Sandbox) -> Site:
    site = make_site(database)
    make_connection(database, vault, site, crm.options, mapping=RULES)
    return site


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


@pytest.fixture
def here(database: Database, site: Site) -> str:
    """The path of the connection's page."""
    return f"/desk/connections/{_row(database).id}"


def _row(database: Database) -> Connection:
    with database.read() as session:
        return session.scalars(select(Connection)).one()


def _actions(database: Database) -> list[str]:
    with database.read() as session:
        return [action.what for action in session.scalars(decisions())]


def _fields(page: str) -> dict[str, Any]:
    """What the form on the page would send, were a button pressed."""
    page = page.partition("<main")[2]
    found: dict[str, Any] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page):
        found[name] = html.unescape(value)
    for name, value in re.findall(r'<input id="[^"]+" name="([^"]+)" value="([^"]*)"', page):
        found[name] = html.unescape(value)
    for name, text in re.findall(r'(?s)<textarea [^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', page):
        found[name] = html.unescape(text)
    for name, inside in re.findall(r'(?s)<select [^>]*name="([^"]+)">(.*?)</select>', page):
        chosen = re.search(r'<option value="([^"]*)" selected', inside)
        found[name] = html.unescape(chosen[1]) if chosen else ""
    found["share"] = re.findall(r'name="share" value="([^"]+)" checked', page)
    return {name: value for name, value in found.items() if name != "csrf_token"}


def _press(person: Person, path: str, page: str, do: str, status: int = 200, **typed: Any) -> str:
    """Type something into the form on the page and press a button of it. Returns the next page, or where it is."""
    answer = person.post(path, status, **_fields(page) | typed | {"do": do})
    return str(answer.location) if status == 303 else answer.text


def test_the_form_offers_the_fields_that_the_crm_has(anna: Person, here: str) -> None:
    page = anna.get(f"{here}/mapping")
    assert '<option value="lead_source" selected>Lead source (lead_source, choice)</option>' in page
    assert '<option value="newsletter">Wants the newsletter (newsletter, yes/no)</option>' in page
    assert "It takes only: website (Website), phone (Phone call), event (Open day), other (Other)" in plain(page)
    assert "Health data. What a visitor writes" in plain(page)
    fields = _fields(page)
    assert (fields["to-1"], fields["source-1"], fields["value-1"], fields["write-1"]) == (
        "lead_source",
        "same-text",
        "website",
        "always",
    )
    assert fields["share"] == ["preferred_time"]


def test_before_it_is_saved_it_shows_what_would_differ(
    anna: Person, here: str, database: Database, vault: Vault, site: Site
) -> None:
    code = send(database, vault, site, **JANE, message="My tooth").reference
    path = f"{here}/mapping"
    page = _press(anna, path, anna.get(path), "add")
    typed = {"to-2": "notes", "source-2": "message", "write-0": "always", "share": ["message"]}
    page = _press(anna, path, page, "preview", **typed)
    told = plain(page)
    assert "The CRM has all these fields" in told
    assert "Message into the field notes; Message into the activities" in told
    assert "New: Message → notes, only when empty." in told
    assert "email Now: ‹E-mail›, only when empty After saving: ‹E-mail›, always" in told
    assert code in told
    assert not any(secret in page for secret in SECRETS)
    assert _row(database).mapping == RULES, "nothing is saved yet"
    revealed = _press(anna, path, page, "reveal")
    assert "jane@example.com, always" in plain(revealed)
    assert "My tooth" in revealed
    assert _actions(database) == ["details_revealed"]
    assert _press(anna, path, revealed, "save", 303) == here
    row = _row(database)
    assert row.mapping == [
        {**RULES[0], "write": "always"},
        RULES[1],
        {"to": "notes", "from": "message", "write": "when_empty"},
    ]
    assert row.share == ["message"]
    told = plain(anna.get(here))
    assert "Saved: from now on “Sandbox CRM” gets it like this." in told
    assert "anna changed what goes into it. Changed: E-mail → email, only when empty." in told
    assert f"anna looked at the details of {code}" in told
    assert "Message → notes, only when empty" in told


def test_a_question_of_the_clinics_own_can_be_chosen(
    anna: Person, here: str, database: Database, vault: Vault, site: Site
) -> None:
    send(database, vault, site, **JANE, extra={"Which <insurance>?": "Acme"})
    path = f"{here}/mapping"
    page = _press(anna, path, anna.get(path), "add")
    ours = "extra.Which <insurance>?"
    assert f'<option value="{escape(ours)}">' in page
    assert "Acme" not in page
    page = _press(anna, path, page, "preview", **{"to-2": "notes", "source-2": ours})
    told = plain(page)
    assert "Health data goes into the CRM: Own question “Which <insurance>?” into the field notes" in told
    assert "Acme" not in page
    _press(anna, path, page, "save", 303)
    assert _row(database).mapping[-1] == {"to": "notes", "from": ours, "write": "when_empty"}  # type: ignore[index]
    assert f'<option value="{escape(ours)}" selected>' in anna.get(path)


def test_rules_are_added_removed_and_put_back_without_being_saved(anna: Person, here: str, database: Database) -> None:
    path = f"{here}/mapping"
    page = _press(anna, path, anna.get(path), "remove-0", **{"otherwise-1": "kept while typing"})
    fields = _fields(page)
    assert (fields["to-0"], fields["otherwise-0"], "to-1" in fields) == ("lead_source", "kept while typing", False)
    page = _press(anna, path, page, "reset")
    assert [text for name, text in _fields(page).items() if name.startswith("to-")] == [
        rule["to"] for rule in default_plan("sandbox").rules
    ]
    assert _row(database).mapping == RULES


def test_what_is_wrong_is_told_and_what_was_typed_stays(anna: Person, here: str) -> None:
    path = f"{here}/mapping"
    typed = {"to-0": "", "values-0": "Jane = J", "value-1": ""}
    page = _press(anna, path, anna.get(path), "preview", 422, **typed)
    assert "Rule 1, field of the CRM: Say which field" in plain(page)
    assert "Rule 2 (lead_source), text: Give the text" in plain(page)
    assert _fields(page)["values-0"] == "Jane = J"


def test_what_the_crm_would_not_take_can_be_saved_all_the_same(anna: Person, here: str, database: Database) -> None:
    path = f"{here}/mapping"
    page = _press(anna, path, anna.get(path), "preview", **{"value-1": "web", "to-0": "shoe_size"})
    assert "Rule 1: the CRM has no field “shoe_size”." in plain(page)
    assert "Rule 2: “web” cannot be chosen." in plain(page)
    assert "Save all the same" in page
    again = _press(anna, path, page, "edit")
    assert "shoe_size (the CRM does not have it)" in again
    assert _fields(again)["value-1"] == "web"
    _press(anna, path, page, "save", 303)
    assert [rule["to"] for rule in _row(database).mapping or []] == ["shoe_size", "lead_source"]


def test_what_somebody_else_saved_meanwhile_is_not_overwritten(anna: Person, here: str, database: Database) -> None:
    path = f"{here}/mapping"
    page = _press(anna, path, anna.get(path), "preview", **{"write-0": "never"})
    with database.write() as session:
        session.execute(update(Connection).values(share=["site"]))
    told = _press(anna, path, page, "save", 409)
    assert "Somebody else has changed this meanwhile. Here is how it stands now." in plain(told)
    assert _fields(told)["share"] == ["site"]
    assert _row(database).mapping == RULES


def test_without_a_change_there_is_nothing_to_save(anna: Person, here: str) -> None:
    path = f"{here}/mapping"
    page = _press(anna, path, anna.get(path), "preview")
    assert "Nothing changes" in page
    assert 'value="save"' not in page


def test_a_crm_that_cannot_be_asked_gets_its_fields_typed(
    anna: Person, here: str, database: Database, vault: Vault
) -> None:
    row = _row(database)
    sealed = vault.seal({"url": "http://127.0.0.1:1", "key": "k"}, "connection", "options", row.id)
    with database.write() as session:
        session.execute(update(Connection).values(options_sealed=sealed))
    page = anna.get(f"{here}/mapping")
    assert "The CRM could not be asked for its fields" in plain(page)
    assert re.search(r'<input id="to-1" name="to-1" value="lead_source"', page)


@pytest.mark.parametrize("plan", ["", "nonsense", "[]", '{"mapping": [{}], "share": []}', "[" * 5000])
def test_a_forged_plan_is_no_plan(anna: Person, here: str, database: Database, plan: str) -> None:
    for do in ("save", "reveal", "edit"):
        anna.post(f"{here}/mapping", 400, do=do, plan=plan)
    assert _row(database).mapping == RULES


@pytest.mark.parametrize("name", ["to-" + "9" * 5000, "to-", "to-²", "to-٣"])
def test_an_input_of_no_rule_is_left_out(anna: Person, here: str, name: str) -> None:
    page = anna.post(f"{here}/mapping", 200, do="add", **{name: "email"}).text
    assert re.findall(r'id="(rule-\d+)"', page) == ["rule-1"], "the one that is added"


def test_a_dry_run_shows_the_requests_masked_until_somebody_looks(
    anna: Person, here: str, database: Database, vault: Vault, site: Site, crm: Sandbox
) -> None:
    page = anna.get(f"{here}/dry-run")
    assert "No enquiry is stored yet." in page
    assert 'href="/f/demo/consultation"' in page
    code = send(database, vault, site, **JANE, message="My tooth", preferred_time="after five").reference
    other = send(database, vault, site, email="other@example.com").reference
    assert other in anna.get(f"{here}/dry-run")
    page = anna.get(f"{here}/dry-run?lead={code.lower()}")
    assert f"1. POST {crm.options['url']}/v1/contacts/batch/upsert" in plain(page)
    assert json.loads(html.unescape(re.findall(r"(?s)<code>(\{.*?)</code>", page)[0]))["inputs"][0]["properties"] == {
        "email": "‹E-mail›",
        "lead_source": "website",
    }
    assert not any(secret in page for secret in (*SECRETS, "after five", crm.options["key"]))
    assert _actions(database) == []
    page = anna.post(f"{here}/dry-run", 200, lead=code).text
    assert "jane@example.com" in page
    assert "after five" in page
    assert "My tooth" not in page, "the message goes only where it is mapped"
    assert _actions(database) == ["details_revealed"]
    assert "gets no enquiry of a lead with this code" in anna.get(f"{here}/dry-run?lead=AAA-AAA")
    assert crm.store.count() == (0, 0)


def test_another_sites_lead_is_none_of_this_connection(
    anna: Person, here: str, database: Database, vault: Vault
) -> None:
    code = send(database, vault, make_site(database, "other"), email="else@example.com").reference
    assert "gets no enquiry of a lead with this code" in anna.get(f"{here}/dry-run?lead={code}")
    assert "else@example.com" not in anna.post(f"{here}/dry-run", 200, lead=code).text
    assert _actions(database) == []


def test_only_admins_change_it_and_all_see_where_it_leads(
    app: Flask, here: str, database: Database, crm: Sandbox
) -> None:
    sam = signed_in(app, database, "sam", "staff")
    page = sam.get(here)
    assert crm.options["url"] in page
    assert crm.options["key"] not in page
    assert "“website” → lead_source, always" in plain(page)
    assert "Activities tell: Preferred time." in plain(page)
    assert "/mapping" not in page
    for path in ("mapping", "dry-run"):
        sam.get(f"{here}/{path}", 403)
        sam.post(f"{here}/{path}", 403)
    missing = "/desk/connections/01890000-0000-7000-8000-000000000000"
    anna = signed_in(app, database)
    anna.get(f"{missing}/mapping", 404)
    anna.get(f"{missing}/dry-run", 404)
