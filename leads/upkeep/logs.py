"""Logs: one line per happening on standard error, JSON unless a person looks on. Never personal data.

What is logged are codes, ids and numbers. Of an exception its type and place are kept and its message is not, since a
message may quote what a visitor typed.

Nobody waits for a log line to be written: whoever reads standard error may stand still, and its disk may be full.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import structlog

_WAITING = 10_000  # lines that may wait to be written; what comes above is lost, and told
_LAST_WORDS = 1.0  # seconds at the end of the program for lines that still wait
_LIBRARIES = ("alembic", "apscheduler", "sqlalchemy", "werkzeug")


def configure(level: str) -> None:
    """Set up structlog, and route what libraries log through it. level: debug, info, warning or error."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_message,
    ]
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = Unhurried(2)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)


class Unhurried(logging.Handler):
    """Hands lines to a thread that writes them, so that a reader who stands still blocks nobody else."""

    def __init__(self, target: int) -> None:
        """target: a file descriptor, 2 being standard error."""
        super().__init__()
        self._target = target
        self._lines: queue.Queue[bytes] = queue.Queue(_WAITING)
        self._lost = 0
        threading.Thread(target=self._write_all, name="logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; never waits."""
        try:
            self._lines.put_nowait((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001 - the queue is full, or a line cannot be written: neither is the caller's concern
            self._lost += 1

    def flush(self) -> None:
        """Give the last lines a moment to be written; logging calls it at the program's end."""
        until = time.monotonic() + _LAST_WORDS
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            if lost := self._lost:
                self._lost = 0
                line += b'{"event": "log lines lost", "number": %d}\n' % lost
            self._write(line)
            self._lines.task_done()

    def _write(self, line: bytes) -> None:
        # Past Python's own buffer: its lock, held by a write that stands still, would hold up the program's end too.
        with suppress(OSError):
            while line:
                line = line[os.write(self._target, line) :]


def _without_message(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by its type and the place where it was raised."""
    record = event.get("_record")
    found = event.pop("exc_info", None) or (record.exc_info if record else None)
    if record is not None:
        record.exc_info = record.exc_text = None
    error = found if isinstance(found, BaseException) else (found[1] if isinstance(found, tuple) else sys.exc_info()[1])
    if found and error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        event["error"] = type(error).__name__
        event["at"] = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames[-5:]]
    return event
