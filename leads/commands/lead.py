"""`frontdesk lead`: people's enquiries, and sending them again."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import select

from leads.commands.office import Office, as_json, as_table, fail, json_option
from leads.store import outbox
from leads.store.models import DELIVERY_STATES, Connection, Delivery
from leads.store.people import name_of
from leads.store.queries.journey import DeliveryStory, Journey, journey
from leads.store.queries.leads import LeadFilter, lead_by_code, leads
from leads.store.staff import record

_RETRIABLE = ("waiting", "refused", "expired", "sent", "confirmed")


@click.group()
def lead() -> None:
    """People's enquiries. What is printed is personal data."""


@lead.command("list")
@click.option("--state", type=click.Choice(DELIVERY_STATES), help="Only those with a delivery in this state.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@json_option
def list_leads(state: str | None, limit: int, json_: bool) -> None:
    """Show the newest leads."""
    office = Office()
    with office.database.read() as session:
        chosen = LeadFilter(states=(state,) if state else ())
        page = leads(session, office.vault, chosen, size=limit)
    rows = [
        {
            "code": row.lead.code,
            "name": row.name or "unknown caller",
            "site": row.site.key,
            "last_event": row.last_event.kind if row.last_event else None,
            "at": row.lead.last_event_at,
            "state": row.standing.state if row.standing else "no connection",
        }
        for row in page.rows
    ]
    if json_:
        as_json(rows)
    else:
        as_table(["code", "name", "site", "last_event", "at", "state"], rows, "There are no enquiries yet.")


@lead.command("show")
@click.argument("code")
@json_option
def show(code: str, json_: bool) -> None:
    """Show the way of one lead. CODE: the reference code."""
    office = Office()
    with office.database.read() as session:
        found = lead_by_code(session, code)
        way_of = journey(session, office.vault, found.id) if found else None
    if way_of is None:
        fail(f"There is no lead with the code {code}.")
    if json_:
        as_json(_as_dict(way_of))
        return
    click.echo(f"{way_of.lead.code}  {name_of(way_of.person) or 'unknown caller'}  ({way_of.site.name})")
    for story in way_of.events:
        click.echo(f"\n{story.event.received_at:%Y-%m-%d %H:%M:%S} UTC  {story.event.kind}")
        for way in story.deliveries:
            click.echo(f"  {way.connection.name}: {way.delivery.state}  {way.delivery.sentence or ''}".rstrip())
            for attempt in way.attempts:
                click.echo(f"    {attempt.started_at:%H:%M:%S}  {attempt.verdict}  {attempt.sentence or ''}".rstrip())


@lead.command("retry")
@click.argument("code", required=False)
@click.option("--all", "state", type=click.Choice(["refused", "expired"]), help="All deliveries in this state.")
def retry(code: str | None, state: str | None) -> None:
    """Send again: one lead by its reference CODE, or all that are refused or expired."""
    if bool(code) == bool(state):
        fail("Give either a reference code or --all refused|expired.", 2)
    office = Office()
    with office.database.write() as session:
        found = lead_by_code(session, code) if code else None
        if code and found is None:
            fail(f"There is no lead with the code {code}.")
        which = Delivery.lead_id == found.id if found else Delivery.state == state
        in_use = select(Connection.id).where(Connection.removed_at.is_(None))
        chosen = select(Delivery).where(which, Delivery.state.in_(_RETRIABLE), Delivery.connection_id.in_(in_use))
        rows = session.scalars(chosen.with_for_update()).all()
        now = office.database.now(session)
        for row in rows:
            outbox.requeue(row, now)
            record(session, "command line", "send_again", now, delivery_id=row.id)
        office.database.nudge(session)
    click.echo(f"Sent again: {len(rows)}")


def _as_dict(journey: Journey) -> dict[str, Any]:
    return {
        "id": journey.lead.id,
        "code": journey.lead.code,
        "site": journey.site.key,
        "person": dict(journey.person),
        "events": [
            {
                "id": story.event.id,
                "kind": story.event.kind,
                "received_at": story.event.received_at,
                "answers": dict(story.answers),
                "deliveries": [_way(way) for way in story.deliveries],
            }
            for story in journey.events
        ],
    }


def _way(way: DeliveryStory) -> dict[str, Any]:
    row = way.delivery
    return {
        "connection": way.connection.name,
        "state": row.state,
        "code": row.code,
        "sentence": row.sentence,
        "record": row.remote_url,
        "attempts": [
            {"at": one.started_at, "verdict": one.verdict, "code": one.code, "status": one.status}
            for one in way.attempts
        ],
    }
