"""What a WSGI server does when it is not easy: slow senders and readers, a stop under load, bodies without end.

`python -m bench.hardships [SERVER ...]` tries each server with one small app and prints a table.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from pysqlite3 import dbapi2 as sqlite
from rich.console import Console
from rich.table import Table

from bench import bare
from bench.bodies import enquiries
from bench.installation import resident
from bench.load import Generator, is_whole
from bench.servers import SERVERS, serve
from tests.programs import free_port

SLOW = 200
_HEAD = b"POST /api/v1/consultations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
_BIG = 2**19  # bytes; more than the socket of whoever does not read takes


def app(file: str) -> Flask:
    """The bare app that stores, with an answer that is big and one that takes a second."""
    made = bare.app("sqlite", file)
    made.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    made.add_url_rule("/big", "big", lambda: b"x" * _BIG)
    made.add_url_rule("/second", "second", _second)
    return made


def _second() -> Response:
    time.sleep(1)
    return Response(f"{request.path} is done")


class Trial:
    """One server with the app, in a process of its own."""

    def __init__(self, server: str, folder: Path) -> None:
        self.port = free_port()
        self.file = folder / f"{server}.sqlite3"
        command = [sys.executable, "-m", "bench.hardships", "serve", server, str(self.port), str(self.file)]
        log = (folder / f"{server}.log").open("wb")
        self.process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=log, stderr=log)
        for _ in range(200):
            with contextlib.suppress(OSError):
                self.connect().close()
                break
            time.sleep(0.05)
        self.ask(b"GET /second HTTP/1.1\r\nHost: bench\r\n\r\n")
        self.at_rest = self.memory()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            for pid in self._pids()[1:]:
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
        self.process.wait()

    def connect(self, buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(5)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def ask(self, *parts: bytes) -> bytes:
        """The first line of the answer."""
        with self.connect() as sock:
            try:
                for part in parts:
                    sock.sendall(part)
                return sock.recv(4096).split(b"\r\n")[0] or b"closed"
            except OSError as error:
                with contextlib.suppress(OSError):
                    if data := sock.recv(4096):
                        return data.split(b"\r\n")[0]
                return type(error).__name__.encode()

    def _pids(self) -> list[int]:
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [self.process.pid, *map(int, children.stdout.split())]

    def memory(self) -> int:
        """MB of all its processes."""
        return sum(resident(pid) for pid in self._pids()) // 2**20

    def honest(self) -> str:
        """How 8 honest visitors fare now."""
        try:
            load = Generator(self.port, enquiries(f"h{time.time_ns()}")).closed(8, 2)
        except (TimeoutError, OSError) as error:
            return f"nobody ({type(error).__name__})"
        return f"{load.rate:.0f}/s, p99 {load.percentile(0.99):.0f} ms" + (f", {load.bad} bad" if load.bad else "")


@contextlib.contextmanager
def dripping(socks: list[socket.socket], data: bytes) -> Iterator[None]:
    """Meanwhile each of them sends one byte a second."""
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(1):
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(data)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def slow_headers(trial: Trial) -> str:
    """200 connections that send their headers a byte a second."""
    return _among_slow(trial, b"POST /api/v1/consultations HTTP/1.1\r\nX-Slow: ", b"y")


def slow_bodies(trial: Trial) -> str:
    """200 connections that send their bodies a byte a second."""
    return _among_slow(trial, _HEAD + b"Content-Length: 600\r\n\r\n{", b" ")


def slow_readers(trial: Trial) -> str:
    """200 connections that do not read their answer."""
    return _among_slow(trial, b"GET /big HTTP/1.1\r\nHost: bench\r\n\r\n", b"", buffer=4096)


def _among_slow(trial: Trial, start: bytes, drop: bytes, buffer: int = 0) -> str:
    socks = [trial.connect(buffer) for _ in range(SLOW)]
    try:
        for sock in socks:
            sock.sendall(start)
        time.sleep(1)
        with dripping(socks, drop):
            return f"{trial.honest()}; {trial.memory()} MB"
    finally:
        for sock in socks:
            sock.close()


def stuck_bodies(trial: Trial) -> str:
    """One connection whose body never ends: how long until it is given up."""
    with trial.connect() as sock:
        sock.settimeout(75)
        sock.sendall(_HEAD + b"Content-Length: 600\r\n\r\n{")
        begun = time.monotonic()
        try:
            answer = sock.recv(4096).split(b"\r\n")[0].decode() or "closed"
        except OSError as error:
            answer = type(error).__name__
        return f"{answer} after {time.monotonic() - begun:.0f} s"


def huge_bodies(trial: Trial) -> str:
    """100 MB declared and sent, then 100 MB in chunks without a length."""
    mega = b"z" * 2**20
    chunk = b"100000\r\n" + mega + b"\r\n"
    declared = trial.ask(_HEAD + b"Content-Length: 104857600\r\n\r\n", *[mega] * 100)
    after = trial.memory()
    chunked = trial.ask(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 100, b"0\r\n\r\n")
    return f"{declared.decode()}, {after} MB; {chunked.decode()}, {trial.memory()} MB"


def huge_header(trial: Trial) -> str:
    """A header of 1 MB."""
    return trial.ask(_HEAD + b"X-Big: ", *[b"y" * 2**16] * 16, b"\r\n\r\n").decode() + f", {trial.memory()} MB"


class Visitors:
    """32 who post on and on until the server ends; what was promised to them, and what never answered."""

    def __init__(self, trial: Trial) -> None:
        self.acknowledged: list[int] = []
        self.dropped = 0
        self._trial, self._make = trial, enquiries("stop")
        self._threads = [threading.Thread(target=self._post, args=(first,)) for first in range(32)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()

    def _post(self, number: int) -> None:
        with self._trial.connect() as sock:
            while True:
                number += 32
                try:
                    sock.sendall(self._make(number))
                    data = _answer(sock)
                except (BrokenPipeError, ConnectionResetError):
                    return  # it had been closed before this was sent
                except OSError:
                    data = b""
                if not data:
                    self.dropped += 1
                    return
                if data[9:12] == b"201":
                    self.acknowledged.append(number)
                if b"\r\nconnection: close\r\n" in data.lower():
                    return


def stop_under_load(trial: Trial) -> str:
    """SIGTERM while 32 clients post and one waits for an answer that takes a second."""
    visitors = Visitors(trial)
    waiting: list[bytes] = []
    slow = threading.Thread(target=lambda: waiting.append(trial.ask(b"GET /second HTTP/1.1\r\nHost: bench\r\n\r\n")))
    time.sleep(1)
    slow.start()
    time.sleep(0.3)
    trial.process.terminate()
    begun = time.monotonic()
    try:
        trial.process.wait(40)
        ended = f"ended after {time.monotonic() - begun:.1f} s"
    except subprocess.TimeoutExpired:
        ended = "did not end in 40 s"
    visitors.wait()
    slow.join()
    with contextlib.closing(sqlite.connect(str(trial.file))) as connection:
        stored = {key for (key,) in connection.execute("SELECT id FROM enquiry WHERE id LIKE 'stop-%'")}
    lost = sum(f"stop-{number}" not in stored for number in visitors.acknowledged)
    return (
        f"{len(visitors.acknowledged)} acknowledged, {lost} of them lost; {visitors.dropped} in flight dropped; "
        f"the slow one: {waiting[0].decode()}; {ended}"
    )


def _answer(sock: socket.socket) -> bytes:
    received = bytearray()
    while not is_whole(received):
        if not (data := sock.recv(4096)):
            return b""
        received += data
    return bytes(received)


TRIALS: list[Callable[[Trial], str]] = [
    slow_headers,
    slow_bodies,
    slow_readers,
    huge_bodies,
    huge_header,
    stuck_bodies,
    stop_under_load,
]


def main(servers: list[str]) -> None:
    """Try each server and print what came of it."""
    table = Table("", *servers, show_lines=True)
    titles = ["memory at rest", "after 3 s of 32 clients", *(trial.__name__.replace("_", " ") for trial in TRIALS)]
    results: dict[str, list[str]] = {title: [] for title in titles}
    with tempfile.TemporaryDirectory(prefix="frontdesk-bench-") as folder:
        for server in servers:
            with Trial(server, Path(folder)) as trial:
                results["memory at rest"].append(f"{trial.at_rest} MB")
                Generator(trial.port, enquiries("m")).closed(32, 3)
                results["after 3 s of 32 clients"].append(f"{trial.memory()} MB")
                for run in TRIALS:
                    found = run(trial)
                    print(server, run.__name__, found, flush=True)
                    results[run.__name__.replace("_", " ")].append(found)
    for title, cells in results.items():
        table.add_row(title, *cells)
    Console(width=200).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _served: Any = app(sys.argv[4])
        serve(sys.argv[2], _served, int(sys.argv[3]))
    else:
        main(sys.argv[1:] or list(SERVERS))
