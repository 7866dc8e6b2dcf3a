"""The history checker: what the visitors were promised, what we hold and what the CRM holds must be the same."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from leads.store.models import Delivery, Erasure, Event, RemoteRecord
from tests.chaos.plan import Figures
from tests.chaos.visitors import Log
from tests.chaos.world import World
from tests.programs import Programs


def drain(programs: Programs, seconds: float) -> float | None:
    """Wait until nothing is on its way. Returns the seconds it took; None when it was not done in time."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if not left(programs):
            return time.monotonic() - started
        time.sleep(0.1)
    return None


def left(programs: Programs) -> dict[str, int]:
    """What is still on its way: state → how many, and records that are yet to be retired or erased (with why)."""
    try:
        with programs.database.read() as session:
            states = session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all()
            retiring = session.scalar(select(func.count()).select_from(RemoteRecord).where(RemoteRecord.retire))
            open_ones = select(Erasure.state, Erasure.code).where(Erasure.ended_at.is_(None))
            erasing = Counter(f"erasing ({state}, {code})" for state, code in session.execute(open_ones))
    except SQLAlchemyError:
        return {"unreachable": 1}
    waiting = {state: number for state, number in states if state not in ("confirmed", "erased")}
    return waiting | erasing | ({"retiring": retiring} if retiring else {})


def check(figures: Figures, log: Log, programs: World, people: int) -> None:
    """Compare the three books, for every connection. people: how many different ones have written and were not erased
    since."""
    with programs.database.read() as session:
        stored = set(session.scalars(select(Event.id)))
        states = session.execute(select(Delivery.event_id, Delivery.state)).all()
    promised = {event_id for ids in log.thanked.values() for event_id in ids}
    twice = sum(len(ids) > 1 for ids in log.thanked.values())
    figures.must(twice == 0, f"one visit is one enquiry: {twice} were stored twice")
    figures.must(promised <= stored, f"what was promised is stored: {len(promised - stored)} are not")
    figures.must(stored <= promised, f"nothing else is stored: {len(stored - promised)} are")
    others = Counter(
        state for event_id, state in states if state != ("erased" if event_id in log.erased else "confirmed")
    )
    figures.must(not others, f"all is confirmed or, of erased people, erased: {dict(others)} are not")
    figures.add("acknowledged", len(log.thanked))
    figures.add("lost", len(promised - stored))
    figures.add("double", twice)
    for crm, tier in zip(programs.crms, "AB", strict=False):
        _check_crm(figures, programs.contacts(crm), promised - log.erased, people, f"tier {tier}")


def _check_crm(figures: Figures, contacts: list[dict[str, Any]], promised: set[UUID], people: int, which: str) -> None:
    in_crm = Counter(UUID(one["external_id"]) for contact in contacts for one in contact["activities"])
    lost, foreign = len(promised - set(in_crm)), len(set(in_crm) - promised)
    double = sum(number > 1 for number in in_crm.values())
    figures.must(lost == 0, f"{which}: what was promised is in the CRM: {lost} are not")
    figures.must(foreign == 0, f"{which}: nothing else is in the CRM: {foreign} are")
    figures.must(double == 0, f"{which}: everything is in the CRM once: {double} are there twice")
    emails = Counter(email for contact in contacts if (email := contact["properties"].get("email")))
    copies = sum(number > 1 for number in emails.values())
    figures.must(copies == 0, f"{which}: every person is in the CRM once: {copies} are there twice")
    figures.must(len(contacts) == people, f"{which}: the CRM holds {people} people: it holds {len(contacts)}")
    figures.add("lost", lost)
    figures.add("double", double + copies)
