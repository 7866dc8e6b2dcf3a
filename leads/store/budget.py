"""What a delivery may cost: how long and how often it is tried before a person is asked."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def fresh(now: datetime) -> dict[str, Any]:
    """The values of a Delivery that is due now as if nobody had tried it yet. Whether it may have arrived stays."""
    return {
        "state": "waiting",
        "due_at": now,
        "tries_from": now,
        "attempts": 0,
        "missing": 0,
        "code": None,
        "sentence": None,
        "field": None,
    }
