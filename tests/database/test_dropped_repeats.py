"""A receiver of webhooks that drops repeats, by the id of the message: a try that broke off does not stand there twice,
and what is to be told once more arrives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest

from leads.store import outbox
from leads.store.clock import heartbeat, mend
from leads.store.models import Delivery
from tests.conftest import only_sqlite
from tests.contract.connection import build
from tests.database.lanes import finished, leased
from tests.database.loop import Loop
from tests.database.test_erasure import erase, erasure, lead_of
from tests.factory import send
from tests.pretend.server import CUT_AFTER
from tests.pretend.webhook import PretendWebhook

pytestmark = only_sqlite  # what differs is the receiver


@pytest.fixture
def receiver(loop: Loop) -> Iterator[PretendWebhook]:
    with PretendWebhook() as crm:
        settings = crm.settings() | crm.remedy()
        loop.use(build(crm.kind, settings, None, allowed_private_hosts=frozenset({"127.0.0.1"}), deadline=60))
        yield crm


def _send_again(loop: Loop, event_id: UUID) -> None:
    with loop.database.write() as session:
        row = session.get_one(Delivery, loop.row(event_id).id)
        assert outbox.send_again(session, row, "anna", loop.clock())


def _break_off(receiver: PretendWebhook, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver keeps what it gets, and no answer comes."""
    with monkeypatch.context() as patch:
        patch.setattr(receiver, "faults_rate", 1)
        patch.setattr(receiver, "_ways_to_fail", lambda: [CUT_AFTER])
        loop.tick(seconds=1)


def _held(receiver: PretendWebhook) -> list[tuple[str, list[str]]]:
    return [(str(one.lead_id), list(one.events)) for one in receiver.people()]


@pytest.mark.parametrize("how", ["by itself", "the clock jumped", "staff"])
@pytest.mark.parametrize("was_taken", [False, True])
def test_what_broke_off_is_a_repeat_whoever_sends_it_again(
    loop: Loop, receiver: PretendWebhook, monkeypatch: pytest.MonkeyPatch, was_taken: bool, how: str
) -> None:
    event_id = loop.send()
    if was_taken:
        loop.tick()
        _send_again(loop, event_id)
    _break_off(receiver, loop, monkeypatch)
    assert loop.row().unknown
    if how == "the clock jumped":
        heartbeat(loop.database, "w1")
        loop.clock.forward(hours=2)
        assert mend(loop.database, timedelta(hours=2), 60)
    elif how == "staff":
        _send_again(loop, event_id)
    loop.tick(minutes=5)
    assert loop.row().state == "sent"
    assert _held(receiver) == [(str(lead_of(loop.database, event_id)), [str(event_id)] * (1 + was_taken))]


def test_what_staff_send_again_arrives_each_time(loop: Loop, receiver: PretendWebhook) -> None:
    event_id = loop.send()
    loop.tick()
    for _ in range(2):
        receiver.leads.clear()  # by mistake, in the clinic's own program
        _send_again(loop, event_id)
        loop.tick(seconds=1)
        assert [events for _, events in _held(receiver)] == [[str(event_id)]]


def test_a_call_is_told_again_under_the_person_who_made_it(loop: Loop, receiver: PretendWebhook) -> None:
    click = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1").event_id
    loop.tick()
    form = loop.send(visitor_id="v2")
    loop.tick(seconds=1)
    # The same person, by her address, from the browser of the call.
    again = loop.send(visitor_id="v1", service="another")
    for _ in range(3):
        loop.tick(minutes=1)
    [(lead, events)] = _held(receiver)
    assert lead == str(lead_of(loop.database, form))
    assert sorted(events) == sorted(map(str, (click, form, again)))


def test_what_arrives_after_a_lead_was_forgotten_is_forgotten_as_well(loop: Loop, receiver: PretendWebhook) -> None:
    loop.send()
    loop.tick()
    late = loop.send(service="another")
    lead_id = str(lead_of(loop.database, late))
    lane = leased(loop.database, loop.connection())
    claimed = outbox.claim(loop.database, lane, 10, 60)
    assert erase(loop, late)
    loop.tick(seconds=61)  # its lease is over
    assert (erasure(loop.database).state, _held(receiver)) == ("done", [])
    receiver.leads[lead_id] = {"email": "", "events": [str(late)]}  # the slow call came through after all
    finished(loop.database, lane, claimed, remote_id=lead_id)
    loop.tick(seconds=1)
    assert (erasure(loop.database).state, _held(receiver)) == ("done", [])
