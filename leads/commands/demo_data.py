"""`frontdesk demo-data`: fill an empty store with invented enquiries, to try how it does with many."""

from __future__ import annotations

import click

from leads.commands.office import Office, fail
from leads.demo.data import PER_DAY, NotEmptyError, fill
from leads.store.queries.lists import sites
from leads.store.session import Database
from leads.store.sites import add_site
from leads.sync.setup import Setup

_SITES = 10


@click.command("demo-data")
@click.option("--leads", "number", default=10_000, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same people.")
@click.option("--per-day", default=PER_DAY, show_default=True, type=click.IntRange(min=1), help="Enquiries a day.")
def demo_data(number: int, seed: int, per_day: int) -> None:
    """Fill an empty store with invented enquiries, nearly all of them delivered.

    Choose a data folder of its own, such as FRONTDESK_DATA_DIR=data-demo.
    """
    office = Office(migrate=True)
    prepare(office.database, office.setup)
    try:
        with click.progressbar(length=number, label="Inventing enquiries") as bar:
            for some in fill(office.database, office.vault, number, seed, per_day):
                bar.update(some)
            bar.label = "Building indexes"
    except NotEmptyError:
        fail("There are enquiries already. Invented ones are not mixed with them: choose another FRONTDESK_DATA_DIR.")
    click.echo(f"{number} invented enquiries are in the store.")


def prepare(database: Database, setup: Setup) -> None:
    """Sites with a connection each, to a CRM that nobody calls: all of it is delivered already."""
    with database.read() as session:
        if sites(session):
            return
    for one in range(_SITES):
        with database.write() as session:
            now = database.now(session)
            zone = "America/New_York"
            add_site(session, key=f"clinic-{one}", name=f"Clinic {one}", region="US", time_zone=zone, now=now)
        typed = {"url": "http://127.0.0.1:8001", "key": "sandbox-key"}
        created = setup.create(f"clinic-{one}", "sandbox", f"Sandbox CRM of clinic {one}", typed)
        setup.pause(created.id)
