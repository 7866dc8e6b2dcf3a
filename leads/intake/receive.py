"""A valid body → an event in the outbox: the one way in for the API, the form and form plugins."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from flask import request
from sqlalchemy import select

from leads.decode import in_its_charset
from leads.intake.spam import HONEYPOT, Signals, SpamCheck
from leads.store import outbox
from leads.store.groups import Groups
from leads.store.models import Event, Site, Unreadable, new_id
from leads.store.outbox import Accepted, NewEvent
from leads.store.queries.unreadable import THROUGH_PLUGIN
from leads.store.session import NO_DATABASE, Database
from leads.store.sites import consent_text, find_site, has_wording, origin_of
from leads.store.vault import Vault

_SITE_IS_FRESH = 1.0  # seconds
_NEVER = (float("-inf"), None)
_NOT_ANSWERS = {"site", "id", "visitor_id", "consent", "consent_version"}
_PERSON = {"first_name", "last_name", "email", "phone"}
NO_SUCH_SITE = "It names a site that is not here."
_NOT_OUR_NAMES = (
    "It holds none of our fields for a name, an e-mail address or a phone number. A form plugin has an address of its "
    "own to send to: whoever looks after Frontdesk knows it."
)


@dataclass(slots=True, eq=False)
class Intake:
    """What the routes share. public_url: under which visitors reach us."""

    database: Database
    vault: Vault
    spam: SpamCheck
    public_url: str
    groups: Groups[NewEvent, Accepted] = field(init=False)
    _sites: dict[str, tuple[float, Site]] = field(default_factory=dict)  # key → when it was read, and what
    _sites_read_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.groups = Groups(partial(outbox.accept, self.database, self.vault), trouble=NO_DATABASE)

    def site(self, key: Any) -> Site | None:
        """The site with this public key."""
        if not isinstance(key, str) or not key:
            return None
        with self.database.read() as session:
            site = find_site(session, key)
        if site is None:  # what strangers invent is not remembered, nor what was removed
            self._sites.pop(key, None)
        else:
            self._sites[key] = (time.monotonic(), site)
        return site

    def recent_site(self, key: Any) -> Site | None:
        """The same as it stood within the last second, for requests that show nothing of it."""
        if not isinstance(key, str):
            return None
        read_at, site = self._sites.get(key, _NEVER)
        return self.site(key) if time.monotonic() - read_at > _SITE_IS_FRESH else site

    def sites(self) -> list[Site]:
        """All sites as they stood within the last second."""
        if time.monotonic() - self._sites_read_at > _SITE_IS_FRESH:
            with self.database.read() as session:
                read = session.scalars(select(Site)).all()
            self._sites_read_at = time.monotonic()
            self._sites = {site.key: (self._sites_read_at, site) for site in read}  # at once, for all who read it
        return self.remembered_sites()

    def remembered_site(self, key: str) -> Site | None:
        """The site as it was last seen, without asking the database."""
        return self._sites.get(key, _NEVER)[1]

    def remembered_sites(self) -> list[Site]:
        """The sites as they were last seen, without asking the database."""
        return [site for _, site in list(self._sites.values())]

    def own_origins(self) -> set[str]:
        """What browsers call us: a proxy may pass on another scheme or host than theirs, the settings may be wrong."""
        return {origin_of(self.public_url), origin_of(request.host_url)}

    def consent_text(self, site: Site) -> str:
        """The wording that is shown and kept with each enquiry."""
        with self.database.read() as session:
            return consent_text(session, site)

    def accept(
        self,
        site: Site,
        kind: str,
        data: Mapping[str, Any],
        source: str,
        suspicion: str | None,
        test_run: UUID | None = None,
        *,
        unique: bool = False,
    ) -> Accepted:
        """Store what a schema has loaded. data: with `id`, and `consent` where it was asked; `consent_version` is None
        where it was asked in other words than the site's. test_run: whose it is. unique: no other event has this id.

        Raises sqlalchemy.exc.SQLAlchemyError when it could not be stored.
        """
        answers = {name: value for name, value in data.items() if name not in _NOT_ANSWERS}
        asked, shown = "consent" in data, data.get("consent_version", site.consent_version)
        wording = self._wording(site, shown) if asked else None
        if asked and shown != wording:
            answers["extra"] = {**answers.get("extra", {}), "consent_version_as_sent": shown}
        return self.groups.add(
            NewEvent(
                site_id=site.id,
                kind=kind,
                client_id=f"canary:{test_run}" if test_run else _client_id(kind, data["id"]),
                visitor_id=data.get("visitor_id"),
                answers=answers,
                source=source,
                consent_given=data["consent"] if asked else None,
                consent_version=wording,
                suspicion=suspicion,
                test_run=test_run,
                unique=unique,
            ),
        )

    def _wording(self, site: Site, shown: str | None) -> str | None:
        """Which wording the visitor agreed to: a page that was opened before a new one shows the one before. None: a
        text of the form's own, as one that the site never had: which one it was is not made up."""
        if shown is None or shown == site.consent_version:
            return shown
        with self.database.read() as session:
            return shown if has_wording(session, site, shown) else None

    def here_since(self, site: Site, kind: str, sent_id: str, since: datetime) -> bool:
        """Whether what was sent under this id is here, and came not before that moment."""
        client = outbox.client_digest(self.vault, site.id, _client_id(kind, sent_id))
        with self.database.read() as session:
            came = select(Event.id).where(Event.client_digest == client, Event.received_at >= since)
            return session.scalar(came) is not None

    def keep_if_not_ours(self, site: Site, answers: Mapping[str, Any], body: bytes) -> None:
        """What is refused for having none of our names, if it says anything: a form plugin that was pointed here shows
        its visitor no answer of ours, so nobody else would ever know."""
        if answers.keys().isdisjoint(_PERSON) and any(
            name and value for name, value in answers.items() if name not in _NOT_ANSWERS
        ):
            self.keep_unreadable(site, body, _NOT_OUR_NAMES)

    def keep_unreadable(self, site: Site | None, body: bytes, reason: str, *, of_plugin: bool = False) -> None:
        """What could not be understood is kept for staff, once, and not without bound from one address.

        of_plugin: it came to the secret address, which has a bound of its own. Raises sqlalchemy.exc.SQLAlchemyError
        when nothing new may be taken.
        """
        if not body.strip():
            return
        self.database.require_intake()
        if not of_plugin and self.spam.too_many("unreadable", request.remote_addr or ""):
            return
        digest = self.vault.digest("unreadable", site.id if site else "", body.hex())
        with self.database.write() as session:
            self.database.lock(session, [digest])
            if session.scalar(select(Unreadable.id).where(Unreadable.body_digest == digest)) is not None:
                return
            row = Unreadable(
                id=new_id(),
                site_id=site.id if site else None,
                body_digest=digest,
                reason=reason + THROUGH_PLUGIN if of_plugin else reason,
                received_at=self.database.now(session),
            )
            shown = {"text": body.decode("utf-8", "backslashreplace"), "content_type": request.mimetype[:100]}
            row.body_sealed = self.vault.seal(shown, "unreadable", "body", row.id)
            session.add(row)


def _client_id(kind: str, sent_id: str) -> str:
    """A tap and a form may carry one id."""
    return f"{kind}:{sent_id}"


def signals(intake: Intake, site: Site, raw: Mapping[str, Any], kind: str) -> Signals:
    """What this request shows besides its answers."""
    token = raw.get("token")
    return Signals(
        kind=kind,
        address=request.remote_addr or "",
        token=str(token) if token else None,
        trap=str(raw.get(HONEYPOT) or ""),
        foreign_origin=None if is_allowed_origin(intake, site) else _origin(),
        token_needed=site.require_token and kind == "consultation_request",  # a tap has none
    )


def is_allowed_origin(intake: Intake, site: Site) -> bool:
    """Whether the page that sent this belongs to the site. Browsers may hide the origin, so none at all is fine."""
    origin = _origin()
    if origin is None or not site.origins:
        return True
    return bool(origin) and (origin in map(origin_of, site.origins) or origin in intake.own_origins())


def _origin() -> str | None:
    """Where the page is from, also where somebody wrote it otherwise than browsers do; empty where that is no web
    address. None: hidden."""
    sent = request.headers.get("Origin", "")
    return None if sent.lower() in ("", "null") else origin_of(in_its_charset(sent))
