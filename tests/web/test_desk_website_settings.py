"""Admins add and change websites at the desk, and take from there what goes into their pages."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from leads.languages import translated
from leads.store.models import Site
from leads.store.session import Database
from leads.store.sites import DEFAULT_CONSENT, consent_text, find_site, hook_token
from leads.store.vault import Vault
from tests.factory import make_connection, make_site, send
from tests.web.desk import Person, decisions, make_user, plain, signed_in

NEW = {
    "name": "Zahnärzte am Markt",
    "key": "markt",
    "language": "de",
    "region": "DE",
    "time_zone": "Europe/Berlin",
    "origins": "https://markt.example/termin\r\n\r\nhttps://www.markt.example ",
}


@pytest.fixture
def anna(app: Flask, database: Database) -> Person:
    return signed_in(app, database)


def _sent(**values: Any) -> dict[str, Any]:
    return {f"option-{name}": value for name, value in values.items()}


def _stands_in(page: str) -> dict[str, str]:
    """What a browser would send of the form in this page."""
    kept = dict(re.findall(r'<input id="(option-[a-z_]+)"[^>]* value="([^"]*)"', page))
    kept |= dict(re.findall(r'name="(mark)" value="([^"]*)"', page))
    kept |= dict(re.findall(r'<textarea id="(option-[a-z_]+)"[^>]*>([^<]*)<', page))
    for name, inside in re.findall(r'(?s)<select id="(option-[a-z_]+)"[^>]*>(.*?)</select>', page):
        kept[name] = "".join(re.findall(r'value="([^"]*)" selected', inside))
    kept |= dict.fromkeys(re.findall(r'type="checkbox" id="(option-[a-z_]+)"[^>]* checked', page), "yes")
    return {name: html.unescape(value) for name, value in kept.items()}


def _site(database: Database, key: str) -> Site:
    with database.read() as session:
        return find_site(session, key) or pytest.fail(f"no website {key}")


def test_a_website_is_added_and_shows_what_goes_into_its_pages(
    anna: Person, app: Flask, database: Database, vault: Vault
) -> None:
    assert "Add a website" in anna.get("/desk/websites")
    answer = anna.post("/desk/new-website", **_sent(**NEW))
    assert answer.location == "/desk/websites/markt"
    added = _site(database, "markt")
    assert added.origins == ["https://markt.example", "https://www.markt.example"]
    assert (added.region, added.time_zone, added.require_token) == ("DE", "Europe/Berlin", False)
    page = anna.get("/desk/websites/markt")
    shown = html.unescape(page)
    assert "Two steps are left" in page
    assert "To no CRM yet" in page
    assert "<label>Vorname" in shown
    assert "/f/markt/consultation" in shown
    form = re.search(r"https?://[^ <]+(/hooks/markt/[0-9a-f]+)<", page)
    assert form is not None
    hooked = app.test_client().post(form[1], json={"email": "jane@example.com"})
    assert hooked.status_code in (200, 201, 202)
    with database.read() as session:
        assert consent_text(session, added) == translated(DEFAULT_CONSENT, "de")
        (done,) = session.scalars(decisions())
    assert (done.user_name, done.what) == ("anna", "site_added")
    assert vault.open(done.note_sealed or b"", "action", "note", done.id) == "markt"
    assert "markt" in plain(anna.get("/desk/websites"))
    assert "anna added the website markt." in plain(anna.get("/desk/actions"))


def test_what_cannot_be_is_said_beside_its_input_and_nothing_typed_is_lost(anna: Person, database: Database) -> None:
    wrong = NEW | {"key": "Markt!", "region": "", "origins": "ftp://markt", "alert_emails": "anna@"}
    page = anna.post("/desk/new-website", 422, **_sent(**wrong)).text
    assert "ftp://markt is not a web address" in page
    assert "anna@ is not an e-mail address" in page
    assert 'id="option-key-error"' in page
    assert 'id="option-region-error"' in page
    kept = _stands_in(page)
    assert (kept["option-name"], kept["option-key"], kept["option-time_zone"]) == (
        NEW["name"],
        "Markt!",
        "Europe/Berlin",
    )
    with database.read() as session:
        assert "Markt!" not in session.scalars(select(Site.key)).all()


def test_the_next_website_is_taken_to_be_of_the_same_country(anna: Person, site: Site) -> None:
    offered = _stands_in(anna.get("/desk/new-website"))
    assert (offered["option-region"], offered["option-time_zone"]) == (site.region, site.time_zone)
    page = anna.post("/desk/new-website", 422, **_sent(**NEW | {"key": site.key})).text
    assert "already a site with the key" in page


def test_a_form_that_is_saved_as_it_is_changes_nothing(anna: Person, database: Database, site: Site) -> None:
    before = _site(database, site.key)
    anna.post(f"/desk/websites/{site.key}/settings", **_stands_in(anna.get(f"/desk/websites/{site.key}/settings")))
    after = _site(database, site.key)
    columns = [column.key for column in Site.__table__.columns]
    assert [getattr(after, name) for name in columns] == [getattr(before, name) for name in columns]


def test_all_of_it_can_be_changed(anna: Person, database: Database, site: Site) -> None:
    path = f"/desk/websites/{site.key}/settings"
    changed = {
        "name": "Sunset",
        "language": "es",
        "region": "ES",
        "time_zone": "Europe/Madrid",
        "origins": "",
        "thank_you_urls": "https://sunset.example/thanks",
        "privacy_url": "https://sunset.example/privacy",
        "imprint_url": "https://sunset.example/imprint",
        "alert_emails": "a@sunset.example\r\nb@sunset.example",
        "require_token": "yes",
    }
    anna.post(path, **_stands_in(anna.get(path)) | _sent(**changed))
    row = _site(database, site.key)
    assert {name: getattr(row, name) for name in changed} == changed | {
        "origins": [],
        "thank_you_urls": ["https://sunset.example/thanks"],
        "alert_emails": ["a@sunset.example", "b@sunset.example"],
        "require_token": True,
    }
    page = anna.get(f"/desk/websites/{site.key}")
    assert "Nobody gets alert e-mails yet" in page
    assert "What visitors agree to" in page
    with database.read() as session:
        (done,) = session.scalars(decisions())
    assert done.what == "site_changed"


def test_our_own_wording_goes_with_the_language_and_another_one_is_a_new_version(
    anna: Person, database: Database, site: Site
) -> None:
    path = f"/desk/websites/{site.key}/settings"
    form = _stands_in(anna.get(path))
    anna.post(path, **form | _sent(consent="I agree.\r\nTo all."))
    with database.read() as session:
        row = _site(database, site.key)
        assert (row.consent_version, consent_text(session, row)) == ("2", "I agree.\nTo all.")
    assert "change the text beside its checkbox too" in anna.get(f"/desk/websites/{site.key}")
    anna.post(path, **_stands_in(anna.get(path)) | _sent(language="fr"))
    with database.read() as session:
        row = _site(database, site.key)
        assert consent_text(session, row) == "I agree.\nTo all."
    anna.post(path, **_stands_in(anna.get(path)) | _sent(consent=" "))
    with database.read() as session:
        assert consent_text(session, _site(database, site.key)) == translated(DEFAULT_CONSENT, "fr")


def test_a_form_that_was_opened_before_undoes_nothing(anna: Person, database: Database, site: Site) -> None:
    path = f"/desk/websites/{site.key}/settings"
    opened = _stands_in(anna.get(path))
    anna.post(path, **opened | _sent(consent="I agree to more.", origins="https://new.example"))
    late = anna.post(path, **opened | _sent(name="Late"))
    assert late.location == path
    assert "it has been changed meanwhile" in anna.get(path)
    row = _site(database, site.key)
    assert (row.name, row.origins, row.consent_version) == (site.name, ["https://new.example"], "2")
    anna.post(path, **_stands_in(anna.get(path)) | _sent(name="Late"))
    assert _site(database, site.key).name == "Late"


def test_plugins_get_a_new_address_after_a_question(anna: Person, app: Flask, database: Database, site: Site) -> None:
    def address() -> str:
        found = re.search(rf"(/hooks/{site.key}/[0-9a-f]+)<", anna.get(f"/desk/websites/{site.key}"))
        return found[1] if found else pytest.fail("no address")

    before = address()
    assert "The old one stops at once" in anna.get(f"/desk/websites/{site.key}/hook-address")
    assert address() == before
    anna.post(f"/desk/websites/{site.key}/hook-address")
    assert address() != before
    assert app.test_client().post(before, json={"email": "jane@example.com"}).status_code == 404
    with database.read() as session:
        assert [done.what for done in session.scalars(decisions())] == ["hook_address_changed"]


def test_one_without_enquiries_can_be_removed(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    anna.post("/desk/new-website", **_sent(**NEW))
    assert "Remove the website Zahnärzte am Markt?" in anna.get("/desk/websites/markt/remove")
    anna.post("/desk/websites/markt/remove")
    assert "markt is not known here any more" in anna.get("/desk/websites")
    anna.get("/desk/websites/markt", 404)
    send(database, vault, site, email="jane@example.com")
    anna.post(f"/desk/websites/{site.key}/remove")
    assert "never deleted with their website" in plain(anna.get(f"/desk/websites/{site.key}"))


def test_it_says_where_its_enquiries_go(anna: Person, database: Database, vault: Vault, site: Site) -> None:
    make_connection(database, vault, site, name="Our CRM")
    assert "Our CRM" in anna.get(f"/desk/websites/{site.key}")
    assert "Our CRM" in anna.get("/desk/websites")


def test_addresses_are_taken_and_shown_as_people_write_them(anna: Person, database: Database, site: Site) -> None:
    path = f"/desk/websites/{site.key}/settings"
    typed = {"origins": "zahnärzte.example, https://www.zahnärzte.example", "alert_emails": "a@a.example; b@b.example"}
    anna.post(path, **_stands_in(anna.get(path)) | _sent(**typed))
    row = _site(database, site.key)
    assert row.origins == ["https://xn--zahnrzte-3za.example", "https://www.xn--zahnrzte-3za.example"]
    assert row.alert_emails == ["a@a.example", "b@b.example"]
    kept = _stands_in(anna.get(path))
    assert kept["option-origins"] == "https://zahnärzte.example\nhttps://www.zahnärzte.example"
    anna.post(path, **kept)
    assert _site(database, site.key).origins == row.origins


def test_a_crm_is_connected_to_the_website_that_asked_for_it(anna: Person, database: Database, site: Site) -> None:
    make_site(database, "other", site.name)
    assert "/desk/connections/new?site=other" in anna.get("/desk/websites/other")
    assert "/desk/connections/new/sandbox?site=other" in anna.get("/desk/connections/new?site=other")
    page = anna.get("/desk/connections/new/sandbox?site=other")
    assert f'<option value="other" selected>{site.name} (other)' in page
    assert " selected>" not in anna.get("/desk/connections/new/sandbox").partition('id="name"')[0]


def test_staff_see_what_goes_into_its_pages_and_change_nothing(
    app: Flask, database: Database, vault: Vault, site: Site
) -> None:
    make_site(database, "other", "Elsewhere")
    make_user(database, "sam", "staff", [site])
    sam = Person(app)
    sam.sign_in("sam")
    page = sam.get(f"/desk/websites/{site.key}")
    assert f"/f/{site.key}/consultation" in html.unescape(page)
    assert f'data-site="{site.key}"' in html.unescape(page)
    assert hook_token(vault, site) not in page
    main = page.partition("<main")[2]
    assert not any(button in main for button in ("<form", "/settings", "/close", "/remove", "/hook-address", "/new"))
    listed = sam.get("/desk/websites")
    assert site.name in listed
    assert "Elsewhere" not in listed
    assert "Add a website" not in listed
    sam.get("/desk/websites/other", 404)
    for path in ("new-website", f"websites/{site.key}/settings", f"websites/{site.key}/remove"):
        assert "hooks" not in sam.get(f"/desk/{path}", 403)
    for path in ("new-website", *(f"websites/{site.key}/{what}" for what in ("settings", "hook-address", "remove"))):
        sam.post(f"/desk/{path}", 403)
    assert "/desk/websites" in sam.get("/desk/")


def test_a_key_of_nobody_is_a_page_that_is_missing(anna: Person) -> None:
    for path in ("nobody", "nobody/settings", "nobody/hook-address", "No!"):
        anna.get(f"/desk/websites/{path}", 404)
    anna.post("/desk/websites/nobody/remove", 404)
