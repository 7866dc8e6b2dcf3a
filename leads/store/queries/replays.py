"""What a replay would send again and why it is not in the CRM, what would be put aside, and how replays went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from textwrap import shorten
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from leads.store.models import Connection, Delivery, Event, Lead, Replay, Site
from leads.store.outbox.replays import LONGEST_COUNT, Chosen
from leads.store.people import listed_answers, listed_person, name_of
from leads.store.session import at_leisure
from leads.store.vault import Vault

_EXCERPT = 120  # letters of a message


class Reason(NamedTuple):
    """Deliveries of one connection that are where they are for one reason. sentence: None when there is none."""

    connection: Connection
    code: str | None
    sentence: str | None
    number: int


class Example(NamedTuple):
    """One of many. name: None for an unknown caller. message, suspicion: empty where there is none."""

    lead: Lead
    event: Event
    site: Site
    name: str | None
    message: str
    suspicion: str


class Suspected(NamedTuple):
    """What looks like spam. deliveries: more than enquiries where each goes to several CRMs. oldest, newest: None where
    there is nothing. examples: the newest few."""

    enquiries: int
    deliveries: int
    oldest: datetime | None
    newest: datetime | None
    examples: Sequence[Example]


def reasons(session: Session, chosen: Chosen, now: datetime) -> list[Reason]:
    """What a filter finds now, the most frequent reason first."""
    number = func.count(Delivery.id)
    found = (
        select(Connection, Delivery.code, Delivery.sentence, number)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(*chosen.where(now))
        .group_by(Connection.id, Delivery.code, Delivery.sentence)
        .order_by(number.desc())
    )
    with at_leisure(session, LONGEST_COUNT):
        return [Reason(*row) for row in session.execute(found).all()]


def suspected(session: Session, vault: Vault, chosen: Chosen, now: datetime, examples: int = 5) -> Suspected:
    """What a filter would put aside now. examples: how many of it are told."""
    at = Delivery.created_at
    counted = select(func.count(Delivery.event_id.distinct()), func.count(), func.min(at), func.max(at))
    newest = select(Delivery.event_id).where(*chosen.where(now)).group_by(Delivery.event_id)
    some = newest.order_by(func.max(at).desc(), Delivery.event_id.desc()).limit(examples)
    rows = (
        select(Lead, Event, Site)
        .join(Event, Event.lead_id == Lead.id)
        .join(Site, Site.id == Event.site_id)
        .where(Event.id.in_(session.scalars(some).all()))
        .order_by(Event.received_at.desc(), Event.id.desc())
    )
    found = [_example(vault, *row) for row in session.execute(rows)]
    return Suspected(*session.execute(counted.where(*chosen.where(now))).one(), found)


def _example(vault: Vault, lead: Lead, event: Event, site: Site) -> Example:
    answers = listed_answers(vault, event)
    message = shorten(str(answers.get("message") or ""), _EXCERPT, placeholder=" …")
    return Example(lead, event, site, name_of(listed_person(vault, lead)), message, answers.get("suspicion") or "")


def recent_replays(session: Session, limit: int = 20) -> list[Replay]:
    """The newest, whether they are on their way or over."""
    return list(session.scalars(select(Replay).order_by(Replay.started_at.desc(), Replay.id.desc()).limit(limit)))
