"""Sites and the consent wordings that their visitors saw."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import phonenumbers
from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.store.models import ConsentText, Site, new_id

DEFAULT_CONSENT = (
    "I agree that my details are stored and passed to the clinic's customer system so that the clinic can contact me."
)


class SiteError(ValueError):
    """A site cannot be made like this. The text says why."""


def find_site(session: Session, key: str) -> Site | None:
    """The site with this public key."""
    return session.scalar(select(Site).where(Site.key == key))


def consent_text(session: Session, site: Site) -> str:
    """The wording that visitors of the site are asked to agree to now."""
    return session.get_one(ConsentText, (site.id, site.consent_version)).text


def add_site(
    session: Session,
    *,
    key: str,
    name: str,
    region: str,
    time_zone: str,
    now: datetime,
    origins: list[str] | None = None,
    thank_you_urls: list[str] | None = None,
    consent: str = DEFAULT_CONSENT,
) -> Site:
    """Store a new site. Raises SiteError when something about it cannot be."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,49}", key):
        raise SiteError("The key may have small letters, digits and hyphens, 2 to 50 of them.")
    if find_site(session, key) is not None:
        raise SiteError(f"There is already a site with the key {key}.")
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise SiteError("The region must be a country of two letters, such as US or DE.")
    if time_zone not in available_timezones():
        raise SiteError("The time zone must be one such as America/New_York or Europe/Berlin.")
    site = Site(
        id=new_id(),
        key=key,
        name=name,
        region=region,
        time_zone=time_zone,
        origins=[origin_of(url) for url in origins or []],
        thank_you_urls=[_web(url) for url in thank_you_urls or []],
        consent_version="1",
        created_at=now,
    )
    session.add(site)
    session.flush()
    session.add(ConsentText(site_id=site.id, version="1", text=consent, created_at=now))
    return site


def _web(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_web = False
    if not is_web:
        raise SiteError(f"{url} is not a web address.")
    return url


def origin_of(url: str) -> str:
    """As a browser writes it: no path, and no port where it is the usual one. Raises SiteError."""
    parts = urlsplit(_web(url))
    usual = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}"
