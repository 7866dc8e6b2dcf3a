"""What a website needs of us: what goes into its pages, and the address that its form plugins send to."""

from __future__ import annotations

from html import escape
from typing import NamedTuple
from urllib.parse import urlsplit

from leads.fields import ASKED
from leads.languages import translated
from leads.store.models import Site
from leads.store.sites import hook_token
from leads.store.vault import Vault

_LABELS = {
    **ASKED,
    "request": "Request your consultation",
    "empty": "Leave this empty",
    "send": "Send request",
    "privacy": "Privacy notice",
}
_LINK = '<a href="{base}/f/{key}/consultation">{request}</a>'
_FRAME = '<iframe src="{base}/f/{key}/consultation" title="{request}" width="100%" height="900"></iframe>'
_FORM = """\
<form method="post" action="{base}/f/{key}/consultation" accept-charset="utf-8">
  <label>{first_name} <input name="first_name" autocomplete="given-name"></label>
  <label>{last_name} <input name="last_name" autocomplete="family-name"></label>
  <label>{email} <input name="email" type="email" autocomplete="email"></label>
  <label>{phone} <input name="phone" type="tel" autocomplete="tel"></label>
  <label>{preferred_time} <input name="preferred_time"></label>
  <label>{message} <textarea name="message"></textarea></label>
  <label><input type="checkbox" name="consent" value="yes"> {consent}</label>{privacy_link}
  <input type="hidden" name="consent_version" value="{version}">
  <label hidden>{empty} <input name="website" tabindex="-1" autocomplete="off"></label>
  <button>{send}</button>
</form>"""
_PRIVACY_LINK = '\n  <a href="{url}" target="_blank" rel="noopener">{label}</a>'
_SCRIPT = '<script defer src="{base}/f/static/website.js" data-site="{key}"></script>'


class Piece(NamedTuple):
    """Something to put into a page. title: what it is, in a few words; note: what is to be known of it, or empty."""

    name: str
    title: str
    note: str
    html: str


_PIECES = (
    Piece("link", "A link to the hosted form", "It needs no JavaScript.", _LINK),
    Piece("frame", "Or the hosted form in a frame of your page", "", _FRAME),
    Piece(
        "form",
        "Or a form of your own",
        "With any of these fields; the consent wording and its version belong together.",
        _FORM,
    ),
    Piece(
        "script",
        "Besides, for taps on “Call us”, joined to the visitor's form",
        "After a tap or a form something is kept in the visitor's browser until the tab is closed, and with "
        'data-keep="device" for good. Either may need consent.',
        _SCRIPT,
    ),
)


def pieces(base: str, site: Site, consent: str) -> list[Piece]:
    """HTML in the website's language. base: the address under which visitors reach us. consent: its wording now."""
    values = {name: escape(translated(label, site.language)) for name, label in _LABELS.items()}
    values |= {"base": base, "key": site.key, "consent": escape(consent), "version": site.consent_version}
    link = _PRIVACY_LINK.format(url=escape(site.privacy_url), label=values["privacy"]) if site.privacy_url else ""
    return [piece._replace(html=piece.html.format(privacy_link=link, **values)) for piece in _PIECES]


def for_pages(base: str, site: Site, consent: str) -> str:
    """All of `pieces`, each with a comment that says what it is."""
    return "\n\n".join(
        f"<!-- {' '.join(filter(None, (f'{piece.title}.', piece.note)))} -->\n{piece.html}"
        for piece in pieces(base, site, consent)
    )


def for_plugins(base: str, site: Site, vault: Vault) -> str:
    """Not for pages: whoever reads it can send whatever they like."""
    return f"{base}/hooks/{site.key}/{hook_token(vault, site)}"


def is_of_this_machine(base: str) -> bool:
    """Whether nobody elsewhere could reach this address."""
    return urlsplit(base).hostname in ("127.0.0.1", "localhost")
