"""What is asked about a website: the inputs of its form, and what was typed into them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast
from zoneinfo import available_timezones

import idna
import phonenumbers
from babel import Locale

from leads.desk.forms import Option
from leads.languages import ENGLISH, LANGUAGES
from leads.store.models import Site
from leads.store.sites import LISTS, Details

_BETWEEN = re.compile(r"[\s,;]+")
_KEY = Option(
    "key",
    "Key",
    "Part of its web addresses; it cannot be changed later. Small letters, digits and hyphens, such as “sunrise”.",
    "text",
    required=True,
)
_ASKED = (
    Option("name", "The clinic’s name", "As visitors see it.", "text", required=True),
    Option("language", "Language", "Our form speaks it with visitors.", "text", required=True),
    Option(
        "region",
        "Country",
        "Phone numbers without a country code are read as numbers of this country.",
        "text",
        required=True,
    ),
    Option("time_zone", "Time zone", "Staff read times in this zone.", "text", required=True),
    Option(
        "origins",
        "Addresses of the website",
        "One in each line, such as https://clinic.example; with and without www. are two. What is sent from other "
        "pages is held as spam, and none of them may show our form in a frame. If empty, every page may.",
        "lines",
    ),
    Option("consent", "What visitors agree to", "The text beside the consent checkbox.", "lines"),
    Option("privacy_url", "Page of the privacy notice", "Linked from our form.", "url"),
    Option("imprint_url", "Page of the imprint", "Linked from our form.", "url"),
    Option(
        "thank_you_urls",
        "Thank-you pages",
        "One in each line; the first is shown after the form. If empty, our page is shown, with the reference code.",
        "lines",
    ),
    Option(
        "alert_emails",
        "Alert e-mails",
        "One address in each line: they are told when something is wrong with this website.",
        "lines",
    ),
    Option(
        "require_token",
        "Hold as spam what comes without the hidden field “token”",
        "Only if all of its forms are our hosted form. What form plugins send to their own address is not affected.",
        "checkbox",
    ),
)


_ABOUT_CONSENT = {  # by whether the website is new
    True: "If empty, it is our text in the chosen language.",
    False: "A new text holds for new enquiries; those before keep what their visitors saw. If empty, it is our text.",
}


def asked(site: Site | None = None) -> list[Option]:
    """The inputs, empty. site: the one to be changed; a new one has a key as well."""
    return list(_inputs(site))


def _inputs(site: Site | None) -> Iterator[Option]:
    choices = {"language": _languages(), "region": _countries(), "time_zone": _zones(site)}
    more = _ABOUT_CONSENT[site is None]
    for option in _ASKED:
        help_text = f"{option.help} {more}" if option.name == "consent" else option.help
        yield option._replace(help=help_text, choices=choices.get(option.name, {}))
        if option.name == "name" and site is None:
            yield _KEY


def empty(like: Site | None) -> dict[str, Any]:
    """What stands in the form of a new website. like: one of the same clinic, or of the same agency."""
    if like is None:
        return {"language": ENGLISH}
    return {"language": like.language, "region": like.region, "time_zone": like.time_zone}


def as_typed(site: Site, consent: str) -> dict[str, Any]:
    """What stands in the form of this website. consent: its wording now."""
    kept = {name: getattr(site, name) for name in Details.__annotations__ if name != "consent"}
    kept |= {"origins": map(_readable, site.origins)}
    return kept | {name: "\n".join(kept[name]) for name in LISTS} | {"consent": consent}


def details(typed: Mapping[str, Any]) -> Details:
    """What was typed, as the store takes it. The key is none of it."""
    given = {name: value for name, value in typed.items() if name != "key"}
    given |= {name: list(filter(None, _BETWEEN.split(typed[name]))) for name in LISTS}
    given["origins"] = [one if "://" in one else f"https://{one}" for one in given["origins"]]
    given["consent"] = lines_of(typed["consent"])
    return cast(Details, given)


def lines_of(text: str) -> str:
    """A browser ends each line of what was typed with two characters."""
    return "\n".join(text.strip().splitlines())


def _readable(origin: str) -> str:
    """As people write it: browsers and we keep `zahnärzte.example` as `xn--zahnrzte-3za.example`."""
    scheme, _, host = origin.partition("://")
    try:
        return f"{scheme}://{idna.decode(host)}" if "xn--" in host else origin
    except idna.IDNAError:  # with a port, or of another standard
        return origin


def in_words(site: Site, consent: str) -> list[tuple[str, str]]:
    """What is set: label → value."""
    values = as_typed(site, consent)
    return [("Key", site.key), *((option.label, _in_words(option, values[option.name])) for option in asked(site))]


def _in_words(option: Option, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return option.choices.get(value, value) or "—"


@cache
def _languages() -> Mapping[str, str]:
    return {code: Locale.parse(code).get_display_name("en") or code for code in LANGUAGES}


@cache
def _countries() -> Mapping[str, str]:
    """What phone numbers can be read as of: code → name, by name."""
    names = Locale.parse("en").territories
    known = {code: f"{names.get(code, code)} ({code})" for code in phonenumbers.SUPPORTED_REGIONS}
    return {"": "Please choose"} | dict(sorted(known.items(), key=lambda one: one[1]))


def _zones(site: Site | None) -> Mapping[str, str]:
    """Those of a place; and the one that the site has, which may be of another kind."""
    places = {zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")} | {"UTC"}
    places |= {site.time_zone} if site else set()
    return {"": "Please choose"} | {zone: zone.replace("_", " ") for zone in sorted(places)}
