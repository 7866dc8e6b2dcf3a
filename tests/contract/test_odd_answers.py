"""Whatever stands in an answer, where nobody promised it: a verdict comes of it, and never an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from integrations.core.base import Connector, Item, RemoteField, Seen
from integrations.core.errors import DeliveryError, TryLater
from integrations.core.http import Answer, Http
from integrations.core.registry import kinds
from tests.contract.connection import FIXTURES, connect
from tests.contract.people import placeholders
from tests.contract.test_contract import _filled, _run
from tests.crm.loop import connected, deliver, enquiry
from tests.pretend import pretend_crms

ODD: list[Any] = [None, [], {}, "x", 3, True, [None], {"id": None}]
HTML = b"<html>Please sign in to the guest network"
Calls = Callable[[Connector], Any]
_ASKS: dict[str, Callable[[Connector, Item], Any]] = {
    "worked_on": lambda connector, known: connector.worked_on([known]),
    "merged_with": lambda connector, known: connector.merged_with([str(known.remote_id)]),
    "events_on": lambda connector, known: connector.events_on([str(known.remote_id)]),
}


class Scripted(Http):
    """Gives these answers in turn; after the last one there is no connection."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__()
        self.left = list(answers)

    def request(self, method: str, url: str, *, reads: bool = False, **_: Any) -> Answer:
        if not self.left:
            raise TryLater("connect", "No connection.")
        return replace(self.left.pop(0), wrote=method != "GET" and not reads)


def _odd_forms(value: Any) -> Iterator[Any]:
    """This JSON with one part of it replaced, each part by each odd value in turn; or left out."""
    yield from ODD
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, part in list(parts):
        for odd in _odd_forms(part):
            changed = value.copy()
            changed[place] = odd
            yield changed
        if isinstance(value, dict):
            yield {name: one for name, one in value.items() if name != place}


def _broken(answers: list[Answer]) -> Iterator[list[Answer]]:
    for place, answer in enumerate(answers):
        if answer.status >= 300:
            continue
        bodies = [json.dumps(odd).encode() for odd in _odd_forms(answer.json_or_none())]
        for body in (HTML, *dict.fromkeys(bodies)):
            yield [*answers[:place], replace(answer, body=body), *answers[place + 1 :]]


def _scripts(kind: str) -> Iterator[tuple[str, Connector, Calls, list[Answer]]]:
    """What is called, on which connector, and the answers that it hears."""
    for path in sorted((FIXTURES / kind).glob("*.json")):
        if path.stem == "connection" or path.stem.startswith("expired_token"):
            continue
        scenario = _filled(json.loads(path.read_text()), placeholders(kinds()[kind]))
        told = [exchange["answer"] for exchange in scenario["exchanges"]]
        if not any("fault" in answer for answer in told):
            connector = connect(kind, scenario.get("settings", {}))
            yield (
                path.stem,
                connector,
                lambda one, scenario=scenario: _run(one, scenario),
                [_answer(one) for one in told],
            )
    for name, ask in _ASKS.items() if kind in pretend_crms() else ():
        if getattr(kinds()[kind], name) is not getattr(Connector, name):
            yield name, *_of_somebody_there(kind, ask)


def _answer(told: dict[str, Any]) -> Answer:
    body = json.dumps(told["json"]) if "json" in told else told.get("body", "")
    headers = {"Content-Type": "application/json"} | told.get("headers", {})
    return Answer(told.get("status", 200), headers, body.encode())


def _of_somebody_there(kind: str, ask: Callable[[Connector, Item], Any]) -> tuple[Connector, Calls, list[Answer]]:
    heard: list[Answer] = []
    with connected(pretend_crms()[kind]()) as connector:
        one = enquiry(connector, 1, 1)
        one = replace(one, fill={**connector.constants, **one.fill})
        known = replace(one.in_full(), remote_id=deliver(connector, [one])[one.lead_id])
        honest = connector.http.request

        def listen(*call: Any, **more: Any) -> Answer:
            heard.append(honest(*call, **more))
            return heard[-1]

        connector.http.request = listen  # type: ignore[method-assign]
        ask(connector, known)
        return connector, lambda connector: ask(connector, known), heard


@pytest.mark.parametrize("kind", kinds())
def test_an_answer_in_a_shape_that_nobody_promised_is_no_error_of_ours(kind: str) -> None:
    for _, connector, call, answers in _scripts(kind):
        for broken in _broken(answers):
            with suppress(DeliveryError):
                _assert_sound(call(type(connector)(connector.settings, Scripted(broken))))


def _assert_sound(outcome: Any) -> None:
    """What is shown and compared as text, is one."""
    for one in outcome if isinstance(outcome, list) else ():
        record = one.record if isinstance(one, Seen) else one
        if isinstance(record, dict):
            assert {type(value) for value in record.values()} <= {str}
        if isinstance(one, RemoteField):
            assert {type(text) for text in (one.name, one.label, one.type, *one.choices.values())} == {str}
