"""Where a visitor came from: what is kept of it, and the ids of clicks, which are not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TOUCH = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "referrer", "landing")
ATTRIBUTION = (*_TOUCH, *(f"first_{name}" for name in _TOUCH))  # the last touch, and the first one where it is another

# By them an advertiser knows again who asked a clinic for a treatment. As they are written without _ and -.
_CLICK_IDS = (
    *("gclid", "gclsrc", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid", "lifatid", "yclid"),
    *("igshid", "rdtcid", "sccid", "scclid", "epik", "irclickid", "mcaid", "mceid", "hsenc", "hsmi", "fbc", "fbp"),
)
_PARAMETER = re.compile(r"([?&])([^=&#\s?]*)=[^&#\s]*")
_LEFT_OVER = re.compile(r"(?:(\?)&+|[?&]&*(?=&|[#\s]|$)())")


def is_click_id(name: str) -> bool:
    """Whether a field or a parameter of this name holds the id of a click on an advertisement."""
    return re.sub(r"[^a-z]", "", name.casefold()) in _CLICK_IDS


def without_click_ids(text: str) -> str:
    """The same text; addresses in it have lost their click ids."""
    if "=" not in text or "://" not in text:
        return text  # as most
    kept = _PARAMETER.sub(lambda found: found[1] if is_click_id(found[2]) else found[0], text)
    return _LEFT_OVER.sub(lambda found: found[1], kept)


def without_clicks(value: Any) -> Any:
    """The same value of whatever shape, without click ids by name or in an address."""
    if isinstance(value, str):
        return without_click_ids(value)
    if isinstance(value, Mapping):
        return {name: without_clicks(inner) for name, inner in value.items() if not is_click_id(name)}
    return [without_clicks(inner) for inner in value] if isinstance(value, list) else value


def path_only(address: str) -> str:
    """The address without query and fragment, which can name a patient or an illness."""
    return address.strip().split("?", 1)[0].split("#", 1)[0]
