"""The named points: the list is the truth about the code, and a point does what it is armed with, once."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import leads
from leads.store import failpoint
from leads.store.failpoint import POINTS, Failpoint, arm, reach


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


def test_the_list_names_every_point_in_the_code_once() -> None:
    code = [file.read_text() for file in Path(leads.__file__).parent.rglob("*.py") if file.name != "failpoint.py"]
    assert sorted(re.findall(r'\breach\("([^"]+)"\)', "\n".join(code))) == sorted(POINTS)


def test_a_point_acts_once() -> None:
    arm("claim.written:raise")
    reach("claim.committed")
    with pytest.raises(Failpoint):
        reach("claim.written")
    reach("claim.written")


def test_a_point_may_wait_for_a_later_passage() -> None:
    arm("claim.written:raise:3,call.begun:raise")
    reach("claim.written")
    reach("claim.written")
    with pytest.raises(Failpoint):
        reach("claim.written")
    with pytest.raises(Failpoint):
        reach("call.begun")


def test_what_is_halted_waits_until_it_is_woken() -> None:
    arm("claim.written:halt")
    halted = threading.Thread(target=reach, args=("claim.written",), daemon=True)
    halted.start()
    halted.join(0.2)
    assert halted.is_alive()
    os.kill(os.getpid(), signal.SIGUSR2)
    halted.join(10)
    assert not halted.is_alive()


@pytest.mark.parametrize("spec", ["claim.written", "nowhere:kill", "claim.written:sing", "claim.written:kill,x"])
def test_what_is_not_there_cannot_be_armed(spec: str) -> None:
    with pytest.raises(ValueError, match="no such failpoint"):
        failpoint.arm(spec)
