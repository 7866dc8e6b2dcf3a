"""Records that are taken out of a CRM again: those of callers who became known, and tests."""

from __future__ import annotations

from collections.abc import Sequence

from integrations.core.base import Connector
from integrations.core.errors import DeliveryError, Throttled, TryLater
from leads.store import outbox
from leads.store.outbox import Health, Lane
from leads.sync import calls, retry
from leads.sync.connect import Context

_WELL = Health("working", 0, 0)


def remove(context: Context, lane: Lane, connector: Connector, remote_ids: Sequence[str]) -> DeliveryError | None:
    """Erase records. Returns what went wrong.

    That alone takes no connection out of use, since many keys may write and not erase; but when the CRM asks for quiet,
    it gets it.
    """
    try:
        connector.erase(remote_ids)
    except DeliveryError as error:
        heed(context, lane, error)
        return error
    except Exception as error:  # noqa: BLE001 - a bug of ours must not end the lane: enquiries wait in it
        calls.log_bug(error)
        return TryLater(*retry.BUG)
    return None


def heed(context: Context, lane: Lane, error: Exception) -> None:
    """Leave the connection alone for as long as the CRM asks, if it does."""
    if isinstance(error, Throttled):
        outbox.checked(context.database, lane, [], retry.assess([error], _WELL, context.now()))
