"""Named points at which a test can kill, stop, break or pause a process. Off unless armed at start."""

from __future__ import annotations

import os
import signal
import time

POINTS = (
    "accept.written",  # the event is written, not committed
    "accept.committed",  # committed, the visitor has no answer yet
    "claim.written",  # the lease is written, not committed
    "claim.committed",  # leased, nothing sent yet
    "push.answered",  # the CRM has answered, we have not written it down
    "finish.written",  # the outcome is written, not committed
    "finish.committed",  # all is known, the next claim has not begun
)
ACTIONS = ("kill", "term", "raise", "pause")
_armed: dict[str, str] = {}


class Failpoint(Exception):  # noqa: N818 - it is no error of the program
    """Raised at a point armed with `raise`."""


def arm(spec: str) -> None:
    """spec: `POINT:ACTION`, or empty to disarm. Raises ValueError when either is unknown."""
    _armed.clear()
    if not spec:
        return
    point, _, action = spec.partition(":")
    if point not in POINTS or action not in ACTIONS:
        raise ValueError(f"no such failpoint: {spec}")
    _armed[point] = action


def reach(point: str) -> None:
    """Mark that the program passes this point; do what the point is armed with, once."""
    action = _armed.pop(point, None) if _armed else None
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    elif action == "raise":
        raise Failpoint(point)
    elif action == "pause":
        time.sleep(3)
