"""Cheap starts: one process that has imported everything and forks a child for every program that is asked for.

The child runs the same entry point as the command would, opens its engine after the fork, and is a process of its
own with a real pid: a signal to it is a real signal. A cold start costs a second of processor time, this a tenth.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).parent.parent.parent
_MAINS = {"leads": "leads.cli", "sandbox_crm": "sandbox_crm.__main__", "tests.chaos.crm": "tests.chaos.crm"}
_LAZY = ("leads.app", "leads.serve", "leads.web", "alembic.command", "psycopg", "sqlalchemy.dialects.postgresql")
_PR_SET_PDEATHSIG = 1
UNKNOWN_COMMIT = "a COMMIT was not answered"


class Child:
    """A forked program, used like a `subprocess.Popen`."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote, self.pid = zygote, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code as Popen gives it (minus the signal that ended it); None while it runs."""
        if self.returncode is None:
            self.returncode = self._zygote.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (timeout or float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # it stays a zombie until it is polled, so the pid is still its own
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Zygote:
    """The process that forks. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        command = [sys.executable, "-m", "tests.chaos.zygote"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("FRONTDESK_")}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(self, command: tuple[str, ...], environ: dict[str, str], log: Path) -> Child:
        """Fork `python -m command...`. log: what it prints is added there."""
        return Child(self, self.ask(start=list(command), environ=environ, log=str(log)))

    def ask(self, **question: Any) -> Any:
        with self._lock:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it and all its children."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _answer(question: dict[str, Any]) -> Any:
    if "poll" in question:
        pid, status = os.waitpid(question["poll"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None
    if pid := os.fork():
        return pid
    _become(question["start"], question["environ"], question["log"])
    return None


def _become(command: list[str], environ: dict[str, str], log: str) -> None:
    """Be that program until it ends; never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, source in enumerate((os.open(os.devnull, os.O_RDONLY), out, out)):
        os.dup2(source, number)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = command
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    importlib.import_module(_MAINS[command[0]]).main()
    raise SystemExit(0)  # ends the loop of `main` in this copy


def _tell_unknown_commits() -> None:
    """A COMMIT without an answer is the moment when nobody can know: each is written to the log, to be counted."""
    dialect: Any = importlib.import_module("sqlalchemy.engine.default").DefaultDialect
    commit = dialect.do_commit

    def watched(self: Any, connection: Any) -> None:
        try:
            commit(self, connection)
        except Exception:
            print(UNKNOWN_COMMIT, file=sys.stderr, flush=True)
            raise

    dialect.do_commit = watched


def main() -> None:
    """Fork on command until the other side hangs up."""
    for module in (*_MAINS.values(), *_LAZY):
        importlib.import_module(module)
    importlib.import_module("sqlalchemy.orm").configure_mappers()
    _tell_unknown_commits()
    gc.collect()
    gc.freeze()  # what is shared now stays shared: no child's collector touches it
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
