"""The supervisor of `frontdesk serve`: one program that dies takes no other with it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from leads.serve import Child


@pytest.mark.parametrize("trouble", [BlockingIOError(11, "no fork"), subprocess.SubprocessError("before it began")])
def test_a_program_that_cannot_be_started_is_tried_again_after_a_wait(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    real, troubles = subprocess.Popen, [trouble, trouble]

    def popen(*command: Any, **more: Any) -> Any:
        if troubles:
            raise troubles.pop()
        return real(*command, **more)

    monkeypatch.setattr("leads.serve.subprocess.Popen", popen)
    child = Child("worker", [sys.executable, "-c", ""])
    waits = []
    for _ in range(2):
        child.start({})
        assert child.process is None
        waits.append(child.start_at - child.started)
    assert waits == pytest.approx([0.5, 1.0], abs=0.4)
    child.start({})
    assert child.process is not None
    assert child.process.wait(30) == 0
