"""How often somebody may be wrong at the door, and which wrong tries are written down."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from leads.window import Window, counted_as, read_address


class Throttle:
    """Counts wrong passwords and codes in this process: of one name from one address, of an address, and of a name.

    The last two are wider: a clinic's staff share one address, and a stranger must not be able to lock a name out soon.
    A try counts as wrong until it is known to be right: of many at the same moment no more are let in than of many in
    a row.
    """

    def __init__(self, failures: int = 10, minutes: int = 15) -> None:
        self._windows = [Window(failures * times, minutes * 60.0) for times in (1, 5, 10)]
        self._guard = Lock()

    def admits(self, name: str, address: str) -> bool:
        """Count a try, before its password is looked at. False: it may not be made now."""
        counts = list(self._counts(name, address))
        with self._guard:
            if any(window.is_full(key) for window, key in counts):
                return False
            return all(window.hit(key) for window, key in counts)

    def untried(self, name: str, address: str) -> None:
        """Take a try back whose password nobody has looked at."""
        with self._guard:
            for window, key in self._counts(name, address):
                window.take_back(key)

    def succeeded(self, name: str, address: str) -> None:
        """Forget what this person mistyped here; what was tried with other names stays counted."""
        self.untried(name, address)
        window, key = next(self._counts(name, address))
        window.clear(key)

    def _counts(self, name: str, address: str) -> Iterator[tuple[Window, tuple[str, ...]]]:
        name, network = name.strip().lower()[:100], _network_of(address)
        return zip(self._windows, ((name, network), (network,), (name,)), strict=True)


class FailureNotes:
    """Which wrong passwords and codes are written down: not each guess, or whoever guesses would fill the database."""

    def __init__(self, most: int = 100) -> None:
        """most: in an hour, whoever it is and from wherever."""
        self._each, self._all = Window(1, 3600.0), Window(most, 3600.0)

    def is_news(self, name: str, address: str, what: str = "password") -> bool:
        """Whether this one is written down: the first of a name from an address within the hour."""
        return self._each.hit((what, name, _network_of(address))) and self._all.hit("all")


def _network_of(address: str) -> str:
    try:
        return counted_as(read_address(address))
    except ValueError:
        return address
