"""Is it a person? Suspects are held and shown to staff, never dropped and never told."""

from __future__ import annotations

import hmac
import ipaddress
import time
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeSerializer

from leads.intake.limit import Limiter
from leads.store.holds import FOREIGN_PAGE
from leads.window import counted_as, read_address

_LONGEST_ORIGIN = 100  # characters of it that are told
HONEYPOT = "website"  # a field that people do not see and scripts fill in


@dataclass(frozen=True, slots=True)
class Signals:
    """What a request shows besides its answers. kind: of event. token: from our own form, or None. trap: what stood
    in HONEYPOT. foreign_origin: of the page, where that is not the site's; empty where it is no web address.
    token_needed: the site's forms all carry one."""

    kind: str
    address: str
    token: str | None
    trap: str
    foreign_origin: str | None
    token_needed: bool = False


class SpamCheck:
    """min_seconds: sooner than this after the form was shown no person sends it. limiter: for one address and site.
    exempt: networks whose addresses say nothing about the visitor."""

    def __init__(self, key: bytes, min_seconds: float, limiter: Limiter, exempt: frozenset[str]) -> None:
        self._key = key
        self._signer = URLSafeSerializer(key, salt="form")
        self._min_seconds = min_seconds
        self._limiter = limiter
        self._exempt = [ipaddress.ip_network(network) for network in exempt]

    def token(self, site_key: str) -> str:
        """A signed note of when a form was shown."""
        return str(self._signer.dumps([site_key, time.time()]))

    def suspicion(self, site_key: str, signals: Signals) -> str | None:
        """Why this may be spam, in words for staff; None when nothing speaks for it."""
        if signals.trap:
            return "A field that people cannot see was filled in."
        if signals.token is None and signals.token_needed:
            return "It came without the hidden field `token`, which all forms of this website carry."
        if signals.token is not None and (reason := self._token_trouble(site_key, signals.token)):
            return reason
        if signals.foreign_origin == "":
            return "What it names as the page that it was sent from is no web address."
        if signals.foreign_origin:
            page = signals.foreign_origin[:_LONGEST_ORIGIN]
            return FOREIGN_PAGE.format(page=page)
        # Taps and forms are counted apart: somebody who taps often may still ask.
        if self.too_many(f"{signals.kind} {site_key}", signals.address):
            return "Unusually many came from one address within ten minutes."
        return None

    def too_many(self, what: str, address: str) -> bool:
        """Count this one. Whether it is above what one address may send. what: is counted by itself."""
        try:
            ip = read_address(address)
        except ValueError:  # a web server behind a socket has no address to give
            return not self._limiter.hit(self._nameless(what, ""))
        if any(ip in network for network in self._exempt):
            return False
        return not self._limiter.hit(self._nameless(what, counted_as(ip)))

    def _nameless(self, what: str, address: str) -> str:
        """What is counted under, here or on another host: nobody without the key can tell whose address it is."""
        return hmac.digest(self._key, f"limit\x1f{what}\x1f{address}".encode(), "sha256")[:16].hex()

    def _token_trouble(self, site_key: str, token: str) -> str | None:
        try:
            site, shown = self._signer.loads(token)
        except (BadSignature, ValueError, TypeError):
            return "The form's signature is not ours."
        if site != site_key:
            return "The form's signature is for another site."
        # One shown in the future tells of a clock that was set back, not of a robot.
        if 0 <= time.time() - float(shown) < self._min_seconds:
            return "It was sent faster than a person can fill in the form."
        return None
