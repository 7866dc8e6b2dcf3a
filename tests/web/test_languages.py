"""What a visitor reads is in the language of the website."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from leads.store.models import Site
from leads.store.sites import SiteError, change_site, consent_text
from tests.web.conftest import Outage
from tests.web.pages import FORM, ORIGIN, filled
from tests.web.stored import Stored


@pytest.fixture
def german(stored: Stored, site: Site) -> Site:
    with stored.database.write() as session:
        found = session.get_one(Site, site.id)
        change_site(session, found, {"language": "de"}, stored.database.now(session))
    return found


def test_the_form_its_mistakes_and_its_thanks(client: FlaskClient, german: Site, stored: Stored) -> None:
    page = client.get(FORM).text
    assert '<html lang="de">' in page
    assert "Beratungstermin anfragen" in page
    assert "Ich stimme zu, dass meine Angaben" in page
    wrong = client.post(FORM, data=filled(client) | {"email": "jane", "first_name": "J" * 101}).text
    assert "Bitte prüfen Sie diese Felder" in wrong
    assert "Bitte prüfen Sie die E-Mail-Adresse" in wrong
    assert "Bitte bleiben Sie hier unter 100 Zeichen." in wrong
    sent = client.post(FORM, data=filled(client))
    thanks = client.get(sent.location, headers={"Referer": f"{ORIGIN}/form"}).text
    assert "Wir haben Ihre Anfrage erhalten." in thanks
    assert "Zurück zu Sunrise" in thanks
    assert len(stored.events()) == 1


@pytest.mark.usefixtures("german")
def test_a_body_that_is_no_form(client: FlaskClient) -> None:
    answer = client.post(FORM, data=b"\x00", content_type="application/octet-stream")
    assert answer.status_code == 400
    assert "wie ein Formular sie sendet" in answer.text


@pytest.mark.usefixtures("german")
def test_what_went_wrong_on_a_page_of_the_website(client: FlaskClient, outage: Outage) -> None:
    assert "Das ist zu groß" in client.post(FORM, data=b"x" * 70_000, content_type="text/plain").text
    data = filled(client)
    with outage():
        later = client.post(FORM, data=data)
    assert later.status_code == 503
    assert "Bitte senden Sie es noch einmal" in later.text
    assert "<dt>Vorname</dt>" in later.text


@pytest.mark.usefixtures("german")
def test_a_script_gets_what_it_may_show_beside_a_field(client: FlaskClient) -> None:
    answer = client.post("/api/v1/consultations", json={"site": "demo", "id": "1", "phone": "12"})
    assert answer.get_json()["errors"] == [
        {"field": "phone", "detail": "Bitte prüfen Sie die Telefonnummer, und geben Sie sie mit Vorwahl an."}
    ]


@pytest.mark.usefixtures("german")
def test_a_page_of_no_website_is_in_english(client: FlaskClient) -> None:
    assert "There is no such page here" in client.get("/f/nobody/consultation").text


def test_the_form_links_what_has_to_be_read_before(client: FlaskClient, german: Site, stored: Stored) -> None:
    assert "Datenschutz" not in client.get(FORM).text
    pages = {"privacy_url": "https://clinic.example/datenschutz", "imprint_url": "https://clinic.example/impressum"}
    with stored.database.write() as session:
        session.execute(update(Site).values(**pages))
    page = client.get(FORM).text
    assert f'<a href="{pages["privacy_url"]}" target="_blank" rel="noopener">Datenschutzerklärung</a>' in page
    assert f'<a href="{pages["imprint_url"]}" target="_blank" rel="noopener">Impressum</a>' in page


@pytest.mark.parametrize("name", ["privacy_url", "imprint_url", "thank_you_urls"])
def test_a_page_that_is_linked_is_a_web_address(stored: Stored, german: Site, name: str) -> None:
    given: dict[str, Any] = {name: "javascript:alert(1)" if name != "thank_you_urls" else ["javascript:alert(1)"]}
    with stored.database.write() as session, pytest.raises(SiteError, match="is not a web address"):
        change_site(session, session.get_one(Site, german.id), given, stored.database.now(session))


def test_a_language_of_another_version_is_english(client: FlaskClient, stored: Stored, site: Site) -> None:
    with stored.database.write() as session:
        session.execute(update(Site).values(language="tlh"))
    assert "Request your consultation" in client.get(FORM).text


def test_our_own_wording_goes_with_the_language(stored: Stored, german: Site) -> None:
    with stored.database.write() as session:
        found = session.get_one(Site, german.id)
        assert (found.consent_version, consent_text(session, found)[:14]) == ("2", "Ich stimme zu,")
        now = stored.database.now(session)
        change_site(session, found, {"consent": "Ruft mich an."}, now)
        change_site(session, found, {"language": "fr"}, now)
        assert (found.consent_version, consent_text(session, found)) == ("3", "Ruft mich an.")


def test_the_name_of_a_website_stays_a_name(client: FlaskClient, german: Site, stored: Stored) -> None:
    with stored.database.write() as session:
        session.execute(update(Site).where(Site.id == german.id).values(name="{name} <b>"))
    thanks = client.get("/f/demo/thanks", headers={"Referer": f"{ORIGIN}/form"}).text
    assert "Zurück zu {name} &lt;b&gt;" in thanks
