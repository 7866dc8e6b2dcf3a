"""Test enquiries that we send ourselves: the mark that only we can make, and the record of each run.

What becomes of a test's deliveries is decided in `outbox/canary.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from leads.store.models import CanaryRun, Site, new_id
from leads.store.vault import Vault

FIELD = "frontdesk_test"  # the hidden field of a form that holds the mark
_GOOD_FOR = 600  # seconds
_RUNNING = CanaryRun.state == "running"


def mark(vault: Vault, run: CanaryRun) -> str:
    """A signed note that an enquiry is this run's test. It is good for ten minutes, at this run's site."""
    return str(_signer(vault).dumps([str(run.site_id), str(run.id)]))


def run_of(vault: Vault, site: Site, given: Any) -> UUID | None:
    """The run whose mark this is; None for whatever anybody else wrote."""
    try:
        site_id, run_id = _signer(vault).loads(str(given or ""), max_age=_GOOD_FOR)
        return UUID(run_id) if site_id == str(site.id) else None
    except (BadData, ValueError, TypeError):
        return None


def _signer(vault: Vault) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(vault.signing_key, salt="canary")


def start(session: Session, site: Site, by: str, now: datetime) -> CanaryRun:
    """Begin a run; the one that is on its way already, if there is one. by: a user's name, or `schedule`."""
    if (run := session.scalars(select(CanaryRun).where(_RUNNING, CanaryRun.site_id == site.id)).first()) is not None:
        return run
    run = CanaryRun(id=new_id(), site_id=site.id, started_by=by, state="running", started_at=now)
    session.add(run)
    session.flush()
    return run


def running(session: Session) -> Sequence[tuple[CanaryRun, Site]]:
    """Runs that have not come to an end, oldest first."""
    rows = select(CanaryRun, Site).join(Site, Site.id == CanaryRun.site_id).where(_RUNNING)
    return [(run, site) for run, site in session.execute(rows.order_by(CanaryRun.started_at)).all()]


def stored(session: Session, run_id: UUID, event_id: UUID, now: datetime) -> None:
    """The test enquiry of this run was accepted, in the commit that stores it."""
    arrived = {"event_id": event_id, "stored_at": now}
    session.execute(update(CanaryRun).where(CanaryRun.id == run_id).values(**arrived))


def fail(run: CanaryRun, code: str, sentence: str, now: datetime) -> None:
    """The run did not get through. sentence: for staff, what was wrong and what helps."""
    run.state, run.code, run.sentence, run.ended_at = "failed", code, sentence, now
