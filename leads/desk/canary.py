"""Test enquiries on the first page: how the last one of each site went, and the button that sends one."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from flask import Blueprint, abort, flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from markupsafe import Markup
from sqlalchemy.orm import Session

from leads.desk import words
from leads.desk.auth import admin_only
from leads.desk.room import Room
from leads.store import canary
from leads.store.models import CanaryRun, Event, Site
from leads.store.queries.canary import last_runs
from leads.store.sites import find_site


class CanaryLine(NamedTuple):
    """How a site's last test enquiry went, in words. lead_id: whose page shows its way; None: nothing was stored."""

    site: Site
    tone: str
    sentence: Markup
    running: bool
    lead_id: UUID | None


def add_routes(desk: Blueprint, room: Room) -> None:
    """The button."""

    @desk.post("/canary/<site_key>")
    @admin_only
    def canary_run(site_key: str) -> ResponseReturnValue:
        with room.write() as session:
            site = find_site(session, site_key) or abort(404)
            if site.closed_at is not None:
                abort(404)  # the button was gone with it
            canary.start(session, site, current_user.name, room.database.now(session))
        flash("A test enquiry is on its way. It is not counted, and it is removed from the CRM again.")
        return redirect(url_for("desk.home"), 303)


def canary_lines(session: Session, now: datetime) -> list[CanaryLine]:
    """One line for each site whose enquiries go to a CRM."""
    return [_line(session, site, run, now) for site, run in last_runs(session)]


def _line(session: Session, site: Site, run: CanaryRun | None, now: datetime) -> CanaryLine:
    if run is None:
        return CanaryLine(site, "calm", Markup("none was sent yet."), running=False, lead_id=None)
    event = session.get(Event, run.event_id) if run.event_id else None
    tone = {"ok": "good", "failed": "bad", "running": "busy"}[run.state]
    return CanaryLine(site, tone, _told(run, site, now), run.state == "running", event.lead_id if event else None)


def _told(run: CanaryRun, site: Site, now: datetime) -> Markup:
    when = words.ago_at(run.started_at, site.time_zone, now)
    if run.state == "failed":
        return Markup("failed, {}. {}").format(when, run.sentence)
    if run.seen_at is None:
        return Markup("on its way, {}.").format(when)
    arrived = f"arrived in {(run.seen_at - run.started_at).total_seconds():.1f} s"
    return Markup("{}, {}, {}.").format(arrived, when, "removed again" if run.removed_at else "being removed")
