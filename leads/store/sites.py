"""Sites and the consent wordings that their visitors saw."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TypedDict
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import idna
import phonenumbers
from email_validator import EmailNotValidError
from sqlalchemy import delete, exists, func, select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leads.fields import address
from leads.languages import ENGLISH, LANGUAGES, translated
from leads.store.models import (
    Action,
    Alert,
    CanaryRun,
    Connection,
    ConsentText,
    Event,
    Lead,
    Site,
    Unreadable,
    new_id,
)
from leads.store.retention import delete_leads
from leads.store.vault import Vault

DEFAULT_CONSENT = (
    "I agree that my details are stored and passed to the clinic's customer system so that the clinic can contact me."
)

_KEY = re.compile(r"[a-z0-9][a-z0-9-]{1,49}")
_HOST = re.compile(r"[a-z0-9._:-]+")  # nothing that would be more than a host within a header


class SiteError(ValueError):
    """A site cannot be like this. The text says why, in a sentence for each mistake. mistakes: these, by the detail
    that each is about."""

    def __init__(self, text: str, mistakes: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(text)
        self.mistakes = mistakes or {}


class Details(TypedDict, total=False):
    """What can be said of a site besides its key."""

    name: str
    region: str
    language: str
    time_zone: str
    origins: list[str]
    thank_you_urls: list[str]
    alert_emails: list[str]
    privacy_url: str
    imprint_url: str
    require_token: bool
    consent: str


LISTS = ("origins", "thank_you_urls", "alert_emails")  # of the details


def find_site(session: Session, key: str) -> Site | None:
    """The site with this public key."""
    if not _KEY.fullmatch(key):
        return None
    return session.scalar(select(Site).where(Site.key == key))


def hook_token(vault: Vault, site: Site) -> str:
    """What the address for form plugins ends with: nobody without our key can guess it. Made anew each time."""
    salt = [site.hook_salt] if site.hook_salt else []
    return vault.digest("hook", site.id, *salt).hex()


def change_hook_token(site: Site) -> None:
    """Another one from now on: it stands in addresses and in settings of plugins, and so it leaks sooner or later."""
    site.hook_salt = new_id()


def consent_text(session: Session, site: Site) -> str:
    """The wording that visitors of the site are asked to agree to now."""
    return session.get_one(ConsentText, (site.id, site.consent_version)).text


def our_wording(language: str) -> str:
    """What visitors are asked to agree to where the clinic has no wording of its own."""
    return translated(DEFAULT_CONSENT, language)


def has_wording(session: Session, site: Site, version: str) -> bool:
    """Whether this is a wording that visitors of the site were asked to agree to, now or before."""
    return session.get(ConsentText, (site.id, version)) is not None


def add_site(
    session: Session,
    *,
    key: str,
    name: str,
    region: str,
    time_zone: str,
    now: datetime,
    language: str = ENGLISH,
    origins: list[str] | None = None,
    thank_you_urls: list[str] | None = None,
    alert_emails: list[str] | None = None,
    privacy_url: str = "",
    imprint_url: str = "",
    require_token: bool = False,
    consent: str | None = None,
) -> Site:
    """Store a new site. consent: None for our own wording. Raises SiteError when something about it cannot be."""
    if consent is None:
        consent = our_wording(language)
    details = Details(
        name=name,
        region=region,
        language=language,
        time_zone=time_zone,
        origins=origins or [],
        thank_you_urls=thank_you_urls or [],
        alert_emails=alert_emails or [],
        privacy_url=privacy_url,
        imprint_url=imprint_url,
        require_token=require_token,
        consent=consent,
    )
    _refuse(*_mistakes_of_key(session, key), *_mistakes(details))
    site = Site(id=new_id(), key=key, consent_version="1", created_at=now)
    _assign(site, details)
    session.add(site)
    try:
        session.flush()
    except IntegrityError:  # two at once, as by a double click
        _refuse(_taken(key))
    session.add(ConsentText(site_id=site.id, version="1", text=consent, created_at=now))
    return site


def change_site(session: Session, site: Site, given: Details, now: datetime) -> None:
    """Change what is given. Raises SiteError.

    Enquiries keep the wording that they were sent with. Where it is our own, it goes with the language.
    """
    _refuse(*_mistakes(given))
    _lock(session, site)
    asked = consent_text(session, site)
    is_ours = asked == our_wording(site.language)
    _assign(site, given)
    wanted = given.get("consent") or (our_wording(site.language) if is_ours else asked)
    if wanted != asked:
        _word_anew(session, site, wanted, now)


def close_site(session: Session, site: Site, now: datetime) -> None:
    """Take no more enquiries of it; what is here goes on to the CRM. Raises SiteError where it is closed already."""
    _lock(session, site)
    if site.closed_at is not None:
        raise SiteError(f"{site.key} is closed already.")
    site.closed_at = now


def open_site(session: Session, site: Site) -> None:
    """Take enquiries again. Raises SiteError where it takes them."""
    _lock(session, site)
    if site.closed_at is None:
        raise SiteError(f"{site.key} is not closed.")
    site.closed_at = None


def remove_site(session: Session, site: Site) -> None:
    """Delete a site that nobody has used, with our own test enquiries. Raises SiteError where it has enquiries or a
    connection.

    An enquiry that comes in at this very moment either is seen here, or finds no site and is not thanked for.
    """
    _lock(session, site)
    of_visitors = ((Lead, ~Lead.is_test), (Event, ~Event.is_test), (Unreadable, true()))
    if any(session.scalar(select(exists().where(model.site_id == site.id, which))) for model, which in of_visitors):
        raise SiteError(
            f"{site.key} has enquiries, which are never deleted with their website. (Old ones are forgotten by: "
            "frontdesk purge. All of a clinic that has left: frontdesk site forget.) Nothing was done. Where it is to "
            "take no more of them: close it."
        )
    connections = session.execute(
        select(Connection.id, Connection.removed_at).where(Connection.site_id == site.id)
    ).all()
    if any(removed_at is None for _, removed_at in connections):
        raise SiteError(f"{site.key} has a connection. First: frontdesk connection remove NAME")
    session.execute(delete(CanaryRun).where(CanaryRun.site_id == site.id))
    delete_leads(session, session.scalars(select(Lead.id).where(Lead.site_id == site.id)).all())
    gone = [identifier for identifier, _ in connections]
    for told in (Action, Alert):  # what was done and told stays
        session.execute(update(told).where(told.connection_id.in_(gone)).values(connection_id=None))
    session.execute(delete(Connection).where(Connection.id.in_(gone)))
    session.execute(delete(ConsentText).where(ConsentText.site_id == site.id))
    session.delete(site)


def _lock(session: Session, site: Site) -> None:
    """Let nobody else change it meanwhile, and read it as it is now. Raises SiteError where it is gone."""
    as_it_is = select(Site).where(Site.id == site.id).with_for_update().execution_options(populate_existing=True)
    if session.scalar(as_it_is) is None:
        raise SiteError(f"{site.key} was removed already.")


@lru_cache(1024)  # the same few for each enquiry
def origin_of(url: str) -> str:
    """As a browser writes it: no path, no port where it is the usual one, and in ASCII: `zahnärzte.example` is
    `xn--zahnrzte-3za.example`. Empty for what is no web address."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _in_ascii(parts.hostname or "")
    except ValueError:
        return ""
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    if usual is None or not _HOST.fullmatch(host) or port == 0:
        return ""
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


def _in_ascii(host: str) -> str:
    return host if host.isascii() else idna.encode(host, uts46=True).decode()


def _word_anew(session: Session, site: Site, consent: str, now: datetime) -> None:
    versions = session.scalar(select(func.count()).where(ConsentText.site_id == site.id)) or 0
    site.consent_version = str(versions + 1)
    session.add(ConsentText(site_id=site.id, version=site.consent_version, text=consent, created_at=now))


def _assign(site: Site, given: Details) -> None:
    for detail, value in given.items():
        if detail not in ("origins", "consent"):
            setattr(site, detail, value)
    if "origins" in given:
        site.origins = [origin_of(url) for url in given["origins"]]


def _mistakes_of_key(session: Session, key: str) -> Iterator[tuple[str, str]]:
    """What is wrong, each with the detail that it is about."""
    if not _KEY.fullmatch(key):
        yield "key", "The key may have small letters, digits and hyphens, 2 to 50 of them."
    elif find_site(session, key) is not None:
        yield _taken(key)


def _taken(key: str) -> tuple[str, str]:
    return "key", f"There is already a site with the key {key}."


def _mistakes(given: Details) -> Iterator[tuple[str, str]]:
    """As `_mistakes_of_key`."""
    if "name" in given and not 1 <= len(given["name"].strip()) <= 200:
        yield "name", "The name must have 1 to 200 characters."
    if "region" in given and given["region"] not in phonenumbers.SUPPORTED_REGIONS:
        yield "region", "The region must be a country of two letters, such as US or DE."
    if "language" in given and given["language"] not in LANGUAGES:
        yield "language", f"The language must be one of {', '.join(LANGUAGES)}."
    if "time_zone" in given and given["time_zone"] not in available_timezones():
        yield "time_zone", "The time zone must be one such as America/New_York or Europe/Berlin."
    for detail, url in _addresses(given):
        if not origin_of(url):
            yield detail, f"{url} is not a web address, such as https://clinic.example."
    for typed in given.get("alert_emails", ()):
        try:
            address(typed)
        except EmailNotValidError:
            yield "alert_emails", f"{typed} is not an e-mail address."
    if "consent" in given and not given["consent"].strip():
        yield "consent", "The consent wording must not be empty."


def _addresses(given: Details) -> Iterator[tuple[str, str]]:
    yield from (("origins", url) for url in given.get("origins", ()))
    yield from (("thank_you_urls", url) for url in given.get("thank_you_urls", ()))
    pages = {"privacy_url": given.get("privacy_url"), "imprint_url": given.get("imprint_url")}
    yield from ((detail, url) for detail, url in pages.items() if url)


def _refuse(*found: tuple[str, str]) -> None:
    if found:
        mistakes: dict[str, list[str]] = {}
        for detail, sentence in found:
            mistakes.setdefault(detail, []).append(sentence)
        raise SiteError(" ".join(sentence for _, sentence in found), mistakes)
