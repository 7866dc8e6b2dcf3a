"""Whether a person's details fit what somebody typed, however each of them writes the same name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

_NUMBER = re.compile(r"[\d\s()+./-]+")
_NO_DIGIT = re.compile(r"\D")
_FEWEST = 4  # digits by which a number is looked for
_BETWEEN = re.compile("[\\s,;\\-\u2010-\u2015]+")
_UNSPOKEN = dict.fromkeys(map(ord, "'`\u00b4\u2018\u2019\u02bc"))
_NO_ACCENT = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
_SPELT_OUT = re.compile("(?<=[aou])e")


def matcher(typed: str) -> Callable[[Mapping[str, str]], bool]:
    """Whether a person's details hold every word that was typed, in any order, or the number holds these digits.

    Accents, case, what stands between words or digits, and whether `ü` is spelt `ue` or `u` do not matter.
    """
    words, digits = folded(typed).split(), _NO_DIGIT.sub("", typed)
    spelt = [(word, _SPELT_OUT.sub("", word)) for word in words]
    is_number = len(digits) >= _FEWEST and bool(_NUMBER.fullmatch(typed))

    def matches(person: Mapping[str, str]) -> bool:
        if is_number and digits in _NO_DIGIT.sub("", person.get("phone", "")):
            return True
        details = folded(" ".join(person.values()))
        short = _SPELT_OUT.sub("", details)
        # As it stands too: who types `ela` may mean Manuela.
        return bool(spelt) and all(word in details or shorter in short for word, shorter in spelt)

    return matches


def folded(text: str) -> str:
    """The text without what does not matter when two are compared: accents, case, and what stands between words."""
    plain = text.casefold().translate(_UNSPOKEN)
    if not plain.isascii():
        apart = unicodedata.normalize("NFKD", plain)
        plain = "".join(sign for sign in apart if not unicodedata.combining(sign)).translate(_NO_ACCENT)
    return _BETWEEN.sub(" ", plain)
