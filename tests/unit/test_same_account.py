"""Whether the options of two connections lead to one account."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.core.registry import kinds
from leads.sync.options import seem_the_same


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("hubspot", {"token": "pat-1"}, {"token": "pat-1"}, True),
        (
            "hubspot",
            {"token": "pat-1", "api": "https://a.example"},
            {"token": "pat-2", "api": "https://a.example"},
            False,
        ),
        ("hubspot", {"client_id": "1"}, {"client_id": "1"}, False),
        ("espocrm", {"url": "https://a.example", "api_key": "1"}, {"url": "https://a.example/", "api_key": "2"}, True),
        ("espocrm", {"url": "https://a.example", "api_key": "1"}, {"url": "https://b.example", "api_key": "2"}, False),
        ("espocrm", {"url": "https://a.example", "api_key": "1"}, {}, False),
        ("webhook", {"url": "https://a.example/hook"}, {"url": "https://a.example/hook"}, True),
    ],
)
def test_by_address_or_by_key(kind: str, one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert seem_the_same(kind, one, other) is seem_the_same(kind, other, one) is same


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_what_nobody_entered_is_the_same_nowhere(kind: str) -> None:
    assert not seem_the_same(kind, {}, {})
