"""Pretend CRMs, one module per kind: each has a memory, and the limits, error bodies and habits of its contract."""

from __future__ import annotations

import importlib
import pkgutil

from integrations.core.registry import kinds
from tests.pretend.server import PretendCrm


def pretend_crms() -> dict[str, type[PretendCrm]]:
    """Kind → its pretend CRM, for each kind that has one. Other modules in here are what several of them share."""
    there = {module.name for module in pkgutil.iter_modules(__path__)}
    return {kind: _crm_in(kind) for kind in kinds() if kind in there}


def _crm_in(name: str) -> type[PretendCrm]:
    module = importlib.import_module(f"{__name__}.{name}")
    found = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, PretendCrm)]
    return next(one for one in found if getattr(one, "kind", None) == name)
