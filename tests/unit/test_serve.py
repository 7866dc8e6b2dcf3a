"""The supervisor of `frontdesk serve`: one program that dies takes no other with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
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


_CHILD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("ended", flush=True)))
time.sleep(60)
"""
_PARENT = f"""
from leads.serve import Supervisor
supervisor = Supervisor({{}})
supervisor.add("child", "-c", {_CHILD!r})
supervisor.run(lambda: print("up", flush=True))
print("done", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_all_ends_in_order_also_with_the_terminal(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        time.sleep(0.5)  # until the child listens
        process.send_signal(number)
        assert process.stdout.read().split() == ["ended", "done"]
        assert process.wait(30) == 0


def test_under_nohup_the_end_of_the_terminal_ends_nothing() -> None:
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    with subprocess.Popen([sys.executable, "-c", ignored + _PARENT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        assert process.stdout.read().split() == ["ended", "done"]
