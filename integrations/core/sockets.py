"""Where a call may connect to and for how long: the two rules `requests` has no words for.

`requests` times each read alone, so a server that drips one byte a second is never cut; and a check of the name
before the call can be undone by a second look-up (DNS rebinding). Both are settled here, on the socket itself.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address, ip_network
from threading import TIMEOUT_MAX, Condition, Lock, Thread
from types import TracebackType
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from integrations.core.errors import Misconfigured

_INTERNET_V6 = ip_network("2000::/3")
# Global by the registry, yet a way round to somewhere else: Teredo and kin, 6to4, protocol assignments, relays.
_DETOURS = [ip_network(net) for net in ("2001::/23", "2002::/16", "192.0.0.0/24", "192.88.99.0/24")]


def is_public(address: str) -> bool:
    """Whether this IP address is an ordinary one on the internet. `is_global` alone lets NAT64, 6to4, site-local,
    IPv4-in-IPv6 and multicast through; of IPv6 only today's unicast block is taken."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip not in _INTERNET_V6:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in net for net in _DETOURS)


class Call:
    """One request on its way: where it may go, when it must be over, and whether any of it has left us.

    connected: there is a connection, though TLS may still be agreed on. sent: a byte of the request went out, so the
    other side may have acted. expired: the deadline cut the connection.
    """

    def __init__(self, deadline: float, may_be_private: Callable[[str, int], bool]) -> None:
        """deadline: seconds for everything together. may_be_private: (host, port) → a private address is fine."""
        self.connected = False
        self.sent = False
        self.expired = False
        self.may_be_private = may_be_private
        self.ends = time.monotonic() + deadline
        self._watched: int | None = None
        self._lock = Lock()

    def __enter__(self) -> Self:
        self._outer = _current.set(self)
        _deadlines.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._outer)
        _deadlines.remove(self)
        with self._lock:
            self._drop()

    def remaining(self) -> float:
        """Seconds until the deadline, never below one millisecond (zero would mean non-blocking)."""
        return max(self.ends - time.monotonic(), 0.001)

    @property
    def watches(self) -> bool:
        """Whether there is a connection to cut."""
        return self._watched is not None

    def watch(self, sock: socket.socket) -> None:
        """Cut this socket at the deadline. A descriptor of our own is kept: TLS wraps, and so replaces, the socket."""
        self.connected = True
        with self._lock:
            self._drop()
            self._watched = os.dup(sock.fileno())
            if self.expired:
                self._cut()

    def expire(self) -> None:
        """The deadline has come."""
        with self._lock:
            self.expired = True
            self._cut()

    def _cut(self) -> None:
        if self._watched is not None:
            with socket.socket(fileno=self._watched) as sock, suppress(OSError):  # the other side was quicker
                sock.shutdown(socket.SHUT_RDWR)
            self._watched = None

    def _drop(self) -> None:
        if self._watched is not None:
            os.close(self._watched)
            self._watched = None


class _Deadlines:
    """Ends calls when their time is over. One thread does it for all: one for each took an eighth of a call's time."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._sooner = Condition()
        self._looks_at = 0.0  # when the thread looks next, by the monotonic clock
        self._thread: Thread | None = None

    def add(self, call: Call) -> None:
        with self._sooner:
            self._calls.add(call)
            if self._thread is None or not self._thread.is_alive():  # in a fork there is none
                self._thread = Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif call.ends < self._looks_at:
                self._sooner.notify()

    def remove(self, call: Call) -> None:
        """The thread is let sleep: the next call's deadline is later than this one's."""
        with self._sooner:
            self._calls.discard(call)

    def _run(self) -> None:
        while True:
            with self._sooner:
                now = time.monotonic()
                over = {call for call in self._calls if call.ends <= now}
                self._calls -= over
                if not over:
                    self._looks_at = min((call.ends for call in self._calls), default=math.inf)
                    self._sooner.wait(min(self._looks_at - now, TIMEOUT_MAX))
            for call in over:
                call.expire()


_current: ContextVar[Call] = ContextVar("call")
_deadlines = _Deadlines()


def _looked_up(host: str, port: int, seconds: float) -> list[Any]:
    """What `getaddrinfo` finds; it knows no time-out, and the system's resolver may take half a minute to give up.

    Raises TimeoutError after so many seconds.
    """
    found: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            found.set_exception(error)

    if _is_address(host):  # nobody has to be asked
        look_up()
    else:
        Thread(target=look_up, name="look-up", daemon=True).start()
    return found.result(seconds)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class _Guarded(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        call = _current.get()
        addresses = self._resolve(call)
        failure: OSError = OSError("no address")
        for family, _, _, _, address in addresses:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.settimeout(min(float(self.timeout or call.remaining()), call.remaining()))
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                call.watch(sock)
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "no answer to the connection")
        raise NewConnectionError(self, "no connection")

    def _resolve(self, call: Call) -> list[Any]:
        """All addresses of the host, looked up once and used as they are; one that is not allowed refuses them all."""
        host, port = self._dns_host.strip("[]"), int(self.port or 0)
        try:
            found = _looked_up(host, port, call.remaining())
        except (socket.gaierror, TimeoutError, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from None
        if not call.may_be_private(host, port) and not all(is_public(str(entry[4][0])) for entry in found):
            raise Misconfigured(
                "private_address",
                "This address is in a private network, and FRONTDESK_ALLOWED_PRIVATE_HOSTS does not name its host.",
            )
        return list(found)

    def send(self, data: Any) -> None:
        call = _current.get()
        if self.sock is None:
            self.connect()
        if not call.watches:  # a kept-alive connection comes here without `_new_conn`
            call.watch(self.sock)
        call.sent = True
        super().send(data)


class _GuardedTls(_Guarded, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Guarded


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTls


class GuardedAdapter(HTTPAdapter):
    """Connects only inside a `Call`, and only to where that call may go. Never retries by itself."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
