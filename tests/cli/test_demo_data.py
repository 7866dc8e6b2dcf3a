"""`frontdesk demo-data`: rows as the intake and the worker would have written them, and never among real ones."""

from __future__ import annotations

from sqlalchemy import inspect, select

from leads.store.models import Base, Delivery, Event, Lead
from leads.store.people import person_of
from leads.store.queries.balance import recent_balances
from leads.store.queries.leads import LeadFilter, search
from leads.store.queries.lists import sites
from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk
from tests.factory import make_site, send


def test_what_is_invented_can_be_read_found_and_accounted_for(
    frontdesk: Frontdesk, database: Database, vault: Vault
) -> None:
    assert "300 invented enquiries are in the store." in frontdesk("demo-data", "--leads", "300").stdout
    with database.read() as session:
        leads = session.scalars(select(Lead)).all()
        assert len({lead.code for lead in leads}) == 300
        assert person_of(vault, leads[7])["email"].endswith("@example.com")
        answers = session.scalars(select(Event)).first()
        assert answers
        assert vault.open(answers.answers_sealed, "event", "answers", answers.id)["service"]
        assert set(session.scalars(select(Delivery.state))) <= {"confirmed", "refused", "held", "sent"}
        found = search(session, vault, "person5@example.com", LeadFilter())
        assert [row.name for row in found.rows] == [" ".join(_name(vault, found.rows[0].lead))]
        assert all(day.closes for day in recent_balances(session, sites(session), database.now(session)))


def _name(vault: Vault, lead: Lead) -> tuple[str, str]:
    person = person_of(vault, lead)
    return person["first_name"], person["last_name"]


def test_every_index_is_there_again(frontdesk: Frontdesk, database: Database) -> None:
    frontdesk("demo-data", "--leads", "5")
    there = {index["name"] for table in Base.metadata.tables for index in inspect(database.engine).get_indexes(table)}
    assert {str(index.name) for table in Base.metadata.tables.values() for index in table.indexes} <= there


def test_they_are_never_mixed_with_real_ones(frontdesk: Frontdesk, database: Database, vault: Vault) -> None:
    send(database, vault, make_site(database), email="jane@example.com")
    assert "choose another FRONTDESK_DATA_DIR" in frontdesk("demo-data", "--leads", "5", code=1).stderr
