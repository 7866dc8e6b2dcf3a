"""Logs: one line per happening on standard error, JSON unless a person looks on. Never personal data.

What is logged are codes, ids and numbers. Of an exception its type and place are kept and its message is not, since a
message may quote what a visitor typed.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

_LIBRARIES = ("alembic", "apscheduler", "sqlalchemy", "urllib3", "waitress", "werkzeug")


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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)


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
