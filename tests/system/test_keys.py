"""The keys rotate under running programs: enquiries are taken, shown and delivered all the time."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import requests

from leads.store.vault import read_keys
from tests.chaos.zygote import Zygote
from tests.programs import Programs, wait_for


class _Visitors(threading.Thread):
    """One enquiry after the other."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.stop = url, threading.Event()
        self.answers: list[int] = []

    def run(self) -> None:
        while not self.stop.wait(0.05):
            number = len(self.answers)
            # Each second one is of somebody who was here before, with details to compare.
            form: dict[str, Any] = {"site": "demo", "id": f"enquiry-{number}", "consent": True}
            form |= {"email": f"p{number // 2}@example.com", "first_name": "Jane", "service": str(number)}
            answer = requests.post(f"{self.url}/api/v1/consultations", json=form, timeout=30)
            self.answers.append(answer.status_code)


def some_more(visitors: _Visitors) -> None:
    at_least = len(visitors.answers) + 10
    wait_for(lambda: len(visitors.answers) > at_least)


def test_nobody_notices(tmp_path: Path, database_url: str, zygote: Zygote) -> None:
    with Programs(tmp_path, database_url, zygote=zygote, rate_limit="100000") as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        programs.worker()
        file, desk, visitors = tmp_path / "keys.json", programs.desk(), _Visitors(programs.url)
        old = read_keys(file).sealing.hex()
        visitors.start()
        try:
            wait_for(lambda: len(programs.activities()) > 5)
            rotated = programs.frontdesk("keys", "rotate", "--yes")
            assert rotated.returncode == 0, rotated.stderr
            some_more(visitors)
            values = {
                row["key"]: row["values"] for row in json.loads(programs.frontdesk("keys", "show", "--json").stdout)
            }
            assert values[old] == 0
            os.utime(file, (time.time() - 120, time.time() - 120))  # as if it had been some minutes ago
            dropped = programs.frontdesk("keys", "drop", old, "--yes")
            assert dropped.returncode == 0, dropped.stderr
            some_more(visitors)
        finally:
            visitors.stop.set()
            visitors.join()
        assert set(visitors.answers) == {201}
        wait_for(lambda: len(programs.activities()) == len(visitors.answers), 90)
        assert "Jane" in desk.get(f"{programs.url}/desk/leads", timeout=30).text
