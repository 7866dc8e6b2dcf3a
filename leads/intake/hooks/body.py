"""What a form plugin's webhook sends → one tree: JSON, a form with PHP's brackets, or JSON in a field of a form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from leads.decode import Form, Undecodable, any_json, clean, decode_form, once, own_name
from leads.intake.hooks.shapes import REPEATS, WRAPPED

# A plugin tells more of each answer than a browser, and asks whole questions: what somebody agreed to, too.
_FIELDS, _PARTS, _DEPTH, _NAME = 400, 1000, 12, 2000
_FORM = "application/x-www-form-urlencoded"
_SAYS_NOTHING = ("", "text/plain", "application/octet-stream")  # what programs say that were not told what they send
_PLAINLY = re.compile(rb"[^\s=&<>\"{}]+=[^\s&<>\"{}]*(?:&[^\s=&<>\"{}]+=[^\s&<>\"{}]*)*")
_BRACKETS = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){1,6})")


def read_body(body: bytes, kind: str, options: Mapping[str, str]) -> dict[str, Any]:
    """The tree. kind, options: the content type, by which it is a form where it is no JSON. Raises Undecodable."""
    if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return _cleaned(_only_one(any_json(body)))
    if kind in _SAYS_NOTHING and _PLAINLY.fullmatch(body.strip()):
        kind = _FORM
    return _read_form(body, kind, options)


def read_query(query: bytes) -> dict[str, Any]:
    """The same of what stands in the address, which is written as a form is. Raises Undecodable."""
    return _read_form(query, _FORM, {})


def _read_form(sent: bytes, kind: str, options: Mapping[str, str]) -> dict[str, Any]:
    return _cleaned(_unwrapped(_unfolded(_fields(decode_form(sent, kind, options, _PARTS)))))


def _cleaned(found: dict[str, Any]) -> dict[str, Any]:
    return clean(found, fields=_FIELDS, depth=_DEPTH, name=_NAME)


def _fields(form: Form) -> dict[str, Any]:
    """A list where a name stands twice and says two things, or is one. Of files only the names: they are not taken."""
    if not form.fields:
        raise Undecodable("There were no form fields in it, and it is not JSON.")
    said = {name: values if name.endswith("]") else once(values) for name, values in form.fields.items()}
    fields: dict[str, Any] = {name: values if len(values) > 1 else values[0] for name, values in said.items()}
    return fields | ({"files_left_out": form.files} if form.files else {})


def _only_one(value: Any) -> dict[str, Any]:
    """Formidable sends a list that holds one entry."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise Undecodable("It is JSON, but not the answers of one form.")
    return value


def _unfolded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields[email][value]` as PHP reads it. What contradicts itself keeps its name as it stands."""
    tree: dict[str, Any] = {}
    for name, value in fields.items():
        whole = _BRACKETS.fullmatch(name)
        keys = [whole[1], *whole[2][1:-1].split("][")] if whole else [name]
        if not keys[-1] and len(keys) > 1:  # `service[]` is the list that it is already
            keys = keys[:-1]
        if not _put(tree, keys, value):
            tree[own_name(name, tree)] = value
    return tree


def _put(tree: dict[str, Any], keys: list[str], value: Any) -> bool:
    for key in keys[:-1]:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            return False
        tree = inner
    return tree.setdefault(keys[-1], value) is value


def _unwrapped(fields: dict[str, Any]) -> dict[str, Any]:
    """The form that stands as JSON within one of the fields; the others stay beside it."""
    for name in WRAPPED:
        text = fields.get(name)
        if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
            try:
                inner = _only_one(any_json(text.encode("utf-8", "replace")))
            except Undecodable:
                continue  # somebody's own words
            beside = {key: value for key, value in fields.items() if key != name and key not in REPEATS}
            return beside | inner
    return fields
