"""A record cannot be removed from the CRM: it gets the quiet it asks for, and no lane is woken by its own failure."""

from __future__ import annotations

import pytest

from integrations.core.errors import DeliveryError, Misconfigured, Throttled, TryLater
from tests.database.loop import Loop
from tests.factory import send
from tests.fakes import FakeCrm

BUSY = Throttled("too_many_requests", "The CRM asks us to slow down.", status=429, retry_after=600)


@pytest.fixture
def caller_became_known(loop: Loop) -> FakeCrm:
    """A CRM with the record of a caller who is somebody known by now, and of whom all was sent."""
    loop.send("Jane")
    send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")
    loop.tick()
    loop.send("Jane", visitor_id="v1")
    return loop.crm


def test_quiet_that_the_crm_asks_for_when_a_record_is_removed_holds_for_all(
    loop: Loop, caller_became_known: FakeCrm
) -> None:
    caller_became_known.erasing = [BUSY]
    loop.tick(seconds=1)
    assert len(caller_became_known.erased) == 1
    assert loop.connection().wait_until is not None
    loop.send()
    written = len(caller_became_known.written)
    assert not loop.tick(seconds=590)
    assert len(caller_became_known.written) == written
    assert loop.tick(seconds=11)
    assert len(caller_became_known.written) == written + 1
    assert len(caller_became_known.erased) == 2
    assert not loop.tick(hours=1)


@pytest.mark.parametrize(
    "error", [TryLater("unavailable", "Down."), Misconfigured("forbidden", "It may not delete.", status=403)]
)
def test_a_record_that_cannot_be_removed_is_left_alone_for_a_while(
    loop: Loop, caller_became_known: FakeCrm, error: DeliveryError
) -> None:
    caller_became_known.erasing = [error]
    loop.tick(seconds=1)
    assert (len(caller_became_known.erased), loop.connection().state) == (1, "working")
    assert not loop.tick(seconds=50), "the lane's own commits would wake it, over and over"
    assert loop.tick(seconds=11)
    assert len(caller_became_known.erased) == 2
    assert not loop.tick(hours=1)


def test_who_comes_again_before_the_first_enquiry_is_through_wakes_no_lane(loop: Loop) -> None:
    loop.crm.answers = [TryLater("unavailable", "Down.")] * 4
    loop.send()
    for hours in (0, 1, 1, 1):
        loop.tick(hours=hours)
    loop.send()
    assert not loop.tick(seconds=5), "the lane's own commits would wake it, over and over"
    loop.tick(hours=3)
    assert len(loop.crm.written) == 2
