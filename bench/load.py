"""The load generator: one thread, non-blocking sockets and epoll, so that it can offer more than any server here takes.

It is pinned to the last core and the servers to the first ones (`bench.installation`), so neither takes time from the
other.
Closed loop: each client sends its next request when it has the answer; the rate is the result. Open loop: requests are
due at a fixed rate, and a latency counts from when its request was due, so a server that stalls cannot hide it.
"""

from __future__ import annotations

import gc
import itertools
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PATIENCE = 10.0  # seconds without any answer after which the rest counts as lost
_LOST = "lost"  # in place of a status: the connection ended before the answer was whole

Request = Callable[[int], bytes]  # the number of a request → its bytes, each with an id of its own


@dataclass(slots=True)
class Load:
    """What came of it. latencies: seconds, sorted. answers: how many of each status, or `lost`."""

    seconds: float
    latencies: list[float]
    answers: Counter[str]

    @property
    def rate(self) -> float:
        """Requests that were answered well, per second."""
        return self.good / self.seconds

    @property
    def good(self) -> int:
        """How many were answered with 2xx or, as forms are, sent on with 303."""
        return sum(number for status, number in self.answers.items() if status[0] == "2" or status == "303")

    @property
    def bad(self) -> int:
        """How many were answered otherwise, or not at all."""
        return self.answers.total() - self.good

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share of the requests was answered."""
        last = len(self.latencies) - 1
        return self.latencies[min(int(share * len(self.latencies)), last)] * 1000 if self.latencies else float("nan")


@dataclass(slots=True)
class _Client:
    """One connection, with the request that is on its way."""

    sock: socket.socket
    since: float = 0.0
    received: bytearray = field(default_factory=bytearray)


class Generator:
    """Sends requests to one server. Numbers go on from round to round: no id is ever sent twice."""

    def __init__(self, port: int, request: Request) -> None:
        self._address = ("127.0.0.1", port)
        self._request = request
        self._numbers = itertools.count(1)

    def closed(self, clients: int, seconds: float, warm_up: float = 0.5) -> Load:
        """This many clients, each as fast as it gets answers."""
        with _undisturbed(), _Poll(self._address, clients) as poll:
            self._closed(poll, warm_up)
            return self._closed(poll, seconds)

    def counted(self, number: int, clients: int) -> Load:
        """So many requests, as fast as this many clients get answers."""
        with _undisturbed(), _Poll(self._address, clients) as poll:
            return self._closed(poll, float("inf"), number)

    def open(self, rate: float, seconds: float, clients: int = 256) -> Load:
        """This many requests per second, whether answers come or not, over as many connections at most."""
        with _undisturbed(), _Poll(self._address, clients) as poll:
            return self._open(poll, rate, seconds)

    def _closed(self, poll: _Poll, seconds: float, most: float = float("inf")) -> Load:
        latencies: list[float] = []
        answers: Counter[str] = Counter()
        begun = time.perf_counter()
        until = begun + seconds
        while poll.idle:
            poll.send(poll.idle.pop(), self._request(next(self._numbers)), time.perf_counter())
        while poll.busy:
            for client, status in poll.answers():
                now = time.perf_counter()
                latencies.append(now - client.since)
                answers[status] += 1
                if now < until and len(latencies) + poll.busy < most:
                    poll.send(client, self._request(next(self._numbers)), now)
                else:
                    poll.rest(client)
        return Load(time.perf_counter() - begun, sorted(latencies), answers)

    def _open(self, poll: _Poll, rate: float, seconds: float) -> Load:
        latencies: list[float] = []
        answers: Counter[str] = Counter()
        due: deque[float] = deque()
        total, made = int(rate * seconds), 0
        begun = time.perf_counter()
        while made < total or due or poll.busy:
            now = time.perf_counter()
            while made < total and begun + made / rate <= now:
                due.append(begun + made / rate)
                made += 1
            while due and poll.idle:
                poll.send(poll.idle.pop(), self._request(next(self._numbers)), due.popleft())
            wait = 0.0 if due and poll.idle else max(begun + made / rate - now, 0.0) if made < total else _PATIENCE
            for client, status in poll.answers(wait):
                latencies.append(time.perf_counter() - client.since)
                answers[status] += 1
                poll.rest(client)
        return Load(max(time.perf_counter() - begun, seconds), sorted(latencies), answers)


class _Poll:
    """The connections, and which of them wait for an answer."""

    def __init__(self, address: tuple[str, int], clients: int) -> None:
        self._address = address
        self._selector = selectors.EpollSelector()
        self.idle = [self._connect() for _ in range(clients)]
        self.busy = 0

    def __enter__(self) -> _Poll:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            key.data.sock.close()
        self._selector.close()

    def _connect(self) -> _Client:
        client = _Client(self._open())
        self._selector.register(client.sock, selectors.EVENT_READ, client)
        return client

    def _open(self) -> socket.socket:
        sock = socket.create_connection(self._address, timeout=_PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        return sock

    def send(self, client: _Client, request: bytes, since: float) -> None:
        client.since = since
        self.busy += 1
        try:
            client.sock.sendall(request)  # they are small: a socket's buffer takes one whole
        except OSError:  # the server closed it while nothing was under way: as browsers do, once more
            self._reconnect(client)
            client.sock.sendall(request)

    def rest(self, client: _Client) -> None:
        self.idle.append(client)

    def answers(self, wait: float = _PATIENCE) -> Iterator[tuple[_Client, str]]:
        """Each client whose answer is whole, with its status."""
        ready = self._selector.select(wait)
        if not ready and wait >= _PATIENCE:
            raise TimeoutError(f"{self.busy} requests were not answered within {_PATIENCE:.0f} seconds")
        for key, _ in ready:
            client: _Client = key.data
            if (status := self._receive(client)) is not None:
                self.busy -= 1
                yield client, status

    def _receive(self, client: _Client) -> str | None:
        try:
            data = client.sock.recv(65536)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        if not data:
            return self._ended(client)
        received = client.received
        received += data
        if not is_whole(received):
            return None
        status = received[9:12].decode()
        closing = b"\r\nconnection: close\r\n" in received[:1000].lower()
        received.clear()
        if closing:
            self._reconnect(client)
        return status

    def _ended(self, client: _Client) -> str | None:
        self._reconnect(client)
        if client in self.idle:
            return None
        client.received.clear()
        return _LOST

    def _reconnect(self, client: _Client) -> None:
        self._selector.unregister(client.sock)
        client.sock.close()
        client.sock = self._open()
        self._selector.register(client.sock, selectors.EVENT_READ, client)


def is_whole(received: bytearray) -> bool:
    """Whether a whole answer stands in it."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = received[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return received.endswith(b"0\r\n\r\n") or head[9:12] in {b"204", b"304"}
    stop = head.find(b"\r\n", at + 2)
    return len(received) >= end + 4 + int(head[at + 17 : stop if stop > 0 else None])


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without Python's collector, whose pauses would count as the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def post(path: str, body: Callable[[int], bytes], content_type: str, headers: Callable[[int], bytes]) -> Request:
    """A request's bytes by its number. headers: further ones, each with its line end."""
    start = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\n".encode()

    def request(number: int) -> bytes:
        content = body(number)
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (start, headers(number), len(content), content)

    return request
