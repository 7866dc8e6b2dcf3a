"""`frontdesk demo-data`: fill a store with invented enquiries, to see how it does when it has grown."""

from __future__ import annotations

import click

from leads.commands.office import Office, fail, say
from leads.demo.bulk import A_DAY, count_leads, fill, prepare


@click.command("demo-data")
@click.option("--leads", "number", required=True, type=click.IntRange(min=100), help="How many in all.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help=f"Over how long; else {A_DAY:,} a day.")
@click.option("--seed", default=1, show_default=True, help="The same seed invents the same people.")
@click.option("--yes", is_flag=True, help="Also where there are leads already: they are made up to the number.")
def demo_data(number: int, days: float | None, seed: int, yes: bool) -> None:
    """Invent enquiries with all that belongs to them, as if they had come in and been delivered over the years.

    For trying things out and measuring, never beside real enquiries. Stopped half-way, the same command with --yes goes
    on.
    """
    office = Office(migrate=True)
    setup = office.setup  # the keys are made before the count is looked at
    here = count_leads(office.database)
    if here and not yes:
        fail(f"There are {here:,} leads here already. Use an empty store, or say --yes to make them up to {number:,}.")
    if here >= number:
        say(f"There are {here:,} leads here.")
        return
    plan = prepare(setup, number, days or number / A_DAY, seed)
    with click.progressbar(length=number - here, label="Inventing enquiries", show_pos=True) as bar:
        for made in fill(office.database, office.settings.keys_file, plan, here):
            bar.update(made)
    say(f"There are {number:,} invented leads here now.")
