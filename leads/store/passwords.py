"""Which passwords are too easy to guess: little is left of them without common words, runs and repetitions."""

from __future__ import annotations

import re

_FEWEST = 7  # characters that have to be left; a common word, a run and a repeated piece count as one
_DIFFERENT = 5
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "123456789o", "qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "zxcvbnm")
_IN_DISGUISE = str.maketrans("@$0", "aso")
_BETWEEN = re.compile(r"[\s.,_-]")
_COMMON = re.compile(
    "administrator|admin|autumn|baseball|changeme|clinic|default|dental|dentist|doctor|dragon|football|frontdesk|guest|"
    "hallo|hello|iloveyou|letmein|login|master|monkey|passwd|password|passwort|princess|reception|secret|spring|summer|"
    "sunshine|temporary|welcome|willkommen|winter"
)
_REPEATED = re.compile(r"(.+?)\1+")
_NOTHING_ELSE = re.compile(r"(.{1,11}?)\1+.{0,3}")


def holds(password: str, name: str) -> bool:
    """Whether the user's name stands in it, which is what others try first."""
    return name in password.lower()


def is_easy(password: str) -> bool:
    """Whether somebody would soon try it."""
    plain = password.lower()
    if len(set(plain)) < _DIFFERENT:
        return True
    core = _core(plain)
    return bool(_NOTHING_ELSE.fullmatch(core)) or len(_REPEATED.sub(r"\1", core)) < _FEWEST


def _core(plain: str) -> str:
    """What is no common word and no run; of each of those a sign is left, since it may repeat."""
    core = _BETWEEN.sub("", plain.translate(_IN_DISGUISE))
    core = _COMMON.sub(lambda found: found[0][0].upper(), core)
    return _RUN.sub("#", core)


def _runs() -> list[str]:
    """Four neighbours or more in the alphabet, the digits or a row of keys, in both directions, the longest first."""
    rows = [way for row in _ROWS for way in (row, row[::-1])]
    return [row[at : at + size] for size in range(26, 3, -1) for row in rows for at in range(len(row) - size + 1)]


_RUN = re.compile("|".join(_runs()))
