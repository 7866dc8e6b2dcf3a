"""Every connector runs through the same suite; see README.md for the format of its fixtures."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, astuple, replace
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
from responses import matchers
from responses.registries import OrderedRegistry

from integrations.core.base import Connector, Finding, Pushed, RemoteField, Seen
from integrations.core.errors import DeliveryError, Misconfigured, Throttled
from integrations.core.http import LARGEST_ANSWER, Http
from integrations.core.oauth import Token
from integrations.core.registry import kinds
from leads.sync.tokens import Extra
from tests.contract.connection import FIXTURES, Noting, connect, connection_of, secrets_of, signs_in
from tests.contract.people import AT, CANARIES, item, placeholders

_FAULTS = {"timeout": requests.ReadTimeout, "no_connection": requests.ConnectionError}
ANYTHING = "{…}"
_NAMES = {"trylater": "try_later"}
REQUIRED = ["created", "updated", "pushed_twice", "throttled", "refused", "timeout", "unreadable", "erase", "check"]
REQUIRED += ["misconfigured_key", "misconfigured_scope", "misconfigured_property"]
MUST_COME_TO = {
    "created": {"pushed"},
    "updated": {"pushed"},
    "pushed_twice": {"pushed"},
    "duplicate": {"pushed"},
    "expired_token": {"pushed"},
    "throttled": {"throttled"},
    "misconfigured": {"misconfigured"},
    "refused": {"refused"},
    "timeout": {"unknown", "try_later"},
    "unreadable": {"unknown", "try_later"},
    "no_id": {"unknown", "try_later"},
    "error_in_200": {"unknown", "try_later", "refused", "misconfigured", "throttled"},
}


def _scenarios() -> list[tuple[str, str]]:
    files = [(kind, path.stem) for kind in kinds() for path in sorted((FIXTURES / kind).glob("*.json"))]
    return [(kind, stem) for kind, stem in files if stem != "connection"]


def _belongs_to(stem: str) -> str | None:
    return next((name for name in MUST_COME_TO if stem == name or stem.startswith(name + "_")), None)


@pytest.mark.parametrize("kind", kinds())
def test_every_connector_shows_every_scenario(kind: str) -> None:
    connector, without = kinds()[kind], connection_of(kind).get("without", {})
    stems = [stem for of, stem in _scenarios() if of == kind]
    wanted = (
        REQUIRED
        + ["find", "duplicate", "no_id", "error_in_200"] * connector.readable
        + ["partial"] * (connector.batch_size > 1)
        + ["expired_token"] * signs_in(connector)
        + ["current"] * (connector.current is not Connector.current)
        + ["fields"] * (connector.remote_fields is not Connector.remote_fields)
    )
    missing = [name for name in wanted if not any(stem == name or stem.startswith(name + "_") for stem in stems)]
    assert set(missing) == set(without), "what is missing needs a reason, and what is there needs none"
    assert all(without.values())


@pytest.mark.parametrize("kind", [kind for kind, connector in kinds().items() if signs_in(connector)])
def test_to_be_built_a_connector_needs_no_sign_in(kind: str) -> None:
    """The desk builds it to draw a page, and a lane before anything is claimed: neither can tell what went wrong."""

    def nobody() -> Token:
        raise Misconfigured("signed_out", "Nobody has signed in.")

    settings = kinds()[kind].options().load(connection_of(kind)["settings"])
    signed = cast(Any, SimpleNamespace(known=nobody, held=lambda: None))
    kinds()[kind](settings | {"token": Extra(signed)}, Http())


@pytest.mark.parametrize(("kind", "stem"), _scenarios())
def test_scenario(kind: str, stem: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    connector = kinds()[kind]
    scenario = _filled(json.loads((FIXTURES / kind / f"{stem}.json").read_text()), placeholders(connector))
    with responses.RequestsMock(registry=OrderedRegistry) as world:
        for exchange in scenario["exchanges"]:
            _expect(world, exchange)
        renews = stem.startswith("expired_token")
        outcome = _run(connect(kind, scenario.get("settings", {}), renews=renews), scenario)
    told, said = _told(outcome)
    assert told == scenario["expect"]
    if (name := _belongs_to(stem)) and scenario["call"] == "push":
        assert _verdicts(told) <= MUST_COME_TO[name]
    if stem.startswith("partial"):
        assert "pushed" in _verdicts(told)
        assert len(_verdicts(told)) > 1
    for canary in [*CANARIES, *secrets_of(connection_of(kind))]:
        assert canary not in said, "personal data or a secret in what the connector says"
        assert canary not in caplog.text, "personal data or a secret in the log"


@pytest.mark.parametrize("kind", kinds())
def test_a_draft_shows_what_is_written(kind: str) -> None:
    """A dry run that shows anything else than what is sent would be worse than none."""
    connector = kinds()[kind]
    scenario = _filled(json.loads((FIXTURES / kind / "created.json").read_text()), placeholders(connector))
    assert scenario["items"] == ["ann"]
    with responses.RequestsMock(registry=OrderedRegistry) as world:
        for exchange in scenario["exchanges"]:
            _expect(world, exchange)
        connected = connect(kind, scenario.get("settings", {}))
        _run(connected, scenario)
        unasked = connect(kind, scenario.get("settings", {}))  # one that has not learnt anything from its CRM yet
        drafts = [astuple(draft) for draft in unasked.draft(item("ann", connector))]
    assert isinstance(connected.http, Noting)
    assert len(drafts) == len(connected.http.writes)
    for draft, written in zip(drafts, connected.http.writes, strict=True):
        assert _fits(draft, written), f"the draft shows {draft}, but {written} is sent"


@pytest.mark.parametrize(
    "kind", [kind for kind, one in kinds().items() if one.remote_fields != Connector.remote_fields]
)
def test_what_a_crm_tells_of_its_fields_may_be_long(kind: str) -> None:
    """A clinic that added many fields could map none of them."""
    connector = kinds()[kind]
    scenario = _filled(json.loads((FIXTURES / kind / "fields.json").read_text()), placeholders(connector))
    answer = scenario["exchanges"][-1]["answer"]
    answer["body"] = json.dumps(answer.pop("json")) + " " * LARGEST_ANSWER
    with responses.RequestsMock(registry=OrderedRegistry) as world:
        for exchange in scenario["exchanges"]:
            _expect(world, exchange)
        told, _ = _told(_run(connect(kind, scenario.get("settings", {})), scenario))
    assert told == scenario["expect"]


@pytest.mark.parametrize("kind", kinds())
def test_a_moment_is_the_same_in_every_time_zone(kind: str) -> None:
    """A day alone may be the clinic's."""
    afternoon = AT.replace(hour=14)  # in Auckland it is half past three the next morning
    told = [
        json.dumps(
            [astuple(draft) for draft in connect(kind, {}).draft(replace(item("ann", kinds()[kind]), occurred_at=at))]
        )
        for at in (afternoon, afternoon.astimezone(ZoneInfo("Pacific/Auckland")))
    ]
    assert told[0] == told[1].replace("2026-03-03", "2026-03-02")


def _fits(draft: Any, written: Any) -> bool:
    """Whether they are the same but for what only the CRM can give, which stands as `{…}`."""
    if isinstance(draft, Mapping):
        return isinstance(written, Mapping) and _fits(sorted(draft.items()), _named_alike(written, draft))
    if isinstance(draft, list | tuple):
        same = isinstance(written, list | tuple) and len(draft) == len(written)
        return same and all(map(_fits, draft, written))
    if isinstance(draft, str):
        shape = "(.+)".join(map(re.escape, re.split(r"\{[^{}]+\}", draft)))
        return bool(re.fullmatch(shape, str(written)))
    return bool(draft == written)


def _named_alike(written: Mapping[str, Any], draft: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The fields in the order of the draft's: one whose name only the CRM can give comes where its `{…}` stands."""
    others = iter(sorted(written.keys() - draft.keys()))
    names = [name if name in written else next(others, "") for name in sorted(draft)]
    return [(name, written.get(name)) for name in [*names, *others]]


def _filled(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, known) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, known) for one in value]
    if isinstance(value, str):
        if value in known:
            return known[value]
        for name, text in known.items():
            value = value.replace(name, text) if isinstance(text, str) else value
    return value


def _expect(world: responses.RequestsMock, exchange: dict[str, Any]) -> None:
    request, answer = exchange["request"], exchange["answer"]
    match: list[Any] = []
    if "json" in request:
        match.append(matchers.json_params_matcher(request["json"]))
    if "form" in request:
        match.append(_form_matcher(request["form"]))
    if "params" in request:
        match.append(matchers.query_param_matcher(request["params"]))
    if "headers" in request:
        match.append(matchers.header_matcher(request["headers"]))
    more: dict[str, Any] = {"status": answer.get("status", 200), "headers": answer.get("headers", {})}
    if "fault" in answer:
        more = {"body": _FAULTS[answer["fault"]]("a canary: ann@canary.example")}
    elif "json" in answer:
        more["json"] = answer["json"]
    else:
        more["body"] = answer.get("body", "")
    world.add(request["method"], request["url"], match=match, **more)


def _form_matcher(form: dict[str, str]) -> Any:
    def matches(request: requests.PreparedRequest) -> tuple[bool, str]:
        sent = dict(parse_qsl(_text(request.body)))
        same = sent.keys() == form.keys() and all(form[name] in (text, ANYTHING) for name, text in sent.items())
        return same, f"the form holds {sent}"

    return matches


def _text(body: str | bytes | None) -> str:
    return body.decode() if isinstance(body, bytes) else body or ""


def _run(connector: Connector, scenario: dict[str, Any]) -> Any:
    call = getattr(connector, scenario["call"])
    try:
        if "items" in scenario:
            return call([_item(one, type(connector)) for one in scenario["items"]])
        return call(scenario["remote_ids"]) if "remote_ids" in scenario else call()
    except DeliveryError as error:
        return error


def _item(given: str | dict[str, Any], connector: type[Connector]) -> Any:
    return item(given, connector) if isinstance(given, str) else item(given["item"], connector, given.get("remote_id"))


def _told(outcome: Any) -> tuple[Any, str]:
    """The outcome in the words of a fixture, and all that is said in it."""
    if isinstance(outcome, DeliveryError):
        assert outcome.__cause__ is None
        assert outcome.__context__ is None, "the original error holds what was sent"
        return {"raises": _line(outcome)}, repr(outcome) + str(outcome)
    lines = [_line(one) for one in outcome or []]
    said = [one for one in outcome or [] if not isinstance(one, Mapping)]  # a record is data, and goes into no log
    return lines, " ".join(repr(one) + str(one) for one in said)


def _line(one: Any) -> Any:
    line: dict[str, Any]
    if one is None or isinstance(one, str):
        return one
    if isinstance(one, Mapping):
        return dict(one)
    if isinstance(one, RemoteField):
        return {name: value for name, value in asdict(one).items() if value}
    if isinstance(one, Pushed):
        line = {"pushed": one.remote_id} | ({"url": one.url} if one.url else {})
        seen = {"record": one.record, "copies": list(one.copies)} if isinstance(one, Seen) else {}
        return line | seen | ({"whole": False} if isinstance(one, Seen) and not one.whole else {})
    if isinstance(one, Finding):
        return {"ok": one.ok, "says": one.sentence}
    name = type(one).__mro__[_depth(one)].__name__.lower()
    line = {_NAMES.get(name, name): one.code}
    if one.field:
        line["field"] = one.field
    if isinstance(one, Throttled) and one.retry_after is not None:
        line["retry_after"] = one.retry_after
    return line


def _depth(error: DeliveryError) -> int:
    """A connector's own subclass counts as the verdict that it refines."""
    return next(i for i, cls in enumerate(type(error).__mro__) if cls.__module__ == "integrations.core.errors")


def _verdicts(told: Any) -> set[str]:
    lines = [told["raises"]] if isinstance(told, dict) else told
    return {next(iter(line)) for line in lines}
