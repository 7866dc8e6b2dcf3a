"""From a connection's row to a connector that may call its CRM, within the lease and at the agreed pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from integrations.core.base import Connector
from integrations.core.errors import TryLater, Unknown
from integrations.core.http import Answer, Http
from integrations.core.oauth import Token
from integrations.core.registry import connector_class
from leads.store.failpoint import reach
from leads.store.models import Connection
from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.pace import before_anything_is_sent, heed, wait_turn
from leads.sync.retry import Policy
from leads.sync.tokens import Extra, Tokens, Trial

log = structlog.get_logger()

_LEFT = 60.0  # seconds
_PUT_OFF_IS_FRESH = 1.0  # seconds: without a pace only the CRM itself, or another worker, may put a call off


@dataclass(slots=True)
class Limits:
    """lease: seconds a claim holds. timeout: seconds a call may take in all. private_hosts: allowed all the same.
    sweep_days: for how many days what was confirmed is looked at again each night."""

    lease: float
    timeout: float
    private_hosts: frozenset[str] = frozenset()
    sweep_days: int = 30
    _local: threading.local = field(default_factory=threading.local)

    def start_budget(self, since: float | None = None) -> None:
        """This lane may start calls until one more could outlast the lease. since: when that began, by the monotonic
        clock; None: now."""
        self._local.until = (time.monotonic() if since is None else since) + self.lease - self.timeout
        self._local.calls = 0

    def has_time(self, since: float) -> bool:
        """Whether another push may be begun for what was claimed then: there is half of its time left at least."""
        return time.monotonic() < since + (self.lease - self.timeout) / 2

    def check_budget(self) -> None:
        """A call begins. Raises when another worker may soon take over what this lane holds: Unknown when calls were
        made for it already, else TryLater."""
        calls = getattr(self._local, "calls", 0)
        if time.monotonic() > getattr(self._local, "until", float("inf")):
            raise (Unknown if calls else TryLater)("too_slow", "The CRM was too slow to finish in time.")
        self._local.calls = calls + 1


@dataclass(frozen=True, slots=True)
class Context:
    """What every lane of a worker shares."""

    database: Database
    vault: Vault
    worker: str
    limits: Limits
    policy: Policy
    stop: threading.Event = field(default_factory=threading.Event)
    _left: dict[UUID, float] = field(default_factory=dict, init=False)

    def leave_to_others(self, connection_id: UUID) -> None:
        """This worker does not serve the connection for a minute."""
        self._left[connection_id] = time.monotonic() + _LEFT

    def leaves_to_others(self, connection_id: UUID) -> bool:
        """Whether that minute is not over."""
        return time.monotonic() < self._left.get(connection_id, 0.0)

    def now(self) -> datetime:
        """The time that due times go by."""
        return self.database.time()


def open_connector(context: Context, connection: Connection) -> Connector:
    """Build the connector of a connection. Raises VaultError or UnknownKindError."""

    asked = float("-inf")  # by the monotonic clock: whether a call was put off

    def before_call() -> None:
        nonlocal asked
        if connection.pace or time.monotonic() - asked > _PUT_OFF_IS_FRESH:
            with before_anything_is_sent():
                wait_turn(context.database, connection.id, connection.pace)
            asked = time.monotonic()
        context.limits.check_budget()
        reach("call.begun")

    def after_call(answer: Answer) -> None:
        nonlocal asked
        try:
            if said := connector_class(connection.kind).allowance(answer):
                heed(context.database, connection.id, said)
                asked = float("-inf")  # only now: whoever looks before would not see it
        except Exception as error:  # noqa: BLE001 - as an error of the call, it would have a write made again
            log.warning("the CRM's limits were not noted", type=type(error).__name__)

    return stored_connector(
        context.database,
        context.vault,
        context.limits,
        connection,
        options_of(context.vault, connection),
        before_call=before_call,
        after_call=after_call,
    )


def options_of(vault: Vault, connection: Connection) -> dict[str, Any]:
    """The options of a connection, secrets included. Raises VaultError."""
    options: dict[str, Any] = vault.open(connection.options_sealed, "connection", "options", connection.id)
    return options


def stored_connector(
    database: Database,
    vault: Vault,
    limits: Limits,
    connection: Connection,
    settings: dict[str, Any],
    **hooks: Callable[..., None],
) -> Connector:
    """Build the connector of a connection, which signs in as somebody did for it. hooks: `Http`'s, around each call."""
    signed = tokens_of(database, vault, limits, connection, settings)
    return _built(connection.kind, settings, limits, signed, **hooks)


def tokens_of(
    database: Database, vault: Vault, limits: Limits, connection: Connection, settings: dict[str, Any]
) -> Tokens | None:
    """The sign-in of a connection. None: a key among its options is all it needs."""
    kind = connector_class(connection.kind)
    oauth = kind.oauth(settings) if settings else None  # a removed connection has none any more
    if oauth is None:
        return None
    ends, unsigned = kind.key_ends(settings), http_within(limits)
    return Tokens(database, vault, connection.id, oauth, settings, unsigned, limits.timeout, ends)


def build_connector(kind: str, settings: dict[str, Any], limits: Limits, token: Token | None = None) -> Connector:
    """Build a connector that is not stored yet, such as one whose key is being tried. token: what somebody got who has
    just signed in; None: one is asked for where there is OAuth."""
    oauth = connector_class(kind).oauth(settings) if settings else None
    return _built(kind, settings, limits, Trial(oauth, settings, http_within(limits), token) if oauth else None)


def _built(
    kind: str,
    settings: dict[str, Any],
    limits: Limits,
    signed: Tokens | Trial | None,
    **hooks: Callable[..., None],
) -> Connector:
    whole = {**settings, "token": Extra(signed)} if signed else settings
    return connector_class(kind)(whole, http_within(limits, credentials=signed, **hooks))


def http_within(limits: Limits, **more: Any) -> Http:
    """For calls that keep to these limits. more: as `Http` takes it."""
    return Http(allowed_private_hosts=limits.private_hosts, deadline=limits.timeout, **more)
