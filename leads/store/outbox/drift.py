"""Drift: what the CRM no longer holds as it was confirmed. Opened and settled by looks, and settled by people.

What is gone is told per delivery; a changed or doubled record per person, however many enquiries stand on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, select
from sqlalchemy.orm import Session, aliased

from leads.store.models import Delivery, Drift, RemoteRecord, new_id

_RIGHT_SO = "It was deleted in the CRM, and a person said that this is right."


def gone(session: Session, row: Delivery, kind: str, now: datetime) -> None:
    """A look did not find it. kind: `deleted`, or `never_stored` when it had not been seen before."""
    _tell(session, row, kind, now, remote_ids=[row.remote_id] if row.remote_id else [])


def seen(
    session: Session, row: Delivery, digests: Mapping[str, str] | None, copies: Sequence[str], now: datetime
) -> None:
    """A look found it: it is there again if it was gone, and its record may have changed or have copies."""
    for kind in ("deleted", "never_stored"):
        _settle_by_itself(session, row, kind, now)
    unknown = sorted(set(copies) - _accepted(session, row))
    if unknown:
        _tell(session, row, "duplicated", now, remote_ids=unknown)
    else:
        _settle_by_itself(session, row, "duplicated", now)
    if digests is not None and not _on_its_way(session, row):
        _compare(session, row, digests, now)


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


def _compare(session: Session, row: Delivery, digests: Mapping[str, str], now: datetime) -> None:
    """With what was seen the last time, not with what was sent: CRMs write phones and names in their own way."""
    record = session.get(RemoteRecord, (row.lead_id, row.connection_id), with_for_update=True)
    if record is None or record.retire:
        return
    before = record.seen_fields or {}
    changed = sorted(name for name in before if digests.get(name, before[name]) != before[name])
    if changed and not _written_since(session, record):
        _tell(session, row, "changed", now, fields=changed)
        return
    record.seen_fields, record.seen_at = dict(digests), now
    _settle_by_itself(session, row, "changed", now)


def _tell(
    session: Session,
    row: Delivery,
    kind: str,
    now: datetime,
    *,
    fields: Sequence[str] = (),
    remote_ids: Sequence[str] = (),
) -> None:
    found = session.scalars(_open(row, kind)).first()
    if found is None:
        found = Drift(id=new_id(), delivery_id=row.id, connection_id=row.connection_id, kind=kind, found_at=now)
        session.add(found)
    found.fields, found.remote_ids = list(fields), list(remote_ids)
    session.flush()


def _settle_by_itself(session: Session, row: Delivery, kind: str, now: datetime) -> None:
    for found in session.scalars(_open(row, kind)):
        found.settled_at = now


def _open(row: Delivery, kind: str) -> Select[Drift]:
    return select(Drift).where(_of(row, kind), Drift.settled_at.is_(None))


def _of(row: Delivery, kind: str) -> ColumnElement[bool]:
    """Drifts of this kind: of this delivery, or of the person's record here."""
    if kind in ("deleted", "never_stored"):
        return and_(Drift.kind == kind, Drift.delivery_id == row.id)
    same_person = Drift.delivery_id.in_(select(Delivery.id).where(Delivery.lead_id == row.lead_id))
    return and_(Drift.kind == kind, Drift.connection_id == row.connection_id, same_person)


def _accepted(session: Session, row: Delivery) -> set[str]:
    """Copies of which a person has said that they are right."""
    decided = select(Drift.remote_ids).where(_of(row, "duplicated"), Drift.settled_by.is_not(None))
    return {one for ids in session.scalars(decided) for one in ids}


def _on_its_way(session: Session, row: Delivery) -> bool:
    """Whether other enquiries of this person are being written there, so that what is seen will not last."""
    here = (Delivery.lead_id == row.lead_id, Delivery.connection_id == row.connection_id, Delivery.id != row.id)
    moving = select(Delivery.id).where(*here, Delivery.state.in_(("waiting", "sending", "sent")))
    return session.scalar(moving.limit(1)) is not None


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
