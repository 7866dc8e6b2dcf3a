"""Regular duties of which one process out of many does each round: whoever moves `due_at` on, does it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leads.store.models import Task

_SLACK = timedelta(minutes=1)  # longer than a claim waits for its turn to write


def claim(session: Session, name: str, now: datetime, every: timedelta) -> bool:
    """Take the round of `name` that is due, in a writing session. False: it is not due, or another process has it.

    The first claim of all is due at once. After the clock was set back it is due too, instead of never.
    """
    if session.scalar(select(Task.name).where(Task.name == name)) is None:
        return _first(session, name, now, every)
    # One that waited for its turn has read the time earlier than the one it lost to: that is no clock set back.
    due = or_(Task.due_at <= now, Task.due_at > now + every + _SLACK)
    moved = update(Task).where(Task.name == name, due).values(due_at=now + every, ran_at=now)
    return session.scalar(moved.returning(Task.name)) is not None


def _first(session: Session, name: str, now: datetime, every: timedelta) -> bool:
    try:
        with session.begin_nested():
            session.add(Task(name=name, due_at=now + every, ran_at=now))
    except IntegrityError:
        return False
    return True


def begin(session: Session, name: str, now: datetime) -> None:
    """Count from now on, where it was never done. Any number of processes may say so at once."""
    if ran_at(session, name) is None:
        _first(session, name, now, timedelta())


def due_now(session: Session, name: str, now: datetime) -> None:
    """Let the next round be claimed at once: this one is done."""
    session.execute(update(Task).where(Task.name == name).values(due_at=now))


def ran_at(session: Session, name: str) -> datetime | None:
    """When this was last done; None before the first time."""
    return session.scalar(select(Task.ran_at).where(Task.name == name))


def done(session: Session, name: str, now: datetime) -> None:
    """Write down that this was done, for what is due by the time of the day."""
    session.merge(Task(name=name, due_at=now, ran_at=now))
