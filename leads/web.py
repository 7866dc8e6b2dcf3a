"""The web server: Granian, in this process, with what it leaves to others.

Granian is the fastest of those that were measured (docs/explanation/wsgi-server.md), and two things it does not do:
it calls the application before the body is there, and it waits for a body, or for whoever does not read an answer,
without end. So a body is read whole before it costs a turn, and a connection on which nothing moves is closed.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.server.mt import MTServer

log = structlog.get_logger()

CONNECTIONS = 1000  # at the same time; what comes above waits to be accepted
_PATIENCE = 60.0  # seconds that a connection may go on without anything being sent to it
_HURRY = 10.0  # the same once we were told to stop
_LOOK = 5.0  # seconds between two looks at the connections
_BEFORE_JSON = b"\xef\xbb\xbf \t\r\n"
_OPEN = Path("/proc/self/fd")
_LAST_DATA_SENT = 8 + 9 * 4  # where `tcpi_last_data_sent`, milliseconds, stands in Linux's tcp_info

Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


def serve(app: App, host: str, port: int, at_once: int, max_body: int) -> None:
    """Serve until SIGTERM or Ctrl-C; requests in flight are finished. at_once: so many are worked on together."""
    server = _InThisProcess(
        "frontdesk",
        address=str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]),  # it takes numbers only
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        loop=Loops.asyncio,
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        blocking_threads=CONNECTIONS,  # those that wait for a body only wait: see ConcurrencyLimit
        http1_settings=HTTP1Settings(header_read_timeout=30_000, max_buffer_size=64 * 1024),
        log_enabled=False,  # it would quote exceptions, and those can quote what a visitor typed
        log_dictconfig={"incremental": True, "handlers": {}, "loggers": {}},  # leave our own logging as it is
    )
    hung_up = signal.getsignal(signal.SIGHUP)  # ignored under nohup
    server.on_startup(lambda: signal.signal(signal.SIGHUP, hung_up))  # Granian would start a second worker
    server.on_startup(lambda: log.info("web started", host=host, port=port))
    gc.collect()
    gc.freeze()  # what stays for good is looked through no more: that stopped all requests for 50 ms every 2 seconds
    IdleReaper(port, lambda: _HURRY if server.interrupt_signal else _PATIENCE).start()
    server.serve(target_loader=lambda: ConcurrencyLimit(app, at_once, max_body), wrap_loader=False)
    log.info("web stopped", host=host, port=port)


class _InThisProcess(MTServer):
    """Granian with its worker as a thread: one process, one memory, and nothing to outlive us when we are killed."""

    def _check_gil(self) -> None:
        # It is offered to Python without a GIL only, where it pays most; with one the worker's threads share it.
        pass


class ConcurrencyLimit:
    """Lets in so many requests at the same time. A body is read before, so that slow senders hold up nobody."""

    def __init__(self, app: App, at_once: int, max_body: int) -> None:
        """max_body: bytes; of a longer body the application sees that it is too long, and not its end."""
        self._app = app
        self._max_body = max_body
        self._lock = threading.Lock()
        self._free = at_once
        self._waiting: deque[threading.Lock] = deque()  # who came first is first, which no semaphore promises

    def __call__(self, environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        try:
            if trouble := self._read_body(environ):
                start_response(trouble, [("Server", "")])
                return [b""]
            self._take()
            try:
                return self._app(environ, _nameless(start_response))
            finally:
                self._give()
        except Exception as error:  # noqa: BLE001 - Flask answers for its own; Granian would log this one's words
            log.error("the web server failed", error=type(error).__name__)
            start_response("500 Internal Server Error", [("Server", "")])
            return [b""]

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # until somebody hands over

    def _give(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1

    def _read_body(self, environ: dict[str, Any]) -> str:
        """What to answer a body that did not come whole; empty for one that did, or is too long anyway.

        In chunks without a length Granian does not tell one that breaks off from one that ends. JSON and a form with
        files say where they end, and are refused later; a plain form with half an address in it looks like a whole one.
        """
        declared = environ.get("CONTENT_LENGTH")
        if declared is None and "HTTP_TRANSFER_ENCODING" not in environ:
            environ["wsgi.input"] = BytesIO()
            return ""
        if declared is not None and int(declared) > self._max_body:
            return ""
        body = environ["wsgi.input"].read(self._max_body + 1)
        environ["wsgi.input"] = BytesIO(body)
        if declared is None:
            del environ["HTTP_TRANSFER_ENCODING"]
            environ["CONTENT_LENGTH"] = str(len(body))
            ends = len(body) > self._max_body or _says_its_end(body, environ.get("CONTENT_TYPE", ""))
            return "" if ends else "411 Length Required"
        return "" if len(body) == int(declared) else "400 Bad Request"


def _says_its_end(body: bytes, kind: str) -> bool:
    return not body or body.lstrip(_BEFORE_JSON)[:1] in (b"{", b"[") or kind.lower().startswith("multipart/")


def _nameless(start_response: Start) -> Start:
    """Says nothing about which server this is."""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        headers.append(("Server", ""))
        return start_response(status, headers, exc_info)

    return start


class IdleReaper:
    """Closes connections on which nothing moves: a body that does not come, or drips, and an answer nobody reads."""

    def __init__(self, port: int, patience: Callable[[], float]) -> None:
        """patience: seconds without anything being sent, asked for at each look."""
        self._port = port
        self._patience = patience

    def start(self) -> None:
        """Look at them in the background for as long as the program runs. Elsewhere than on Linux nothing is closed."""
        if _OPEN.is_dir():
            threading.Thread(target=self._run, name="idle-reaper", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(min(_LOOK, self._patience() / 4))
            self.reap()

    def reap(self) -> None:
        """Look at each connection once."""
        for entry in _OPEN.iterdir():
            with suppress(OSError):  # it was closed meanwhile, or is no connection
                if str(entry.readlink()).startswith("socket:"):
                    self._look_at(int(entry.name))

    def _look_at(self, descriptor: int) -> None:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            if connection.family == socket.AF_UNIX or connection.getsockname()[1] != self._port:
                return
            connection.getpeername()  # raises where it is the one that listens
            state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_SENT + 4)
            (silent,) = struct.unpack_from("I", state, _LAST_DATA_SENT)
            if silent > self._patience() * 1000:
                connection.shutdown(socket.SHUT_RDWR)
