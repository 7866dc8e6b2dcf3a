"""A stranger's bytes become a clean, bounded object, or are refused with a reason that quotes nothing."""

from __future__ import annotations

import json
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leads.decode import MAX_DEPTH, MAX_FIELDS, MAX_PARTS, Undecodable, clean, decode_form, decode_json

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


URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


def part(header: bytes, value: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + header + b"\r\n\r\n" + value + b"\r\n"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"name=Ren%C3%A9+%26+co&&empty=&bare", {"name": ["René & co"], "empty": [""], "bare": [""]}),
        ("name=René".encode(), {"name": ["René"]}),
        (b"name=Ren%E9&note=5+%80", {"name": ["René"], "note": ["5 €"]}),
        (b"name=Ren\xe9&na%EFve=1", {"name": ["René"], "naïve": ["1"]}),
        (b"a=Z%C3%BCrich&a=Z%FCrich", {"a": ["Zürich", "Zürich"]}),
        (b"a=%81&b=%zz", {"a": ["\ufffd"], "b": ["%zz"]}),
    ],
)
def test_a_form_is_read_in_the_charset_of_its_page(body: bytes, fields: dict[str, list[str]]) -> None:
    assert decode_form(body, URLENCODED, {"charset": "nonsense"}) == (fields, [])


@pytest.mark.parametrize("charset", ["utf-8", "cp1252"])
def test_so_is_a_form_with_files(charset: str) -> None:
    chosen = 'name="scan"; filename="Röntgen.png"'.encode(charset)
    body = part('name="naïve"'.encode(charset), "René".encode(charset)) + part(chosen, b"\x89PNG\xff")
    none = part(b'name="photo"; filename=""', b"")
    found = decode_form(body + none + b"--x--", MULTIPART, {"boundary": "x"})
    assert found == ({"naïve": ["René"]}, ["Röntgen.png"])


def test_a_name_that_says_its_charset_is_taken_at_its_word() -> None:
    body = part(b"name=\"scan\"; filename*=UTF-8''%e2%82%ac.png", b"x") + b"--x--"
    assert decode_form(body, MULTIPART, {"boundary": "x"}) == ({}, ["€.png"])


def test_a_form_has_so_many_parts_at_most() -> None:
    body = part(b'name="a"', b"1") * MAX_PARTS
    assert len(decode_form(body + b"--x--", MULTIPART, {"boundary": "x"}).fields["a"]) == MAX_PARTS
    with pytest.raises(Undecodable, match="too many fields"):
        decode_form(part(b'name="a"', b"1") + body + b"--x--", MULTIPART, {"boundary": "x"})


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


@pytest.mark.parametrize(
    "marks",
    ["\u0301\u0316", "\u0344\u0316", "\u0f73\u0f71", "\u0345\u0301\u0334"],
    ids=["two", "pairs", "Tibetan", "three"],
)
def test_marks_without_end_cost_no_time_and_none_is_lost(marks: str) -> None:
    """To sort n marks of one letter takes n² steps, and a body has room for 30,000 of them."""
    sent = ("a" + marks * 64_000)[: 64_000 // len(marks[0].encode())]
    began = time.process_time()
    text = clean({"a": sent})["a"]
    unicodedata.normalize("NFKD", text)  # as the names of fields are, and what staff look for
    assert time.process_time() - began < 0.2
    assert sorted(unicodedata.normalize("NFD", text.replace("\u034f", ""))) == sorted(
        unicodedata.normalize("NFD", sent)
    )


@pytest.mark.parametrize(
    "real",
    [
        "Tôi muốn đặt lịch khám răng vào thứ Tư, và nếu được thì buổi sáng.",
        "أُرِيدُ أَنْ أَحْجِزَ مَوْعِدًا لِتَنْظِيفِ الأَسْنَانِ، شُكْرًا جَزِيلًا",
        "ผมต้องการนัดหมายเพื่อปรึกษาเรื่องการจัดฟัน น้ำลายไหล กตัญญู ปู่ที่",
        "मुझे दाँतों की सफ़ाई के लिए अपॉइंटमेंट चाहिए, क्षत्रिय ज़ुल्फ़ि",
        "임플란트 상담을 받고 싶습니다",
        "בְּרֵאשִׁית בָּרָא אֱלֹהִים",
        "བོད་སྐད་ཀྱི་ཧཱུྃ",
        "e\u0301" * 1000,
        "Z" + "\u0301\u0316" * 15,
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_enquiries_in_any_language_are_kept_as_they_are(real: str, form: Any) -> None:
    sent = unicodedata.normalize(form, real)
    assert clean({"a": sent}) == {"a": unicodedata.normalize("NFC", real)}


def test_two_names_that_are_alike_once_they_are_cut_are_both_kept() -> None:
    question = "Is there anything that the doctor should know of before you come" + "." * 40
    sent = {
        f"{question} heart": "yes",
        f"{question} allergies": "no",
        "a\x00": 1,
        "a": 2,
        "a (2)": 3,
        "in": {"a": 1, "a\x00": 2},
    }
    assert clean(sent) == {
        question[:100]: "yes",
        f"{question[:100]} (2)": "no",
        "a": 1,
        "a (2)": 2,
        "a (2) (2)": 3,
        "in": {"a": 1, "a (2)": 2},
    }
