"""A CRM that does not answer costs the visitor nothing: no request waits for it."""

from __future__ import annotations

import time
from pathlib import Path

import requests

from tests.chaos.zygote import Zygote
from tests.programs import Programs, wait_for


def _send(programs: Programs, first: int, number: int) -> float:
    """The median time of as many enquiries, in seconds."""
    took = []
    for one in range(first, first + number):
        body = {"site": "demo", "id": f"form-{one}", "email": f"person{one}@example.com", "consent": True}
        start = time.perf_counter()
        answer = requests.post(f"{programs.url}/api/v1/consultations", json=body, timeout=30)
        took.append(time.perf_counter() - start)
        assert answer.status_code == 201
    return sorted(took)[number // 2]


def test_visitors_do_not_wait_for_a_crm_that_hangs(tmp_path: Path, database_url: str, zygote: Zygote) -> None:
    with Programs(tmp_path, database_url, zygote=zygote, crm_timeout="20", lease_seconds="30") as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        programs.worker()
        well = _send(programs, 0, 30)
        wait_for(lambda: len(programs.contacts()) == 30)
        programs.faults(slow=60)
        hung = _send(programs, 30, 30)
        print(f"median of a request: {well:.4f} s with a CRM that answers, {hung:.4f} s with one that hangs")
        assert hung < 5, "a CRM is given up on after twenty seconds: a request that called it would take as long"
        assert len(programs.contacts()) == 30
