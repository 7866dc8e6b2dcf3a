"""`frontdesk lead erase`: asks first, erases here at once, and tells of the CRMs."""

from __future__ import annotations

from sqlalchemy import select, update

from leads.store.models import Action, Lead
from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk, as_json
from tests.database.lanes import delivered
from tests.factory import make_connection, make_site, send


def test_a_person_is_erased_by_the_code(frontdesk: Frontdesk, database: Database, vault: Vault) -> None:
    site = make_site(database)
    connection = make_connection(database, vault, site)
    code = send(database, vault, site, first_name="Zyxwina", last_name="Example", email="zyx@example.com").reference
    send(database, vault, site, first_name="Ben", last_name="Vaterfeld", email="ZYX@example.com")
    delivered(database, connection)
    asked = frontdesk("lead", "erase", code, stdin="n\n", code=1).stdout
    assert "There is a record in Sandbox CRM." in asked
    assert "Names that go: Zyxwina Example, Ben Vaterfeld\nE-mails that go: zyx@example.com\n" in asked
    assert f"Erase {code} for good" in asked
    assert as_json(frontdesk("lead", "show", code, "--json"))["person"] != {}
    assert f"frontdesk lead show {code}" in frontdesk("lead", "erase", code.lower(), "--yes").stdout
    shown = as_json(frontdesk("lead", "show", code, "--json"))
    assert (shown["person"], shown["events"][0]["answers"]) == ({}, {})
    assert shown["erasures"] == [
        {
            "connection": "Sandbox CRM",
            "state": "waiting",
            "code": None,
            "sentence": None,
            "records": [f"r-{code}"],
        }
    ]
    told = frontdesk("lead", "show", code).stdout
    assert f"{code}  erased" in told
    assert "Sandbox CRM: to be erased there" in told
    assert "Zyxwina" not in told + frontdesk("lead", "list").stdout
    assert "erased before, by command line" in frontdesk("lead", "erase", code, "--yes", code=1).stderr
    with database.read() as session:
        assert session.scalars(select(Action.user_name).where(Action.what == "erased")).all() == ["command line"]


def test_the_code_of_any_enquiry_leads_to_the_person_also_once_they_are_erased(
    frontdesk: Frontdesk, database: Database, vault: Vault
) -> None:
    site = make_site(database)
    first, second = (send(database, vault, site, email="zyx@example.com").reference for _ in range(2))
    shown = frontdesk("lead", "show", second).stdout
    assert [line.split()[-1] for line in shown.splitlines() if "consultation_request" in line] == [second, first]
    assert frontdesk("lead", "erase", second, "--yes").stdout
    for code in (first, second):
        told = as_json(frontdesk("lead", "show", code, "--json"))
        assert (told["code"], told["person"]) == (first, {})
        assert [event["code"] for event in told["events"]] == [second, first]


def test_who_is_not_there_is_told(frontdesk: Frontdesk, database: Database, vault: Vault) -> None:
    assert "no lead with the code AAA-AAA" in frontdesk("lead", "erase", "AAA-AAA", "--yes", code=1).stderr
    code = send(database, vault, make_site(database), email="zyx@example.com").reference
    with database.write() as session:
        session.execute(update(Lead).values(is_test=True))
    assert "no lead with the code" in frontdesk("lead", "erase", code, "--yes", code=1).stderr
