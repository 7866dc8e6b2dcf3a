"""What connectors share: reading answers that may hold anything, and telling of an event in text."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from integrations.core import notes
from integrations.core.base import Item, parts
from integrations.core.errors import not_accepted
from integrations.core.http import Answer
from integrations.core.reading import as_object, objects_in, records_in, text

EVENT = "0199a000-0000-7000-8000-000000000001"
ANYTHING: list[object] = [None, True, 7, "text", [], {}, [1], [{"id": "1"}], [{"id": None}], [{"id": "1"}, None]]


@pytest.mark.parametrize("value", ANYTHING)
def test_whatever_stands_there_is_read_without_an_error(value: object) -> None:
    assert as_object(value) == (value if isinstance(value, dict) else {})
    assert all(isinstance(one, dict) for one in objects_in(value))
    assert isinstance(text(value), str)


@pytest.mark.parametrize(("value", "whole"), [([], True), ([{"id": 1}], True), *((one, False) for one in ANYTHING[8:])])
def test_a_list_of_records_is_whole_or_none(value: object, whole: bool) -> None:
    """One without an id, left out, would look like a person who is not there, and be made again."""
    assert (records_in(value) is not None) is whole
    assert records_in("no list") is None


@pytest.mark.parametrize(("value", "said"), [(None, ""), (True, "true"), (0, "0"), ("Ann", "Ann")])
def test_a_value_reads_as_we_would_send_it(value: object, said: str) -> None:
    assert text(value) == said


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_an_error_without_json_tells_nothing(body: bytes) -> None:
    assert Answer(500, {}, body, wrote=True).json_or_none() is None


@pytest.mark.parametrize(("header", "number"), [("12", 12), ("", None), ("-1", None), ("1.5", None), ("²", None)])
def test_a_header_is_a_whole_number_or_none(header: str, number: int | None) -> None:
    assert Answer(200, {"Left": header}, b"").number("Left") == number
    assert Answer(200, {}, b"").number("Left") is None


def test_an_event_told_in_text_is_found_again() -> None:
    at = datetime(2026, 3, 2, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    item = Item("lead", EVENT, "consultation_request", at, "Request", {}, {"preferred_time": "after 5"})
    assert notes.details(item) == ["Preferred time: after 5"]
    assert notes.received(item) == "2026-03-02 09:30 UTC"
    assert notes.events_in([f"<small>{notes.mark(item)}</small>", None, "of another kind"]) == {EVENT}


def test_parts_hold_everything_once_and_no_more_than_one_call_takes() -> None:
    assert list(parts([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("email", "this e-mail address"),
        ("phone", "this phone number"),
        ("last_name", "this last name"),
        (None, "this record"),
    ],
)
def test_what_a_crm_does_not_accept_is_told_in_words(field: str | None, what: str) -> None:
    assert not_accepted("HubSpot", field, status=400).sentence == f"HubSpot does not accept {what}."
