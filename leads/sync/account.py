"""Whether a CRM is still the one that a connection has written to. In another account the ids that we know of records
are those of strangers: what is written there later would stand on them, and an erasure would delete them."""

from __future__ import annotations

from integrations.core.base import Connector, Item, Seen
from leads.store.models import Connection
from leads.store.queries.enquiries import latest_confirmed
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync import calls
from leads.sync.item import build
from leads.sync.options import SetupError
from leads.sync.plan import plan_of
from leads.sync.retry import describe

_LOOKED_FOR = 5  # enquiries, each of which may take some calls
_ANOTHER = (
    "This seems to be another account: it holds none of the enquiries that this connection brought to the CRM last. "
    "The next ones could get onto the records of other people there, so nothing was changed. Add a new connection for "
    "this account instead."
)
_NOT_ASKED = "Whether this is the same account could not be asked, so nothing was changed."


def require_same_account(database: Database, vault: Vault, connection: Connection, connector: Connector) -> None:
    """Look whether this connector leads to where the connection has written until now. All is well where nothing was
    confirmed yet, or the CRM cannot be read. Raises SetupError, since it cannot be saved all the same: it would
    work."""
    with database.read() as session:
        known = latest_confirmed(session, connection.id, _LOOKED_FOR) if connector.readable else []
    plan = plan_of(connection)
    items = [item for one in known if isinstance(item := build(vault, plan, one), Item)]
    answers = calls.look_up(connector, items)
    if answers and not any(isinstance(answer, Seen) for answer in answers):
        error = next((answer for answer in answers if isinstance(answer, Exception)), None)
        raise SetupError(f"{_NOT_ASKED} {describe(error)[1]}" if error else _ANOTHER)
