"""`frontdesk lead`: people's enquiries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import click
from sqlalchemy.orm import Session

from leads.commands.erase_again import not_on_the_list
from leads.commands.office import ME, Office, as_json, as_rows, fail, json_option, lead_named, no_lead, say
from leads.store import outbox
from leads.store.models import DELIVERY_STATES
from leads.store.people import name_of
from leads.store.queries.erasures import CrmErasure, erasures_of, holding
from leads.store.queries.journey import DeliveryStory, Journey, journey
from leads.store.queries.leads import LeadFilter, leads
from leads.store.queries.names import details_of
from leads.store.staff import note_view
from leads.store.vault import Vault

# Of the desk's list; its others are called as a state is.
_PLACES = ("needs_you", "on_the_way", "in_the_crm", "not_now", "spam")
_ERASURES = {
    "waiting": "to be erased there",
    "done": "erased there",
    "needs_you": "not erased there: needs a person",
    "handled": "erased there by hand",
}


@click.group()
def lead() -> None:
    """People's enquiries. What is printed is personal data."""


@lead.command("list")
@click.option(
    "--state",
    type=click.Choice([*DELIVERY_STATES, *_PLACES]),
    help="Only those with a delivery in this state, or in this place of the desk's list.",
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@json_option
def list_leads(state: str | None, limit: int, json_: bool) -> None:
    """Show the newest leads."""
    office = Office()
    with office.database.read() as session:
        chosen = LeadFilter(place=state) if state in _PLACES else LeadFilter(state=state)
        page = leads(session, office.vault, chosen, size=limit)
    rows = [
        {
            "code": row.code,
            "name": "erased" if row.lead.erased_at else row.name or "unknown caller",
            "site": row.site.key,
            "last_event": row.last_event.kind if row.last_event else None,
            "at": row.lead.last_event_at,
            "state": row.standing.state if row.standing else "no connection",
        }
        for row in page.rows
    ]
    columns = ["code", "name", "site", "last_event", "at", "state"]
    empty = f"There are no enquiries {f'with the state {state}' if state else 'yet'}."
    as_rows(columns, rows, empty, json_=json_)


@lead.command("show")
@click.argument("code")
@json_option
def show(code: str, json_: bool) -> None:
    """Show the way of one lead. CODE: the reference code."""
    office = Office()
    with office.database.read() as session:
        found = lead_named(session, code)
        way_of = _whole(session, office.vault, found.id) or no_lead(code)
        erasures = erasures_of(session, found.id)
    note_view(office.database, ME, way_of.lead.id, office.database.time())
    if json_:
        as_json(_as_dict(way_of, erasures))
        return
    name = "erased" if way_of.lead.erased_at else name_of(way_of.person) or "unknown caller"
    say(f"{way_of.lead.code}  {name}  ({way_of.site.name})")
    for left in erasures:
        say(f"  {left.connection.name}: {_ERASURES[left.erasure.state]}  {left.erasure.sentence or ''}".rstrip())
    for story in way_of.events:
        say(f"\n{story.event.received_at:%Y-%m-%d %H:%M:%S} UTC  {story.event.kind}  {story.code}")
        for way in story.deliveries:
            say(f"  {way.connection.name}: {way.delivery.state}  {way.delivery.sentence or ''}".rstrip())
            for attempt in way.attempts:
                say(f"    {attempt.started_at:%H:%M:%S}  {attempt.verdict}  {attempt.sentence or ''}".rstrip())


@lead.command("erase")
@click.argument("code")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(code: str, yes: bool) -> None:
    """Erase a person's data on request, here and in every CRM. CODE: the reference code.

    Here it is gone at once, and what still waited is not sent any more; the worker erases the records in the CRMs.
    `frontdesk lead show CODE` tells how far that is. The code, the times and what became of each enquiry stay.
    """
    office = Office()
    with office.database.read() as session:
        found = lead_named(session, code)
        there, details = holding(session, found.id), details_of(session, office.vault, found)
    if found.erased_at is not None:
        fail(f"{found.code} was erased before, by {found.erased_by}. See: frontdesk lead show {found.code}")
    for label, texts in (("Names", details.names), ("E-mails", details.emails), ("Phones", details.phones)):
        if texts:
            say(f"{label} that go: {', '.join(texts)}")
    for place in there:
        far = " (removed: delete it there by hand)" if place.connection.removed_at else ""
        say(f"There is a record in {place.connection.name}{far}. {place.url or ''}".rstrip())
    if not yes:
        click.confirm(f"Erase {found.code} for good, here and with all that stands on the record in a CRM?", abort=True)
    done = outbox.erase(office.database, office.vault, office.erasures, found.id, ME)
    if not done:
        fail("Nothing was done: somebody was quicker.")
    if not done.is_listed:
        say(not_on_the_list(office.erasures.file), err=True)
    say(f"Erased here. For the CRMs see: frontdesk lead show {found.code}")


def _whole(session: Session, vault: Vault, lead_id: UUID) -> Journey | None:
    """All pages of it as one."""
    page = whole = journey(session, vault, lead_id)
    while page and whole and page.older:
        page = journey(session, vault, lead_id, page.older)
        whole = whole._replace(events=[*whole.events, *(page.events if page else ())], older=None)
    return whole


def _as_dict(journey: Journey, erasures: Sequence[CrmErasure]) -> dict[str, Any]:
    return {
        "id": journey.lead.id,
        "code": journey.lead.code,
        "site": journey.site.key,
        "person": dict(journey.person),
        "erased_at": journey.lead.erased_at,
        "erasures": [
            {
                "connection": left.connection.name,
                "state": left.erasure.state,
                "code": left.erasure.code,
                "sentence": left.erasure.sentence,
                "records": left.erasure.remote_ids,
            }
            for left in erasures
        ],
        "events": [
            {
                "id": story.event.id,
                "code": story.code,
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
