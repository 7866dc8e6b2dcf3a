"""How the visitor can be reached: an address or number that no field is called after, and a number's country."""

from __future__ import annotations

import re
from collections.abc import Callable

import phonenumbers

from leads.fields import LONGEST_EMAIL
from leads.intake.hooks.words import KNOWN, plain, speaks

_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+")
_PHONE = re.compile(r"\+?[\d\s().\-/]{9,25}")
_WITH_COUNTRY = ("+", "00")
_FITS = (phonenumbers.is_valid_number, phonenumbers.is_possible_number)
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_CODE = re.compile(r"(?:\+|^00)([1-9]\d{0,2})\b|^([1-9]\d{0,2})$")
_LETTER = re.compile(r"[^\W\d_]")
SAYS = {ours: [plain(one) for one in KNOWN["guess"][ours]] for ours in ("email", "phone")}
_OTHERS, _PARTS, _NO_NUMBER = (
    [plain(one) for one in KNOWN["guess"][word]] for word in ("others", "parts", "no_number")
)


def is_whole(number: str, part: str) -> bool:
    """Whether this is that number with its country, which it does not have itself."""
    ends = re.sub(r"\D", "", part).lstrip("0")
    has_country = number.startswith(_WITH_COUNTRY) and not part.startswith(_WITH_COUNTRY)
    return has_country and len(ends) > 5 and re.sub(r"\D", "", number).endswith(ends)


def add_country(fields: dict[str, str]) -> None:
    """The country's code, where it was asked for by itself, before a number that has none."""
    code, typed = _country_code(fields.pop("phone_code", "")), fields.get("phone", "")
    if code and _PHONE.fullmatch(typed) and not typed.startswith(_WITH_COUNTRY):
        ways = [f"+{code} {typed}", f"+{typed}"]  # it may begin with the code as well
        fitting = [way for fits in _FITS for way in ways if _is_of(code, way, fits)]
        fields["phone"] = next(iter(fitting), typed)


def _country_code(text: str) -> int:
    """`+91`, `91`, `India (+91)` or `IN`; 0 where it is none."""
    if _COUNTRY.fullmatch(text):
        return phonenumbers.country_code_for_region(text.upper())
    number = _CODE.search(text)
    code = int(number[1] or number[2]) if number else 0
    return code if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE else 0


def _is_of(code: int, text: str, fits: Callable[[phonenumbers.PhoneNumber], bool]) -> bool:
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return False
    return number.country_code == code and fits(number)


def guess(fields: dict[str, str], extra: dict[str, str], region: str) -> None:
    """Put into `fields`, where none is called so, the only answer that may be the visitor's address, and the only one
    that may be the number. People are joined by them, so one of the clinic's own would make all its visitors one. It
    stays among the answers (`extra`) as well, where it has a name of its own. region: of numbers without a country."""
    alone = fields.keys().isdisjoint(SAYS)
    for ours, is_one in (("email", _is_email), ("phone", lambda text: _is_phone(text, region))):
        if ours not in fields:
            given = [item for item in extra.items() if is_one(item[1]) and _may_be(ours, item[0], alone=alone)]
            if len(given) == 1:
                [(label, fields[ours])] = given
                if not _LETTER.search(label):  # as Gravity Forms counts its fields
                    del extra[label]


def _may_be(ours: str, label: str, *, alone: bool) -> bool:
    """Whether what is called so may be the visitor's. alone: there is no other way to reach them."""
    words = plain(label)
    return (alone or speaks(words, SAYS[ours])) and not is_others(ours, words)


def is_others(ours: str, words: str) -> bool:
    """Whether a field of this name tells somebody else's `email` or `phone`, or, as a policy's number, nobody's."""
    no_number = _NO_NUMBER if ours == "phone" else ()
    return speaks(words, (*_OTHERS, *no_number)) or any(part in words for part in _PARTS)


def _is_email(text: str) -> bool:
    # The length first: the pattern alone looks at each dot again for each dot.
    return len(text) <= LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def _is_phone(text: str, region: str) -> bool:
    if not _PHONE.fullmatch(text):
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False
