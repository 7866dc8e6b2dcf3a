"""The worker process: a clock that starts lanes, a nudge that starts them at once, a heartbeat, a clean end.

APScheduler is only the clock (`clock.py`): all state is rows.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from queue import SimpleQueue
from uuid import UUID

import structlog
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from config.settings import Settings
from leads.store import outbox
from leads.store.clock import heartbeat, mend
from leads.store.models import Worker
from leads.store.nudge import Nudge
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.canary import Canary
from leads.sync.clock import Ticker, Watch
from leads.sync.connect import Context, Limits
from leads.sync.deliver import run_lane
from leads.sync.replay import replay_on
from leads.sync.retry import Policy
from leads.sync.sign_in import keep_alive
from leads.sync.takeover import take_over_on

log = structlog.get_logger()

_TICK = 1.0  # seconds between looks for due work, when nothing nudges
_BEAT = 5.0  # seconds between heartbeats
_HOUR = 3600.0


Job = tuple[Callable[[], None], float]  # and every so many seconds


def run(
    database: Database, vault: Vault, limits: Limits, settings: Settings, stop: threading.Event, upkeep: Sequence[Job]
) -> None:
    """Deliver until `stop` is set; then finish or give back what is in hand, and return. upkeep: what else is done."""
    context = Context(
        database=database,
        vault=vault,
        worker=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        limits=limits,
        policy=Policy(settings.retry_schedule),
        stop=stop,
    )
    canary = Canary(context, settings.public_url, settings.canary_every, settings.canary_patience)

    def replay() -> None:
        replay_on(context)

    def take_over() -> None:
        take_over_on(context)

    def keep_signed_in() -> None:
        keep_alive(context)

    gc.collect()
    gc.freeze()  # what stays for good is looked through no more
    jobs = [(canary.begin_due, _BEAT), (canary.step, _TICK), (keep_signed_in, _HOUR)]
    jobs += [(replay, _TICK), (take_over, _TICK)]
    Dispatcher(context, settings.lanes, [*jobs, *upkeep]).run()


def set_by_signals() -> threading.Event:
    """What SIGTERM and Ctrl-C set.

    Not from the handler itself: it runs in the midst of whatever the main thread does, and in the midst of its
    `wait` for this very event it would wait for the event's lock for ever.
    """
    stop, told = threading.Event(), SimpleQueue[None]()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.put(None))

    def hear() -> None:
        told.get()
        stop.set()

    threading.Thread(target=hear, name="signals", daemon=True).start()
    return stop


class Dispatcher:
    """Starts a lane for every connection that has something due. jobs: what else is done every so many seconds."""

    def __init__(self, context: Context, lanes: int, jobs: Sequence[Job] = ()) -> None:
        self._context = context
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
        self._lanes = lanes
        self._running: set[UUID] = set()
        self._told = 0  # how often we heard of work
        self._guard = threading.Lock()
        self._ticker = Ticker([(self.dispatch, _TICK), (self.beat, _BEAT), *jobs])
        self._watch: Watch | None = None
        self._watching = threading.Lock()

    def run(self) -> None:
        """Until the worker is to stop; then the lanes end in order."""
        self.beat()
        self._ticker.start()
        log.info("worker started", worker=self._context.worker)
        while not self._context.stop.is_set():
            self._listen()
        self._ticker.stop(wait=True)
        self._pool.shutdown(wait=True)
        self._say_goodbye()
        log.info("worker stopped", worker=self._context.worker)

    def _listen(self) -> None:
        """Look for work at every nudge, for as long as the database can be heard; keep the ticker going."""
        try:
            with Nudge(self._context.database) as nudge:
                while not self._context.stop.is_set():
                    self._ticker.watch()
                    if nudge.wait(1.0, self._context.stop):
                        self._told += 1
                        self.dispatch()
        except Exception as error:  # noqa: BLE001 - whatever it was, the worker goes on
            log.warning("the database cannot be heard", type=type(error).__name__)
            self._ticker.watch()
            self._context.stop.wait(1.0)

    def dispatch(self) -> None:
        """Start a lane for each connection that is ready and not served by this process already."""
        try:
            self._heed_clock()
            with self._context.database.read() as session:
                connections = outbox.ready(session, self._context.database.now(session))
        except SQLAlchemyError as error:
            log.warning("the database did not answer", type=type(error).__name__)
            return
        for connection_id in connections:
            self._start_lane(connection_id)

    def _heed_clock(self) -> None:
        """Before anything is leased: after a jump of the wall clock the times in the rows are mended first."""
        with self._watching:
            now = self._context.now()
            watch = self._watch = self._watch or Watch(now)
            if moved := watch.moved(now):
                self._mend(moved)
            watch.note(now)

    def _mend(self, moved: timedelta) -> None:
        if jump := mend(self._context.database, moved, self._context.limits.lease):
            log.error("the clock jumped", seconds=round(jump.total_seconds()))

    def _start_lane(self, connection_id: UUID) -> None:
        with self._guard:
            if connection_id in self._running or self._context.stop.is_set():
                return
            self._running.add(connection_id)
        try:
            self._pool.submit(self._lane, connection_id)
        except RuntimeError as error:  # no thread can be had just now
            log.error("no lane", connection=str(connection_id), type=type(error).__name__)
            with self._guard:
                self._running.discard(connection_id)

    def _lane(self, connection_id: UUID) -> None:
        told, goes_on = self._told, False
        try:
            goes_on = run_lane(self._context, connection_id, self._others_wait)
        except Exception as error:  # noqa: BLE001 - one lane's failure must not end the others; its lease runs out
            log.error("lane failed", connection=str(connection_id), type=type(error).__name__)
            self._context.stop.wait(1.0)
        finally:
            with self._guard:
                self._running.discard(connection_id)
        # Also when we were told of what came after the last claim, while the connection was still in our hands.
        if goes_on or self._told != told:
            self.dispatch()

    def _others_wait(self) -> bool:
        return len(self._running) > self._lanes

    def beat(self) -> None:
        """Tell the desk and `/readyz` that this worker lives; see to the room on the disk."""
        self._context.database.space.look()
        try:
            self._heed_clock()
            self._mend(timedelta())  # a heartbeat from the future tells of a jump that this worker has not seen
            heartbeat(self._context.database, self._context.worker)
        except SQLAlchemyError as error:
            log.warning("no heartbeat", type=type(error).__name__)

    def _say_goodbye(self) -> None:
        try:
            with self._context.database.write() as session:
                session.execute(delete(Worker).where(Worker.id == self._context.worker))
        except SQLAlchemyError:
            log.warning("the worker could not sign off")
