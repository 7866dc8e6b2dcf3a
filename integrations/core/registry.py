"""Which kinds of CRM there are: every module directly in `integrations/` whose name has no leading underscore."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import integrations
from integrations.core.base import Connector


class UnknownKindError(KeyError):
    """There is no connector of this name. Its text is a sentence that names those there are."""

    def __str__(self) -> str:
        return str(self.args[0])


@cache
def kinds() -> dict[str, type[Connector]]:
    """Name of the module → its connector, in alphabetical order. Raises TypeError for a module that has none."""
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(integrations.__path__)
        if not module.ispkg and not module.name.startswith("_")
    )
    return {name: _connector_in(name) for name in names}


def connector_class(kind: str) -> type[Connector]:
    """The connector of this kind. Raises UnknownKindError."""
    try:
        return kinds()[kind]
    except KeyError:
        raise UnknownKindError(f"There is no CRM named {kind!r}. There are: {', '.join(kinds())}.") from None


def no_connector(kind: str) -> str:
    """For staff: what it means that a connection's kind is here no more, and what helps."""
    return (
        f"Frontdesk has no connector for its kind, “{kind}”, any more. Whoever looks after the server can install it "
        "again and restart Frontdesk; else an admin removes the connection."
    )


def _connector_in(name: str) -> type[Connector]:
    module = importlib.import_module(f"integrations.{name}")
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, Connector) and found.__module__ == module.__name__:
            if found.kind != name:
                raise TypeError(f"integrations/{name}.py calls its connector {found.kind!r}: name it after the file")
            return found
    raise TypeError(f"integrations/{name}.py holds no connector")
