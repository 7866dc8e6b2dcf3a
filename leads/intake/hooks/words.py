"""Words as people write them in forms, made alike, and what `names.toml` says of them."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LONGEST_NAME = 300  # characters of what may be one of our fields: a longer one is a whole text
_COUNTED = re.compile(r"^\s*[Qq]?\d{1,2}\s*[.):]\s*(?=\D)")  # 1. First name
_FORMINATOR = re.compile(r"^([a-z]+)-\d{1,3}-(?=[a-z])")  # name-1-first-name
KNOWN: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))


def plain(name: str) -> str:
    """`Your E-Mail*` → `your e mail`: without case, accents, punctuation, and what only counts it."""
    name = _FORMINATOR.sub(r"\1 ", _COUNTED.sub("", name))
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    letters = "".join(one for one in unicodedata.normalize("NFKD", parted) if not unicodedata.combining(one))
    words = re.sub(r"[\W_]+", " ", letters.casefold()).split()
    while len(words) > 1 and words[-1].isdecimal():
        del words[-1]
    return " ".join(words)


def speaks(words: str, of: Iterable[str]) -> bool:
    """Whether one of these stands among the words, whole."""
    return any(f" {one} " in f" {words} " for one in of)


def in_order(name: str) -> list[str]:
    """The name, and what is left of it without words such as “your”, the fullest first."""
    found = [name]
    while len(name) <= LONGEST_NAME and (shorter := _shorter(found[-1])) != found[-1]:
        found.append(shorter)
    return found


def _shorter(name: str) -> str:
    for word in _AFTER:
        if name.endswith(f" {word}"):
            return name.removesuffix(f" {word}")
    for word in _BEFORE:
        if name.startswith(f"{word} "):
            return name.removeprefix(f"{word} ")
    return name


_BEFORE, _AFTER = (sorted(map(plain, KNOWN[place]), key=len, reverse=True) for place in ("before", "after"))
