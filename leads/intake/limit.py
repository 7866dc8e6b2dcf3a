"""How often one visitor may send: counted by this process alone, or by all web hosts together in Redis or Valkey."""

from __future__ import annotations

import time
from threading import Lock
from typing import Any

import structlog
from limits import RateLimitItemPerMinute
from limits.errors import ConfigurationError, StorageError
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from leads.window import Window

log = structlog.get_logger()

_MINUTES = 10
_PATIENCE = 0.25  # seconds that an enquiry may wait for the store
_PAUSE = 10.0  # seconds without asking a store that did not answer, so that only few enquiries wait for it
_MISSING = "FRONTDESK_RATE_LIMIT_STORE needs a package that is not here. Run: pip install 'frontdesk[redis]'"


class Limiter:
    """most: in ten minutes. store: the address of a Redis or Valkey; empty: this process counts for itself.

    A store that is down costs nobody an enquiry: each process counts for itself until it is back.
    """

    def __init__(self, most: int, store: str = "") -> None:
        self._limit = RateLimitItemPerMinute(most, _MINUTES)
        self._here = Window(most, _MINUTES * 60.0)
        self._together = _counted_together(store) if store else None
        self._ask_at = 0.0  # by the monotonic clock
        self._lost = False
        self._guard = Lock()

    def hit(self, who: str) -> bool:
        """Count this one. False: it is above what is allowed. who: not an address in clear, since it is kept there."""
        if self._together is None or time.monotonic() < self._ask_at:
            return self._here.hit(who)
        try:
            allowed = self._together.hit(self._limit, who)
        except StorageError as error:
            self._note(lost=True, why=type(error.storage_error).__name__)
            return self._here.hit(who)
        self._note(lost=False)
        return allowed

    def _note(self, *, lost: bool, why: str = "") -> None:
        """Tell an outage once, and its end."""
        with self._guard:
            self._ask_at = time.monotonic() + _PAUSE if lost else 0.0
            changed, self._lost = lost != self._lost, lost
        if changed and lost:
            log.warning("the store of rate limits does not answer: each web process counts for itself", type=why)
        elif changed:
            log.info("the store of rate limits is back")


def examine(store: str) -> tuple[bool, str]:
    """Whether a store of rate limits answers, in a sentence for the doctor."""
    try:
        answers = _open(store).check()
    except ConfigurationError:
        return False, _MISSING
    if answers:
        return True, "All web hosts count rate limits together."
    return False, "The store of rate limits does not answer: each web process counts for itself."


def _counted_together(store: str) -> MovingWindowRateLimiter | None:
    try:
        return MovingWindowRateLimiter(_open(store))
    except ConfigurationError:
        log.error(_MISSING)
        return None


def _open(store: str) -> RedisStorage:
    return RedisStorage(
        store,
        key_prefix="frontdesk",
        wrap_exceptions=True,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        **_never_again(),
    )


def _never_again() -> dict[str, Any]:
    """By itself the client tries three times more, and waits seconds in between."""
    try:
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
        from redis.retry import Retry  # noqa: PLC0415 - as above
    except ImportError:
        return {}
    return {"retry": Retry(NoBackoff(), 0)}
