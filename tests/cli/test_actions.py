"""`frontdesk actions`, and what commands write down of themselves."""

from __future__ import annotations

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
