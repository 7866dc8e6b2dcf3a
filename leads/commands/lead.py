"""`frontdesk lead`: people's enquiries, and sending them again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

import click
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.commands.connection import find_connection
from leads.commands.erase_again import unlisted
from leads.commands.office import ME, Office, as_json, as_rows, fail, json_option, site_named
from leads.plain import enquiries
from leads.store import outbox
from leads.store.in_use import kept_in_use
from leads.store.models import DELIVERY_STATES, Connection, Delivery, Lead, Replay
from leads.store.outbox.replays import REPLAYABLE, SPAM, Chosen, ReplayError, replay_slice, start_replay, stop_replay
from leads.store.people import name_of, with_callers
from leads.store.queries.erasures import Leftover, erasures_of, holding
from leads.store.queries.journey import DeliveryStory, Journey, journey
from leads.store.queries.leads import LeadFilter, lead_by_code, leads
from leads.store.queries.replays import reasons, suspected
from leads.store.staff import note_view
from leads.store.vault import Vault

_Way = tuple[Delivery, Connection]
_PLACES = ("needs_you", "on_the_way", "in_the_crm", "spam")  # of the desk's list; its others are called as a state is
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
            "code": row.lead.code,
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
        found = _named(session, code)
        way_of = _whole(session, office.vault, found.id) or _no_lead(code)
        erasures = erasures_of(session, found.id)
    note_view(office.database, ME, way_of.lead.id, office.database.time())
    if json_:
        as_json(_as_dict(way_of, erasures))
        return
    name = "erased" if way_of.lead.erased_at else name_of(way_of.person) or "unknown caller"
    click.echo(f"{way_of.lead.code}  {name}  ({way_of.site.name})")
    for left in erasures:
        click.echo(f"  {left.connection.name}: {_ERASURES[left.erasure.state]}  {left.erasure.sentence or ''}".rstrip())
    for story in way_of.events:
        click.echo(f"\n{story.event.received_at:%Y-%m-%d %H:%M:%S} UTC  {story.event.kind}  {story.code}")
        for way in story.deliveries:
            click.echo(f"  {way.connection.name}: {way.delivery.state}  {way.delivery.sentence or ''}".rstrip())
            for attempt in way.attempts:
                click.echo(f"    {attempt.started_at:%H:%M:%S}  {attempt.verdict}  {attempt.sentence or ''}".rstrip())


@lead.command("retry")
@click.argument("code", required=False)
@click.option("--all", "state", type=click.Choice(list(REPLAYABLE)), help="All deliveries in this state.")
@click.option("--connection", "connection", help="With --all: only those of this connection, by its name or id.")
@click.option("--code", "reason", help="With --all: only those with this reason, as --dry-run shows it.")
@click.option("--dry-run", is_flag=True, help="With --all: show how many there are and why, and send nothing.")
def retry(code: str | None, state: str | None, connection: str | None, reason: str | None, dry_run: bool) -> None:
    """Send again: one lead by its reference CODE, or all that are in a state.

    What a person took care of, and what is held, is not among them. Of one lead that is told; the desk sends each of
    these, if it is to go after all.

    Ends with 1 when nothing of the lead can be sent again; that none of many is in a state is no mistake.
    """
    if bool(code) == bool(state) or (code and (connection or reason or dry_run)):
        fail("Give either a reference code alone, or --all STATE.", 2)
    office = Office()
    if code:
        sent = _retry_one(office, code) or fail(_why_not(office, code))
        click.echo("\n".join([f"Sent again: {sent}", *_left_alone(office, code)]))
        return
    chosen = Chosen(str(state), find_connection(office, connection).id if connection else None, code=reason)
    if dry_run:
        _show_reasons(office, chosen)
    else:
        click.echo(_replay(office, chosen))


@lead.command("put-aside")
@click.option("--site", "site", help="Only those of this website, by its key.")
@click.option("--days", type=click.IntRange(min=1), help="Only those of so many days.")
@click.option("--dry-run", is_flag=True, help="Show how many there are, and some of them, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def put_aside(site: str | None, days: int | None, dry_run: bool, yes: bool) -> None:
    """Put all aside that is held because it looks like spam: it is not sent, and waits for nobody any more.

    Nothing is deleted: each can still be sent from its page at the desk. What is held for want of consent, or because a
    connection was paused, stays as it is.
    """
    office = Office()
    with office.database.read() as session:
        now = office.database.now(session)
        site_id = site_named(session, site).id if site else None
        since = now - timedelta(days=days) if days else None
        chosen = Chosen(SPAM, site_id=site_id, since=since, until=now)
        found = suspected(session, office.vault, chosen, now)
    if not found.enquiries:
        click.echo("Nothing is held as spam, so nothing was put aside.")
        return
    click.echo(f"Held as spam: {enquiries(found.enquiries)}, from {found.oldest:%Y-%m-%d} to {found.newest:%Y-%m-%d}.")
    for one in found.examples:
        who = one.name or "unknown caller"
        click.echo(f"  {one.lead.code}  {one.event.received_at:%Y-%m-%d %H:%M} UTC  {who}  {one.suspicion}".rstrip())
    if dry_run:
        return
    if not yes:
        click.confirm("Is none of them real? Put all aside?", abort=True)
    click.echo(_replay(office, chosen))


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
        found = _named(session, code)
        there = holding(session, found.id)
    if found.erased_at is not None:
        fail(f"{found.code} was erased before, by {found.erased_by}. See: frontdesk lead show {found.code}")
    for place in there:
        far = " (removed: delete it there by hand)" if place.connection.removed_at else ""
        click.echo(f"There is a record in {place.connection.name}{far}. {place.url or ''}".rstrip())
    if not yes:
        click.confirm(f"Erase {found.code} for good, here and with all that stands on the record in a CRM?", abort=True)
    done = outbox.erase(office.database, office.vault, office.erasures, found.id, ME)
    if not done:
        fail("Nothing was done: somebody was quicker.")
    if not done.is_listed:
        click.echo(unlisted(office.erasures.file), err=True)
    click.echo(f"Erased here. For the CRMs see: frontdesk lead show {found.code}")


def _named(session: Session, code: str) -> Lead:
    """The lead with this code. Ends the program with a sentence when there is none."""
    return lead_by_code(session, code) or _no_lead(code)


def _no_lead(code: str) -> NoReturn:
    fail(f"There is no lead with the code {code}.")


def _whole(session: Session, vault: Vault, lead_id: UUID) -> Journey | None:
    """All pages of it as one."""
    page = whole = journey(session, vault, lead_id)
    while page and whole and page.older:
        page = journey(session, vault, lead_id, page.older)
        whole = whole._replace(events=[*whole.events, *(page.events if page else ())], older=None)
    return whole


def _retry_one(office: Office, code: str) -> int:
    with office.database.write() as session:
        found = _named(session, code)
        kept_in_use(session)  # all of them at once, in the order in which others ask for them
        theirs = Delivery.lead_id.in_(with_callers(session, found.id))
        mine = select(Delivery).where(theirs, Delivery.state.in_(outbox.CAN_SEND_AGAIN)).order_by(Delivery.id)
        rows = session.scalars(mine).all()
        now = office.database.now(session)
        sent = sum(outbox.send_again(session, row, ME, now) for row in rows)
        office.database.nudge(session)
    return sent


def _why_not(office: Office, code: str) -> str:
    found, ways = _ways(office, code)
    if not ways:
        return "Nothing was sent again: no connection got anything of it. See: frontdesk connection list"
    return "\n".join(["Nothing was sent again.", *_standings(office, found, ways)])


def _left_alone(office: Office, code: str) -> list[str]:
    """What waits for a decision of a person and so was not sent with the rest."""
    found, ways = _ways(office, code)
    left = [way for way in ways if way[0].state == "held" or outbox.is_by_hand(way[0])]
    return [f"Not sent: {len(left)}", *_standings(office, found, left)] if left else []


def _ways(office: Office, code: str) -> tuple[Lead, Sequence[_Way]]:
    with office.database.read() as session:
        found = _named(session, code)
        ways = (
            select(Delivery, Connection)
            .join(Connection, Connection.id == Delivery.connection_id)
            .where(Delivery.lead_id.in_(with_callers(session, found.id)))
            .order_by(Delivery.created_at, Delivery.id)
        )
        return found, [(delivery, connection) for delivery, connection in session.execute(ways)]


def _standings(office: Office, found: Lead, ways: Sequence[_Way]) -> list[str]:
    at_the_desk = f"{office.settings.public_url}/desk/leads/{found.id}"
    return [*dict.fromkeys(_standing(*way) for way in ways), f"What can be done about it: {at_the_desk}"]


def _standing(delivery: Delivery, connection: Connection) -> str:
    if connection.removed_at and delivery.state in outbox.CAN_SEND_AGAIN:
        return f"{connection.name}: this connection was removed."
    return f"{connection.name}: {delivery.state}. {delivery.sentence or ''}".rstrip()


def _show_reasons(office: Office, chosen: Chosen) -> None:
    with office.database.read() as session:
        found = reasons(session, chosen, office.database.now(session))
    rows = [
        {"number": one.number, "connection": one.connection.name, "code": one.code, "reason": one.sentence}
        for one in found
    ]
    as_rows(["number", "connection", "code", "reason"], rows, "Nothing fits, so nothing would be sent again.")


def _replay(office: Office, chosen: Chosen) -> str:
    """Send all of them again, or put them aside, showing how far it is. Ctrl-C stops it after the slice in hand.

    Returns what became of it, in a sentence.
    """
    deed = "put aside" if chosen.is_spam else "sent again"
    with office.database.write() as session:
        try:
            replay = start_replay(session, office.vault, chosen, ME, office.database.now(session))
        except ReplayError:
            return f"Nothing fits, so nothing was {deed}."
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Putting aside" if chosen.is_spam else "Sending again", total=replay.total)
            while replay_slice(office.database, replay.id, patient=False):
                progress.update(task, completed=_replay_row(office, replay.id).done)
    except KeyboardInterrupt:
        with office.database.write() as session:
            running = session.get_one(Replay, replay.id, with_for_update=True)
            stop_replay(session, running, ME, office.database.now(session))
    ended = _replay_row(office, replay.id)
    passed_over = f". Left alone, since it had moved on meanwhile: {ended.skipped}" if ended.skipped else ""
    return f"{deed.capitalize()}: {ended.done}{passed_over}"


def _replay_row(office: Office, replay_id: UUID) -> Replay:
    with office.database.read() as session:
        return session.get_one(Replay, replay_id)


def _as_dict(journey: Journey, erasures: Sequence[Leftover]) -> dict[str, Any]:
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
