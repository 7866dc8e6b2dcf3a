"""Would the strange CRMs show a loop that does wrong? Each control breaks one rule of it and must be found out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import false

from integrations.core.base import Connector, Item, Pushed
from integrations.core.errors import DeliveryError
from leads.store.outbox import Claimed, lanes
from leads.sync import retry
from tests.chaos.behaviours import play
from tests.chaos.scripts import BEHAVIOURS


def _whole_batch(call: Callable[[Sequence[Item]], Sequence[Any]], items: Sequence[Item]) -> list[Any]:
    """As `calls._ask`, without splitting."""
    try:
        return list(call(items)) if items else []
    except DeliveryError as error:
        return [error] * len(items)


def _no_id(_sandbox: Connector, _contact_id: str) -> Pushed:
    return Pushed(" ")


def _all_of(_database: object, _lane: object, _connector: object, claimed: Sequence[Claimed]) -> list[Claimed]:
    """As `doubt.set_aside`, without a settle delay."""
    return list(claimed)


def _never_waits(error: object) -> timedelta:
    return timedelta()


def _charges(*args: Any, **more: Any) -> retry.Decision:
    """An attempt for whatever happens."""
    decision = _decide(*args, **more)
    return retry.Decision(decision.state, decision.due_at, True, decision.unknown)


def _at_once(*args: Any, **more: Any) -> retry.Decision:
    return _decide(*args, **(more | {"settle": 0.0}))


_decide = retry.decide

# These statements are built once, with all rules in them.
_BUILT_ANEW = {f"leads.store.outbox.lanes.{name}": getattr(lanes, name).__wrapped__ for name in ("_due_next", "_ready")}
CONTROLS: dict[str, tuple[dict[str, Any], str, str]] = {
    "calls before the time": ({"leads.sync.retry.throttle": _never_waits}, "429, Retry-After in", "before Retry-After"),
    "takes anything for an id": (
        {"integrations.sandbox.Sandbox._pushed": _no_id, "leads.sync.calls.record_id": str},
        "is well",
        "with the id",
    ),
    "refuses whole batches": ({"leads.sync.calls._ask": _whole_batch}, "refuses a batch with", "ends refused"),
    "looks too soon": (
        {"leads.sync.doubt.set_aside": _all_of, "leads.sync.retry.decide": _at_once},
        "tier B: does it seconds after",
        "twice",
    ),
    "charges for a wrong key": ({"leads.sync.retry.decide": _charges}, "says 401, then", "attempts"),
    "overtakes": (
        {"leads.store.outbox.lanes._overtakes": lambda _: false(), **_BUILT_ANEW},
        "fails",
        "overtook",
    ),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_loop_that_does_wrong_is_found_out(control: str, sqlite_template: Path, tmp_path: Path) -> None:
    changes, name, found = CONTROLS[control]
    behaviours = [one for one in BEHAVIOURS if one.name.startswith(name)]
    broken: list[str] = []
    with ExitStack() as stack:
        for target, instead in changes.items():
            stack.enter_context(patch(target, instead))
        for number in range(4):
            file = tmp_path / f"{number}.sqlite3"
            shutil.copy(sqlite_template, file)
            broken += play(f"sqlite:///{file}", tmp_path, number, behaviours).broken
    assert any(found in sentence for sentence in broken), broken
