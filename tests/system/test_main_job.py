"""The main job at a busy clinic, on real sockets: all that visitors sent is in a CRM that misbehaves, exactly once."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import func, select

from leads.store.models import Delivery, Event, Lead
from tests.posts import call_click, enquiry
from tests.programs import Programs, wait_for

FAULTS = [
    "down", "hang_up", "slow", "wrong_key", "throttled", "refuse_phone",
    "late_answer", "cut", "garbage", "error_500", "accept_and_forget",
]  # fmt: skip
PEOPLE, REQUESTS, CLICKS = 900, 1000, 1000
SECONDS_OF_FAULTS = 60  # after the last visitor; each wrong key alone makes the connection wait 5 seconds and more


def _plan(dice: random.Random) -> list[dict[str, Any]]:
    """All posts in the order in which they are sent: half of the clicks by people, before or after their form."""
    forms = [_form(number) for number in range(REQUESTS)]
    clicks = [{"visitor": f"visitor-{number}", "who": number} for number in range(CLICKS // 2)]
    clicks += [{"visitor": f"stranger-{number}", "who": None} for number in range(CLICKS // 2)]
    posts = forms + [
        {
            "path": "/api/v1/call-clicks",
            "who": click["who"],
            "body": call_click(number, str(click["visitor"])),
        }
        for number, click in enumerate(clicks)
    ]
    dice.shuffle(posts)
    return posts


def _form(number: int) -> dict[str, Any]:
    person = number % PEOPLE
    return {"path": "/api/v1/consultations", "who": person, "body": enquiry(number, person)}


def _send(programs: Programs, posts: list[dict[str, Any]]) -> dict[str, int | None]:
    """Eight clients at once, each third post twice. Event id → whose it is (None: a stranger's)."""

    def post(numbered: tuple[int, dict[str, Any]]) -> tuple[str, int | None]:
        number, one = numbered
        answers = [
            requests.post(programs.url + one["path"], json=one["body"], timeout=60)
            for _ in range(2 if number % 3 == 0 else 1)
        ]
        assert {answer.status_code for answer in answers} == {201}
        ids = {answer.json()["id"] for answer in answers}
        assert len(ids) == 1, "a repeat made a second event"
        return ids.pop(), one["who"]

    with ThreadPoolExecutor(8) as clients:
        return dict(clients.map(post, enumerate(posts)))


def _states(programs: Programs) -> dict[str, int]:
    with programs.database.read() as session:
        rows = session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all()
    return dict(rows)


def _is_settled(programs: Programs) -> bool:
    """Everything has arrived or needs a person."""
    return not {"waiting", "sending", "sent"} & set(_states(programs))


def _watch(programs: Programs, seconds: float) -> None:
    """Let it go on, until all has arrived in spite of the faults or the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not _is_settled(programs):
        time.sleep(0.5)


@pytest.mark.timeout(280)
def test_everything_sent_is_in_the_crm_exactly_once(tmp_path: Path, database_url: str) -> None:
    dice = random.Random(20)
    with Programs(tmp_path, database_url, crm_timeout="1") as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        programs.worker()
        programs.faults(faults=FAULTS, rate=0.2, seed=7, slow_seconds=0.2, late_seconds=1.3, retry_after=1)
        sent = _send(programs, _plan(dice))
        _watch(programs, SECONDS_OF_FAULTS)
        programs.faults()
        wait_for(lambda: _is_settled(programs), 150, every=0.5)  # a probe may be a minute away
        programs.frontdesk("lead", "retry", "--all", "refused")  # what a person would press
        wait_for(lambda: _states(programs) == {"confirmed": REQUESTS + CLICKS}, 60, every=0.2)
        wait_for(lambda: len(programs.contacts()) == PEOPLE + CLICKS // 2, 30, every=0.2)

        held = programs.activities()
        assert set(held) == set(sent), "an event is missing, or one is there that nobody sent"
        for event_id, person in sent.items():
            owner = held[event_id]["properties"]
            if person is None:
                assert owner["first_name"] == "Caller"
            else:
                assert owner["email"] == f"person{person}@example.com"
        assert "Every enquiry is in the CRM." in programs.desk().get(f"{programs.url}/desk/", timeout=10).text
        with programs.database.read() as session:
            assert session.scalar(select(func.count()).select_from(Event)) == REQUESTS + CLICKS
            people = session.scalar(select(func.count()).where(Lead.merged_into.is_(None)))
            assert people == PEOPLE + CLICKS // 2
