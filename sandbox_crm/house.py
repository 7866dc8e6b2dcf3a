"""What the routes of the sandbox CRM share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from flask import current_app

from sandbox_crm.calls import Calls
from sandbox_crm.faults import Switchboard
from sandbox_crm.store import Store


@dataclass(frozen=True, slots=True)
class House:
    """key: the API key that callers must show."""

    store: Store
    key: str
    switchboard: Switchboard = field(default_factory=Switchboard)
    calls: Calls = field(default_factory=Calls)


def house() -> House:
    """What the app at work was built with."""
    return cast(House, current_app.extensions["house"])
