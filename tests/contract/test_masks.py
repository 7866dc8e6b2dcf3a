"""A dry run of any kind shows nobody's details, and asks no CRM."""

from __future__ import annotations

import json
from dataclasses import astuple

import pytest
import responses

from integrations.core.registry import kinds
from leads.sync.mapping import default_rules
from leads.sync.plan import Plan
from leads.sync.rehearsal import masked_drafts
from tests.contract.connection import connect, connection_of, secrets_of
from tests.contract.people import CANARIES, item


@pytest.mark.parametrize("kind", kinds())
def test_a_dry_run_gives_nothing_away(kind: str) -> None:
    connector = kinds()[kind]
    plan = Plan(default_rules(connector), ["preferred_time"])
    with responses.RequestsMock():  # any call would raise
        drafts = masked_drafts(connect(kind, {}), item("ann", connector), plan)
    shown = json.dumps([astuple(draft) for draft in drafts], ensure_ascii=False)
    assert drafts
    assert "‹" in shown
    hidden = [*CANARIES, "2015550111", "after 5", *secrets_of(connection_of(kind))]
    assert [text for text in hidden if text.casefold() in shown.casefold()] == []
