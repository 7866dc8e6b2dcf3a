"""`frontdesk purge`: says how many it would be, asks, and deletes only what has arrived."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from leads.store.models import Delivery, Lead, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.cli.conftest import Frontdesk
from tests.factory import make_connection, make_site, make_unreadable, send


@pytest.fixture(autouse=True)
def two_old_ones(database: Database, vault: Vault) -> None:
    """Sent a year ago; one has arrived, the other was refused."""
    site = make_site(database)
    make_connection(database, vault, site)
    arrived, refused = (send(database, vault, site, email=f"{name}@example.com") for name in ("jane", "mia"))
    with database.write() as session:
        for one, state in ((arrived, "confirmed"), (refused, "refused")):
            session.execute(update(Delivery).where(Delivery.event_id == one.event_id).values(state=state))
        session.execute(update(Lead).values(last_event_at=database.now(session) - timedelta(days=365)))


def _people(database: Database) -> int | None:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Lead))


def test_nothing_is_purged_without_being_told_how_old(frontdesk: Frontdesk) -> None:
    assert "FRONTDESK_KEEP_DAYS is 0" in frontdesk("purge", code=1).stderr


def test_a_dry_run_only_counts(frontdesk: Frontdesk, database: Database) -> None:
    said = frontdesk("purge", "--dry-run", keep_days="100").stdout
    assert "sent nothing for 100 days: 2. All of it has arrived and is done with: 1." in said
    assert _people(database) == 2


def test_what_has_arrived_goes_and_the_rest_stays(frontdesk: Frontdesk, database: Database) -> None:
    assert "People forgotten: 1." in frontdesk("purge", "--days", "100", "--yes").stdout
    assert _people(database) == 1
    assert "done with: 0." in frontdesk("purge", "--days", "100", "--yes").stdout


def test_what_nobody_decided_on_is_counted_by_itself_and_goes_too(
    frontdesk: Frontdesk, database: Database, vault: Vault
) -> None:
    with database.read() as session:
        site = session.scalars(select(Site)).one()
    send(database, vault, site, email="spam@example.com", suspicion="Too quick.")
    send(database, vault, site, email="no@example.com", consent=False)
    with database.write() as session:
        session.execute(update(Lead).values(last_event_at=database.now(session) - timedelta(days=365)))
    said = frontdesk("purge", "--dry-run", "--days", "100").stdout
    assert "sent nothing for 100 days: 4. All of it has arrived and is done with: 1." in said
    assert "Held for want of consent, and nobody has decided on it in all that time: 1." in said
    assert "Held since it looks like spam, and nobody has decided on it in all that time: 1." in said
    assert "People forgotten: 3." in frontdesk("purge", "--days", "100", "--yes").stdout
    assert _people(database) == 1


def test_what_could_not_be_understood_goes_too_also_where_nobody_is_old(
    frontdesk: Frontdesk, database: Database
) -> None:
    with database.write() as session:
        site, now = session.scalars(select(Site)).one(), database.now(session)
        session.execute(update(Lead).values(last_event_at=now))
    for days in (101, 99):
        make_unreadable(database, site, received_at=now - timedelta(days=days))
    told = "Could not be understood, and came before that: 1."
    assert told in frontdesk("purge", "--dry-run", "--days", "100").stdout
    assert "People forgotten: 0. Messages forgotten: 1." in frontdesk("purge", "--days", "100", "--yes").stdout
    assert "understood" not in frontdesk("purge", "--dry-run", "--days", "100").stdout
