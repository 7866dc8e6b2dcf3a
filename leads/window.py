"""So many within so many minutes: counted in this process, in bounded memory, for visitors and for wrong passwords."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Hashable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Lock

_WITH_PORT = re.compile(r"(?P<v4>[\d.]+):\d+|\[(?P<v6>[^\]]+)\](:\d+)?")
_REMEMBERED = 100_000  # keys: some 25 MB


class Window:
    """At most so many hits of one key within so many seconds, however many keys there are.

    The one of `limits` looks at every key after each hit and forgets none of them: under a flood from many addresses
    it took most of the processor, and more memory each minute.
    """

    def __init__(self, most: int, seconds: float, remembered: int = _REMEMBERED) -> None:
        """remembered: keys; above that, the one that was hit longest ago is forgotten."""
        self._most = most
        self._seconds = seconds
        self._remembered = remembered
        # Times by key, the one that was hit last at the end.
        self._hits: OrderedDict[Hashable, list[float]] = OrderedDict()
        self._guard = Lock()

    def __len__(self) -> int:
        return len(self._hits)

    def clear(self, key: Hashable) -> None:
        """Forget this key."""
        with self._guard:
            self._hits.pop(key, None)

    def take_back(self, key: Hashable) -> None:
        """Forget the last hit of this key: it was none."""
        with self._guard:
            times = self._hits.get(key)
            if times and len(times) > 1:
                times.pop()
            elif times:
                del self._hits[key]

    def is_full(self, key: Hashable) -> bool:
        """Whether a hit now would be above what is allowed."""
        with self._guard:
            return self._is_full(self._hits.get(key, []), time.monotonic())

    def hit(self, key: Hashable) -> bool:
        """Count this one. False: it is above what is allowed, and not counted."""
        now = time.monotonic()
        with self._guard:
            self._forget(now - self._seconds)
            times = self._hits.setdefault(key, [])
            if self._is_full(times, now):
                return False
            if len(times) == self._most:
                del times[0]
            times.append(now)
            self._hits.move_to_end(key)
        return True

    def _is_full(self, times: list[float], now: float) -> bool:
        return len(times) == self._most and times[0] > now - self._seconds

    def _forget(self, before: float) -> None:
        while self._hits:
            longest_ago = next(iter(self._hits))
            if len(self._hits) <= self._remembered and self._hits[longest_ago][-1] > before:
                return
            del self._hits[longest_ago]


def read_address(text: str) -> IPv4Address | IPv6Address:
    """What a web server or a proxy says: some add the port, and some write IPv4 as ::ffff:203.0.113.9, which would make
    everybody one guest of one network. Raises ValueError."""
    with_port = _WITH_PORT.fullmatch(text)
    ip = ip_address((with_port["v4"] or with_port["v6"]) if with_port else text)
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def counted_as(ip: IPv4Address | IPv6Address) -> str:
    """Whom the hits of an address are counted for: an IPv6 guest has a whole /64 to choose from, so that is one."""
    return str(ip if ip.version == 4 else ip_network((ip, 64), strict=False))
