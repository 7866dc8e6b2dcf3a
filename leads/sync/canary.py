"""A test enquiry goes the way of every enquiry: form, store, CRM, read back; then it is removed from the CRM.

Each run is a row, and each step can be repeated: a worker that is killed loses no run and sends none twice. The steps
that touch a CRM are the lanes' as for every delivery; here the form is filled in, and the rows are looked at.
"""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import urlsplit

import structlog
from sqlalchemy.exc import SQLAlchemyError

from integrations.core.base import Connector
from integrations.core.errors import DeliveryError, Throttled
from integrations.core.http import Http
from leads.store import canary, tasks
from leads.store.models import CanaryRun, Site
from leads.store.outbox import Lane
from leads.store.outbox import canary as deliveries
from leads.store.queries.lists import served_sites
from leads.store.quota import sites_in_need
from leads.sync.connect import Context
from leads.sync.removal import remove

log = structlog.get_logger()

_FORM_PATIENCE = timedelta(minutes=1)  # a web server that is started again just now is no failure
_POST_AGAIN = timedelta(seconds=5)
_TIDY_EVERY = timedelta(hours=1)
# Without a phone: a CRM that joins people by it could take the test for a patient, who would be removed with it.
_ANSWERS = {"first_name": "Frontdesk", "last_name": "Test", "consent": "yes"}


class Canary:
    """Starts test enquiries on schedule and takes them the whole way."""

    def __init__(self, context: Context, public_url: str, every: timedelta, patience: timedelta) -> None:
        """public_url: under which visitors reach the form. every: 0 for never by itself."""
        self._context, self._database = context, context.database
        self._public_url, self._every, self._patience = public_url, every, patience
        address = urlsplit(public_url)
        port = address.port or (443 if address.scheme == "https" else 80)
        ours = frozenset({f"{address.hostname}:{port}"})  # our own form may well stand at a private address
        self._http = Http(allowed_private_hosts=ours, deadline=10)

    def begin_due(self) -> None:
        """Start the runs that the schedule asks for, and forget old ones. Never raises for a database in trouble."""
        try:
            with self._database.write() as session:
                now = self._database.now(session)
                if tasks.claim(session, "canary.tidy", now, _TIDY_EVERY):
                    deliveries.forget(session, now)
                needy = sites_in_need(session, now)
                for site in served_sites(session) if self._every else []:
                    if site.id not in needy and tasks.claim(session, f"canary.begin {site.key}", now, self._every):
                        canary.start(session, site, "schedule", now)
        except SQLAlchemyError as error:
            log.warning("no test enquiry can be started", type=type(error).__name__)

    def step(self) -> None:
        """Bring every run that is on its way as far as it goes now. Never raises for a database in trouble."""
        try:
            with self._database.read() as session:
                runs = canary.running(session)
            for run, site in runs:
                if not self._context.stop.is_set():
                    self._step(run, site)
        except SQLAlchemyError as error:
            log.warning("test enquiries have to wait", type=type(error).__name__)

    def _step(self, run: CanaryRun, site: Site) -> None:
        if run.event_id is None:
            self._post(run, site)
        with self._database.write() as session:
            run = session.get_one(CanaryRun, run.id, with_for_update=True)
            if run.event_id is not None and run.state == "running":
                deliveries.follow(session, run, self._patience, self._database.now(session))

    def _post(self, run: CanaryRun, site: Site) -> None:
        with self._database.write() as session:
            began = self._database.now(session)
            if not tasks.claim(session, f"canary.post {site.key}", began, _POST_AGAIN):
                return
        trouble = self._fill_in(run, site)
        with self._database.write() as session:
            run = session.get_one(CanaryRun, run.id, with_for_update=True)
            now = self._database.now(session)
            if run.event_id is not None:
                run.started_at = began  # its time is counted from here, as a visitor would
            elif now - run.started_at > min(_FORM_PATIENCE, self._patience) and run.state == "running":
                canary.fail(run, *trouble, now)

    def _fill_in(self, run: CanaryRun, site: Site) -> tuple[str, str]:
        """Send the form as a browser without scripts does. Returns what was wrong if the enquiry is not stored now."""
        address = f"{self._public_url}/f/{site.key}/consultation"
        try:
            page = self._http.request("GET", address)
            if page.status != 200:
                return _silent(page.status)
            fields = _hidden_fields(page.body.decode("utf-8", "replace")) | _ANSWERS
            # One address per run at a domain that belongs to nobody, so that no CRM takes it for somebody it knows.
            fields |= {"email": f"canary-{run.id.hex}@example.com", canary.FIELD: canary.mark(self._context.vault, run)}
            status: int | None = self._http.request("POST", address, data=fields).status
        except DeliveryError as error:
            if error.status is None:
                return _silent(None)
            status = error.status  # the thank-you page's redirect as well, which nobody follows here
        return "not_stored", f"The form answered (status {status}), but the test enquiry was not stored."


def _silent(status: int | None) -> tuple[str, str]:
    shown = f" (status {status})" if status else ""
    sentence = f"The form did not answer at FRONTDESK_PUBLIC_URL{shown}. Check that visitors reach it there."
    return "form_silent", sentence


class _Hidden(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden" and (name := given.get("name")):
            self.fields[name] = given.get("value") or ""


def _hidden_fields(page: str) -> dict[str, str]:
    reader = _Hidden()
    reader.feed(page)
    return reader.fields


def clean_up(context: Context, lane: Lane, connector: Connector) -> None:
    """Remove from the lane's CRM the tests that it was seen to hold."""
    for test in deliveries.to_remove(context.database, lane):
        error = None if test.shared else remove(context, lane, connector, [test.remote_id])
        if error is None:
            deliveries.removed(context.database, test)
        else:
            deliveries.not_removed(context.database, test, error.sentence)
        if isinstance(error, Throttled):
            break
