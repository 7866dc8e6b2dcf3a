"""A stranger's bytes become a clean, bounded object, or are refused with a reason that quotes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leads.intake.decode import MAX_DEPTH, MAX_FIELDS, Undecodable, clean, decode_json

# Any text, halves of surrogate pairs included.
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": "\xc3\xa9"}', {"a": "é"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "x\\u0000y"}', {"a": "xy"}),
        (b'{"a\\u0000": {"b\\u0000": ["\\u0000"]}}', {"a": {"b": [""]}}),
        (b'{"a": "\\ud800"}', {"a": "\ufffd"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": "e\\u0301"}', {"a": "é"}),
        (b'{"a": [true, null, 1.5]}', {"a": [True, None, 1.5]}),
        (b"{}", {}),
    ],
)
def test_what_is_understood(body: bytes, expected: dict[str, Any]) -> None:
    assert decode_json(body) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"Jane", "not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": -Infinity}', "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[" * 20000 + b"]" * 20000, "not valid JSON"),
        ('{"a": "é"}'.encode("latin-1"), "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'[{"name": "Jane"}]', "must be a JSON object"),
        (b'"Jane"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (nested(MAX_DEPTH + 1).encode(), "too deeply"),
        (json.dumps({"a": list(range(MAX_FIELDS + 1))}).encode(), "too many values"),
        (json.dumps({str(n): n for n in range(MAX_FIELDS + 1)}).encode(), "more than 60 fields"),
    ],
)
def test_what_is_not_understood(body: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason) as caught:
        decode_json(body)
    assert "Jane" not in str(caught.value)


def test_the_bounds_themselves_are_allowed() -> None:
    assert decode_json(nested(MAX_DEPTH).encode())
    assert len(decode_json(json.dumps({str(n): n for n in range(MAX_FIELDS)}).encode())) == MAX_FIELDS


def test_a_long_name_is_cut() -> None:
    assert clean({"n" * 5000: 1}) == {"n" * 100: 1}


@given(st.dictionaries(texts, values, max_size=5))
@settings(max_examples=100, deadline=None)
def test_whatever_is_understood_can_be_stored_anywhere(value: dict[str, Any]) -> None:
    try:
        cleaned = decode_json(json.dumps(value).encode())
    except Undecodable:
        return
    stored = json.dumps(cleaned, ensure_ascii=False)
    stored.encode("utf-8")  # no half of a surrogate pair
    assert "\x00" not in stored
    assert "\\u0000" not in stored.replace("\\\\", "")


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        assert isinstance(decode_json(body), dict)
    except Undecodable:
        return
