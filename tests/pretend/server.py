"""What every pretend CRM shares: a real socket, a lock around its memory, and a share of calls that go wrong."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """What came in. path: without the query. body: the JSON or form in it; None when there is none. raw: as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out. body: sent as JSON, unless it is bytes. drip: seconds between two bytes of it."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drip: float = 0


@dataclass(frozen=True, slots=True)
class Person:
    """One record of a person as this CRM holds it. lead_id: our external id on it. events: ids of ours on it."""

    remote_id: str
    lead_id: str | None
    email: str
    events: Sequence[str]


Fault = Callable[[], Reply]


@dataclass(slots=True)
class Limit:
    """So many calls in so many seconds, counted anew when they are over."""

    calls: int
    seconds: float
    today: int = 0
    _made: int = 0
    _since: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        """Calls left in this window."""
        return max(self.calls - self._made, 0)

    def is_over(self) -> bool:
        """Count a call. Returns whether it is one too many."""
        if time.monotonic() - self._since > self.seconds:
            self._since, self._made = time.monotonic(), 0
        self._made, self.today = self._made + 1, self.today + 1
        return self._made > self.calls


CUT_BEFORE, CUT_AFTER, LATE = "cut before it is written", "cut after it was written", "answered after the time-out"


class PretendCrm:
    """Subclasses set `kind` and define `settings`, `answer`, `people` and `faults`.

    memory: keep everything in attributes made in `__init__`; `answer` runs under a lock, one call at a time, unless
    `races` is true. faults_rate: the share of calls that go wrong.
    """

    kind: ClassVar[str]
    token: Mapping[str, Any] | None = None  # for kinds that sign in with OAuth: as `Token.dump` has it

    def __init__(self, seed: int = 1, late: float = 1.5) -> None:
        """late: seconds after which a late answer comes."""
        self.dice, self.late, self.faults_rate = random.Random(seed), late, 0.0
        self.calls: list[tuple[str, str, int]] = []  # method, path, status: for a test that fails
        self.bugs: list[Exception] = []  # of its own; to the other side each is a connection that breaks off
        self.lock = threading.Lock()
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def settings(self) -> dict[str, Any]:
        """The options of a connection to this server."""
        raise NotImplementedError

    def answer(self, request: Request) -> Reply:
        """What an honest CRM of this kind does. Unknown paths: its own 404."""
        raise NotImplementedError

    def people(self) -> list[Person]:
        """All that it holds."""
        raise NotImplementedError

    def faults(self) -> list[Fault]:
        """Ways to say no without having written anything, in its own words: throttled, down, busy, expired token …"""
        raise NotImplementedError

    def remedy(self) -> dict[str, Any]:
        """Tier C only: from now on what broke off may be sent again, once a person has set these options."""
        raise NotImplementedError

    def __enter__(self) -> PretendCrm:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def reply(self, request: Request) -> tuple[Reply | None, float]:
        """The answer and after how many seconds it comes; no answer: the connection is cut."""
        try:
            return self._reply(request)
        except Exception as error:
            self.bugs.append(error)
            raise

    def _reply(self, request: Request) -> tuple[Reply | None, float]:
        with self.lock:
            wrong = self.dice.choice(self._ways_to_fail()) if self.dice.random() < self.faults_rate else None
            if callable(wrong):
                return wrong(), 0
            if wrong == CUT_BEFORE:
                return None, 0
            reply = self.answer(request)
        return (None, 0) if wrong == CUT_AFTER else (reply, self.late if wrong == LATE else 0)

    def _ways_to_fail(self) -> list[Fault | str]:
        return [*self.faults(), CUT_BEFORE, CUT_AFTER, LATE]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _handler(crm: PretendCrm) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the other side went away
                self.close_connection = True

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - likewise

        def _serve(self) -> None:
            request = _read(self)
            reply, seconds = crm.reply(request)
            crm.calls.append((request.method, request.path, reply.status if reply else 0))
            time.sleep(seconds)
            if reply is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            _write(self, reply)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _read(handler: BaseHTTPRequestHandler) -> Request:
    parts = urlsplit(handler.path)
    raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    headers: Any = handler.headers  # looked up in any case
    return Request(handler.command, parts.path, query, headers, _parse(raw), raw)


def _parse(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return dict(parse_qsl(raw.decode("utf-8", "replace"))) or raw


def _write(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    is_raw = isinstance(reply.body, bytes)
    body = reply.body if is_raw else b"" if reply.body is None else json.dumps(reply.body).encode()
    handler.send_response(reply.status)
    headers = {"Content-Type": "application/json"} | dict(reply.headers)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if not reply.drip:
        handler.wfile.write(body)
    for byte in body if reply.drip else b"":
        handler.wfile.write(bytes([byte]))
        time.sleep(reply.drip)
