"""The supervisor of `frontdesk serve`: one program that dies takes no other with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.settings import load_settings
from leads.serve import Child, environment


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


def test_the_programs_see_a_setting_that_stands_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("https://leads.example\n")
    monkeypatch.setenv("FRONTDESK_PUBLIC_URL_FILE", str(file))
    assert load_settings(environment(load_settings())).public_url == "https://leads.example"
