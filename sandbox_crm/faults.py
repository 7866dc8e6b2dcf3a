"""The faults that can be switched on: what they are called, what they do, and which one a call gets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from threading import Lock
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, pre_load, validate

FAULTS: Mapping[str, str] = {
    "down": "Says that it is out of service (503). Nothing is kept.",
    "hang_up": "Breaks the connection off before it does anything.",
    "slow": "Waits before it does what was asked.",
    "wrong_key": "Says that the key is not valid (401).",
    "throttled": "Says that there were too many calls (429), and when to come again.",
    "refuse_phone": "Refuses contacts with this phone number and takes the others (207).",
    "late_answer": "Keeps what was sent, but answers long after the sender has given up.",
    "cut": "Keeps what was sent, then breaks off in the middle of the answer.",
    "garbage": "Keeps what was sent, then answers with a web page instead of data.",
    "error_500": "Says that it failed (500). Nothing is kept.",
    "accept_and_forget": "Says that all went well, and keeps nothing.",
    "late_write": "Does not answer in time, and keeps what was sent only after the sender has given up.",
    "no_id": "Keeps what was sent and says so, but leaves out the records’ ids.",
}
WRITES_ONLY = frozenset({"refuse_phone", "late_answer", "accept_and_forget", "late_write", "no_id"})
UNKNOWN = f"Unknown. The faults are: {', '.join(FAULTS)}."
LONGEST = 600.0  # seconds a call may be made to wait

# The short form {"slow": 5} gives a fault its one setting; the others take only true or false.
SETTING_OF = {
    "slow": "slow_seconds",
    "throttled": "retry_after",
    "late_answer": "late_seconds",
    "late_write": "late_seconds",
    "refuse_phone": "refuse_phone",
}


@dataclass(frozen=True, slots=True)
class Faults:
    """What is switched on. rate: share of the calls that misbehave, 0 to 1. retry_after: seconds, or any text
    to send as it is, None for no such header. refuse_phone: this number, or True for every number. seed: makes
    the choice of calls repeatable."""

    faults: tuple[str, ...] = ()
    rate: float = 1.0
    retry_after: float | str | None = 5
    slow_seconds: float = 5.0
    late_seconds: float = 30.0
    refuse_phone: str | bool = True
    seed: int | None = None

    def refuses(self, properties: Mapping[str, Any]) -> bool:
        """Whether a contact with these properties has the refused phone number."""
        phones = [_digits(value) for name, value in properties.items() if "phone" in name and value]
        if self.refuse_phone is True:
            return bool(phones)
        return _digits(self.refuse_phone) in phones


class Switchboard:
    """Which faults are on, and the dice. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.turn_to(Faults())

    def turn_to(self, faults: Faults) -> None:
        """Switch exactly these on. The dice start anew, so that a seed gives the same run again."""
        with self._lock:
            self.on = faults
            self._dice = Random(faults.seed)  # noqa: S311 - it picks faults, it guards nothing

    def refuses(self, fault: str | None, properties: Mapping[str, Any]) -> bool:
        """Whether a contact with these properties is refused by the fault that this call got."""
        return fault == "refuse_phone" and self.on.refuses(properties)

    def draw(self, *, writes: bool) -> str | None:
        """The fault that the next call gets; None when it is to be answered as it should be."""
        with self._lock:
            possible = [name for name in self.on.faults if writes or name not in WRITES_ONLY]
            misbehaves = self._dice.random() < self.on.rate
            return self._dice.choice(possible) if possible and misbehaves else None


def _digits(phone: object) -> str:
    return re.sub(r"\D", "", str(phone))


def _is_phone_or_flag(value: object) -> None:
    if not isinstance(value, str | bool):
        raise ValidationError("Give a phone number, or true for every number.")


def _fits_a_header(value: object) -> None:
    seconds = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 10**9
    text = isinstance(value, str) and len(value) <= 100 and value.isascii() and value.isprintable()
    if not (seconds or text):
        raise ValidationError("Give seconds, or a short text to send as it is.")


class FaultsSchema(Schema):
    """What `PUT /faults` takes: the settings by name, or the short form `{"down": true, "slow": 5}`, or both."""

    error_messages = {"unknown": UNKNOWN}  # noqa: RUF012 - marshmallow's own way

    faults = fields.List(fields.String(validate=validate.OneOf(FAULTS, error=UNKNOWN)))
    rate = fields.Float(validate=validate.Range(0, 1))
    retry_after = fields.Raw(validate=_fits_a_header, allow_none=True)
    slow_seconds = fields.Float(validate=validate.Range(0, LONGEST))
    late_seconds = fields.Float(validate=validate.Range(0, LONGEST))
    refuse_phone = fields.Raw(validate=_is_phone_or_flag)
    seed = fields.Integer(strict=True, allow_none=True)

    @pre_load
    def from_short_form(self, data: Any, **_: Any) -> Any:
        """Turn `{"slow": 5}` into `{"faults": ["slow"], "slow_seconds": 5}`."""
        if not isinstance(data, dict):
            raise ValidationError("Send a JSON object.")
        data = {str(name).strip().lower().replace(" ", "_").replace("-", "_"): value for name, value in data.items()}
        settings = {name: value for name, value in data.items() if name not in FAULTS}
        switched_on = [name for name in FAULTS if data.get(name) not in (None, False)]
        for name in switched_on:
            if name in SETTING_OF and data[name] is not True:
                settings[SETTING_OF[name]] = data[name]
        listed = settings.get("faults", [])
        return settings | {"faults": listed + switched_on if isinstance(listed, list) else listed}

    @post_load
    def as_faults(self, data: dict[str, Any], **_: Any) -> Faults:
        return Faults(**data | {"faults": tuple(dict.fromkeys(data["faults"]))})


def sentence_of(error: ValidationError) -> str:
    """What is wrong with the settings, in one line."""
    return " ".join(f"{name}: {text}" for name, text in _texts(error.messages_dict))


def _texts(messages: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for name, found in messages.items():
        texts = found if isinstance(found, list) else [text for _, text in _texts(found)]
        yield from ((str(name)[:40], text) for text in texts)
