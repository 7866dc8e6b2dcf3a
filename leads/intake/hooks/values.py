"""One value, whole or in the parts that Jotform gives it in → as people would write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_LINE = re.compile(r"<br ?/?>\s*")
_SIGNS = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "#039": "'", "#39": "'", "#x27": "'"}
_ESCAPED = re.compile(f"&({'|'.join(_SIGNS)});")
# The parts of what is told in several.
_PHONE = {"full", "country", "area", "phone"}  # whole or each by itself
_DATE = {"day", "month", "year"}  # and of dates and times, of which one may be until when
_CLOCK = {"timeInput", "hour", "hourSelect", "min", "minuteSelect", "ampm"}
_UNTIL = {"timeInputRange", "hourSelectRange", "minuteSelectRange", "ampmRange", "timeRangeDuration"}
_APPOINTMENT = {"date", "duration", "timezone", "implementation"}
_NAME = {"prefix", "first", "middle", "last", "suffix"}


def text_of(value: Any) -> str:
    """Any value as people would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        for name in ("labels", "label", "value", "full", "number"):
            if value.get(name):
                return text_of(value[name])
        value = list(value.values())
    if isinstance(value, list):
        return ", ".join(filter(None, map(text_of, value)))
    # WPForms parts the lines of one field by ||, and Fluent Forms by the sign of HTML.
    return "" if value is None else _unescaped(_LINE.sub("\n", str(value).replace("||", ", "))).strip()


def _unescaped(text: str) -> str:
    """As people wrote it: WordPress makes O&#039;Brien of O'Brien. Only what PHP does itself: `&copy=` in an address is
    none of it."""
    return _ESCAPED.sub(lambda found: _SIGNS[found[1]], text) if "&" in text else text


def whole_of(value: Any) -> Any:
    """A phone number, a date, a time or an appointment in one piece; anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    parts, kinds = {name: text_of(part) for name, part in value.items()}, value.keys()
    if kinds <= _PHONE and kinds & {"full", "area"}:
        return _whole_number(parts)
    if kinds <= _APPOINTMENT and {"date", "duration"} <= kinds:
        length = f"{parts['duration']} min" if parts["duration"] else ""
        told = ", ".join(filter(None, [parts["date"], length, parts.get("timezone")]))
        return {"type": "appointment", "value": told if parts["date"] else ""}
    if kinds <= _DATE | _CLOCK | _UNTIL and (kinds >= _DATE or not kinds & _DATE):
        return _whole_time(parts)
    return value


def is_name(value: Any) -> bool:
    """Whether these are the parts of one."""
    return isinstance(value, Mapping) and value.keys() <= _NAME and bool(value.keys() & {"first", "last"})


def whole_name(value: Any) -> Any:
    """A name in one piece, which tells still what is first and what is last; anything else as it is."""
    if not is_name(value):
        return value
    first = " ".join(filter(None, (text_of(value.get(part)) for part in ("prefix", "first", "middle", "suffix"))))
    return ", ".join(filter(None, [text_of(value.get("last")), first]))


def _whole_number(parts: Mapping[str, str]) -> str:
    country = parts.get("country", "")
    country = f"+{country}" if country.isdecimal() else country
    return parts.get("full") or " ".join(filter(None, [country, parts.get("area"), parts.get("phone")]))


def _whole_time(parts: Mapping[str, str]) -> str:
    day, month, year = (parts.get(name, "") for name in ("day", "month", "year"))
    all_numbers = day.isdecimal() and month.isdecimal() and year
    date = f"{year}-{month:0>2}-{day:0>2}" if all_numbers else " ".join(filter(None, [day, month, year]))
    return " ".join(filter(None, [date, " – ".join(filter(None, [_clock(parts), _clock(parts, "Range")]))]))


def _clock(parts: Mapping[str, str], of: str = "") -> str:
    """The time, without the AM or PM that is chosen where no time is."""
    hour = parts.get(f"hourSelect{of}") or parts.get(f"hour{of}")
    minute = parts.get(f"minuteSelect{of}") or parts.get(f"min{of}") or ""
    time = f"{hour}:{minute:0>2}" if hour else parts.get(f"timeInput{of}")
    return f"{time} {parts.get(f'ampm{of}', '')}".rstrip() if time else ""
