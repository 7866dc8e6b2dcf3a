"""A connection is not led to another account of its CRM: what it knows of records there is of strangers."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import pytest

from integrations.core.base import Connector
from integrations.core.errors import TryLater
from leads.sync.account import require_same_account
from leads.sync.connect import Limits
from leads.sync.options import SetupError
from leads.sync.plan import default_plan
from leads.sync.setup import Setup
from tests.conftest import only_sqlite
from tests.contract.connection import connect
from tests.crm.loop import connected, deliver, enquiry
from tests.database.loop import Loop
from tests.pretend import pretend_crms
from tests.programs import wait_for

KINDS = pretend_crms()
READABLE = [kind for kind in KINDS if connect(kind, {}).readable]


def _trouble(loop: Loop, connector: Connector) -> str:
    """What speaks against it; empty: nothing."""
    try:
        require_same_account(loop.database, loop.vault, loop.connection(), connector)
    except SetupError as error:
        return str(error)
    return ""


@only_sqlite
@pytest.mark.parametrize("kind", READABLE)
def test_another_account_of_each_crm_is_known_by_what_it_does_not_hold(loop: Loop, kind: str) -> None:
    with connected(KINDS[kind]()) as ours, connected(KINDS[kind]()) as theirs:
        plan = default_plan(kind)
        loop.set_connection(kind=kind, mapping=plan.rules, share=plan.share)
        loop.use(ours)  # type: ignore[arg-type]  # a connector as well
        event_id = loop.send(phone="+12015550142", last_name="Doe")
        assert _trouble(loop, theirs) == "", "nothing was brought there yet"
        assert wait_for(lambda: loop.tick(minutes=2) and loop.row(event_id).state == "confirmed")
        usual = {**theirs.constants, **theirs.fallbacks}
        strangers = [enquiry(theirs, number, number) for number in (1, 2)]  # whose ids may be the same
        deliver(theirs, [replace(one, fill=usual | dict(one.fill)) for one in strangers])
        assert _trouble(loop, ours) == ""
        assert _trouble(loop, theirs).startswith("This seems to be another account")


def test_one_that_is_still_there_is_enough(loop: Loop) -> None:
    events = [loop.send(f"Jane{number}") for number in range(3)]
    loop.tick()
    loop.tick(seconds=1)
    for event_id in events[:2]:
        del loop.crm.held[str(event_id)]
    assert _trouble(loop, loop.crm) == ""
    del loop.crm.held[str(events[2])]
    assert _trouble(loop, loop.crm) != ""
    loop.night()
    assert loop.open() == ["deleted"] * 3
    assert _trouble(loop, loop.crm) == "", "that they were deleted is known, so they say nothing of the account"


def test_a_crm_that_cannot_be_asked_is_not_taken_for_the_same(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.send()
    loop.tick()
    loop.tick(seconds=1)
    monkeypatch.setattr(loop.crm, "find", Mock(side_effect=TryLater("unavailable", "The CRM is down.")))
    assert _trouble(loop, loop.crm).endswith("could not be asked, so nothing was changed. The CRM is down.")


@only_sqlite
def test_a_connection_that_was_removed_meanwhile_gets_no_secrets(loop: Loop) -> None:
    setup = Setup(loop.database, loop.vault, Limits(60, 5), by="anna")
    setup.remove(loop.connection_id)
    plan = default_plan("sandbox")
    late = [
        lambda: setup.replace(loop.connection_id, {"url": "http://127.0.0.1:1", "key": "new"}),
        lambda: setup.change(loop.connection_id, pace="5"),
        lambda: setup.remap(loop.connection_id, plan),
        lambda: setup.pause(loop.connection_id),
        lambda: setup.resume(loop.connection_id),
        lambda: setup.remove(loop.connection_id),
    ]
    before = loop.connection().options_sealed
    for change in late:
        with pytest.raises(SetupError, match="removed meanwhile"):
            change()
    assert loop.connection().options_sealed == before
