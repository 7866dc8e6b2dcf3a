"""`frontdesk balance` and `frontdesk alerts`, and who lets the watchman walk."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from leads.store.alerts import Condition, settle
from leads.store.models import Connection, Delivery, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.upkeep.watch import Watchman
from tests.cli.conftest import Frontdesk, as_json
from tests.factory import make_connection, make_site, send
from tests.mailserver import MailServer
from tests.web.desk import set_state


@pytest.fixture
def site(database: Database) -> Site:
    return make_site(database)


def test_the_balance_of_each_day_is_printed(frontdesk: Frontdesk, database: Database, vault: Vault, site: Site) -> None:
    make_connection(database, vault, site)
    set_state(database, send(database, vault, site, email="jane@example.com").event_id, "confirmed")
    make_site(database, "other")
    with database.write() as session:
        session.execute(
            update(Site).where(Site.key == "demo").values(created_at=database.now(session) - timedelta(days=40))
        )
    rows = as_json(frontdesk("balance", "--json"))
    assert [row["site"] for row in rows] == ["demo"] * 14 + ["other"]  # which was added today
    today = [row for row in rows if row["site"] == "demo"][-1]
    assert (today["captured"], today["confirmed"], today["not_accounted_for"], today["closes"]) == (1, 1, 0, True)
    assert len(as_json(frontdesk("balance", "--site", "demo", "--days", "3", "--json"))) == 3
    assert "Confirmed" in frontdesk("balance").stdout
    assert "There is no site" in frontdesk("balance", "--site", "nowhere", code=1).stderr


def test_a_balance_that_does_not_close_ends_with_one(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    send(database, vault, site, email="jane@example.com")
    with database.write() as session:
        session.execute(update(Connection).values(created_at=database.now(session) - timedelta(hours=1)))
        session.execute(delete(Delivery))
    assert "NO" in frontdesk("balance", code=1).stdout
    today = as_json(frontdesk("balance", "--json", code=1))[-1]
    assert (today["captured"], today["not_accounted_for"], today["closes"]) == (1, 1, False)
    assert "wrong Enquiries not accounted for: Sunrise" in frontdesk("doctor", code=1).stdout


def test_without_sites_there_is_no_balance(frontdesk: Frontdesk) -> None:
    assert "There are no websites yet." in frontdesk("balance").stdout


def test_alerts_are_listed_and_doctor_tells_what_only_they_know(frontdesk: Frontdesk, database: Database) -> None:
    assert "Nothing is wrong" in frontdesk("alerts", "list").stdout
    told = "Notices by e-mail cannot be sent: The mail server cannot be reached."
    with database.write() as session:
        settle(session, [Condition("mail", "e-mail", told)], ["mail"], database.now(session))
    row = as_json(frontdesk("alerts", "list", "--json"))[0]
    assert (row["kind"], row["sentence"], row["ended_at"]) == ("mail", told, None)
    assert told in frontdesk("doctor", code=1).stdout
    with database.write() as session:
        settle(session, [], ["mail"], database.now(session))
    assert told not in frontdesk("doctor", code=1).stdout
    assert as_json(frontdesk("alerts", "list", "--json"))[0]["ended_at"] is not None


def test_doctor_says_how_to_see_that_a_test_enquiry_comes_through_again(
    frontdesk: Frontdesk, database: Database
) -> None:
    failed = "The test enquiry of Sunrise did not come through."
    with database.write() as session:
        settle(session, [Condition("canary", "sunrise", failed)], ["canary"], database.now(session))
    told = frontdesk("doctor", code=1).stdout
    assert f"wrong {failed} Once it is mended, run: frontdesk canary run sunrise" in told


def _settings(server: MailServer) -> dict[str, str]:
    return {
        "alert_emails": "ops@clinic.example",
        "smtp_host": "127.0.0.1",
        "smtp_port": str(server.port),
        "smtp_security": "none",
        "smtp_from": "frontdesk@clinic.example",
    }


def test_a_test_notice_says_what_the_server_answered(frontdesk: Frontdesk) -> None:
    with MailServer() as server:
        settings = _settings(server)
        assert frontdesk("alerts", "test", **settings).stdout == (
            "ok    e-mail: The mail server took it for 1 address.\n"
        )
        server.refuse = {"RCPT": "550 nobody"}
        told = frontdesk("alerts", "test", code=1, **settings).stdout
        assert told == "wrong e-mail: The mail server refuses every address (code 550).\n"
    assert [mail["Subject"] for mail in server.mails] == ["Frontdesk: a test"]
    assert "FRONTDESK_ALERT_EMAILS" in frontdesk("alerts", "test", code=1).stderr


def test_a_test_notice_goes_to_those_of_one_website(frontdesk: Frontdesk, site: Site) -> None:
    test, change = ("alerts", "test", "--site", "demo"), ("site", "change", "demo", "--alert-email")
    assert "anna is not an e-mail address." in frontdesk(*change, "anna", code=1).stderr
    assert "Nobody is told: set FRONTDESK_ALERT_EMAILS" in frontdesk(*change, "anna@clinic.example").stderr
    with MailServer() as server:
        settings = _settings(server)
        assert frontdesk(*change, "anna@clinic.example", **settings).stderr == ""
        assert "Alert emails: anna@clinic.example\n" in frontdesk("site", "show", "demo").stdout
        assert "ok    e-mail" in frontdesk(*test, **settings).stdout
        assert [mail["To"] for mail in server.mails] == ["anna@clinic.example"]
        frontdesk(*change, "", **settings)
        assert "frontdesk site change demo --alert-email" in frontdesk(*test, code=1, **settings).stderr
    alone = "Notices of demo do not reach those who are told of one website alone."
    assert alone not in frontdesk("doctor", code=1).stdout
    frontdesk(*change, "anna@clinic.example")
    assert f"wrong {alone} Nobody is told: set FRONTDESK_ALERT_EMAILS" in frontdesk("doctor", code=1).stdout
    assert alone not in frontdesk("doctor", code=1, **settings).stdout
    only_chat = {"alert_urls": "json://127.0.0.1:9"}
    assert "set FRONTDESK_SMTP_HOST" in frontdesk(*change, "anna@clinic.example", **only_chat).stderr
    assert "set FRONTDESK_SMTP_HOST" in frontdesk(*test, code=1, **only_chat).stderr
    assert "There is no site" in frontdesk("alerts", "test", "--site", "nowhere", code=1, **only_chat).stderr


@pytest.mark.parametrize("program", ["web", "worker"])
def test_web_and_worker_both_let_the_watchman_walk(
    frontdesk: Frontdesk, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(self: Watchman, stop: threading.Event) -> None:
        started.append(f"watchman, {len(self.notifier.channels)} way, after {self.after}")

    def serve(*_: Any) -> None:
        started.append("served")

    monkeypatch.setattr(Watchman, "start", start)
    monkeypatch.setattr("leads.serve.serve_web", serve)
    monkeypatch.setattr("leads.sync.worker.run", serve)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    frontdesk(program, port="0", alert_urls="json://127.0.0.1:9", alert_after="1h")
    assert started == ["watchman, 1 way, after 1:00:00", "served"]
