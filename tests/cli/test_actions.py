"""`frontdesk actions`, and what commands write down of themselves."""

from __future__ import annotations

from leads.store.models import Unreadable, new_id
from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk, as_json
from tests.factory import make_connection, make_site, send
from tests.web.desk import set_state


def test_what_commands_change_is_written_down(frontdesk: Frontdesk) -> None:
    frontdesk("site", "add", "lakeside", "--name", "Lakeside", "--region", "US", "--time-zone", "America/New_York")
    frontdesk("site", "change", "lakeside", "--name", "Sunset")
    frontdesk("user", "add", "Anna", "--role", "admin")
    frontdesk("user", "password", "anna")
    told = [row["sentence"] for row in as_json(frontdesk("actions", "--json"))]
    assert told == [
        "command line gave anna a new one-time password.",
        "command line added the user anna.",
        "command line changed the website lakeside.",
        "command line added the website lakeside.",
    ]
    assert "added the website lakeside" in frontdesk("actions", "--group", "setup").stdout
    assert "Nothing fits" in frontdesk("actions", "--who", "anna").stdout


def test_what_was_refused_is_not(frontdesk: Frontdesk) -> None:
    frontdesk("user", "add", "<b>", code=1)
    frontdesk("site", "add", "lakeside", "--name", "", "--region", "US", "--time-zone", "Mars", code=1)
    assert "Nothing was done yet" in frontdesk("actions").stdout


def test_looking_at_a_lead_and_sending_again_is_written_down(
    frontdesk: Frontdesk, database: Database, vault: Vault
) -> None:
    site = make_site(database)
    make_connection(database, vault, site)
    event_id = send(database, vault, site).event_id
    code = as_json(frontdesk("lead", "list", "--json"))[0]["code"]
    frontdesk("lead", "show", code)
    frontdesk("lead", "show", code)
    set_state(database, event_id, "refused", code="rejected")
    frontdesk("lead", "retry", "--all", "refused")
    rows = as_json(frontdesk("actions", "--json"))
    assert sorted(row["what"] for row in rows) == ["replay_started", "send_again", "viewed"]
    assert {row["lead"] for row in rows} == {code, None}


def test_users_are_listed_and_removed_but_never_the_last_admin(frontdesk: Frontdesk) -> None:
    assert "frontdesk user add NAME --role admin" in frontdesk("user", "list").stdout
    frontdesk("user", "add", "anna", "--role", "admin")
    frontdesk("user", "add", "sam")
    listed = as_json(frontdesk("user", "list", "--json"))
    assert [(row["name"], row["role"], row["last_sign_in"], row["one_time_password"]) for row in listed] == [
        ("anna", "admin", None, True),
        ("sam", "staff", None, True),
    ]
    assert frontdesk("user", "list").stdout.splitlines()[1].split() == ["anna", "admin", "all", "yes", "no"]
    assert "anna is the last admin" in frontdesk("user", "remove", "anna", code=1).stderr
    assert "anna is the last admin" in frontdesk("user", "change", "anna", "--role", "staff", code=1).stderr
    assert "sam has the role admin now." in frontdesk("user", "change", "Sam", "--role", "admin").stdout
    assert as_json(frontdesk("actions", "--json"))[0]["sentence"] == "command line gave sam the role admin."
    assert [row["role"] for row in as_json(frontdesk("user", "list", "--json"))] == ["admin", "admin"]
    frontdesk("user", "change", "sam", "--role", "staff")
    assert "sam can no longer sign in." in frontdesk("user", "remove", "Sam").stdout
    assert "no user called sam" in frontdesk("user", "remove", "sam", code=1).stderr
    frontdesk("user", "add", "bert", "--role", "admin")
    frontdesk("user", "remove", "anna")
    assert [row["name"] for row in as_json(frontdesk("user", "list", "--json"))] == ["bert"]
    assert as_json(frontdesk("actions", "--json"))[0]["sentence"] == "command line removed the user anna."


def test_the_websites_of_a_user_are_chosen(frontdesk: Frontdesk, database: Database) -> None:
    make_site(database)
    make_site(database, "other")
    assert "no site with the key gone" in frontdesk("user", "add", "sam", "--site", "gone", code=1).stderr
    frontdesk("user", "add", "sam", "--site", "demo")
    assert as_json(frontdesk("user", "list", "--json"))[0]["sites"] == "demo"
    both = frontdesk("user", "change", "sam", "--site", "other", "--site", "demo")
    assert both.stdout == "sam has the role staff now. Websites: demo, other.\n"
    assert as_json(frontdesk("actions", "--json"))[0]["sentence"].startswith("command line had sam look after ")
    refused = frontdesk("user", "change", "sam", "--role", "admin", "--site", "demo", code=1)
    assert "An admin looks after all websites" in refused.stderr
    assert as_json(frontdesk("user", "list", "--json"))[0]["role"] == "staff"
    assert "Websites: all." in frontdesk("user", "change", "sam", "--all-sites").stdout
    assert "Give --role" in frontdesk("user", "change", "sam", code=2).stderr
    assert "Give --role" in frontdesk("user", "change", "sam", "--all-sites", "--site", "demo", code=2).stderr


def test_a_website_without_enquiries_is_removed(frontdesk: Frontdesk, database: Database, vault: Vault) -> None:
    site = make_site(database)
    make_connection(database, vault, site)
    frontdesk("site", "change", "demo", "--consent", "Call me.")
    assert "has a connection" in frontdesk("site", "remove", "demo", code=1).stderr
    frontdesk("connection", "remove", "Sandbox CRM", "--yes")
    frontdesk("site", "remove", "demo")
    assert as_json(frontdesk("site", "list", "--json")) == []
    assert "no site" in frontdesk("site", "remove", "demo", code=1).stderr
    told = [row["sentence"] for row in as_json(frontdesk("actions", "--json"))]
    assert told[:2] == ["command line removed the website demo.", "command line removed a connection."]


def test_a_website_with_enquiries_stays(frontdesk: Frontdesk, database: Database, vault: Vault) -> None:
    send(database, vault, make_site(database))
    assert "has enquiries" in frontdesk("site", "remove", "demo", code=1).stderr
    assert "frontdesk site open demo" in frontdesk("site", "close", "demo").stdout
    assert "closed already" in frontdesk("site", "close", "demo", code=1).stderr
    assert as_json(frontdesk("site", "list", "--json"))[0]["closed_at"]
    assert "takes enquiries" in frontdesk("site", "open", "demo").stdout
    assert "not closed" in frontdesk("site", "open", "demo", code=1).stderr
    assert [row["key"] for row in as_json(frontdesk("site", "list", "--json"))] == ["demo"]
    assert len(as_json(frontdesk("lead", "list", "--json"))) == 1
    told = [row["sentence"] for row in as_json(frontdesk("actions", "--json"))]
    assert told[:2] == [
        "command line opened the website demo again.",
        "command line closed the website demo: it takes no more enquiries.",
    ]


def test_a_website_to_which_something_unreadable_came_stays(frontdesk: Frontdesk, database: Database) -> None:
    site = make_site(database)
    with database.write() as session:
        kept = {"body_digest": bytes(16), "body_sealed": b"x", "reason": "not_json"}
        session.add(Unreadable(id=new_id(), site_id=site.id, received_at=database.now(session), **kept))
    assert "has enquiries" in frontdesk("site", "remove", "demo", code=1).stderr
