"""What a connection that signs in by OAuth shows the CRM: read from its row, renewed by one alone, kept before used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from integrations.core.errors import Misconfigured, Throttled, TryLater
from integrations.core.http import Http
from integrations.core.oauth import OAuth, Token, renew
from leads.store import tokens
from leads.store.session import Database
from leads.store.tokens import Lease
from leads.store.vault import Vault
from leads.sync.pace import before_anything_is_sent

_SPARE = 15.0  # seconds of a lease beyond the call itself: to store the answer, also in a slow database
_PAUSE = 30.0  # seconds until the next try, where the old token holds so long
_LOOK = 0.1  # seconds between looks whether another one is done
_KEEP_AGAIN = (0.1, 0.5, 2.0)  # seconds before a token is stored again that could not be


@dataclass(frozen=True, slots=True, repr=False)
class Tokens:
    """The sign-in of a stored connection, as `Http` asks for it. Any number of threads and programs may use it at once.

    http: for calls to the token endpoint, unsigned. timeout: seconds such a call may take, and that we wait for another
    one who makes it. key_ends: the day from which the key behind it is no longer valid.
    """

    database: Database
    vault: Vault
    connection_id: UUID
    oauth: OAuth
    settings: Mapping[str, Any]
    http: Http
    timeout: float
    key_ends: date | None = None

    def header(self) -> str:
        """The Authorization header, renewed ahead of its end. Raises DeliveryError."""
        with before_anything_is_sent():
            return self._header(self._good())

    def renew(self, header: str) -> bool:
        """The CRM did not accept this header: get another one, unless somebody just did. Raises DeliveryError."""
        with before_anything_is_sent():  # a call that was not accepted has written nothing
            self._renewed(lambda token: self._header(token) != header)
        return True

    def replace(self) -> None:
        """Get another token, however good the one is that we have. Raises DeliveryError."""
        before = self.held()
        self._renewed(lambda token: token != before)

    def known(self) -> Token:
        """The token as it is, old or not; where there is none, the first one is asked for. Raises DeliveryError."""
        return self.held() or self._good()

    def held(self) -> Token | None:
        """The token as it is; None: there is none yet."""
        return self._opened(tokens.held(self.database, self.connection_id))

    def _good(self) -> Token:
        token, now = self.held(), self._now()
        if token is None or token.over(now):
            return self._renewed(lambda other: not other.over(self._now()))
        return self._renewed_ahead(token) if token.stale(now) else token

    def _renewed_ahead(self, token: Token) -> Token:
        """While the old one still holds, nobody waits for the new one, and a CRM in trouble troubles us later."""
        lease = self._lease(self.timeout + _SPARE)
        if lease is None:
            return token
        try:
            return self._renewed_by_us(lease, lambda other: not other.stale(self._now()))
        except (TryLater, Throttled):
            self._lease(_PAUSE)  # for so long nobody tries again
            return token

    def _renewed(self, is_good: Callable[[Token], bool]) -> Token:
        """A token that is good: what another one has got meanwhile, or else our own."""
        until = time.monotonic() + self.timeout
        while True:
            if (token := self.held()) and is_good(token):
                return token
            if lease := self._lease(self.timeout + _SPARE):
                return self._renewed_by_us(lease, is_good)
            if time.monotonic() >= until:
                raise TryLater("renewing", "The sign-in at the CRM is being renewed just now.")
            time.sleep(_LOOK)

    def _renewed_by_us(self, lease: Lease, is_good: Callable[[Token], bool]) -> Token:
        try:
            # Between our look and our lease another one may have been done.
            token = self._opened(lease.sealed)
            return token if token and is_good(token) else self._exchanged(lease)
        finally:
            tokens.release(self.database, lease)

    def _exchanged(self, lease: Lease) -> Token:
        """Ask the CRM. What it gives is committed before it is used: it may have ended the old one by it."""
        now = self._now()
        try:
            fresh = renew(self.http, self.oauth, self.settings, self._opened(lease.sealed), now)
        except Misconfigured:
            token = self.held()
            if token is None or token == self._opened(lease.sealed):
                raise
            return token  # somebody signed in meanwhile
        if self._kept(lease, fresh, now) or self._kept_after_resealing(lease, fresh, now):
            return fresh
        if token := self.held():
            return token
        raise Misconfigured("signed_out", "The sign-in was taken back meanwhile.")

    def _kept(self, lease: Lease, fresh: Token, now: datetime) -> bool:
        """A database in trouble is asked again: the CRM may give this token only once."""
        sealed, ends_at = seal(self.vault, self.connection_id, fresh), ends(self.oauth, self.key_ends, now)
        for wait in _KEEP_AGAIN:
            try:
                return tokens.keep(self.database, lease, sealed, ends_at)
            except SQLAlchemyError:
                time.sleep(wait)
        return tokens.keep(self.database, lease, sealed, ends_at)

    def _kept_after_resealing(self, lease: Lease, fresh: Token, now: datetime) -> bool:
        """What is stored may be the same token, only sealed with another key since."""
        newer = tokens.held(self.database, self.connection_id)
        if newer is None or self._opened(newer) != self._opened(lease.sealed):
            return False
        return self._kept(lease._replace(sealed=newer), fresh, now)

    def _lease(self, seconds: float) -> Lease | None:
        return tokens.lease(self.database, self.connection_id, seconds)

    def _opened(self, sealed: bytes | None) -> Token | None:
        if sealed is None:
            return None
        return Token.load(self.vault.open(sealed, "connection", "tokens", self.connection_id))

    def _now(self) -> datetime:
        return self.database.time()

    def _header(self, token: Token) -> str:
        return f"{self.oauth.scheme} {token.access_token}"


class Trial:
    """The sign-in of options that are only tried out: its token is kept nowhere. One thread at a time."""

    def __init__(self, oauth: OAuth, settings: Mapping[str, Any], http: Http, token: Token | None = None) -> None:
        """http: for calls to the token endpoint, unsigned. token: the first one, where there is one already."""
        self._oauth, self._settings, self._http = oauth, settings, http
        self._token = token

    def header(self) -> str:
        """The Authorization header. Raises DeliveryError."""
        return f"{self._oauth.scheme} {self.known().access_token}"

    def renew(self, header: str) -> bool:
        """What was had just now gets no better by asking again."""
        return False

    def known(self) -> Token:
        """The token; the first time it is asked for. Raises DeliveryError."""
        self._token = self._token or renew(self._http, self._oauth, self._settings, None)
        return self._token

    def held(self) -> Token | None:
        """The token; None: it was not asked for yet."""
        return self._token


class Extra(Mapping[str, str]):
    """What the CRM said beside its token, as the connector's `settings["token"]`: looked up whenever it is needed, for
    there may be no token yet when the connector is built, and another one later. `get` takes what is there; all else
    asks for the first token where there is none. Raises DeliveryError when none can be had."""

    def __init__(self, signed: Tokens | Trial) -> None:
        self._signed = signed

    def _token(self) -> Token:
        with before_anything_is_sent():
            return self._signed.known()

    def _held(self) -> Token | None:
        with before_anything_is_sent():
            return self._signed.held()

    def __getitem__(self, name: str) -> str:
        return self._token().extra[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A connector may be built before anybody has signed in: to show it, or to say so."""
        token = self._held()
        return token.extra.get(name, default) if token else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._token().extra)

    def __len__(self) -> int:
        return len(self._token().extra)


def seal(vault: Vault, connection_id: UUID, token: Token) -> bytes:
    """For the connection's row."""
    return vault.seal(token.dump(), "connection", "tokens", connection_id)


def ends(oauth: OAuth | None, key_ends: date | None, now: datetime) -> datetime | None:
    """When a person is needed again, if the sign-in is renewed now: it goes unused for too long, or its key ends."""
    unused = now + timedelta(days=oauth.refresh_days) if oauth and oauth.refresh_days else None
    key = datetime.combine(key_ends, time_of_day(), UTC) if key_ends else None
    return min((moment for moment in (unused, key) if moment), default=None)
