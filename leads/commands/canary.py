"""`frontdesk canary`: test enquiries that go the whole way into the CRM and are removed there."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import click

from leads.commands.office import ME, Office, as_rows, fail, json_option, say, site_named
from leads.store import canary as store
from leads.store.models import CanaryRun, Site
from leads.store.queries.canary import recent_runs
from leads.store.queries.lists import connections_in_use
from leads.store.queries.overview import worker_lives

_TOLD_WITHIN = 10  # seconds in which the worker itself says why it gave a test up
_COLUMNS = ["site", "state", "started_at", "arrived_in", "removed_at", "started_by", "sentence"]


@click.group()
def canary() -> None:
    """Test enquiries: through the form into each CRM, read back, and removed there."""


@canary.command("run")
@click.argument("site_key", metavar="SITE")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until it is over; for each step no longer than FRONTDESK_CANARY_PATIENCE. Ends with 1 when it failed.",
)
def run(site_key: str, wait: bool) -> None:
    """Send one now. A worker has to be running. SITE: the site's key."""
    office = Office()
    with office.database.write() as session:
        site = site_named(session, site_key)
        now = office.database.now(session)
        if not worker_lives(session, now):
            fail("No worker is running: start Frontdesk. No test enquiry was begun.")
        if site.closed_at is not None:
            fail(f"{site_key} is closed: it takes no enquiries, and no test enquiry either. None was begun.")
        if not any(row.site_id == site.id for row in connections_in_use(session)):
            fail(f"{site_key} has no connection in use, so a test enquiry would end here. None was begun.")
        begun = store.start(session, site, ME, now)
    if not wait:
        say("It is on its way. See: frontdesk canary list")
        return
    ended = _wait(office, begun.id)
    if ended.state != "ok":
        fail(f"Failed: {ended.sentence}")
    say(f"It arrived in {_seconds(ended)} seconds and was removed again.")


def _wait(office: Office, run_id: UUID) -> CanaryRun:
    """Watch until the run is over, saying what is waited for. Ends the program when a step takes too long."""
    step, until = "", 0.0
    while (found := _get(office, run_id)).state == "running":
        if (now := _next_step(found)) != step:
            step = now
            say(f"Waiting until {step}.", err=True)
            until = time.monotonic() + office.settings.canary_patience.total_seconds() + _TOLD_WITHIN
        elif time.monotonic() > until:
            fail(_gave_up(office, step))
        time.sleep(0.2)
    return found


def _next_step(run: CanaryRun) -> str:
    if run.stored_at is None:
        return "the worker has sent the form"
    return "it is seen in the CRM" if run.seen_at is None else "it is removed from the CRM again"


def _gave_up(office: Office, step: str) -> str:
    with office.database.read() as session:
        lives = worker_lives(session, office.database.now(session))
    why = "The worker has not got there" if lives else "No worker is running any more: start Frontdesk, and it goes on"
    return f"Waited in vain until {step}. {why}. See: frontdesk canary list"


def _get(office: Office, run_id: UUID) -> CanaryRun:
    with office.database.read() as session:
        return session.get_one(CanaryRun, run_id)


@canary.command("list")
@json_option
def list_runs(json_: bool) -> None:
    """Show the newest ones."""
    with Office().database.read() as session:
        rows = [_as_row(found, site) for found, site in recent_runs(session)]
    as_rows(_COLUMNS, rows, "There was no test enquiry yet. Send one: frontdesk canary run SITE", json_=json_)


def _as_row(run: CanaryRun, site: Site) -> dict[str, Any]:
    return {
        "site": site.key,
        "state": run.state,
        "started_at": run.started_at,
        "stored_at": run.stored_at,
        "seen_at": run.seen_at,
        "removed_at": run.removed_at,
        "arrived_in": _seconds(run),
        "started_by": run.started_by,
        "code": run.code,
        "sentence": run.sentence,
    }


def _seconds(run: CanaryRun) -> float | None:
    return round((run.seen_at - run.started_at).total_seconds(), 1) if run.seen_at else None
