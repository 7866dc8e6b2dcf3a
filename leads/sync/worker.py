"""The worker process: a clock that starts lanes, a nudge that starts them at once, a heartbeat, a clean end.

APScheduler is only the clock: all state is rows. It is watched from outside, since its thread can end or sleep on
while it still calls itself running (a database error in a job, a clock set back).
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from config.settings import Settings
from leads.store import outbox
from leads.store.models import Worker
from leads.store.nudge import Nudge
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.canary import Canary
from leads.sync.connect import Context, Limits
from leads.sync.deliver import run_lane
from leads.sync.replay import replay_on
from leads.sync.retry import Policy

log = structlog.get_logger()

_TICK = 1.0  # seconds between looks for due work, when nothing nudges
_BEAT = 5.0  # seconds between heartbeats
_SILENT = 10.0  # seconds without a tick after which the clock is replaced
_FORGET = timedelta(days=1)  # heartbeats of workers that are gone


def run(database: Database, vault: Vault, settings: Settings, stop: threading.Event) -> None:
    """Deliver until `stop` is set; then finish or give back what is in hand, and return."""
    context = Context(
        database=database,
        vault=vault,
        worker=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        limits=Limits(settings.lease_seconds, settings.crm_timeout, settings.allowed_private_hosts),
        policy=Policy(settings.retry_schedule),
        stop=stop,
    )
    canary = Canary(context, settings.public_url, settings.canary_every, settings.canary_patience)
    Clock(context, settings.lanes, canary).run()


class Clock:
    """Starts a lane for every connection that has something due."""

    def __init__(self, context: Context, lanes: int, canary: Canary) -> None:
        self._context, self._canary = context, canary
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
        self._running: set[UUID] = set()
        self._guard = threading.Lock()
        self._ticked = time.monotonic()

    def run(self) -> None:
        self.beat()
        scheduler = self._start_scheduler()
        log.info("worker started", worker=self._context.worker)
        while not self._context.stop.is_set():
            self._listen()
            if time.monotonic() - self._ticked > _SILENT:
                log.error("the clock stopped; replacing it")
                scheduler.shutdown(wait=False)
                self._ticked = time.monotonic()
                scheduler = self._start_scheduler()
        scheduler.shutdown(wait=True)
        self._pool.shutdown(wait=True)
        self._say_goodbye()
        log.info("worker stopped", worker=self._context.worker)

    def _start_scheduler(self) -> BackgroundScheduler:
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        scheduler = BackgroundScheduler(timezone=UTC, job_defaults=defaults)
        scheduler.add_job(self.tick, "interval", seconds=_TICK, next_run_time=datetime.now(UTC))
        scheduler.add_job(self.beat, "interval", seconds=_BEAT)
        scheduler.add_job(self._canary.begin_due, "interval", seconds=_BEAT)
        scheduler.add_job(self._canary.step, "interval", seconds=_TICK)
        scheduler.add_job(replay_on, "interval", seconds=_TICK, args=[self._context])
        scheduler.start()
        return scheduler

    def _listen(self) -> None:
        """Tick at every nudge, for as long as the database can be heard."""
        try:
            with Nudge(self._context.database) as nudge:
                while not self._context.stop.is_set() and time.monotonic() - self._ticked <= _SILENT:
                    if nudge.wait(1.0, self._context.stop):
                        self.dispatch()
        except SQLAlchemyError as error:
            log.warning("the database cannot be heard", type=type(error).__name__)
            self._context.stop.wait(1.0)

    def tick(self) -> None:
        """The clock's turn: look for due work, whatever the nudges missed."""
        self._ticked = time.monotonic()
        self.dispatch()

    def dispatch(self) -> None:
        """Start a lane for each connection that is ready and not served by this process already."""
        try:
            with self._context.database.read() as session:
                connections = outbox.ready(session, self._context.database.now(session))
        except SQLAlchemyError as error:
            log.warning("the database did not answer", type=type(error).__name__)
            return
        for connection_id in connections:
            self._start_lane(connection_id)

    def _start_lane(self, connection_id: UUID) -> None:
        with self._guard:
            if connection_id in self._running or self._context.stop.is_set():
                return
            self._running.add(connection_id)
        self._pool.submit(self._lane, connection_id)

    def _lane(self, connection_id: UUID) -> None:
        try:
            run_lane(self._context, connection_id)
        except Exception as error:  # noqa: BLE001 - one lane's failure must not end the others; its lease runs out
            log.error("lane failed", connection=str(connection_id), type=type(error).__name__)
            self._context.stop.wait(1.0)
        finally:
            with self._guard:
                self._running.discard(connection_id)

    def beat(self) -> None:
        """Tell the desk and `/readyz` that this worker lives."""
        try:
            with self._context.database.write() as session:
                now = self._context.database.now(session)
                worker = session.get(Worker, self._context.worker)
                if worker is None:
                    session.add(Worker(id=self._context.worker, started_at=now, seen_at=now))
                    session.execute(delete(Worker).where(Worker.seen_at < now - _FORGET))
                else:
                    worker.seen_at = now
        except SQLAlchemyError as error:
            log.warning("no heartbeat", type=type(error).__name__)

    def _say_goodbye(self) -> None:
        try:
            with self._context.database.write() as session:
                session.execute(delete(Worker).where(Worker.id == self._context.worker))
        except SQLAlchemyError:
            log.warning("the worker could not sign off")
