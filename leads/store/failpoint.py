"""Named points at which a test can kill, stop, break or pause a process. Off unless armed at start."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

# Before and after each side effect there is one: a `written` is not yet committed.
POINTS = (
    "accept.written",  # the event
    "accept.committed",  # the visitor has no answer yet
    "lease.written",  # the lane
    "lease.committed",  # nothing is claimed yet
    "claim.written",  # the deliveries
    "claim.committed",  # nothing is sent yet
    "returned.written",  # what was claimed and is given back unsent
    "returned.committed",
    "call.begun",  # a request to the CRM leaves next; a push may be several
    "push.answered",  # the CRM has answered, we have not written it down
    "finish.written",  # the outcome
    "finish.committed",  # with the next claim, if there is one
    "checked.written",  # what was read back
    "checked.committed",
    "retire.erased",  # the record is gone at the CRM, we still have its id
    "retire.written",
    "retire.committed",
    "release.written",  # the lane
    "release.committed",
    "requeue.written",  # staff's decision to send again
    "forget.written",  # staff's decision to erase somebody
    "forget.committed",  # gone here, with the CRM still to come
    "erase.answered",  # the records are gone at the CRM, we still have their ids
    "erase.written",
    "erase.committed",
)
ACTIONS = ("kill", "term", "raise", "pause")
HALT = "halt"  # until SIGUSR2: a pause ends by itself, also where the machine stood still meanwhile
_armed: dict[str, tuple[str, int]] = {}
_counting = threading.Lock()
_woken = threading.Event()


class Failpoint(Exception):  # noqa: N818 - it is no error of the program
    """Raised at a point armed with `raise`."""


def arm(spec: str) -> None:
    """spec: `POINT:ACTION` or, for its n-th passage, `POINT:ACTION:N`; several with commas; empty to disarm.

    HALT is armed in the main thread, for its signal. Raises ValueError when one is unknown.
    """
    armed = parse(spec)
    if any(action == HALT for action, _ in armed.values()):
        signal.signal(signal.SIGUSR2, lambda *_: _woken.set())
    _armed.clear()
    _woken.clear()
    _armed.update(armed)


def parse(spec: str) -> dict[str, tuple[str, int]]:
    """Point → action and passage. Raises ValueError when one is unknown."""
    found = {}
    for one in spec.split(",") if spec else ():
        point, action, passage = (*one.split(":"), "1")[:3] if ":" in one else (one, "", "1")
        if point not in POINTS or action not in (*ACTIONS, HALT):
            raise ValueError(f"no such failpoint: {one}")
        found[point] = action, int(passage)
    return found


def reach(point: str) -> None:
    """Mark that the program passes this point; do what the point is armed with, once."""
    if not (action := _due(point) if _armed else None):
        return
    print(f"failpoint {point}:{action}", file=sys.stderr, flush=True)  # a test sees that it was there
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)  # the handler runs in the main thread, which may be waiting for its database: let it
    elif action == "raise":
        raise Failpoint(point)
    elif action == "pause":
        time.sleep(3)
    elif action == HALT:
        _woken.wait()


def _due(point: str) -> str | None:
    with _counting:
        action, passages = _armed.pop(point, (None, 0))
        if action and passages > 1:
            _armed[point] = action, passages - 1
            return None
        return action
