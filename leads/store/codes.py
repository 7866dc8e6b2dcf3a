"""The reference codes that visitors are told and can say on the phone, such as `K7Q-2MX`: each enquiry has its own.

Were it the person's, it would tell strangers who is known here: whoever sends somebody's phone number and then the same
with a name of their own would see by the two codes whether another name stands behind the number.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import select, union_all
from sqlalchemy.orm import Session

from leads.store.among import among
from leads.store.models import Event, Lead

_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # without what a caller and a listener confuse
CODES = len(_ALPHABET) ** 6  # so many there are


class Joined(Protocol):
    """An event, however it was read. code: None where it is its lead's."""

    @property
    def code(self) -> str | None: ...


class Coded(Protocol):
    """A lead, however it was read."""

    @property
    def code(self) -> str: ...


def reference_of(event: Joined, lead: Coded) -> str:
    """The code that the visitor got for this event of this lead."""
    return event.code or lead.code


def draw() -> str:
    """A code at random. Somebody may have been told it before: see `free`."""
    return code_of(secrets.randbelow(CODES))


def code_of(number: int) -> str:
    """The code of a number below CODES; each has its own."""
    letters = ""
    for _ in range(6):
        number, letter = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[letter]
    return f"{letters[:3]}-{letters[3:]}"


def lock_of(code: str) -> bytes:
    """For `Database.lock`: no two draw the same code at once, which no index over two tables could prevent."""
    return code.encode().rjust(8)


def free(session: Session, drawn: Sequence[str]) -> list[str]:
    """The same codes in order, with another one for each that a lead or an event has."""
    found = list(drawn)
    while taken := set(session.scalars(_TAKEN, {"codes": found})):
        found = [draw() if code in taken else code for code in found]
    return found


_TAKEN = union_all(*(select(model.code).where(among(model.code, "codes")) for model in (Lead, Event)))
