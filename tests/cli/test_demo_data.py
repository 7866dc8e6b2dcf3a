"""Invented enquiries are as the real code would have written them: every page reads them, and the books balance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from leads.demo.bulk import fill, prepare
from leads.demo.invent import Maker, Plan
from leads.store.models import Base, Lead, Site, new_id
from leads.store.people import person_of
from leads.store.queries.balance import recent_balances
from leads.store.queries.journey import journey
from leads.store.queries.leads import LeadFilter, leads, search
from leads.store.queries.lists import sites
from leads.store.retention import forget_slice
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.setup import Setup
from tests.cli.conftest import Frontdesk
from tests.factory import send
from tests.web.desk import lead_of

NUMBER = 2500


@pytest.fixture
def filled(database: Database, vault: Vault, tmp_path: Path) -> Database:
    """Stopped half-way, and gone on with."""
    plan = prepare(Setup(database, vault, Limits(60, 5), by="test"), NUMBER, 800, seed=7)
    half = fill(database, tmp_path / "keys.json", plan, 0, processes=1)
    assert next(half) == 2000
    half.close()
    assert sum(fill(database, tmp_path / "keys.json", plan, 2000, processes=1)) == NUMBER - 2000
    return database


def test_pages_read_them_and_the_books_balance(filled: Database, vault: Vault) -> None:
    with filled.read() as session:
        now, first = filled.now(session), leads(session, vault, LeadFilter()).rows[0]
        assert first.standing is not None
        assert first.standing.state == "waiting"
        story = journey(session, vault, first.lead.id)
        assert story is not None
        assert story.events[0].answers["email"] == story.person["email"]
        assert [row.lead.id for row in search(session, vault, story.person["email"], LeadFilter()).rows] == [
            first.lead.id
        ]
        assert all(day.closes for day in recent_balances(session, sites(session), now, 3))
        assert session.scalar(select(func.count()).select_from(Lead)) == NUMBER
        every = session.scalars(select(Lead)).all()
    assert len({lead.code for lead in every}) == len([person_of(vault, lead) for lead in every])


def test_a_visitor_who_comes_back_is_the_invented_person(filled: Database, vault: Vault) -> None:
    with filled.read() as session:
        lead = session.scalars(select(Lead).where(Lead.known).order_by(Lead.created_at)).first()
        assert lead is not None
        email, site = person_of(vault, lead)["email"], session.get_one(Site, lead.site_id)
    again = send(filled, vault, site, email=email)
    assert lead_of(filled, again.event_id) == lead.id


def test_retention_forgets_the_old_ones(filled: Database) -> None:
    with filled.read() as session:
        now = filled.now(session)
    assert forget_slice(filled, now - timedelta(days=365)).forgotten == 100
    assert forget_slice(filled, now - timedelta(days=900)).forgotten == 0


def test_every_column_that_must_be_is_written(vault: Vault) -> None:
    plan = Plan(100, 1, 7, datetime.now(UTC), 30, ((new_id(), (new_id(),)),))
    for table, rows in Maker(vault, plan).rows(0).items():
        columns = Base.metadata.tables[table].columns
        assert {one.name for one in columns if not one.nullable and one.server_default is None} <= rows[0].keys()
        assert all(list(row) == list(rows[0]) for row in rows)


def test_the_command_never_adds_to_a_store_unasked(frontdesk: Frontdesk) -> None:
    assert "100 invented leads" in frontdesk("demo-data", "--leads", "100").output
    assert "100 leads here already" in frontdesk("demo-data", "--leads", "200", code=1).stderr
    assert "200 invented leads" in frontdesk("demo-data", "--leads", "200", "--yes").output
    assert "There are 200 leads here." in frontdesk("demo-data", "--leads", "150", "--yes").output
