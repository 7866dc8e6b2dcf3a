"""The only way a connector talks to the world, and where every network error becomes one of our verdicts."""

from __future__ import annotations

import json as jsonlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests import exceptions as failures
from urllib3.exceptions import NameResolutionError

from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, Unknown
from integrations.core.sockets import Call, GuardedAdapter

LARGEST_ANSWER = 1024 * 1024  # bytes, after decompression
LARGEST_DESCRIPTION = 8 * LARGEST_ANSWER  # what a CRM tells of its own fields grows with all that a clinic added

_UNREADABLE = "{} sent an answer that cannot be read."
_SENT_ON = ("redirected", "The CRM sends us on to another address. Enter that one instead.")
_NOTHING_THERE = ("not_found", "There is nothing at this address of the CRM. Check the address.")
_TOO_LONG = ("too_long", "The CRM says that what we ask for is too long. Map fewer fields.")
_FOR_ALL = {  # what every record would be told
    300: _SENT_ON,
    401: ("bad_key", "The CRM does not accept the key. Enter a new one."),
    403: ("forbidden", "The CRM says that this key may not do this. Give it the rights it needs."),
    404: _NOTHING_THERE,
    405: _NOTHING_THERE,
    410: _NOTHING_THERE,
    414: _TOO_LONG,  # the names of all mapped fields may stand in the address
    431: _TOO_LONG,
}
# A go-between gave up on the answer. Cloudflare's are 520 to 530, and 499 is told where it was itself given up on.
_NO_ANSWER = (499, 502, 504, 520, 522, 524)
_NOT_REACHED = (521, 523, 525, 526, 530)  # it could not even hand the request on

# urllib3 logs whole addresses and what the CRM sent; the address of a webhook can be a secret in itself.
logging.getLogger("urllib3").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. headers: looked up in any case. wrote: the call may have changed something over there."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    wrote: bool = False

    def json(self) -> Any:
        """The body read as JSON. Raises what `unreadable` gives when it is none."""
        try:
            return jsonlib.loads(self.body)
        except (ValueError, RecursionError):
            pass  # raised below: the original holds the whole body
        raise self.unreadable()

    def json_or_none(self) -> Any:
        """The body read as JSON; None when it is none. For errors, of whose body nothing is promised."""
        try:
            return self.json()
        except DeliveryError:
            return None

    def number(self, header: str) -> int | None:
        """A header that is a whole number below a billion, as a column holds; None when it is missing or other."""
        text = self.headers.get(header, "")
        return int(text) if text.isdecimal() and len(text) < 10 else None

    def retry_after(self) -> float | None:
        """Seconds to wait by the Retry-After header, if it tells; see `parse_retry_after`."""
        return parse_retry_after(self.headers.get("Retry-After"), utc_now())

    def doubt(self, code: str, sentence: str) -> DeliveryError:
        """The verdict when this answer leaves open what happened: `Unknown` after a write, else `TryLater`."""
        return _doubt(self.wrote)(code, sentence, status=self.status)

    def unreadable(self, crm: str = "The CRM") -> DeliveryError:
        """The same for an answer in a shape that was not promised. crm: by its name."""
        return self.doubt("unreadable", _UNREADABLE.format(crm))

    def nameless(self, crm: str = "The CRM") -> DeliveryError:
        """The same for a yes without the id of what was written: nothing could be found again by it."""
        return self.doubt("no_id", f"{crm} said yes, but not which record it made.")


class Credentials(Protocol):
    """What a connector's calls sign themselves with."""

    def header(self) -> str:
        """The Authorization header. Raises DeliveryError when there is no valid token and none can be had now."""

    def renew(self, header: str) -> bool:
        """The CRM did not accept this header. Returns whether there is another one to try."""


class Http:
    """A client that can be trusted with secrets: no proxy or password files of the machine, no redirects, no
    cookies, TLS always verified, no private addresses, a limit on time and size. One may serve several threads."""

    def __init__(
        self,
        *,
        allowed_private_hosts: frozenset[str] = frozenset(),
        before_call: Callable[[], None] | None = None,
        after_call: Callable[[Answer], None] | None = None,
        credentials: Credentials | None = None,
        connect_timeout: float = 5.0,
        deadline: float = 20.0,
    ) -> None:
        """allowed_private_hosts: `host` or `host:port` that may be private and may go without TLS. before_call: runs
        before each request (the pace), after_call with its answer. credentials: sign each request, and are renewed when
        the CRM no longer accepts them. connect_timeout: seconds per address. deadline: seconds for a whole request."""
        self._allowed = frozenset(host.lower() for host in allowed_private_hosts)
        self._before_call, self._after_call = before_call, after_call
        self._credentials = credentials
        self._timeout = (connect_timeout, deadline + 1)  # of one read: the deadline comes first, and says what it is
        self._deadline = deadline
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.mount("https://", GuardedAdapter())
        self._session.mount("http://", GuardedAdapter())

    def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        data: bytes | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        reads: bool = False,
        describes: bool = False,
    ) -> Answer:
        """Send one request and read the whole answer, whatever its status; see `raise_for_status`.

        reads: this POST only looks something up, so a broken one is no unknown outcome. describes: the CRM is asked
        which fields it has, and the answer may be long. Raises TryLater when nothing was sent or written, Unknown when
        it may have been, Misconfigured when the address itself is wrong.
        """
        content = {"json": json, "data": data, "params": params}
        content["most"] = LARGEST_DESCRIPTION if describes else LARGEST_ANSWER
        wrote = method.upper() not in ("GET", "HEAD") and not reads
        if self._credentials is None:
            return self._request(method, url, wrote, headers=headers, **content)
        signed = {**(headers or {}), "Authorization": self._credentials.header()}
        answer = self._request(method, url, wrote, headers=signed, **content)
        if _is_token_over(answer) and self._credentials.renew(signed["Authorization"]):  # nothing was written by it
            signed["Authorization"] = self._credentials.header()
            answer = self._request(method, url, wrote, headers=signed, **content)
        return answer

    def _request(self, method: str, url: str, wrote: bool, **content: Any) -> Answer:
        self._refuse_bad_url(url)
        if self._before_call:
            self._before_call()
        with Call(self._deadline, self._may_be_private) as call:
            try:
                answer = self._send(method, url, wrote, **content)
                failure = self._too_late(wrote) if call.expired else None
            except (failures.RequestException, UnicodeError) as error:
                failure = self._verdict(error, call, wrote)
        if failure is not None:  # raised out here, so that the original (which holds the request) is not chained to it
            raise failure
        if self._after_call:
            self._after_call(answer)
        if 300 < answer.status < 400:  # 300 is no redirect to everybody: Salesforce lists records by it
            raise Misconfigured(*_SENT_ON, status=answer.status)
        return answer

    def _send(self, method: str, url: str, wrote: bool, most: int, **content: Any) -> Answer:
        with self._session.request(
            method, url, stream=True, allow_redirects=False, timeout=self._timeout, **content
        ) as response:
            body = bytearray()
            for chunk in response.iter_content(64 * 1024):
                body += chunk
                if len(body) > most:
                    sentence = f"The CRM sent an answer of more than {most // LARGEST_ANSWER} MiB."
                    raise _doubt(wrote)("too_big", sentence, status=response.status_code)
            return Answer(response.status_code, response.headers, bytes(body), wrote)

    def _refuse_bad_url(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            plain_is_fine = self._may_be_private(parts.hostname or "", parts.port or 80)
        except ValueError:
            raise Misconfigured("bad_url", "This is not a valid address.") from None
        if parts.username is not None or not parts.hostname:
            raise Misconfigured("bad_url", "The address must name a host, and no user or password.")
        if parts.scheme != "https" and not (parts.scheme == "http" and plain_is_fine):
            raise Misconfigured(
                "insecure_url",
                "The address must begin with https://, unless FRONTDESK_ALLOWED_PRIVATE_HOSTS names its host.",
            )

    def _may_be_private(self, host: str, port: int) -> bool:
        host = host.lower().rstrip(".")
        return host in self._allowed or f"{host}:{port}" in self._allowed

    def _verdict(self, error: Exception, call: Call, wrote: bool) -> DeliveryError:
        # A handshake that takes too long is a ReadTimeout as well; without a connection of ours one tells of an answer.
        if not call.sent and (call.connected or not isinstance(error, failures.ReadTimeout)):
            return _not_sent(error)
        if call.expired or isinstance(error, failures.Timeout):
            return self._too_late(wrote)
        if isinstance(error, failures.ContentDecodingError):
            return _doubt(wrote)("unreadable", _UNREADABLE.format("The CRM"))
        return _doubt(wrote)("cut", "The connection to the CRM broke off before it had answered.")

    def _too_late(self, wrote: bool) -> DeliveryError:
        return _doubt(wrote)("timeout", f"The CRM did not answer within {self._deadline:g} seconds.")


def _is_token_over(answer: Answer) -> bool:
    """Whether another token may help. Some CRMs say 401 also where the sign-in lacks a right, which the next token
    would lack as well: asked for at every such call, they soon give none at all."""
    return answer.status == 401 and b"scope" not in answer.body.lower()


def raise_for_status(answer: Answer) -> None:
    """Raise what a bare status means, if anything is wrong."""
    if error := by_status(answer):
        raise error


def by_status(answer: Answer) -> DeliveryError | None:
    """What a bare status means: the fallback, for where the CRM says nothing more exact. None on 2xx."""
    status = answer.status
    if 200 <= status < 300:
        return None
    if status in _FOR_ALL:
        return Misconfigured(*_FOR_ALL[status], status=status)
    wait = answer.retry_after()
    if status == 429:
        return Throttled("too_many_requests", "The CRM asks us to slow down.", status=status, retry_after=wait)
    if status == 503 and wait is not None:
        return Throttled("busy", "The CRM asks us to come again later.", status=status, retry_after=wait)
    if status in _NO_ANSWER:
        return answer.doubt("gateway", f"The CRM is not answering just now (status {status}).")
    if status in (408, 425) or status >= 500:
        told = ("unavailable", f"The CRM is not working just now (status {status}).")
        nothing_done = status < 500 or status in _NOT_REACHED or wait is not None
        return TryLater(*told, status=status) if nothing_done else answer.doubt(*told)
    return Refused("refused", f"The CRM does not accept this record (status {status}).", status=status)


def by_its_word(answer: Answer) -> DeliveryError | None:
    """The same of a CRM whose own errors say that nothing was done: only a gateway before it leaves that open."""
    error = by_status(answer)
    is_own = isinstance(error, Unknown) and error.code != "gateway"
    return TryLater(error.code, error.sentence, status=error.status) if error and is_own else error


def utc_now() -> datetime:
    """The time that a `Retry-After` date is compared with."""
    return datetime.now(UTC)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header, given in seconds or as a date. None when it is missing, nonsense or
    already over. now: aware."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return seconds if seconds > 0 else None


def _doubt(wrote: bool) -> type[Unknown] | type[TryLater]:
    return Unknown if wrote else TryLater


def _not_sent(error: Exception) -> DeliveryError:
    """Nothing left us: the name, the connection, the certificate or the address itself was at fault."""
    if isinstance(error, (failures.InvalidURL, failures.InvalidHeader, UnicodeError)):
        return Misconfigured("bad_url", "The address or the key holds characters that cannot be sent.")
    if isinstance(error, failures.SSLError):
        return TryLater("tls", "No safe connection to the CRM: its certificate is not valid.")
    cause = getattr(error.args[0] if error.args else None, "reason", None)
    if isinstance(cause, NameResolutionError):
        return TryLater("dns", "The name of the CRM's server cannot be found just now.")
    return TryLater("connect", "No connection to the CRM's server just now.")
