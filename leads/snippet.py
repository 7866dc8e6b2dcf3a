"""What a website needs of us: what goes into its pages, and the address that its form plugins send to."""

from __future__ import annotations

from html import escape
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
}
_SNIPPET = """\
<!-- A link to the hosted form; it needs no JavaScript: -->
<a href="{base}/f/{key}/consultation">{request}</a>

<!-- Or a form of your own, with any of these fields; the consent wording and its version belong together: -->
<form method="post" action="{base}/f/{key}/consultation" accept-charset="utf-8">
  <label>{first_name} <input name="first_name" autocomplete="given-name"></label>
  <label>{last_name} <input name="last_name" autocomplete="family-name"></label>
  <label>{email} <input name="email" type="email" autocomplete="email"></label>
  <label>{phone} <input name="phone" type="tel" autocomplete="tel"></label>
  <label>{preferred_time} <input name="preferred_time"></label>
  <label>{message} <textarea name="message"></textarea></label>
  <label><input type="checkbox" name="consent" value="yes"> {consent}</label>
  <input type="hidden" name="consent_version" value="{version}">
  <label hidden>{empty} <input name="website" tabindex="-1" autocomplete="off"></label>
  <button>{send}</button>
</form>

<!-- Taps on "Call Us", joined to the visitor's form. After a tap or a form something is kept in the visitor's browser
     until the tab is closed, and with data-keep="device" for good. Either may need consent: -->
<script defer src="{base}/f/static/website.js" data-site="{key}"></script>"""


def for_pages(base: str, site: Site, consent: str) -> str:
    """HTML in the website's language. base: the address under which visitors reach us. consent: its wording now."""
    labels = {name: escape(translated(label, site.language)) for name, label in _LABELS.items()}
    return _SNIPPET.format(base=base, key=site.key, consent=escape(consent), version=site.consent_version, **labels)


def for_plugins(base: str, site: Site, vault: Vault) -> str:
    """Not for pages: whoever reads it can send whatever they like."""
    return f"{base}/hooks/{site.key}/{hook_token(vault, site)}"


def is_of_this_machine(base: str) -> bool:
    """Whether nobody elsewhere could reach this address."""
    return urlsplit(base).hostname in ("127.0.0.1", "localhost")
