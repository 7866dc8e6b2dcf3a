"""The list of erasures: a line is whole or passed over, only its owner reads it, and it holds nobody's details."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from leads.store.erasure_list import Entry, ErasureList

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
JANE = Entry(AT, "K7Q-2MX", (UUID(int=1), UUID(int=2)))
JOE = Entry(AT + timedelta(hours=1), "ABC-DEF", (UUID(int=3),))


@pytest.fixture
def erasures(tmp_path: Path) -> ErasureList:
    return ErasureList(tmp_path)


def test_a_line_tells_when_and_who_by_code_and_ids_alone(erasures: ErasureList) -> None:
    assert erasures.add("begun", JANE)
    assert erasures.add("erased", JANE)
    assert erasures.file.stat().st_mode & 0o777 == 0o600
    ids = "00000000-0000-0000-0000-000000000001 00000000-0000-0000-0000-000000000002"
    assert erasures.file.read_text() == "".join(
        f"2026-03-02T09:00:00+00:00 {what} K7Q-2MX {ids}\n" for what in ("begun", "erased")
    )
    assert erasures.read() == ([JANE], [])


def test_there_is_no_list_before_the_first(erasures: ErasureList) -> None:
    assert erasures.read() == ([], [])
    assert not erasures.file.exists()


def test_what_was_only_begun_does_not_count(erasures: ErasureList) -> None:
    erasures.add("begun", JANE)
    assert erasures.read() == ([], [JANE])


def test_of_several_erasures_of_one_the_last_counts(erasures: ErasureList) -> None:
    later = JANE._replace(at=AT + timedelta(days=1), leads=(UUID(int=1), UUID(int=9)))
    for entry in (later, JANE):
        erasures.add("erased", entry)
    [one] = erasures.read().erased
    assert (one.at, set(one.leads)) == (later.at, {UUID(int=1), UUID(int=2), UUID(int=9)})
    assert one.leads[0] == UUID(int=1)


@pytest.mark.parametrize("length", range(1, 120, 7))
def test_a_torn_line_harms_no_other(erasures: ErasureList, length: int) -> None:
    erasures.add("erased", JOE)
    whole = erasures.file.read_bytes()
    erasures.add("erased", JANE)
    erasures.file.write_bytes(erasures.file.read_bytes()[: len(whole) + length])
    assert erasures.read().erased[0] == JOE
    erasures.add("erased", JOE._replace(leads=(UUID(int=4),)))
    listed = erasures.read()
    assert {entry.leads[0].int for entry in listed.erased} - {1} == {3, 4}
    assert all(UUID(int=0) not in entry.leads for entry in listed.erased)


def test_what_is_no_line_is_passed_over(erasures: ErasureList) -> None:
    erasures.add("erased", JANE)
    lines = [
        b"\xff\xfe\x00",
        b"",
        b"2026-03-02T09:00:00+00:00 erased AAA-AAA",
        b"2026-03-02T09:00:00 erased AAA-AAA 00000000-0000-0000-0000-000000000007",  # of no zone
        b"soon erased AAA-AAA 00000000-0000-0000-0000-000000000007",
        b"2026-03-02T09:00:00+00:00 erased AAA-AAA ------------------------------------",
    ]
    with erasures.file.open("ab") as file:
        file.write(b"\r\n".join(lines) + b"\r\n")
    assert erasures.read() == ([JANE], [])


@pytest.mark.parametrize(
    "content",
    [
        "2026-03-02T09:00:00+00:00 erased K7Q-2MX 00000000-0000-0000-0000-000000000001\n".encode("utf-16"),
        b"Received,First name,E-mail\n2026-03-02 09:00,Jane,jane@example.com\n",
        bytes(range(128, 256)),
        b"\x00" * 4096,
    ],
    ids=["another encoding", "an export", "binary", "zeros"],
)
def test_what_holds_no_line_at_all_is_no_list(erasures: ErasureList, content: bytes) -> None:
    erasures.file.write_bytes(content)
    with pytest.raises(OSError, match="no list of erasures"):
        erasures.read()
    erasures.add("erased", JANE)
    assert erasures.read() == ([JANE], [])


def test_a_first_line_that_was_torn_is_a_list_of_nobody(erasures: ErasureList) -> None:
    erasures.add("erased", JANE)
    erasures.file.write_bytes(erasures.file.read_bytes()[:40])
    assert erasures.read() == ([], [])


def test_other_lists_are_read_with_it(erasures: ErasureList, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = ErasureList(tmp_path / "other")
    erasures.add("erased", JANE)
    erasures.add("begun", JOE)
    other.add("erased", JOE)
    assert erasures.read(other.file) == ([JANE, JOE], []), "what one has begun another knows the end of"


def test_many_at_once_lose_no_line(tmp_path: Path) -> None:
    def add(number: int) -> bool:
        return ErasureList(tmp_path).add("erased", Entry(AT, "ABC-DEF", (UUID(int=number),)))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(add, range(200)))
    assert len(ErasureList(tmp_path).read().erased) == 200


def test_what_cannot_be_written_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    nowhere = ErasureList(tmp_path / "nowhere")
    assert (nowhere.add("erased", JANE), nowhere.is_writable()) == (False, False)
    assert nowhere.read() == ([], [])
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "erased.txt").mkdir()
    assert not ErasureList(tmp_path).add("erased", JANE)
    with pytest.raises(OSError, match="directory"):
        ErasureList(tmp_path).read()
