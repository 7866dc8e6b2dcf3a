"""`python -m tests.pretend.renewer`: a program of its own that needs a fresh token, as a worker does.

Arguments: database, key file, connection, and what to do: `once`, or `die` between the CRM's answer and our commit.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from integrations.core.registry import kinds
from leads.store import tokens
from leads.store.models import Connection
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Limits, options_of, tokens_of
from tests.pretend.oauth import Tiny


def _die(*_: Any) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return False


def main() -> None:
    """Print `ready`, wait for a line, get a header, print it."""
    url, keys, connection_id, what = sys.argv[1:]
    kinds()["tiny"] = Tiny
    database, vault = Database(url), Vault(Path(keys))
    with database.read() as session:
        row = session.get_one(Connection, UUID(connection_id))
    limits = Limits(60, 5, frozenset({"127.0.0.1"}))
    signed = tokens_of(database, vault, limits, row, options_of(vault, row))
    assert signed is not None
    if what == "die":
        tokens.keep = _die
    print("ready", flush=True)
    sys.stdin.readline()
    print(signed.header(), flush=True)


if __name__ == "__main__":
    main()
