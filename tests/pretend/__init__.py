"""Pretend CRMs, one module per kind: each has a memory, and the limits, error bodies and habits of its contract."""

from __future__ import annotations

import importlib
import pkgutil

from tests.pretend.server import PretendCrm


def pretend_crms() -> dict[str, type[PretendCrm]]:
    """Kind → its pretend CRM, of every module in here that is named after a kind."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "server"]
    return {name: _crm_in(name) for name in sorted(names) if not name.startswith("_")}


def _crm_in(name: str) -> type[PretendCrm]:
    module = importlib.import_module(f"{__name__}.{name}")
    found = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, PretendCrm)]
    return next(one for one in found if getattr(one, "kind", None) == name)
