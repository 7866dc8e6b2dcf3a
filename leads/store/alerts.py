"""What people are told: the only writer of Alert. An alert begins, is told, ends, and its end is told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import and_, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from leads.store.models import Alert, Connection, Site
from leads.store.session import is_away

log = structlog.get_logger()

SETTLED = timedelta(minutes=1)  # what is over sooner than this is not told, nor an end that is not one
# Kinds whose subject is a website's key, or begins with it. Those about a connection know it besides.
OF_A_SITE = ("late", "canary", "silence", "balance", "unreadable", "page")
QUIET = timedelta(hours=1)  # between two notices that the same begins: a fault that comes and goes is no flood of mails


class Condition(NamedTuple):
    """Something that is not as it should be. subject: what it is about, among those of its kind; nothing personal."""

    kind: str
    subject: str
    sentence: str
    connection_id: UUID | None = None


class Pending(NamedTuple):
    """What nobody was told yet."""

    begun: Sequence[Alert]
    over: Sequence[Alert]


def open_alerts(session: Session, kinds: Iterable[str] | None = None) -> list[Alert]:
    """What is not over, oldest first; of these kinds or of all."""
    found = select(Alert).where(Alert.ended_at.is_(None), *([Alert.kind.in_(list(kinds))] if kinds else []))
    return list(session.scalars(found.order_by(Alert.began_at, Alert.id)))


def recent_alerts(session: Session, limit: int = 50) -> list[Alert]:
    """What is not over, then what was last, newest first."""
    newest = select(Alert).order_by(Alert.ended_at.is_not(None), Alert.began_at.desc(), Alert.id.desc())
    return list(session.scalars(newest.limit(limit)))


def site_of(session: Session, alert: Alert, known: Iterable[Site]) -> Site | None:
    """Which of the websites it is about; None where it is about no website alone."""
    if alert.connection_id is not None:
        return session.get_one(Site, session.get_one(Connection, alert.connection_id).site_id)
    key = alert.subject.partition(" ")[0] if alert.kind in OF_A_SITE else None
    return next((site for site in known if site.key == key), None)


def settle(
    session: Session, conditions: Sequence[Condition], kinds: Sequence[str], now: datetime, but: Collection[str] = ()
) -> None:
    """Open what has begun and end what is over, of these kinds. An alert that ended a moment ago goes on. but: subjects
    of which nothing new is known.

    One that cannot be kept is logged, and keeps no other from being told.
    """
    standing = {(alert.kind, alert.subject): alert for alert in open_alerts(session, kinds) if alert.subject not in but}
    for condition in conditions:
        key = (condition.kind, condition.subject)
        try:
            with session.begin_nested():
                alert = standing.pop(key, None) or _resumed(session, key, now) or _opened(session, condition, now)
                alert.sentence, alert.ended_at = condition.sentence, None
        except SQLAlchemyError as error:
            if is_away(error):
                raise
            log.error("an alert cannot be kept", kind=condition.kind, type=type(error).__name__)
    for alert in standing.values():
        alert.ended_at = now
    session.flush()


def _opened(session: Session, condition: Condition, now: datetime) -> Alert:
    alert = Alert(
        kind=condition.kind,
        subject=condition.subject,
        connection_id=condition.connection_id,
        sentence=condition.sentence,
        began_at=now,
    )
    session.add(alert)
    return alert


def _resumed(session: Session, key: tuple[str, str], now: datetime) -> Alert | None:
    """The alert that ended so lately that nobody was told of its end."""
    kind, subject = key
    untold = and_(Alert.told_at.is_not(None), Alert.end_told_at.is_(None))
    lately = or_(untold, Alert.ended_at > now - SETTLED)
    found = select(Alert).where(Alert.kind == kind, Alert.subject == subject, Alert.end_told_at.is_(None), lately)
    # Locked, or its end might be told between this and the commit.
    return session.scalars(found.order_by(Alert.began_at.desc()).limit(1).with_for_update()).first()


def pending(session: Session, now: datetime) -> Pending:
    """What is to be told now.

    Of the same thing at most one beginning an hour, and no other has to wait for that; an end where it was told that it
    began. What was late is not over while a fault explains it better.
    """
    standing = open_alerts(session)
    told_lately = {_about(alert) for alert in session.scalars(select(Alert).where(Alert.told_at > now - QUIET))}
    settled = now - SETTLED
    begun = [
        alert
        for alert in standing
        if alert.told_at is None and alert.began_at <= settled and _about(alert) not in told_lately
    ]
    ended = select(Alert).where(Alert.ended_at.is_not(None), Alert.told_at.is_not(None), Alert.end_told_at.is_(None))
    untold = list(session.scalars(ended.order_by(Alert.ended_at)))
    unsettled = [alert for alert in untold if alert.ended_at and alert.ended_at > settled]
    faults = {alert.connection_id for alert in (*standing, *unsettled) if alert.kind in ("connection", "worker")}
    over = [
        alert
        for alert in untold
        if alert not in unsettled and (alert.kind != "late" or not faults & {alert.connection_id, None})
    ]
    return Pending(begun, over)


def _about(alert: Alert) -> tuple[str, str, str]:
    """What is the same thing. That a key is rejected is another than that its CRM was down; in other kinds' sentences
    the numbers alone change."""
    return alert.kind, alert.subject, alert.sentence if alert.kind == "connection" else ""


def of_these(session: Session, pending: Pending) -> Pending:
    """What of it this session finds, as it stands now: neither what is over by now, nor what goes on after all."""
    ids = [alert.id for alerts in pending for alert in alerts]
    found = {alert.id: alert for alert in session.scalars(select(Alert).where(Alert.id.in_(ids)))}
    begun, over = ([found[alert.id] for alert in alerts if alert.id in found] for alerts in pending)
    return Pending([alert for alert in begun if not alert.ended_at], [alert for alert in over if alert.ended_at])


def tell(session: Session, told: Pending, now: datetime) -> None:
    """These were told. What went on while its end was being told is told anew: nobody may take it for over."""
    for alert in told.begun:
        session.get_one(Alert, alert.id).told_at = now
    for ended in told.over:
        alert = session.get_one(Alert, ended.id, with_for_update=True)
        if alert.ended_at is None:
            alert.told_at = None
        else:
            alert.end_told_at = now
