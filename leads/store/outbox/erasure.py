"""A person wants to be forgotten: here at once, and in each CRM by the worker (`erasing.py`).

Rows, dates and the reference code stay, so that balances still close; all that could tell who it was goes. What was
still to be sent is not sent any more. What a worker has in hand just now may still be written: its outcome is learned
when it comes, and erased as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from leads.store.erasure_list import Entry, ErasureList
from leads.store.failpoint import reach
from leads.store.holds import is_in_doubt, may_have_arrived_since
from leads.store.models import (
    Action,
    Attempt,
    Connection,
    Delivery,
    Drift,
    Erasure,
    Event,
    Identity,
    Lead,
    RemoteRecord,
    Resubmission,
)
from leads.store.outbox.erasing import out_of_reach
from leads.store.outbox.outcomes import MAY_HAVE_WRITTEN
from leads.store.people import person_behind, with_callers
from leads.store.session import ONLY_STAYS, Database, once_more
from leads.store.staff import record
from leads.store.vault import Vault

ERASED = "It was erased on request."


class Erased(NamedTuple):
    """Somebody is erased here. is_listed: whether it stands on the list of erasures too, which outlives a restore."""

    is_listed: bool


def erase(
    database: Database,
    vault: Vault,
    erasures: ErasureList,
    lead_id: UUID,
    by: str,
    listed: Entry | None = None,
) -> Erased | None:
    """Erase a person here, and have the worker erase them in every CRM. by: the user's name.

    lead_id: also that of a caller who turned out to be this person. listed: only as long as they are who stands there
    (`is_still`); a copy of the database was put back then, and what had not arrived may have since. None: there is
    nothing to erase, or it was done before.
    """
    entry = once_more(lambda: _erase(database, vault, erasures, lead_id, by, listed))  # done already, it is found so
    return Erased(erasures.add("erased", entry)) if entry else None


def _erase(
    database: Database, vault: Vault, erasures: ErasureList, lead_id: UUID, by: str, listed: Entry | None
) -> Entry | None:
    with database.write() as session:
        lead = session.get(Lead, lead_id)
        if lead is None:
            return None
        # As the intake does: whoever writes again at this moment comes before or after, and is somebody new then.
        database.lock(session, _digests(session, with_callers(session, person_behind(session, lead).id)))
        person = _locked(session, lead)
        if person.erased_at is not None or person.is_test or (listed and not is_still(session, person, listed)):
            return None
        now, ids = database.now(session), with_callers(session, person.id)
        _forget(session, vault, ids, by, now, restored=listed is not None)
        record(session, by, "erased", now, lead_id=person.id)
        database.nudge(session)
        entry = Entry(now, person.code, tuple(ids))
        erasures.add("begun", entry)
        reach("forget.written")
    reach("forget.committed")
    return entry


def is_still(session: Session, person: Lead, listed: Entry) -> bool:
    """Whether this is somebody who stands there, and nothing came from them since: nobody asked to erase that."""
    events = select(Event.id).where(Event.lead_id.in_(with_callers(session, person.id)))
    later = exists(events.where(Event.received_at > listed.at))
    again = exists().where(Resubmission.event_id.in_(events), Resubmission.received_at > listed.at)
    return person.id in listed.leads and not session.scalar(select(or_(later, again)))


def _locked(session: Session, lead: Lead) -> Lead:
    """The person behind a lead, locked: from now on no caller turns out to be them."""
    person = lead
    while True:
        session.refresh(person, with_for_update=True)
        if person.merged_into is None:
            return person
        person = session.get_one(Lead, person.merged_into)


def _digests(session: Session, lead_ids: Collection[UUID]) -> set[bytes]:
    by = session.scalars(select(Identity.digest).where(Identity.lead_id.in_(lead_ids)))
    return {*by, *session.scalars(select(Event.client_digest).where(Event.lead_id.in_(lead_ids)))}


def _forget(session: Session, vault: Vault, ids: Sequence[UUID], by: str, now: datetime, *, restored: bool) -> None:
    leads = session.scalars(select(Lead).where(Lead.id.in_(ids)).order_by(Lead.id).with_for_update()).all()
    # The connections before the deliveries, as whoever removes one: neither holds what the other waits for.
    connections = _connections(session, ids)
    rows = select(Delivery).where(Delivery.lead_id.in_(ids)).order_by(Delivery.id).with_for_update()
    deliveries = session.scalars(rows.execution_options(populate_existing=True)).all()
    records = session.scalars(select(RemoteRecord).where(RemoteRecord.lead_id.in_(ids)).with_for_update()).all()
    if restored:
        for row in filter(may_have_arrived_since, deliveries):
            row.unknown = True
    _ask_crms(session, connections, deliveries, records, now)
    for row in deliveries:
        _stop(row)
    for lead in leads:
        lead.person_sealed = vault.seal({}, "lead", "person", lead.id)
        lead.known = lead.shareable = False
        lead.erased_at, lead.erased_by = now, by
    _blank_events(session, vault, ids)
    _blank_the_rest(session, ids, [row.id for row in deliveries], now)


def _connections(session: Session, ids: Sequence[UUID]) -> dict[UUID, Connection]:
    """Those that any of it went or goes to."""
    to = select(Delivery.connection_id).where(Delivery.lead_id.in_(ids))
    held_by = select(RemoteRecord.connection_id).where(RemoteRecord.lead_id.in_(ids))
    rows = select(Connection).where(or_(Connection.id.in_(to), Connection.id.in_(held_by))).order_by(Connection.id)
    return {row.id: row for row in session.scalars(rows.with_for_update(**ONLY_STAYS))}


def _stop(row: Delivery) -> None:
    """It is not sent any more. Whoever is sending it has the token, and will tell what became of it."""
    row.state, row.sentence, row.field = "erased", ERASED, None
    row.code = row.code if row.code == "replaced" else None
    row.remote_id = row.remote_url = row.check_at = None


def _blank_events(session: Session, vault: Vault, ids: Sequence[UUID]) -> None:
    for event in session.scalars(select(Event).where(Event.lead_id.in_(ids)).order_by(Event.id)):
        event.answers_sealed = vault.seal({}, "event", "answers", event.id)
        # The same form sent once more is a new enquiry: to know it again would be to remember.
        event.client_digest, event.body_digest = secrets.token_bytes(16), secrets.token_bytes(16)
        event.hold_code = None


def _blank_the_rest(session: Session, ids: Sequence[UUID], deliveries: Sequence[UUID], now: datetime) -> None:
    events = select(Event.id).where(Event.lead_id.in_(ids))
    session.execute(delete(Resubmission).where(Resubmission.event_id.in_(events)))
    for model in (Identity, RemoteRecord):
        session.execute(delete(model).where(model.lead_id.in_(ids)))
    drifts = update(Drift).where(Drift.delivery_id.in_(deliveries))
    session.execute(drifts.values(remote_ids=[], settled_at=func.coalesce(Drift.settled_at, now)))
    session.execute(update(Action).where(Action.delivery_id.in_(deliveries)).values(note_sealed=None))


@dataclass(slots=True)
class _There:
    """What one CRM holds, or may hold, of one lead."""

    deliveries: list[Delivery]
    record: RemoteRecord | None = None

    def remote_ids(self) -> list[str]:
        ids = [self.record.remote_id] if self.record else []
        return list(dict.fromkeys(ids + [row.remote_id for row in self.deliveries if row.remote_id]))

    def url(self) -> str | None:
        urls = [self.record.url] if self.record else []
        return next(filter(None, urls + [row.remote_url for row in self.deliveries]), None)


def _ask_crms(
    session: Session,
    connections: dict[UUID, Connection],
    deliveries: Iterable[Delivery],
    records: Iterable[RemoteRecord],
    now: datetime,
) -> None:
    """Write down what is to be erased where."""
    there: dict[tuple[UUID, UUID], _There] = {}
    for row in deliveries:
        there.setdefault((row.lead_id, row.connection_id), _There([])).deliveries.append(row)
    for one in records:
        there.setdefault((one.lead_id, one.connection_id), _There([])).record = one
    rows = [row.id for some in there.values() for row in some.deliveries]
    tries, copies = _tries(session, rows), _copies(session, rows)
    for (lead_id, connection_id), some in there.items():
        for row in some.deliveries:
            row.unknown = _may_be_there(row, tries.get(row.id, set()))
        ids = some.remote_ids()
        if not (ids or any(row.unknown or row.id in tries for row in some.deliveries)):
            continue  # nothing was ever sent there
        in_hand = [row.lease_until for row in some.deliveries if row.token and row.lease_until]
        erasure = Erasure(
            lead_id=lead_id,
            connection_id=connection_id,
            remote_ids=ids,
            copies=sorted({one for row in some.deliveries for one in copies.get(row.id, ())} - set(ids)),
            url=some.url(),
            state="waiting",
            due_at=now,
            tries_from=max([now, *in_hand]),
            attempts=0,
        )
        if connections[connection_id].removed_at is not None:
            out_of_reach(erasure)
        session.add(erasure)


def _may_be_there(row: Delivery, verdicts: Collection[str]) -> bool:
    """Whether nobody knows if it is in the CRM: it is on its way there, or a try of it broke off."""
    never_heard = row.sent_at is None and any(verdict in MAY_HAVE_WRITTEN for verdict in verdicts)
    return is_in_doubt(row.unknown, row.code) or row.state == "sending" or never_heard


def _tries(session: Session, delivery_ids: Sequence[UUID]) -> dict[UUID, set[str]]:
    """Delivery → the verdicts of its tries. Even one that failed may have written the person first."""
    found: dict[UUID, set[str]] = {}
    tries = select(Attempt.delivery_id, Attempt.verdict).where(Attempt.delivery_id.in_(delivery_ids))
    for delivery_id, verdict in session.execute(tries):
        found.setdefault(delivery_id, set()).add(verdict)
    return found


def _copies(session: Session, delivery_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """Records that a look found beside ours, and of which nobody has said that they are right."""
    doubled = (Drift.delivery_id.in_(delivery_ids), Drift.kind == "duplicated", Drift.settled_at.is_(None))
    return {row.delivery_id: row.remote_ids for row in session.scalars(select(Drift).where(*doubled))}
