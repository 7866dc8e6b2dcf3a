"""Bytes from a stranger → a flat, clean object. Knows no field names; bounds size, depth and count."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_BODY = 64 * 1024  # bytes
MAX_FIELDS = 60
MAX_DEPTH = 5
MAX_NAME = 100  # characters of a field's name
MAX_TEXT = 5000  # characters of one value


class Undecodable(Exception):  # noqa: N818 - named by what it says of the body
    """The body cannot be understood. The text says why, without quoting it."""


def decode_json(body: bytes) -> dict[str, Any]:
    """A JSON object, as `application/json` or as the `text/plain` that `sendBeacon` sends. Raises Undecodable."""
    value = any_json(body)
    if not isinstance(value, dict):
        raise Undecodable("The body must be a JSON object.")
    return clean(value)


def any_json(body: bytes) -> Any:
    """What JSON says, not cleaned yet. Raises Undecodable."""
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise Undecodable("The body is not UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise Undecodable("The body is not valid JSON.") from error


def clean(
    value: Mapping[str, Any], *, fields: int = MAX_FIELDS, depth: int = MAX_DEPTH, name: int = MAX_NAME
) -> dict[str, Any]:
    """Make every text storable and comparable: NFC, no NUL, no lone surrogate. Raises Undecodable when too big.

    fields, depth: how many in one place, and how deep. name: characters of a field's name; the rest of it is cut.
    """
    if len(value) > fields:
        raise Undecodable(f"There are more than {fields} fields.")
    return {_text(str(key)[:name]): _clean(item, fields, depth - 1, name) for key, item in value.items()}


def _clean(value: Any, fields: int, depth: int, name: int) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | dict):
        if depth <= 0 or len(value) > fields:
            raise Undecodable("The body is nested too deeply or has too many values.")
        if isinstance(value, dict):
            return {_text(str(key)[:name]): _clean(item, fields, depth - 1, name) for key, item in value.items()}
        return [_clean(item, fields, depth - 1, name) for item in value]
    return value


def _text(value: str) -> str:
    if value.isascii() and "\x00" not in value:
        return value  # as most are
    # PostgreSQL stores neither NUL nor half a surrogate pair; SQLite would, until the day of a migration.
    whole = value.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return unicodedata.normalize("NFC", whole)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
