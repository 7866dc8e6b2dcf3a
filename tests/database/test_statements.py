"""How many statements a batch takes: the same number for one enquiry as for fifty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import event

from leads.store import outbox
from leads.store.models import Connection, Site
from leads.store.session import Database
from leads.store.vault import Vault
from tests.database.lanes import finished, leased
from tests.factory import send_in_groups

Answer = TypeVar("Answer")


def _counting(database: Database, do: Callable[[], Answer]) -> tuple[Answer, int]:
    seen = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("PRAGMA", "BEGIN")):
            seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        return do(), len(seen)
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def _of_a_batch(database: Database, vault: Vault, site: Site, connection: Connection, size: int) -> tuple[int, int]:
    send_in_groups(database, vault, site, size)
    lane = leased(database, connection)
    claimed, to_claim = _counting(database, lambda: outbox.claim(database, lane, 50, 60))
    assert len(claimed) == size
    fenced, to_finish = _counting(database, lambda: finished(database, lane, claimed))
    assert fenced == 0
    outbox.release(database, lane)
    return to_claim, to_finish


def test_a_batch_takes_as_many_statements_as_one_enquiry(
    timed: Database, vault: Vault, site: Site, connection: Connection
) -> None:
    one = _of_a_batch(timed, vault, site, connection, 1)
    assert _of_a_batch(timed, vault, site, connection, 50) == one
    assert max(one) <= 7


def test_a_group_of_enquiries_takes_as_many_as_one(timed: Database, vault: Vault, site: Site) -> None:
    counts = [_counting(timed, lambda size=size: send_in_groups(timed, vault, site, size))[1] for size in (1, 32)]  # type: ignore[misc]  # mypy cannot infer it
    assert counts[0] == counts[1]
