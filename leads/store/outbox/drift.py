"""Drift: what the CRM no longer holds as it was confirmed. Opened and settled by looks, and settled by people.

What is gone is told per delivery; a changed or doubled record per person, however many enquiries stand on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid, and_, bindparam, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from leads.store import unindexed
from leads.store.among import among
from leads.store.models import Delivery, Drift, RemoteRecord, new_id
from leads.store.outbox.claimed import DeliveryRow
from leads.store.past_orm import update_all

ON_ITS_WAY = ("waiting", "sending", "sent")
_RIGHT_SO = "It was deleted in the CRM, and a person said that this is right."


class Record(NamedTuple):
    """Of a RemoteRecord."""

    lead_id: UUID
    remote_id: str
    retire: bool
    seen_fields: Mapping[str, str] | None
    seen_at: datetime | None


class People:
    """What is known of the people behind some deliveries of one connection, read once for all of them."""

    def __init__(self, session: Session, connection_id: UUID, lead_ids: Collection[UUID]) -> None:
        self.session = session
        self.connection_id = connection_id
        asked = {"leads": lead_ids, "connection": connection_id}
        self._on_their_way = defaultdict[UUID, set[UUID]](set)
        for id_, lead_id in session.connection().execute(_on_their_way(), asked):
            self._on_their_way[lead_id].add(id_)
        self._records = {row.lead_id: Record(*row) for row in session.connection().execute(_records(), asked)}
        self._seen: set[UUID] = set()
        self._drifts = defaultdict[UUID, list[Drift]](list)
        for lead_id, one in session.execute(_drifts(), asked):
            self._drifts[lead_id].append(one)

    def drifts(self, row: DeliveryRow, kind: str) -> list[Drift]:
        """Drifts of this kind, settled or not: of this delivery, or of the person's record here."""
        of_delivery = kind in ("deleted", "never_stored")
        same_kind = (one for one in self._drifts[row.lead_id] if one.kind == kind)
        return [one for one in same_kind if not of_delivery or one.delivery_id == row.id]

    def open(self, row: DeliveryRow, kind: str) -> list[Drift]:
        """Those of them that nobody has seen to."""
        return [one for one in self.drifts(row, kind) if one.settled_at is None]

    def add(self, row: DeliveryRow, drift: Drift) -> None:
        """A new one."""
        self.session.add(drift)
        self._drifts[row.lead_id].append(drift)

    def record(self, row: DeliveryRow) -> Record | None:
        """The CRM's record of the person."""
        return self._records.get(row.lead_id)

    def note(self, record: Record, digests: Mapping[str, str], now: datetime) -> None:
        """From now on this is what the record is known to hold."""
        self._records[record.lead_id] = record._replace(seen_fields=dict(digests), seen_at=now)
        self._seen.add(record.lead_id)

    def write_down(self) -> None:
        """What was noted of records. Drifts go with the session."""
        here = {"connection_id": self.connection_id}
        records = [self._records[lead_id] for lead_id in sorted(self._seen)]
        noted = [{"lead_id": one.lead_id, "seen_fields": one.seen_fields, "seen_at": one.seen_at} for one in records]
        update_all(self.session, RemoteRecord, ("lead_id", "connection_id"), [row | here for row in noted])

    def arrived(self, row: DeliveryRow) -> None:
        """A delivery is on its way no more."""
        self._on_their_way[row.lead_id].discard(row.id)

    def is_written_for_another(self, row: DeliveryRow) -> bool:
        """Whether other enquiries of this person are being written there, so that what is seen will not last."""
        return bool(self._on_their_way[row.lead_id] - {row.id})


@cache
def _on_their_way() -> Select[*tuple[Any, ...]]:
    here = (among(Delivery.lead_id, "leads"), _here(Delivery.connection_id))
    return select(Delivery.id, Delivery.lead_id).where(*here, unindexed.word(Delivery.state).in_(ON_ITS_WAY))


@cache
def _records() -> Select[*tuple[Any, ...]]:
    here = (among(RemoteRecord.lead_id, "leads"), _here(RemoteRecord.connection_id))
    columns = [getattr(RemoteRecord, name) for name in Record._fields]
    return select(*columns).where(*here).order_by(RemoteRecord.lead_id).with_for_update()


@cache
def _drifts() -> Select[*tuple[Any, ...]]:
    here = (among(Delivery.lead_id, "leads"), _here(Delivery.connection_id))
    return select(Delivery.lead_id, Drift).join(Drift, Drift.delivery_id == Delivery.id).where(*here)


def _here(column: InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
    return unindexed.same(column, bindparam("connection", type_=Uuid))


def gone(people: People, row: DeliveryRow, kind: str, now: datetime) -> None:
    """A look did not find it. kind: `deleted`, or `never_stored` when it had not been seen before."""
    _tell(people, row, kind, now, remote_ids=[row.remote_id] if row.remote_id else [])


def seen(
    people: People, row: DeliveryRow, digests: Mapping[str, str] | None, copies: Sequence[str], now: datetime
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


def settle(session: Session, found: Drift, by: str, now: datetime) -> bool:
    """A person says that it is right as the CRM has it: it is not told again. False: it is settled already."""
    # In the order in which a look is written down: neither holds what the other waits for.
    row = session.get_one(Delivery, found.delivery_id, with_for_update=True)
    record = session.get(RemoteRecord, (row.lead_id, row.connection_id), with_for_update=True)
    session.refresh(found, with_for_update=True)
    if found.settled_at is not None:
        return False
    found.settled_at, found.settled_by = now, by
    if found.kind == "deleted" and row.state == "confirmed":
        row.state, row.code, row.sentence, row.check_at = "handled", "deleted", _RIGHT_SO, None
    if found.kind == "changed":
        if record is not None:
            record.seen_fields = record.seen_at = None
        if row.state == "confirmed":
            row.check_at = now  # what it holds now is the measure from here on
    return True


def _compare(people: People, row: DeliveryRow, digests: Mapping[str, str], now: datetime) -> None:
    """With what was seen the last time, not with what was sent: CRMs write phones and names in their own way."""
    record = people.record(row)
    if record is None or record.retire:
        return
    before = record.seen_fields or {}
    changed = sorted(name for name in before if digests.get(name, before[name]) != before[name])
    if changed and not _written_since(people, record):
        _tell(people, row, "changed", now, fields=changed)
        return
    people.note(record, digests, now)
    _settle_by_itself(people, row, "changed", now)


def _tell(
    people: People,
    row: DeliveryRow,
    kind: str,
    now: datetime,
    *,
    fields: Sequence[str] = (),
    remote_ids: Sequence[str] = (),
) -> None:
    found = next(iter(people.open(row, kind)), None)
    if found is None:
        found = Drift(id=new_id(), delivery_id=row.id, connection_id=people.connection_id, kind=kind, found_at=now)
        people.add(row, found)
    found.fields, found.remote_ids = list(fields), list(remote_ids)


def _settle_by_itself(people: People, row: DeliveryRow, kind: str, now: datetime) -> None:
    for found in people.open(row, kind):
        found.settled_at = now


def _accepted(people: People, row: DeliveryRow) -> set[str]:
    """Copies of which a person has said that they are right."""
    decided = (one for one in people.drifts(row, "duplicated") if one.settled_by is not None)
    return {remote_id for one in decided for remote_id in one.remote_ids}


def _written_since(people: People, record: Record) -> bool:
    """Whether we ourselves have written to this record since it was last seen, for this lead or another one."""
    other = aliased(RemoteRecord)
    same = (other.connection_id == people.connection_id, other.remote_id == record.remote_id)
    ours = (Delivery.lead_id == other.lead_id, Delivery.connection_id == other.connection_id)
    written = select(Delivery.id).join(other, and_(*ours)).where(*same, Delivery.sent_at > record.seen_at)
    return people.session.scalar(written.limit(1)) is not None
