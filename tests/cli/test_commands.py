"""Commands: what they print, what they change, and how they end."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url, select, update
from sqlalchemy.exc import IntegrityError

from leads.store.models import Action, Connection, Delivery, Site
from leads.store.outbox import Accepted, handled, start_failing
from leads.store.session import Database, shown_address
from leads.store.sites import hook_token, origin_of
from leads.store.staff import find_user, is_password
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk, as_json
from tests.conftest import only_postgres
from tests.factory import make_connection, make_site, send
from tests.programs import ROOT, free_port
from tests.sandbox import sandbox
from tests.web.desk import beat, set_state


@pytest.fixture
def site(database: Database) -> Site:
    return make_site(database)


def test_a_site_is_added_listed_and_its_snippet_printed(frontdesk: Frontdesk) -> None:
    add = ("site", "add", "lakeside", "--name", "Lakeside", "--region", "us", "--time-zone", "America/New_York")
    assert "frontdesk site snippet lakeside" in frontdesk(*add).stdout
    assert "already" in frontdesk(*add, code=1).stderr
    assert [row["key"] for row in as_json(frontdesk("site", "list", "--json"))] == ["lakeside"]
    snippet = frontdesk("site", "snippet", "lakeside", public_url="https://leads.example").stdout
    assert 'action="https://leads.example/f/lakeside/consultation"' in snippet
    assert 'src="https://leads.example/f/static/website.js" data-site="lakeside"' in snippet
    assert 'name="consent_version" value="1"' in snippet
    assert "may need consent" in snippet
    assert "of this machine alone" in frontdesk("site", "snippet", "lakeside").stderr
    assert "no site" in frontdesk("site", "snippet", "nowhere", code=1).stderr


def test_the_address_for_form_plugins_is_shown_and_stands_in_no_page(
    frontdesk: Frontdesk, site: Site, vault: Vault
) -> None:
    token = hook_token(vault, site)
    shown = frontdesk("site", "show", "demo", public_url="https://leads.example").stdout
    assert f"Form plugins: https://leads.example/hooks/demo/{token}\n" in shown
    snippet = frontdesk("site", "snippet", "demo", public_url="https://leads.example")
    assert token not in snippet.stdout
    assert "frontdesk site show demo" in snippet.stderr


def test_the_address_for_form_plugins_can_be_changed(
    frontdesk: Frontdesk, database: Database, site: Site, vault: Vault
) -> None:
    change, old = ("site", "change", "demo", "--new-hook-address"), hook_token(vault, site)
    assert "the old one stops at once" in frontdesk(*change, code=1).stdout, "nobody said yes"
    assert old in frontdesk("site", "show", "demo").stdout
    told = frontdesk(*change, "--yes", public_url="https://leads.example").stdout
    with database.read() as session:
        new = hook_token(vault, session.get_one(Site, site.id))
        done = session.scalars(select(Action.what)).all()
    assert new != old
    assert f"settings now: https://leads.example/hooks/demo/{new}\n" in told
    assert f"/hooks/demo/{new}\n" in frontdesk("site", "show", "demo").stdout
    assert done == ["hook_address_changed"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"--region": "Narnia"}, "The region must be"),
        ({"--time-zone": "Mars"}, "The time zone must be"),
        ({"--origin": "clinic"}, "is not a web address"),
    ],
)
def test_a_site_that_cannot_be_is_told_in_a_sentence(
    frontdesk: Frontdesk, wrong: dict[str, str], sentence: str
) -> None:
    given = {"--name": "Lakeside", "--region": "US", "--time-zone": "America/New_York"} | wrong
    result = frontdesk("site", "add", "lakeside", *(part for pair in given.items() for part in pair), code=1)
    assert sentence in result.stderr


def test_all_that_is_wrong_with_a_site_is_told_at_once(frontdesk: Frontdesk) -> None:
    add = ("site", "add", "Lake side", "--name", "", "--region", "Narnia", "--time-zone", "Mars", "--origin", "clinic")
    told = frontdesk(*add, "--thank-you", "thanks", code=1).stderr
    for sentence in ("The key", "The name", "The region", "The time zone", "clinic is not", "thanks is not"):
        assert sentence in told
    assert as_json(frontdesk("site", "list", "--json")) == []


def test_a_site_is_changed_in_what_is_given_alone(frontdesk: Frontdesk, site: Site) -> None:
    before = as_json(frontdesk("site", "show", "demo", "--json"))
    change = ("site", "change", "demo")
    origins = ("--origin", "https://Clinic.example:443/start", "--origin", "http://clinic.example:8080")
    notice = ("--privacy-url", "https://clinic.example/privacy")
    told = frontdesk(*change, "--name", "Sunset", "--region", "de", *origins, *notice, "--consent", "Call me.").stdout
    assert "frontdesk site snippet demo" in told
    assert as_json(frontdesk("site", "show", "demo", "--json")) == before | {
        "name": "Sunset",
        "region": "DE",
        "origins": ["https://clinic.example", "http://clinic.example:8080"],
        "privacy_url": "https://clinic.example/privacy",
        "consent": "Call me.",
        "consent_version": "2",
    }
    frontdesk(*change, "--time-zone", "Europe/Berlin", "--origin", "", "--thank-you", "https://clinic.example/thanks")
    shown = frontdesk("site", "show", "demo").stdout
    for line in ("Time zone: Europe/Berlin\n", "Origins: \n", "Thank you urls: https://clinic.example/thanks\n"):
        assert line in shown


def test_a_site_speaks_the_language_of_its_visitors(frontdesk: Frontdesk, site: Site) -> None:
    add = ("site", "add", "am-see", "--name", "Am See", "--region", "de", "--time-zone", "Europe/Berlin")
    assert "'en'" in frontdesk(*add, "--language", "tlh", code=2).stderr
    frontdesk(*add, "--language", "de")
    for key, label, wording in (("am-see", "Vorname", "Ich stimme zu"), ("demo", "First name", "I agree")):
        snippet = frontdesk("site", "snippet", key).stdout
        assert f"<label>{label} <input" in snippet
        assert wording in snippet
    assert "frontdesk site snippet demo" in frontdesk("site", "change", "demo", "--language", "fr").stdout
    assert "<label>Prénom <input" in frontdesk("site", "snippet", "demo").stdout
    assert {row["key"]: row["language"] for row in as_json(frontdesk("site", "list", "--json"))} == {
        "am-see": "de",
        "demo": "fr",
    }


def test_a_site_may_require_the_token_of_its_forms(frontdesk: Frontdesk, site: Site) -> None:
    add = ("site", "add", "lakeside", "--name", "Lakeside", "--region", "us", "--time-zone", "America/New_York")
    frontdesk(*add, "--require-token")
    for key, given, told in (("lakeside", "--no-require-token", "no"), ("demo", "--require-token", "yes")):
        assert as_json(frontdesk("site", "show", key, "--json"))["require_token"] is (told == "no")
        frontdesk("site", "change", key, given)
        assert f"Require token: {told}\n" in frontdesk("site", "show", key).stdout
    frontdesk("site", "change", "demo", "--name", "Sunset")
    assert as_json(frontdesk("site", "show", "demo", "--json"))["require_token"] is True


@pytest.mark.parametrize(
    "command",
    [
        ("add", "lakeside", "--name", "Lakeside", "--region", "us", "--time-zone", "America/New_York"),
        ("change", "demo"),
    ],
)
def test_what_is_kept_of_an_origin_is_told(frontdesk: Frontdesk, site: Site, command: tuple[str, ...]) -> None:
    told = frontdesk("site", *command, "--origin", "https://a.example/path", "--origin", "https://B.example/").stdout
    assert "https://a.example/path is kept as https://a.example:" in told
    assert "B.example" not in told
    shown = as_json(frontdesk("site", "show", command[1], "--json"))
    assert shown["origins"] == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Zahnärzte.example", "https://xn--zahnrzte-3za.example"),
        ("https://straße.example:8443", "https://xn--strae-oqa.example:8443"),
        ("https://*.clinic.example", ""),
        ("https://clinic.example; script-src", ""),
        ("https://a\u200b-.example", ""),
    ],
)
def test_an_origin_is_as_browsers_write_it_and_nothing_more(given: str, kept: str) -> None:
    assert origin_of(given) == kept


def test_what_a_site_cannot_become_changes_nothing(frontdesk: Frontdesk, site: Site) -> None:
    change = ("site", "change", "demo")
    told = frontdesk(*change, "--name", "Sunset", "--region", "Narnia", "--time-zone", "Mars", code=1).stderr
    assert "The region" in told
    assert "The time zone" in told
    assert "wording" in frontdesk(*change, "--consent", " ", code=1).stderr
    assert as_json(frontdesk("site", "show", "demo", "--json"))["name"] == "Sunrise"
    assert "Say what to change" in frontdesk(*change, code=2).stderr
    assert "no site" in frontdesk("site", "change", "nowhere", "--name", "x", code=1).stderr


def test_lists_of_nothing_say_what_to_do_next(frontdesk: Frontdesk) -> None:
    assert "frontdesk site add" in frontdesk("site", "list").stdout
    assert "frontdesk connection add" in frontdesk("connection", "list").stdout
    assert "no enquiries yet" in frontdesk("lead", "list").stdout


def test_the_demo_signs_what_it_does_as_staff_read_it(
    frontdesk: Frontdesk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.serve.Supervisor.run", lambda *_: None)
    frontdesk("serve", "--demo", port=str(free_port()), sandbox_port=str(free_port()))
    with database.read() as session:
        done = [(action.user_name, action.what) for action in session.scalars(select(Action))]
    assert done == [("the demo", "connection_added")]


@pytest.mark.parametrize("command", ["web", "worker", "serve", "doctor"])
def test_an_unknown_failpoint_is_told_in_a_sentence(frontdesk: Frontdesk, command: str) -> None:
    told = frontdesk(command, code=3, fail_at="nowhere.written:kill").stderr
    assert told == "The configuration is wrong.\nFRONTDESK_FAIL_AT: no such failpoint: nowhere.written:kill\n"


def test_a_user_gets_a_one_time_password(frontdesk: Frontdesk, database: Database) -> None:
    passwords = []
    for command in (("user", "add", "Anna", "--role", "admin"), ("user", "password", "anna")):
        found = re.search(r": (\S+)$", frontdesk(*command).stdout.strip())
        assert found
        passwords.append(found[1])
    with database.read() as session:
        user = find_user(session, "anna")
    assert user
    assert (user.role, user.one_time) == ("admin", True)
    assert [is_password(user, one) for one in passwords] == [False, True]
    assert "no user" in frontdesk("user", "password", "nobody", code=1).stderr


def test_a_secret_is_never_taken_from_the_command_line(frontdesk: Frontdesk, site: Site, tmp_path: Path) -> None:
    add = ("connection", "add", "sandbox", "--site", "demo", "--set", "url=http://127.0.0.1:9")
    refused = frontdesk(*add, "--set", "key=canary-key", code=2)
    assert "--file key=PATH" in refused.stderr
    assert "canary-key" not in refused.output
    (tmp_path / "key").write_text("\ufeffcanary-key\n", encoding="utf-8")  # as Windows' own editor may save it
    stored = frontdesk(*add, "--file", f"key={tmp_path / 'key'}", "--anyway", allowed_private_hosts="127.0.0.1")
    assert "wrong" in stored.stdout
    assert "Enquiries of demo are kept until Sandbox CRM works." in stored.stdout
    shown = frontdesk("connection", "list", "--json").stdout + frontdesk("config", "show").stdout
    assert "canary-key" not in shown


def test_a_secret_that_is_not_needed_can_be_removed(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(secret := "whsec_" + base64.b64encode(b"x" * 32).decode())
    (tmp_path / "url").write_text("http://127.0.0.1:9")
    new = ("--file", f"url={tmp_path / 'url'}", "--file", f"secret={tmp_path / 'secret'}", "--anyway")
    frontdesk("connection", "add", "webhook", "--site", "demo", *new, allowed_private_hosts="127.0.0.1")
    for change, wanted in ((f"--file=previous_secret={tmp_path / 'secret'}", secret), ("--set=previous_secret=", None)):
        frontdesk("connection", "rotate", "Signed webhook", change, "--anyway", allowed_private_hosts="127.0.0.1")
        with database.read() as session:
            row = session.scalars(select(Connection)).one()
        stored = vault.open(row.options_sealed, "connection", "options", row.id)
        assert (stored["secret"], stored.get("previous_secret")) == (secret, wanted)


def test_the_same_account_twice_at_one_website_is_told_before(frontdesk: Frontdesk, site: Site) -> None:
    add = ("connection", "add", "sandbox", "--site", "demo", "--set", "url=http://127.0.0.1:9", "--file", "key=-")
    frontdesk(*add, "--anyway", stdin="some-key", allowed_private_hosts="127.0.0.1")
    told = "seem to go to this CRM account already, by “Sandbox CRM”: each would stand there twice."
    refused = frontdesk(*add, stdin="another-key", code=1, allowed_private_hosts="127.0.0.1")
    assert told in refused.stderr
    assert "--anyway" in refused.stderr
    assert len(as_json(frontdesk("connection", "list", "--json"))) == 1
    done = frontdesk(*add, "--anyway", stdin="another-key", allowed_private_hosts="127.0.0.1")
    assert told in done.stderr
    assert len(as_json(frontdesk("connection", "list", "--json"))) == 2


def test_a_connection_that_does_not_work_is_not_stored_unless_asked(frontdesk: Frontdesk, site: Site) -> None:
    add = ("connection", "add", "sandbox", "--site", "demo", "--set", "url=http://127.0.0.1:9", "--file", "key=-")
    result = frontdesk(*add, stdin="some-key\n", code=1, allowed_private_hosts="127.0.0.1")
    assert "No connection to the CRM's server just now." in result.stdout
    assert as_json(frontdesk("connection", "list", "--json")) == []
    missing = frontdesk("connection", "add", "sandbox", "--site", "demo", code=1)
    assert "Address" in missing.stderr
    assert "Key" in missing.stderr


def test_the_crm_is_not_asked_for_a_website_that_there_is_none_of(frontdesk: Frontdesk, site: Site) -> None:
    add = ("connection", "add", "sandbox", "--site", "typo", "--set", "url=http://127.0.0.1:9", "--file", "key=-")
    refused = frontdesk(*add, stdin="some-key", code=1, allowed_private_hosts="127.0.0.1")
    assert (refused.stdout, refused.stderr) == ("", "There is no site with the key typo.\n")


def test_the_crm_is_not_asked_for_a_pace_that_cannot_be(frontdesk: Frontdesk, site: Site) -> None:
    add = ("connection", "add", "sandbox", "--site", "demo", "--set", "url=http://127.0.0.1:9", "--file", "key=-")
    refused = frontdesk(*add, "--pace", "fast", stdin="some-key", code=1, allowed_private_hosts="127.0.0.1")
    assert (refused.stdout, refused.stderr[:35]) == ("", "Write a number of calls a second fr")


def test_all_that_is_wrong_with_the_options_stands_in_whole_sentences(frontdesk: Frontdesk, site: Site) -> None:
    told = frontdesk("connection", "add", "sandbox", "--site", "demo", "--set", "foo=1", code=1).stderr
    wrong, options = told.splitlines()
    assert wrong == "Address: Please fill this in. Key: Please fill this in. foo: There is no such option."
    assert options.startswith("The options of sandbox: --set url=VALUE, --file key=PATH, --set tier=VALUE")


def test_the_file_of_a_key_may_be_named_from_the_home_folder(
    frontdesk: Frontdesk, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text("some-key")
    add = ("connection", "add", "sandbox", "--site", "demo", "--set", "url=http://127.0.0.1:9", "--anyway")
    assert "Stored as" in frontdesk(*add, "--file", "key=~/key", allowed_private_hosts="127.0.0.1").stdout
    assert "~nobody-here/key: No such" in frontdesk(*add, "--file", "key=~nobody-here/key", code=2).stderr


def test_why_the_file_of_a_key_cannot_be_read_is_told(frontdesk: Frontdesk, site: Site, tmp_path: Path) -> None:
    add = ("connection", "add", "sandbox", "--site", "demo", "--file")
    told = frontdesk(*add, f"key={tmp_path / 'nokey'}", code=2).stderr
    assert told == f"The file for key cannot be read: {tmp_path / 'nokey'}: No such file or directory.\n"
    (tmp_path / "noise").write_bytes(b"\xff\xfe")
    assert "noise holds no text" in frontdesk(*add, f"key={tmp_path / 'noise'}", code=2).stderr


def test_a_name_tells_one_connection(frontdesk: Frontdesk, database: Database, vault: Vault, site: Site) -> None:
    first = make_connection(database, vault, site)
    add = ("connection", "add", "sandbox", "--site", "demo", "--set", "url=http://127.0.0.1:9", "--file", "key=-")
    refused = frontdesk(*add, "--name", "Sandbox CRM", stdin="some-key", code=1, allowed_private_hosts="127.0.0.1")
    assert "Another connection is called “Sandbox CRM” already." in refused.stderr
    assert refused.stdout == "", "the CRM was not asked for nothing"
    second = make_connection(database, vault, site)  # from when that was allowed
    unclear = frontdesk("connection", "pause", "Sandbox CRM", code=1).stderr
    assert f"{first.id}  of Sunrise\n{second.id}  of Sunrise" in unclear
    frontdesk("connection", "pause", str(second.id))


def test_a_connection_whose_connector_is_no_longer_there_is_told_in_a_sentence(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    with database.write() as session:
        session.execute(update(Connection).values(kind="former"))
    assert "former" in frontdesk("connection", "list").stdout
    for command in (("test",), ("rotate", "--set", "url=http://127.0.0.1:9")):
        told = frontdesk("connection", command[0], "Sandbox CRM", *command[1:], code=1).stderr
        assert told.startswith("There is no CRM named 'former'.")
    for more in ((), ("--online",)):
        told = frontdesk("doctor", *more, code=1).stdout
        assert "wrong demo, Sandbox CRM: Frontdesk has no connector for its kind, “former”, any more." in told


def test_unknown_callers_and_the_pace_of_a_connection_are_changed(frontdesk: Frontdesk, site: Site) -> None:
    add = ("connection", "add", "sandbox", "--site", "demo", "--set", "url=http://127.0.0.1:9", "--file", "key=-")
    frontdesk(*add, "--anyway", "--pace", "3", stdin="k")
    change = ("connection", "change", "Sandbox CRM")

    def shown() -> tuple[str, float | None]:
        (row,) = as_json(frontdesk("connection", "list", "--json"))
        return row["unknown_callers"], row["pace"]

    assert shown() == ("record", 3)
    assert "at most 0.5 calls" in frontdesk(*change, "--pace", "0.5").stdout
    assert shown() == ("record", 0.5)
    assert "wait until they are known" in frontdesk(*change, "--unknown-callers", "wait").stdout
    assert shown() == ("wait", 0.5)
    assert "so already" in frontdesk(*change, "--unknown-callers", "wait").stdout
    assert "calls a second" in frontdesk(*change, "--pace", "quick", code=1).stderr
    assert "Say what to change" in frontdesk(*change, code=2).stderr
    frontdesk(*change, "--pace", "")
    assert shown() == ("wait", None)


def test_what_is_left_of_the_days_calls_is_told(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site, quota_left=12300, quota_of=15000, quota_at=datetime.now(UTC))
    (row,) = as_json(frontdesk("connection", "list", "--json"))
    assert (row["quota_left"], row["quota_of"]) == (12300, 15000)


def test_beside_a_connection_that_works_stands_no_reason_that_is_over(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    slowly, minute = "The CRM asks us to slow down.", timedelta(minutes=1)

    def stands(**values: object) -> tuple[str | None, str | None]:
        with database.write() as session:
            session.execute(update(Connection).values({"failures": 0, "wait_until": None} | values))
        (row,) = as_json(frontdesk("connection", "list", "--json"))
        return row["code"], row["sentence"]

    now = database.time()
    assert stands(code="throttled", sentence=slowly, wait_until=now + minute) == ("throttled", slowly)
    assert stands(wait_until=now - minute) == (None, None)
    assert slowly not in frontdesk("connection", "list").stdout
    assert stands(code="connect", sentence="No connection.", failures=1) == (
        "connect",
        "The last try failed: No connection.",
    )
    assert stands(state="failing") == ("connect", "No connection.")


def test_a_connection_is_paused_resumed_and_removed(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)

    def state() -> list[str]:
        return [row["state"] for row in as_json(frontdesk("connection", "list", "--json"))]

    paused = frontdesk("connection", "pause", "Sandbox CRM").stdout
    assert paused.endswith("until: frontdesk connection resume 'Sandbox CRM'\n")
    assert state() == ["paused"]
    frontdesk("connection", "resume", "Sandbox CRM")
    assert state() == ["working"]
    asked = frontdesk("connection", "remove", "Sandbox CRM", stdin="n\n", code=1).stdout
    assert asked.startswith("Remove Sandbox CRM and forget its key?")
    assert state() == ["working"]
    mistyped = frontdesk("connection", "remove", "Sandbox", stdin="y\n", code=1)
    assert (mistyped.stdout, "no connection Sandbox" in mistyped.stderr) == ("", True), "nothing is asked about nothing"
    frontdesk("connection", "remove", "Sandbox CRM", "--yes")
    assert state() == []
    assert "no connection" in frontdesk("connection", "pause", "Sandbox CRM", code=1).stderr


def test_everything_is_checked_when_asked(frontdesk: Frontdesk, database: Database, vault: Vault, site: Site) -> None:
    make_connection(database, vault, site)
    event_id = send(database, vault, site, first_name="Jane", email="jane@example.com").event_id
    with database.read() as session:
        now = database.now(session)
    set_state(database, event_id, "confirmed", confirmed_at=now, check_at=now + timedelta(days=1))
    assert "looked at now: 1." in frontdesk("connection", "check-all", "Sandbox CRM").stdout
    options = {"url": "http://127.0.0.1:1", "secret": "whsec_" + "a" * 32}
    make_connection(database, vault, site, options, kind="webhook", name="Hook")
    assert "cannot be read back" in frontdesk("connection", "check-all", "Hook", code=1).stderr


def test_a_refused_lead_is_shown_and_sent_again(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    sent = send(database, vault, site, first_name="Jane", email="jane@example.com")
    set_state(database, sent.event_id, "refused", sentence="The CRM does not accept the e-mail address.")
    shown = frontdesk("lead", "show", sent.reference).stdout
    assert "Jane" in shown
    assert "The CRM does not accept the e-mail address." in shown
    assert [row["code"] for row in as_json(frontdesk("lead", "list", "--state", "refused", "--json"))] == [
        sent.reference
    ]
    assert "1" in frontdesk("lead", "retry", sent.reference).stdout
    assert as_json(frontdesk("lead", "show", sent.reference, "--json"))["events"][0]["deliveries"][0]["state"] == (
        "waiting"
    )
    assert "no lead" in frontdesk("lead", "show", "AAA-AAA", code=1).stderr


def test_a_call_that_was_given_up_is_sent_again_by_the_code_of_whoever_its_caller_turned_out_to_be(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    jane = send(database, vault, site, email="jane@example.com")
    tap = send(database, vault, site, "call_click", visitor_id="v1")
    set_state(database, tap.event_id, "expired", unknown=True)
    send(database, vault, site, email="jane@example.com", visitor_id="v1")
    assert "3" in frontdesk("lead", "retry", jane.reference).stdout


def test_why_nothing_of_a_lead_is_sent_again_is_told(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    def told(sent: Accepted) -> str:
        result = frontdesk("lead", "retry", sent.reference, code=1, public_url="https://leads.example")
        assert result.stdout == ""
        return result.stderr

    sent = send(database, vault, site, email="jane@example.com")
    assert "no connection got anything of it" in told(sent)
    make_connection(database, vault, site)
    sent = send(database, vault, site, consent=False, email="joe@example.com")
    found = told(sent)
    assert "Sandbox CRM: held. There is no consent of the visitor that the details are shared with the CRM." in found
    assert "https://leads.example/desk/leads/" in found
    with database.write() as session:
        handled(session.scalars(select(Delivery).where(Delivery.event_id == sent.event_id)).one())
    assert "Sandbox CRM: handled. A person took care of this.\nWhat can be done about it: https://" in told(sent)
    set_state(database, sent.event_id, "sending", code=None, sentence=None)
    assert "Sandbox CRM: sending.\n" in told(sent)
    set_state(database, sent.event_id, "confirmed")
    frontdesk("connection", "remove", "Sandbox CRM", "--yes")
    assert "Sandbox CRM: this connection was removed." in told(sent)


def test_what_a_person_decides_about_is_told_where_the_rest_of_a_lead_is_sent_again(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    one, other, last = (send(database, vault, site, email="jane@example.com") for _ in range(3))
    set_state(database, one.event_id, "refused")
    told = frontdesk("lead", "retry", one.reference, public_url="https://leads.example").stdout
    assert told == "Sent again: 3\n"
    with database.write() as session:
        handled(session.scalars(select(Delivery).where(Delivery.event_id == other.event_id)).one())
    set_state(database, last.event_id, "held", code="spam", sentence="This looks like spam.")
    told = frontdesk("lead", "retry", one.reference, public_url="https://leads.example").stdout
    *lines, where = told.splitlines()
    assert lines == [
        "Sent again: 1",
        "Not sent: 2",
        "Sandbox CRM: handled. A person took care of this.",
        "Sandbox CRM: held. This looks like spam.",
    ]
    assert where.startswith("What can be done about it: https://leads.example/desk/leads/")


def test_what_of_a_lead_may_be_in_the_crm_is_sent_again_only_where_that_is_asked_for(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    there, doubtful, refused, later = (send(database, vault, site, email="jane@example.com") for _ in range(4))
    set_state(database, there.event_id, "sent")
    set_state(database, doubtful.event_id, "refused", code="unknown_outcome", sentence="It may have arrived.")
    set_state(database, refused.event_id, "refused", code="invalid")
    set_state(database, later.event_id, "confirmed")
    told = frontdesk("lead", "retry", there.reference).stdout.splitlines()
    assert told[:-1] == [
        "Sent again: 1",
        "Not sent: 3",
        "Sandbox CRM: sent. It has arrived; --even-if-arrived sends it all the same.",
        "Sandbox CRM: refused. It may have arrived.",
        "Sandbox CRM: confirmed. It has arrived; --even-if-arrived sends it all the same.",
    ]
    set_state(database, refused.event_id, "confirmed")
    assert "Nothing was sent again.\nSandbox CRM: sent." in frontdesk("lead", "retry", there.reference, code=1).stderr
    assert frontdesk("lead", "retry", there.reference, "--even-if-arrived").stdout == "Sent again: 4\n"
    frontdesk("lead", "retry", "--all", "in_the_crm", "--even-if-arrived", code=2)


def test_what_its_visitor_took_consent_back_for_is_not_sent_again_by_a_command(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    jane = send(database, vault, site, client_id="one", email="jane@example.com")
    set_state(database, jane.event_id, "confirmed")
    send(database, vault, site, client_id="one", email="jane@example.com", consent=False)
    told = frontdesk("lead", "retry", jane.reference, "--even-if-arrived", code=1).stderr
    assert "Sandbox CRM: the visitor has taken consent back since." in told
    many = frontdesk("lead", "retry", "--all", "in_the_crm").stdout
    assert many == "Sent again: 0. Left alone, having moved on meanwhile or with consent taken back since: 1\n"


def test_many_are_sent_again_after_a_look(frontdesk: Frontdesk, database: Database, vault: Vault, site: Site) -> None:
    for name in ("One", "Other"):
        make_connection(database, vault, site, name=name)
    for number in range(3):
        sent = send(database, vault, site, email=f"p{number}@example.com")
        set_state(database, sent.event_id, "refused", code=f"code{number % 2}", sentence="Not this address.")
    retry = ("lead", "retry", "--all", "refused")
    looked = frontdesk(*retry, "--dry-run").stdout
    assert re.search(r"2 +One +code0 +Not this address\.", looked)
    assert frontdesk("lead", "list", "--state", "waiting").stdout.startswith("There are no enquiries")
    for more in ((), ("--dry-run",)):
        assert frontdesk(*retry, "--code", "cod1", *more).stdout.endswith("there are: code0, code1.\n"), "mistyped"
    assert frontdesk(*retry, "--connection", "One", "--code", "code1").stdout == "Sent again: 1\n"
    assert frontdesk(*retry).stdout == "Sent again: 5\n"
    assert frontdesk(*retry).stdout == "Nothing fits, so nothing was sent again.\n"
    assert "Nothing fits" in frontdesk(*retry, "--dry-run").stdout
    assert "no connection" in frontdesk(*retry, "--connection", "Third", code=1).stderr
    frontdesk("lead", "retry", sent.reference, "--dry-run", code=2)


def test_a_test_enquiry_is_begun_and_listed(frontdesk: Frontdesk, database: Database, vault: Vault, site: Site) -> None:
    assert "frontdesk canary run SITE" in frontdesk("canary", "list").stdout
    make_connection(database, vault, site)
    beat(database)
    assert "on its way" in frontdesk("canary", "run", "demo").stdout
    (run,) = as_json(frontdesk("canary", "list", "--json"))
    assert (run["site"], run["state"], run["started_by"], run["seen_at"]) == ("demo", "running", "command line", None)
    assert "no site" in frontdesk("canary", "run", "nowhere", code=1).stderr
    make_site(database, "other")
    assert "other has no connection in use" in frontdesk("canary", "run", "other", code=1).stderr
    assert len(as_json(frontdesk("canary", "list", "--json"))) == 1


def test_leads_are_listed_by_the_states_and_by_the_places_of_the_desk(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site
) -> None:
    make_connection(database, vault, site)
    stand = {"refused": "", "no_consent": "held", "spam": "held", "confirmed": "", "waiting": ""}
    for name, state in stand.items():
        sent = send(database, vault, site, first_name=name, email=f"{name}@example.com")
        set_state(database, sent.event_id, state or name, code=name if state else None)

    def listed(state: str) -> set[str]:
        return {row["name"] for row in as_json(frontdesk("lead", "list", "--state", state, "--json"))}

    assert listed("needs_you") == {"refused", "no_consent"}
    assert listed("spam") == {"spam"}
    assert listed("held") == {"no_consent", "spam"}
    assert listed("in_the_crm") == listed("confirmed") == {"confirmed"}
    assert listed("on_the_way") == listed("waiting") == {"waiting"}
    assert frontdesk("lead", "list", "--state", "expired").stdout == "There are no enquiries with the state expired.\n"
    frontdesk("lead", "list", "--state", "made-up", code=2)


def test_what_a_visitor_typed_does_nothing_to_a_terminal(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing clears it, fills the clipboard, or shows another text than there is."""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")  # no bold type of our own
    monkeypatch.setenv("COLUMNS", "200")
    make_connection(database, vault, site)
    typed = "J\x1b[2Ja\x1b]52;c;cm0=\x07n\x9b2Je\x7f\u202egnp.exe\u2066"
    code = send(database, vault, site, first_name=typed, email="j@example.com", suspicion="Too quick.").reference
    acts = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
    reading = [["list"], ["show", code], ["put-aside", "--dry-run"], ["export", "--csv", "-"]]
    for arguments in reading:
        said = frontdesk("lead", *arguments).stdout
        assert "J\ufffd[2Ja" in said
        assert not acts.search(said)
    told = frontdesk("lead", "show", code, "--json")
    assert as_json(told)["person"]["first_name"] == typed
    assert not acts.search(told.stdout)
    monkeypatch.undo()
    assert typed in frontdesk("lead", "export", "--csv", "-").stdout, "a file gets what was typed"


def test_no_command_prints_by_itself() -> None:
    """See `say`."""
    programs = [ROOT / "leads/cli.py", *(ROOT / "leads/commands").glob("*.py")]
    printing = {path.name for path in programs if re.search(r"\bclick\.s?echo\(|\bprint\(", path.read_text("utf-8"))}
    assert printing == {"office.py"}


@pytest.mark.parametrize("more", [(), ("--wait",)])
def test_no_test_enquiry_is_begun_while_no_worker_runs(
    frontdesk: Frontdesk, database: Database, site: Site, more: tuple[str, ...]
) -> None:
    for _ in ("none ever ran", "one was ended without a word"):
        told = frontdesk("canary", "run", "demo", *more, code=1).stderr
        assert told == "No worker is running: start Frontdesk. No test enquiry was begun.\n"
        beat(database, seconds_ago=60)
    assert as_json(frontdesk("canary", "list", "--json")) == []


def test_what_is_waited_for_is_told_and_given_up_in_time(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.commands.canary._TOLD_WITHIN", 0)
    make_connection(database, vault, site)
    beat(database)
    told = frontdesk("canary", "run", "demo", "--wait", code=1, canary_patience="1s").stderr
    step = "the worker has sent the form"
    in_vain = f"Waited in vain until {step}. The worker has not got there. See: frontdesk canary list"
    assert told == f"Waiting until {step}.\n{in_vain}\n"


def test_doctor_says_what_to_do(frontdesk: Frontdesk, tmp_path: Path) -> None:
    found = frontdesk("doctor", code=1).stdout
    assert "wrong There is no site yet. Run: frontdesk site add" in found
    assert "wrong Worker: no worker is running. Start Frontdesk; if it was started, its log" in found
    assert "ok    The key file fits the database" in found
    lines = as_json(frontdesk("doctor", "--json", code=1))
    assert {"verdict": "wrong", "sentence": "There is no site yet. Run: frontdesk site add"} in lines
    store = {"rate_limit_store": "redis://127.0.0.1:1"}
    assert "wrong The store of rate limits does not answer" in frontdesk("doctor", code=1, **store).stdout


@pytest.fixture
def sound(frontdesk: Frontdesk, database: Database, vault: Vault, site: Site) -> Connection:
    """An installation of which the doctor finds nothing wrong, and its connection."""
    beat(database)
    frontdesk("user", "add", "anna")
    return make_connection(database, vault, site)


def test_doctor_finds_nothing_wrong_with_the_daily_work_of_staff(
    frontdesk: Frontdesk, database: Database, vault: Vault, site: Site, sound: Connection
) -> None:
    mail = {"alert_emails": "ops@clinic.example", "smtp_host": "mail.example", "smtp_from": "desk@clinic.example"}
    assert "look" not in frontdesk("doctor", **mail).stdout
    set_state(database, send(database, vault, site, email="jane@example.com").event_id, "refused")
    frontdesk("connection", "pause", "Sandbox CRM")
    told = frontdesk("doctor", public_url="https://leads.example").stdout
    assert "look  Enquiries that need a person: 1. See: https://leads.example/desk/leads?state=needs_you\n" in told
    assert "look  demo, Sandbox CRM: This connection was paused by staff." in told
    assert f"https://leads.example/desk/connections/{sound.id}\n" in told
    frontdesk("connection", "resume", "Sandbox CRM")
    with database.write() as session:
        start_failing(session.get_one(Connection, sound.id), "The key is wrong.", database.now(session))
    told = frontdesk("doctor", code=1, public_url="https://leads.example").stdout
    assert (
        f"wrong demo, Sandbox CRM: The key is wrong. Mend it there: https://leads.example/desk/connections/{sound.id}\n"
        in told
    )


def test_doctor_says_what_a_silent_worker_means_also_after_a_restore(frontdesk: Frontdesk, database: Database) -> None:
    beat(database, seconds_ago=3600)
    told = frontdesk("doctor", code=1).stdout
    assert re.search(
        r"wrong Worker: silent since \S+\. Start Frontdesk; .*\. In a database that was just restored", told
    )
    beat(database)
    assert "ok    Worker: ok.\n" in frontdesk("doctor", code=1).stdout


def test_doctor_tells_of_a_website_that_nothing_goes_to_a_crm_from(
    frontdesk: Frontdesk, database: Database, vault: Vault, sound: Connection
) -> None:
    lakeside = make_site(database, "lakeside")
    helps = (
        "Run: frontdesk connection add KIND --site lakeside, "
        "or add one there: https://leads.example/desk/connections/new"
    )
    for number, told in enumerate(("", "; 1 enquiry waits for one", "; 2 enquiries wait for one")):
        found = frontdesk("doctor", public_url="https://leads.example").stdout
        assert f"look  lakeside has no connection{told}. {helps}\n" in found, number
        assert "demo has no connection" not in found
        send(database, vault, lakeside, email=f"p{number}@example.com")
    make_connection(database, vault, lakeside, name="Another")
    assert "has no connection" not in frontdesk("doctor").stdout


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # one of Apprise's many modules asks for it
def test_doctor_tells_that_nobody_is_told_what_is_wrong(frontdesk: Frontdesk, sound: Connection) -> None:
    assert "look  Nobody is told: set FRONTDESK_ALERT_EMAILS" in frontdesk("doctor").stdout
    told = frontdesk("doctor", code=1, alert_urls="nonsense://s3cret").stdout
    assert "wrong FRONTDESK_ALERT_URLS holds an address that Apprise does not understand.\n" in told
    assert "FRONTDESK_ALERT" not in frontdesk("doctor", alert_urls="json://u:s3cret@127.0.0.1:9").stdout


def test_doctor_tells_of_a_form_that_gives_its_visitors_one_id(
    frontdesk: Frontdesk, database: Database, vault: Vault, sound: Connection, site: Site
) -> None:
    for name in ("ann", "ben", "cora"):
        assert "several visitors" not in frontdesk("doctor").stdout
        send(database, vault, site, client_id="1", email=f"{name}@example.com")
    told = frontdesk("doctor").stdout
    assert "look  A form of demo gives one “id” to several visitors, as a page kept by a cache does." in told
    assert "Leave “id” out of that form" in told


def test_doctor_says_that_its_shell_may_lack_a_setting_of_the_service(frontdesk: Frontdesk, sound: Connection) -> None:
    told = frontdesk("doctor", "--online", code=1).stdout
    assert "wrong demo, Sandbox CRM: The address must begin with https://, unless FRONTDESK_ALLOWED_PRIVATE" in told
    assert "perhaps it has other settings than this shell" in told


def test_doctor_blames_no_setting_for_what_the_service_has_met_as_well(
    frontdesk: Frontdesk, sound: Connection, database: Database
) -> None:
    with database.write() as session:  # as after a first try that failed: it is still in use
        session.execute(update(Connection).values(failures=1, code="connect", sentence="No connection."))
    told = frontdesk("doctor", "--online", code=1).stdout
    assert "wrong demo, Sandbox CRM: The address must begin with https://" in told
    assert "other settings" not in told


def test_doctor_tells_of_a_broken_connection_once_and_what_to_do(
    frontdesk: Frontdesk, sound: Connection, database: Database, vault: Vault
) -> None:
    def told(hosts: str = "127.0.0.1") -> list[str]:
        settings = {"allowed_private_hosts": hosts, "public_url": "https://d.example"}
        told = frontdesk("doctor", "--online", code=1, **settings).stdout
        return [line for line in told.splitlines() if "Sandbox CRM" in line]

    def has_key(key: str) -> None:
        with database.write() as session:
            row = session.get_one(Connection, sound.id)
            row.options_sealed = vault.seal(crm.options | {"key": key}, "connection", "options", row.id)

    page = f"https://d.example/desk/connections/{sound.id}"
    with sandbox() as crm:
        has_key("wrong")
        [rejected] = told()
        assert rejected.startswith("wrong demo, Sandbox CRM: ")
        assert rejected.endswith(f" Mend it there: {page}"), "no setting of this shell rejected it"
        with database.write() as session:
            start_failing(session.get_one(Connection, sound.id), "The key is wrong.", database.now(session))
        assert told() == [rejected]
        has_key(crm.options["key"])
        well = f"Its CRM says that all is well now, so try it at once: frontdesk connection test {sound.id}"
        assert told() == [f"wrong demo, Sandbox CRM: The key is wrong. {well}"]
        assert told(hosts="") == [f"wrong demo, Sandbox CRM: The key is wrong. Mend it there: {page}"]


def test_doctor_says_which_settings_its_links_come_from(
    frontdesk: Frontdesk, sound: Connection, tmp_path: Path, database_url: str
) -> None:
    told = frontdesk("doctor", port="8123").stdout
    places = f"the data folder is {tmp_path}, the database {shown_address(database_url)}, and the desk is at"
    settings = f"{places} http://127.0.0.1:8123/desk/ (FRONTDESK_PUBLIC_URL)"
    assert f"ok    As this shell's settings have it, {settings}.\n" in told


def test_the_databases_password_is_not_shown_wherever_it_stands(frontdesk: Frontdesk) -> None:
    for url in ("postgresql://u:s3cret@h/n", "postgresql://h/n?user=u&password=s3cret&sslpassword=s3cret"):
        shown = frontdesk("config", "show", database_url=url).stdout
        assert ("@h/n" in shown or "//h/n?user=u" in shown, "s3cret" in shown) == (True, False)


def test_doctor_examines_on_without_the_keys(frontdesk: Frontdesk, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.chmod(0o644)
    assert "Run: chmod 600" in frontdesk("doctor", code=1).stdout
    keys.unlink()
    assert "is missing. Restore it from your backup" in frontdesk("doctor", code=1).stdout
    assert not keys.exists()


def test_without_the_keys_nothing_that_needs_them_runs(frontdesk: Frontdesk, tmp_path: Path) -> None:
    (tmp_path / "keys.json").unlink()
    for command in (("lead", "list"), ("web",), ("worker",), ("db", "upgrade")):
        assert "is missing. Restore it from your backup" in frontdesk(*command, code=3).stderr
    assert not (tmp_path / "keys.json").exists()
    assert "watchman" not in {thread.name for thread in threading.enumerate()}, "it would walk on in a closed database"


def test_why_the_keys_of_a_new_installation_cannot_be_made_is_told(frontdesk: Frontdesk, tmp_path: Path) -> None:
    new, keys = tmp_path / "new", tmp_path / "nowhere" / "keys.json"
    settings = {"data_dir": str(new), "database_url": f"sqlite:///{new / 'frontdesk.sqlite3'}", "keys_file": str(keys)}
    told = frontdesk("db", "upgrade", code=3, **settings).stderr
    assert told == f"The key file {keys} cannot be made: No such file or directory. Set FRONTDESK_KEYS_FILE.\n"


def test_all_mistakes_of_the_configuration_are_told_at_once(frontdesk: Frontdesk) -> None:
    told = frontdesk("config", "show", code=3, prot="1", lanes="zero").stderr
    assert "did you mean FRONTDESK_PORT?" in told
    assert "FRONTDESK_LANES: Not a valid integer." in told


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://nobody:hidden@127.0.0.1:9/nothing", "port 9 failed: Connection refused"),
        ("postgresql://nobody:hidden@127.0.0.1:9/nothing?sslmod=require", 'invalid connection option "sslmod"'),
        ("postgresql://nobody:hidden@127.0.0.1:9/nothing?sslmode=requir", 'invalid sslmode value: "requir"'),
    ],
)
def test_why_a_database_cannot_be_reached_is_told_in_a_sentence(frontdesk: Frontdesk, url: str, reason: str) -> None:
    told = frontdesk("lead", "list", code=3, database_url=url).stderr
    assert told.startswith("The database cannot be reached (")
    assert reason in told
    assert told.endswith("). Check FRONTDESK_DATABASE_URL.\n")
    assert (told.count("\n"), "hidden" in told) == (1, False)


@only_postgres
def test_that_a_database_is_not_there_is_told_apart_from_a_server_that_is_not(
    frontdesk: Frontdesk, database_url: str
) -> None:
    told = frontdesk("doctor", code=3, database_url=str(make_url(database_url).set(database="nothing"))).stderr
    assert 'database "nothing" does not exist' in told


def test_a_name_in_another_encoding_is_told_in_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "leads", "site", "add", "zurich", "--name", "Zürich".encode("latin-1")]
    environ = os.environ | {"FRONTDESK_DATA_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [b"The command line holds a letter that is not UTF-8. Is the terminal set to another encoding?"],
    )


@pytest.mark.parametrize("command", [["config", "show"], ["config", "show", "--json"], ["--help"]])
def test_an_output_that_a_full_disk_has_no_room_for_is_told_in_a_sentence(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "leads", *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == "The output could not be written: No space left on device.\n"
    assert done.returncode == 1


def test_a_mistake_of_our_own_is_not_told_as_the_databases(
    frontdesk: Frontdesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise IntegrityError("INSERT", None, Exception("Jane Doe is there twice"))

    monkeypatch.setattr("leads.commands.lead.leads", broken)
    told = frontdesk("lead", "list", code=1).stderr
    assert told.startswith("Frontdesk made a mistake of its own: the database refused a statement (IntegrityError).")
    assert "Jane" not in told


def test_a_mistyped_data_folder_is_told_and_not_made(
    frontdesk: Frontdesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mistyped = tmp_path / "dta"
    for given in ("dta", str(mistyped)):
        told = frontdesk("lead", "list", code=3, data_dir=given).stderr
        assert told.startswith(f"There is no data folder {mistyped}. Does the service run in this folder")
        assert not mistyped.exists()


@only_postgres
def test_one_more_host_is_told_of_the_folder_and_of_the_key_file_that_it_lacks(
    frontdesk: Frontdesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "one-more"
    told = frontdesk("web", code=3, data_dir="one-more").stderr
    assert told.startswith(f"There is no data folder {folder}.")
    assert f"make it and copy the key file of a host that runs to {folder / 'keys.json'}." in told
    folder.mkdir()
    told = frontdesk("web", code=3, data_dir="one-more").stderr
    assert f"The key file {folder / 'keys.json'} is missing." in told
    assert "copy it from another host" in told


def test_the_configuration_is_shown_without_its_secrets(frontdesk: Frontdesk) -> None:
    address = "postgresql://clinic:hunter2@db.example/frontdesk"
    shown = frontdesk("config", "show", database_url=address, metrics_token="hunter2-hunter2-hunter2").stdout
    assert "FRONTDESK_DATABASE_URL=postgresql+psycopg://clinic:***@db.example/frontdesk" in shown
    assert "FRONTDESK_METRICS_TOKEN=(set, not shown)" in shown
    assert "hunter2" not in shown
