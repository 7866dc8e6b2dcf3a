"""`frontdesk lead retry` and `put-aside`: one lead or many sent again, and all that looks like spam put aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import click
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import select

from leads.commands.connection import find_connection
from leads.commands.office import ME, Office, as_rows, fail, lead_named, say, site_named
from leads.plain import enquiries, passed_over
from leads.store import outbox
from leads.store.consents import taken_back
from leads.store.holds import LOOK_FIRST
from leads.store.in_use import kept_in_use
from leads.store.models import Connection, Delivery, Lead, Replay
from leads.store.outbox.replays import REPLAYABLE, SPAM, Chosen, ReplayError, replay_slice, start_replay, stop_replay
from leads.store.people import with_callers
from leads.store.queries.replays import reasons, suspected


class _Way(NamedTuple):
    """unwanted: its visitor has taken consent back."""

    delivery: Delivery
    connection: Connection
    unwanted: bool

    @property
    def is_left_alone(self) -> bool:
        """Whether that is to be told where others of the lead were sent."""
        could_go = self.delivery.state in outbox.CAN_SEND_AGAIN and not self.connection.removed_at
        return could_go or self.delivery.state == "held" or outbox.is_by_hand(self.delivery)


@click.command("retry")
@click.argument("code", required=False)
@click.option("--all", "state", type=click.Choice(list(REPLAYABLE)), help="All deliveries in this state.")
@click.option("--connection", "connection", help="With --all: only those of this connection, by its name or id.")
@click.option("--code", "reason", help="With --all: only those with this reason, as --dry-run shows it.")
@click.option("--dry-run", is_flag=True, help="With --all: show how many there are and why, and send nothing.")
@click.option(
    "--even-if-arrived",
    is_flag=True,
    help="With CODE: also what is in the CRM or may be. One that keeps none of our keys has it twice then.",
)
def retry(
    code: str | None,
    state: str | None,
    connection: str | None,
    reason: str | None,
    dry_run: bool,
    even_if_arrived: bool,
) -> None:
    """Send again: one lead by its reference CODE, or all that are in a state.

    What a person took care of, what is held, and what its visitor has taken consent back for is not among them. Of one
    lead that is told, as is what has arrived or may have; the desk sends each of these, if it is to go after all.

    Ends with 1 when nothing of the lead can be sent again; that none of many is in a state is no mistake.
    """
    if bool(code) == bool(state) or (code and (connection or reason or dry_run)) or (state and even_if_arrived):
        fail("Give either a reference code, if need be with --even-if-arrived, or --all STATE.", 2)
    office = Office()
    if code:
        sent = _retry_one(office, code, even_if_arrived) or fail(_why_not(office, code))
        say("\n".join([f"Sent again: {len(sent)}", *_left_alone(office, code, sent)]))
        return
    chosen = Chosen(str(state), find_connection(office, connection).id if connection else None, code=reason)
    if dry_run:
        _show_reasons(office, chosen)
    else:
        say(_replay(office, chosen))


@click.command("put-aside")
@click.option("--site", "site", help="Only those of this website, by its key.")
@click.option("--days", type=click.IntRange(1, 36_500), help="Only those of so many days.")
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
        say("Nothing is held as spam, so nothing was put aside.")
        return
    say(f"Held as spam: {enquiries(found.enquiries)}, from {found.oldest:%Y-%m-%d} to {found.newest:%Y-%m-%d}.")
    for one in found.examples:
        who = one.name or "unknown caller"
        say(f"  {one.lead.code}  {one.event.received_at:%Y-%m-%d %H:%M} UTC  {who}  {one.suspicion}".rstrip())
    if dry_run:
        return
    if not yes:
        click.confirm("Is none of them real? Put all aside?", abort=True)
    say(_replay(office, chosen))


def _retry_one(office: Office, code: str, even_if_arrived: bool) -> set[UUID]:
    """Returns the deliveries that go."""
    with office.database.write() as session:
        found = lead_named(session, code)
        kept_in_use(session)  # all of them at once, in the order in which others ask for them
        theirs = Delivery.lead_id.in_(with_callers(session, found.id))
        mine = select(Delivery).where(theirs, Delivery.state.in_(outbox.CAN_SEND_AGAIN)).order_by(Delivery.id)
        rows = session.scalars(mine.with_for_update()).all()  # none of them arrives from now on
        unwanted = taken_back(session, {row.event_id for row in rows})
        going = [row for row in rows if row.event_id not in unwanted and (even_if_arrived or not _may_be_there(row))]
        now = office.database.now(session)
        sent = {row.id for row in going if outbox.send_again(session, row, ME, now)}
        office.database.nudge(session)
    return sent


def _may_be_there(delivery: Delivery) -> bool:
    """Whether it has arrived, or a person has to look first."""
    return delivery.state in ("sent", "confirmed") or (delivery.state, delivery.code) == ("refused", LOOK_FIRST)


def _why_not(office: Office, code: str) -> str:
    found, ways = _ways(office, code)
    if not ways:
        return "Nothing was sent again: no connection got anything of it. See: frontdesk connection list"
    return "\n".join(["Nothing was sent again.", *_standings(office, found, ways)])


def _left_alone(office: Office, code: str, sent: set[UUID]) -> list[str]:
    """What waits for a decision of a person, or is there already, and so was not sent with the rest."""
    found, ways = _ways(office, code)
    left = [way for way in ways if way.delivery.id not in sent and way.is_left_alone]
    return [f"Not sent: {len(left)}", *_standings(office, found, left)] if left else []


def _ways(office: Office, code: str) -> tuple[Lead, list[_Way]]:
    with office.database.read() as session:
        found = lead_named(session, code)
        ways = (
            select(Delivery, Connection)
            .join(Connection, Connection.id == Delivery.connection_id)
            .where(Delivery.lead_id.in_(with_callers(session, found.id)))
            .order_by(Delivery.created_at, Delivery.id)
        )
        rows = session.execute(ways).all()
        unwanted = taken_back(session, {delivery.event_id for delivery, _ in rows})
        return found, [_Way(delivery, connection, delivery.event_id in unwanted) for delivery, connection in rows]


def _standings(office: Office, found: Lead, ways: Sequence[_Way]) -> list[str]:
    at_the_desk = f"{office.settings.public_url}/desk/leads/{found.id}"
    return [
        *dict.fromkeys(f"{way.connection.name}: {_why(way)}" for way in ways),
        f"What can be done about it: {at_the_desk}",
    ]


def _why(way: _Way) -> str:
    if way.delivery.state in outbox.CAN_SEND_AGAIN:
        if way.connection.removed_at:
            return "this connection was removed."
        if way.unwanted:
            return "the visitor has taken consent back since."
        if way.delivery.state in ("sent", "confirmed"):
            return f"{way.delivery.state}. It has arrived; --even-if-arrived sends it all the same."
    return f"{way.delivery.state}. {way.delivery.sentence or ''}".rstrip()


def _show_reasons(office: Office, chosen: Chosen) -> None:
    with office.database.read() as session:
        found = reasons(session, chosen, office.database.now(session))
    rows = [
        {"number": one.number, "connection": one.connection.name, "code": one.code, "reason": one.sentence}
        for one in found
    ]
    nothing = f"Nothing fits, so nothing would be sent again.{_other_reasons(office, chosen)}"
    as_rows(["number", "connection", "code", "reason"], rows, nothing)


def _other_reasons(office: Office, chosen: Chosen) -> str:
    """A sentence with those that there are, where one was asked for: it may be mistyped."""
    if not chosen.code:
        return ""
    with office.database.read() as session:
        found = reasons(session, replace(chosen, code=None), office.database.now(session))
    codes = sorted({one.code for one in found if one.code})
    return f" The reasons that there are: {', '.join(codes)}." if codes else ""


def _replay(office: Office, chosen: Chosen) -> str:
    """Send all of them again, or put them aside, showing how far it is. Ctrl-C stops it after the slice in hand.

    Returns what became of it, in a sentence.
    """
    done = "put aside" if chosen.is_spam else "sent again"
    with office.database.write() as session:
        try:
            replay = start_replay(session, office.vault, chosen, ME, office.database.now(session))
        except ReplayError:
            return f"Nothing fits, so nothing was {done}.{_other_reasons(office, chosen)}"
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
    left_alone = f". Left alone, {passed_over(done)}: {ended.skipped}" if ended.skipped else ""
    return f"{done.capitalize()}: {ended.done}{left_alone}"


def _replay_row(office: Office, replay_id: UUID) -> Replay:
    with office.database.read() as session:
        return session.get_one(Replay, replay_id)
