"""Every kind of CRM: somebody is found by our own numbers alone, since their details are gone by then, and erased."""

from __future__ import annotations

from dataclasses import replace

import pytest

from integrations.core.base import Seen
from leads.sync import calls
from tests.crm.loop import connected, deliver, enquiry
from tests.pretend import pretend_crms
from tests.programs import wait_for

KINDS = pretend_crms()


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_in_the_crm_is_found_without_a_name_and_erased(kind: str) -> None:
    crm = KINDS[kind]()
    with connected(crm) as connector:
        usual = {**connector.constants, **connector.fallbacks}
        plain = [enquiry(connector, number, number) for number in (1, 2)]
        jane, joe = (replace(one, fill=usual | dict(one.fill)) for one in plain)
        homes = deliver(connector, [jane, joe])
        nobody = replace(jane, record={}, fill={})
        if connector.readable:
            # Some searches show a record only after a while; the lane waits for that as well.
            [seen] = wait_for(lambda: [one for one in calls.look_up(connector, [nobody]) if one])
            assert isinstance(seen, Seen)
            assert seen.remote_id == homes[jane.lead_id]
            [held] = calls.current(connector, [nobody])
            assert held is not None
            assert not isinstance(held, Exception)
            assert connector.events_on([homes[jane.lead_id]]) == {jane.event_id}
        connector.erase(connector.merged_with([homes[jane.lead_id]]))
        connector.erase(connector.merged_with([homes[jane.lead_id]]))
        assert {person.remote_id for person in crm.people()} == {homes[joe.lead_id]}
        if connector.readable:
            assert wait_for(lambda: calls.look_up(connector, [nobody]) == [None])
            assert calls.current(connector, [nobody]) == [None]
    assert crm.bugs == []
