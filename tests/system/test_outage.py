"""A CRM that is down for days, in virtual time: our clock is moved, the CRM and its sockets are real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from leads.store.models import Attempt
from tests.chaos import outage
from tests.chaos.scripts import ALWAYS, answers
from tests.chaos.strange_crm import KEY, Crm, on_sockets
from tests.chaos.virtual import Clinic, Clock, virtual_time

LEADS = 500
WAITING = 50  # enquiries while the key is wrong


def test_all_leads_arrive_once_after_three_days_without_the_crm(database_url: str, tmp_path: Path) -> None:
    figures = outage.play(database_url, tmp_path, LEADS)
    assert figures.broken == []
    assert figures.numbers["leads"] == LEADS


@pytest.mark.parametrize("resumed_by", ["itself", "a button"])
def test_a_wrong_key_pauses_the_connection_and_burns_no_attempt(
    database_url: str, tmp_path: Path, resumed_by: str
) -> None:
    with _clinic(database_url, tmp_path) as (clinic, crm):
        clinic.pass_time(timedelta(days=1), timedelta(minutes=10))
        (wrong,) = clinic.connections()
        assert (wrong.state, wrong.code) == ("failing", "bad_key")
        assert wrong.sentence == "The CRM does not accept the key. Enter a new one."
        assert {(row.state, row.attempts) for row in clinic.deliveries()} == {("waiting", 0)}

        crm.left = 0
        if resumed_by == "a button":
            clinic.setup.resume(wrong.id)
            clinic.tick()
        else:
            clinic.pass_time(timedelta(minutes=6), timedelta(minutes=1))
        clinic.tick()
        assert [one.state for one in clinic.connections()] == ["working"]
        assert {(row.state, row.attempts) for row in clinic.deliveries()} == {("confirmed", 1)}
        assert crm.house.store.count() == (WAITING, WAITING)
        with clinic.database.read() as session:
            assert session.scalars(select(Attempt).where(Attempt.verdict == "Misconfigured").limit(1)).one()


@contextmanager
def _clinic(url: str, folder: Path) -> Iterator[tuple[Clinic, Crm]]:
    """A clinic whose enquiries wait, since its key is wrong until the CRM's script is over."""
    clock = Clock()
    crm = Crm("wrong key", answers(401), ALWAYS, clock, Random(0), poison="nobody@example.com")
    with virtual_time(clock), on_sockets({"crm": crm}) as address:
        clinic = Clinic(url, folder, clock, timeout=30)
        clinic.connect("sandbox", "Sandbox CRM", {"url": f"{address}/crm", "key": KEY})
        for person in range(WAITING):
            clinic.send(person)
        clinic.settle_down()
        yield clinic, crm
        clinic.database.close()
