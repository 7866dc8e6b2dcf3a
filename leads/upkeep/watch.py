"""The watchman: looks every half minute whether all is well, and sees to it that people are told.

One walks in every web process and every worker, since a dead worker cannot say that it is dead. Of all of them one does
the round.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta

import structlog

from leads.store import alerts, tasks
from leads.store.queries.signs import signs
from leads.store.session import Database
from leads.store.vault import Vault
from leads.upkeep.alerts import KINDS, conditions
from leads.upkeep.notices import Notifier

log = structlog.get_logger()

EVERY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Watchman:
    """after: how long an enquiry may wait before it is told. vault: to see which pages have sent what is held."""

    database: Database
    notifier: Notifier
    after: timedelta
    vault: Vault | None = None

    def start(self, stop: threading.Event) -> threading.Thread:
        """Walk in the background until `stop` is set or the program ends."""
        thread = threading.Thread(target=self.walk, args=(stop,), name="watchman", daemon=True)
        thread.start()
        return thread

    def walk(self, stop: threading.Event, every: timedelta = EVERY) -> None:
        """Round after round. The first is late enough for a worker that was started together with us."""
        while not stop.wait(every.total_seconds()):
            try:
                self.round(every)
            except Exception as error:  # noqa: BLE001 - whatever happens in one round, the next one is walked
                log.error("the watchman stumbled", type=type(error).__name__)

    def round(self, every: timedelta = EVERY) -> bool:
        """Look once, and tell what nobody was told. False: another process does the looking.

        Telling is everybody's business: it may be that only one of the programs was given a mail server.
        """
        mine = self._is_mine(every)
        try:
            if mine:
                self.look()
        finally:  # what is known already is told, whatever the look came to
            self.notifier.tell(self.database)
        return mine

    def _is_mine(self, every: timedelta) -> bool:
        with self.database.write() as session:
            now = self.database.now(session)
            # A new installation gets its first summary the next morning, not at once.
            tasks.begin(session, "digest", now)
            # A little less, so that the ticks of one process alone do not miss every other round.
            return tasks.claim(session, "watch", now, every * 0.9)

    def look(self) -> None:
        """Open and end alerts by how all stands now."""
        with self.database.read() as session:
            found = conditions(signs(session, self.database.now(session), self.vault), self.after)
        with self.database.write() as session:
            alerts.settle(session, found, KINDS, self.database.now(session))
