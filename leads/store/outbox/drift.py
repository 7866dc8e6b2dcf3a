"""Drift: what the CRM no longer holds as it was confirmed. Opened and settled by looks, and settled by people.

What is gone is told per delivery; a changed or doubled record per person, however many enquiries stand on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, select
from sqlalchemy.orm import Session, aliased

from leads.store import unindexed
from leads.store.models import Delivery, Drift, RemoteRecord, new_id

_RIGHT_SO = "It was deleted in the CRM, and a person said that this is right."


class People:
    """What is known of the people behind some deliveries of one connection, read once for all of them."""

    def __init__(self, session: Session, connection_id: UUID, rows: Iterable[Delivery]) -> None:
        self.session = session
        leads = {row.lead_id for row in rows}
        here = (Delivery.lead_id.in_(leads), unindexed.same(Delivery.connection_id, connection_id))
        self._deliveries = defaultdict[UUID, list[Delivery]](list)
        for row in session.scalars(select(Delivery).where(*here)):
            self._deliveries[row.lead_id].append(row)
        known = (RemoteRecord.lead_id.in_(leads), unindexed.same(RemoteRecord.connection_id, connection_id))
        records = session.scalars(select(RemoteRecord).where(*known).order_by(RemoteRecord.lead_id).with_for_update())
        self._records = {record.lead_id: record for record in records}
        self._drifts = defaultdict[UUID, list[Drift]](list)
        found = select(Delivery.lead_id, Drift).join(Drift, Drift.delivery_id == Delivery.id).where(*here)
        for lead_id, one in session.execute(found):
            self._drifts[lead_id].append(one)

    def drifts(self, row: Delivery, kind: str) -> list[Drift]:
        """Drifts of this kind, settled or not: of this delivery, or of the person's record here."""
        of_delivery = kind in ("deleted", "never_stored")
        same_kind = (one for one in self._drifts[row.lead_id] if one.kind == kind)
        return [one for one in same_kind if not of_delivery or one.delivery_id == row.id]

    def open(self, row: Delivery, kind: str) -> list[Drift]:
        """Those of them that nobody has seen to."""
        return [one for one in self.drifts(row, kind) if one.settled_at is None]

    def add(self, row: Delivery, drift: Drift) -> None:
        """A new one."""
        self.session.add(drift)
        self._drifts[row.lead_id].append(drift)

    def record(self, row: Delivery) -> RemoteRecord | None:
        """The CRM's record of the person."""
        return self._records.get(row.lead_id)

    def is_written_for_another(self, row: Delivery) -> bool:
        """Whether other enquiries of this person are being written there, so that what is seen will not last."""
        others = (one for one in self._deliveries[row.lead_id] if one.id != row.id)
        return any(one.state in ("waiting", "sending", "sent") for one in others)


def gone(people: People, row: Delivery, kind: str, now: datetime) -> None:
    """A look did not find it. kind: `deleted`, or `never_stored` when it had not been seen before."""
    _tell(people, row, kind, now, remote_ids=[row.remote_id] if row.remote_id else [])


def seen(
    people: People, row: Delivery, digests: Mapping[str, str] | None, copies: Sequence[str], now: datetime
) -> None:
    """A look found it: it is there again if it was gone, and its record may have changed or have copies."""
    for kind in ("deleted", "never_stored"):
        _settle_by_itself(people, row, kind, now)
    unknown = sorted(set(copies) - _accepted(people, row))
    if unknown:
        _tell(people, row, "duplicated", now, remote_ids=unknown)
    else:
        _settle_by_itself(people, row, "duplicated", now)
    if digests is not None and not people.is_written_for_another(row):
        _compare(people, row, digests, now)


def settle(session: Session, found: Drift, by: str, now: datetime) -> None:
    """A person says that it is right as the CRM has it: it is not told again."""
    found.settled_at, found.settled_by = now, by
    row = session.get_one(Delivery, found.delivery_id, with_for_update=True)
    if found.kind == "deleted" and row.state == "confirmed":
        row.state, row.code, row.sentence, row.check_at = "handled", "deleted", _RIGHT_SO, None
    if found.kind == "changed":
        _forget_baseline(session, row)
        if row.state == "confirmed":
            row.check_at = now  # what it holds now is the measure from here on


def _compare(people: People, row: Delivery, digests: Mapping[str, str], now: datetime) -> None:
    """With what was seen the last time, not with what was sent: CRMs write phones and names in their own way."""
    record = people.record(row)
    if record is None or record.retire:
        return
    before = record.seen_fields or {}
    changed = sorted(name for name in before if digests.get(name, before[name]) != before[name])
    if changed and not _written_since(people.session, record):
        _tell(people, row, "changed", now, fields=changed)
        return
    record.seen_fields, record.seen_at = dict(digests), now
    _settle_by_itself(people, row, "changed", now)


def _tell(
    people: People,
    row: Delivery,
    kind: str,
    now: datetime,
    *,
    fields: Sequence[str] = (),
    remote_ids: Sequence[str] = (),
) -> None:
    found = next(iter(people.open(row, kind)), None)
    if found is None:
        found = Drift(id=new_id(), delivery_id=row.id, connection_id=row.connection_id, kind=kind, found_at=now)
        people.add(row, found)
    found.fields, found.remote_ids = list(fields), list(remote_ids)


def _settle_by_itself(people: People, row: Delivery, kind: str, now: datetime) -> None:
    for found in people.open(row, kind):
        found.settled_at = now


def _accepted(people: People, row: Delivery) -> set[str]:
    """Copies of which a person has said that they are right."""
    decided = (one for one in people.drifts(row, "duplicated") if one.settled_by is not None)
    return {remote_id for one in decided for remote_id in one.remote_ids}


def _written_since(session: Session, record: RemoteRecord) -> bool:
    """Whether we ourselves have written to this record since it was last seen, for this lead or another one."""
    other = aliased(RemoteRecord)
    same = (other.connection_id == record.connection_id, other.remote_id == record.remote_id)
    ours = (Delivery.lead_id == other.lead_id, Delivery.connection_id == other.connection_id)
    written = select(Delivery.id).join(other, and_(*ours)).where(*same, Delivery.sent_at > record.seen_at)
    return session.scalar(written.limit(1)) is not None


def _forget_baseline(session: Session, row: Delivery) -> None:
    record = session.get(RemoteRecord, (row.lead_id, row.connection_id), with_for_update=True)
    if record is not None:
        record.seen_fields = record.seen_at = None
