"""`frontdesk serve`: web, worker and, for a demo, the sandbox CRM under one roof, started again when one dies."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from config.settings import Settings
from leads.decode import MAX_BODY

log = structlog.get_logger()

_GRACE = 30.0  # seconds for a child to finish what it holds
_LONGEST_PAUSE = 30.0  # seconds before a child that keeps dying is started again
_STEADY = 60.0  # seconds after which a child counts as well again
_PR_SET_PDEATHSIG = 1


class ServeError(Exception):
    """It cannot start. The text says why and what to do."""


@dataclass(slots=True)
class Child:
    """One process that is kept running."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    start_at: float = 0.0

    def start(self, environ: dict[str, str]) -> None:
        """Where there is no memory for it just now, that is a death like any other: the others live on."""
        self.started = time.monotonic()
        try:
            # A session of its own, so that Ctrl-C reaches only us and each child ends in order.
            self.process = subprocess.Popen(  # noqa: S603 - our own programs
                self.command,
                env=environ,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - the supervisor has one thread
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.error("cannot be started; trying again", program=self.name, error=str(error), seconds=self._died())

    def look(self) -> None:
        """Note a death, and when to start again."""
        if self.process is None or (code := self.process.poll()) is None:
            return
        log.error("ended unexpectedly; starting it again", program=self.name, exit_code=code, seconds=self._died())

    def _died(self) -> float:
        """Seconds until it is started again: more, the more often it dies."""
        if time.monotonic() - self.started > _STEADY:
            self.deaths = 0
        pause: float = min(0.5 * 2**self.deaths, _LONGEST_PAUSE)
        self.deaths += 1
        self.process, self.start_at = None, time.monotonic() + pause
        return pause


class Supervisor:
    """Keeps children running until it is told to stop."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ
        self._children: list[Child] = []
        self._stopping = False

    def add(self, name: str, *command: str) -> None:
        """Another child. command: what Python is started with, such as `-m leads worker`; name: in the log."""
        self._children.append(Child(name, [sys.executable, *command]))

    def run(self, on_start: Callable[[], None]) -> None:
        """Start all, call on_start, and watch until SIGTERM, Ctrl-C or the terminal's end; then end all in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signal.SIGHUP, self._stop)
        try:
            self._start_due()
            on_start()
            while not self._stopping:
                for child in self._children:
                    child.look()
                self._start_due()
                time.sleep(0.2)
        finally:
            self._end_all()

    @property
    def stopping(self) -> bool:
        """Whether SIGTERM or Ctrl-C came."""
        return self._stopping

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and time.monotonic() >= child.start_at and not self._stopping:
                child.start(self._environ)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _end_all(self) -> None:
        running = [child.process for child in self._children if child.process]
        for process in running:
            process.terminate()
        until = time.monotonic() + _GRACE
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(until - time.monotonic(), 0.1))
            if process.poll() is None:
                process.kill()
                process.wait()


def _end_with_parent() -> None:
    """Ask Linux to end this child when we are killed: an orphan would keep the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def require_port(host: str, port: int, variable: str) -> None:
    """Raises ServeError when the port cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except PermissionError:
        raise ServeError(f"Port {port} may not be used without more rights. Set {variable} to another one.") from None
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise ServeError(f"The address {host} is not one of this machine. Check FRONTDESK_HOST.") from None
        raise ServeError(f"Port {port} is taken by another program. Set {variable} to another one.") from None


def serve_web(settings: Settings) -> None:
    """Serve the website's side and the desk until SIGTERM; requests in flight are finished."""
    from leads.app import create_app  # noqa: PLC0415 - the command line stays quick without it
    from leads.web import serve  # noqa: PLC0415 - as above

    serve(create_app(settings), settings.host, settings.port, settings.web_threads, MAX_BODY)


def environment(settings: Settings) -> dict[str, str]:
    """What the children need so that they see the same settings as we do."""
    ours = {
        "FRONTDESK_PUBLIC_URL": settings.public_url,
        "FRONTDESK_FORM_MIN_SECONDS": str(settings.form_min_seconds),
        "FRONTDESK_CANARY_EVERY": f"{settings.canary_every.total_seconds():.0f}s",
        "FRONTDESK_ALLOWED_PRIVATE_HOSTS": ",".join(sorted(settings.allowed_private_hosts)),
    }
    # A value and a file that holds it are refused together, and each of ours may have come from a file.
    return {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in ours} | ours
