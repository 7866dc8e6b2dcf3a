"""Bytes from a stranger → a flat, clean object, or a form's fields. Knows no field names; bounds size, depth, count."""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from io import BytesIO
from itertools import count
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

MAX_BODY = 64 * 1024  # bytes
MAX_FIELDS = 60
MAX_PARTS = 100  # of a form, files and values of one name counted each
MAX_DEPTH = 5
MAX_NAME = 100  # characters of a field's name
MAX_TEXT = 5000  # characters of one value
_MARKS = 30  # in a row: no language has as many (UAX #15, section 13: Stream-Safe Text Format)
_JOINER = "\u034f"  # COMBINING GRAPHEME JOINER: nobody sees it, and marks are not sorted across it


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


class Form(NamedTuple):
    """What a browser's form sent: all values of each field, and the names of the files beside them."""

    fields: dict[str, list[str]]
    files: list[str]


def decode_form(body: bytes, kind: str, options: Mapping[str, str], most: int = MAX_PARTS) -> Form:
    """A form in whatever charset its page has. kind, options: the content type. most: parts. Raises Undecodable.

    Empty for another type, and where a form with files is cut off or has no boundary.
    """
    whole = body.decode("latin-1")  # a character for each byte, to become text once it is taken apart
    if kind == "application/x-www-form-urlencoded":
        pairs, files = parse_qsl(whole, keep_blank_values=True, encoding="latin-1"), list[str]()
    else:
        pairs, files = _parts(whole.encode(), kind, options, most)
    fields: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in pairs:
        fields[in_its_charset(name or "")].append(in_its_charset(value))  # a part of a form may have no name
    return Form(fields, [in_its_charset(name) for name in files])


def once(values: Sequence[str]) -> list[str]:
    """What a name that stands several times was given: without empty ones, and once where all of them say the same."""
    said = [value for value in values if value.strip()] or list(values[:1])
    return said[:1] if len({value.strip() for value in said}) == 1 else said


def _parts(whole: bytes, kind: str, options: Mapping[str, str], most: int) -> tuple[list[tuple[str, str]], list[str]]:
    try:
        parser = FormDataParser(lambda *_, **__: BytesIO(), max_form_parts=most)  # no file on a disk
        _, fields, files = parser.parse(BytesIO(whole), kind, len(whole), dict(options))
    except RequestEntityTooLarge as error:
        raise Undecodable("There are too many fields.") from error
    # A field for files in which none was chosen sends one without a name.
    names = [file.filename for _, file in files.items(multi=True) if file.filename]
    return list(fields.items(multi=True)), names


def in_its_charset(text: str) -> str:
    """UTF-8, or else what browsers take for Latin-1. text: a character for each byte."""
    if text.isascii():
        return text
    try:
        sent = text.encode("latin-1")
    except UnicodeEncodeError:  # the form said what it is, and that was read
        return text
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return sent.decode("cp1252", "replace")


def clean(
    value: Mapping[str, Any], *, fields: int = MAX_FIELDS, depth: int = MAX_DEPTH, name: int = MAX_NAME
) -> dict[str, Any]:
    """Make every text storable and comparable: NFC, no NUL, no lone surrogate. Raises Undecodable when too big.

    fields, depth: how many in one place, and how deep. name: characters of a field's name; the rest of it is cut.
    """
    if len(value) > fields:
        raise Undecodable(f"There are more than {fields} fields.")
    return _named(value, fields, depth, name)


def _named(value: Mapping[str, Any], fields: int, depth: int, name: int) -> dict[str, Any]:
    """Two that are alike once they are cut are both kept: the second one has a number."""
    kept: dict[str, Any] = {}
    for key, item in value.items():
        kept[own_name(clean_text(str(key)[:name]), kept)] = _clean(item, fields, depth - 1, name)
    return kept


def own_name(name: str, kept: Container[str]) -> str:
    """The name, with a number where there is one like it already."""
    return name if name not in kept else next(own for more in count(2) if (own := f"{name} ({more})") not in kept)


def _clean(value: Any, fields: int, depth: int, name: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list | dict):
        if depth <= 0 or len(value) > fields:
            raise Undecodable("The body is nested too deeply or has too many values.")
        if isinstance(value, dict):
            return _named(value, fields, depth, name)
        return [_clean(item, fields, depth - 1, name) for item in value]
    return value


def clean_text(value: str) -> str:
    """One text, made storable and comparable."""
    if value.isascii() and "\x00" not in value:
        return value  # as most are
    # PostgreSQL stores neither NUL nor half a surrogate pair; SQLite would, until the day of a migration.
    whole = value.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return unicodedata.normalize("NFC", _stream_safe(whole))


def _stream_safe(text: str) -> str:
    """The same with a joiner in rows of marks without end, as UAX #15 has it: to sort n of them takes n² steps."""
    marks = {sign for sign in set(text) if unicodedata.combining(unicodedata.normalize("NFKD", sign)[0])}
    if not marks:
        return text  # as most
    safe, row = list[str](), 0
    for sign in text:
        row = row + 1 if sign in marks else 0
        if row > _MARKS:
            safe.append(_JOINER)
            row = 1
        safe.append(sign)
    return "".join(safe)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
