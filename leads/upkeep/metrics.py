"""`/metrics` for Prometheus: computed from rows at every scrape, so it is right with any number of processes.

Off unless a token is set, also for this machine: behind a reverse proxy every stranger seems to come from here.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from itertools import product

from flask import Blueprint, Response, abort, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from leads.store.alerts import open_alerts, site_of
from leads.store.clock import worker_seen_at
from leads.store.models import Connection, Site
from leads.store.queries.balance import balance, last_days
from leads.store.queries.lists import connections_in_use, sites
from leads.store.queries.places import needs
from leads.store.queries.signs import loads
from leads.store.queries.unreadable import unseen_by_site
from leads.store.session import Database
from leads.upkeep.alerts import KINDS

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_DAYS = ("yesterday", "today")


def create_metrics(database: Database, token: str) -> Blueprint:
    """Route /metrics for whoever has the token; with an empty one there is no such page."""
    metrics = Blueprint("metrics", __name__)

    @metrics.get("/metrics")
    def scrape() -> Response:
        if not token:
            abort(404)
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return Response("A Bearer token is needed.\n", 401, {"WWW-Authenticate": "Bearer"}, content_type=_TYPE)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Rows(database))
        return Response(generate_latest(registry), content_type=_TYPE)

    return metrics


class _Rows(Collector):
    """Reads the database when it is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        with self._database.read() as session:
            now, known = self._database.now(session), sites(session)
            yield _build()
            yield from _balances(session, known, now)
            yield from _connections(session, known, now)
            yield _unreadable(session, known)
            yield from _worker(session)
            yield _alerts(session, known)


def _build() -> Metric:
    build = Gauge("frontdesk_build_info", "The version that runs.", labels=("version",))
    build.add_metric((version("frontdesk"),), 1)
    return build


def _balances(session: Session, known: list[Site], now: datetime) -> Iterator[Metric]:
    captured = Gauge("frontdesk_captured", "Enquiries of a site's day.", labels=("site", "day"))
    stand = Gauge("frontdesk_balance", "Where a day's enquiries stand.", labels=("site", "day", "state"))
    closes = Gauge(
        "frontdesk_balance_closes", "1 when a day's enquiries are all accounted for.", labels=("site", "day")
    )
    for site in known:
        for word, day in zip(_DAYS, balance(session, site, last_days(site, now, 2), now), strict=True):
            captured.add_metric((site.key, word), day.captured)
            closes.add_metric((site.key, word), day.closes)
            for state, number in day.states.items():
                stand.add_metric((site.key, word, state), number)
    yield from (captured, stand, closes)


def _connections(session: Session, known: list[Site], now: datetime) -> Iterator[Metric]:
    labels = ("connection", "name", "site")
    up = Gauge("frontdesk_connection_up", "1 working, 0 paused by a fault or by staff.", labels=labels)
    oldest = Gauge("frontdesk_oldest_waiting_seconds", "Age of the first that waits, 0 for none.", labels=labels)
    need = Gauge("frontdesk_need_a_person", "What needs a person, also of removed connections.", labels=labels)
    for load in loads(session, known, connections_in_use(session)):
        which = _which(load.connection, load.site)
        up.add_metric(which, load.connection.state == "working")
        oldest.add_metric(which, (now - load.oldest).total_seconds() if load.oldest else 0)
    for one in needs(session):
        need.add_metric(_which(one.connection, one.site), one.number)
    yield from (up, oldest, need)


def _unreadable(session: Session, known: list[Site]) -> Metric:
    told = "What could not be understood and nobody has seen; with an empty site what named none."
    unreadable, found = Gauge("frontdesk_unreadable", told, labels=("site",)), unseen_by_site(session)
    for site_id, key in [*((site.id, site.key) for site in known), (None, "")]:
        unreadable.add_metric((key,), found.get(site_id, 0))
    return unreadable


def _which(connection: Connection, site: Site) -> tuple[str, str, str]:
    return str(connection.id), connection.name, site.key


def _worker(session: Session) -> Iterator[Metric]:
    if seen := worker_seen_at(session):
        yield Gauge("frontdesk_worker_seen_timestamp_seconds", "Last heartbeat of any worker.", value=seen.timestamp())


def _alerts(session: Session, known: list[Site]) -> Metric:
    told = "What people were or will be told; with an empty site what concerns no site alone."
    found, numbers = Gauge("frontdesk_alerts_open", told, labels=("kind", "site")), Counter[tuple[str, str]]()
    for alert in open_alerts(session):
        site = site_of(session, alert, known)
        numbers[alert.kind, site.key if site else ""] += 1
    for which in product((*KINDS, "mail"), (*(site.key for site in known), "")):
        found.add_metric(which, numbers[which])
    return found
