"""All that a connection writes into its CRM, as a person reads and changes it: its rules, and what activities tell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from integrations.core.registry import connector_class
from leads.store.models import Connection
from leads.sync.mapping import SOURCES, Rule, default_rules, label_of, load_rules

# Minimum necessary: the free-text message and the page are health data, so they go only where a person mapped them.
DEFAULT_SHARE = ["preferred_time", "preferred_contact", "service", "reference", "site", "source", "consent"]
_OF_THE_PERSON = ("first_name", "last_name", "full_name", "email", "phone", "phone_typed")
SHAREABLE = tuple(name for name in SOURCES if name not in _OF_THE_PERSON)
_SHAREABLE = f"An activity can tell: {', '.join(SHAREABLE)}."
WRITES_IN_WORDS = {"when_empty": "only when empty", "always": "always", "never": "never (off)"}
_INPUTS = {
    "to": "field of the CRM",
    "from": "our field",
    "value": "text",
    "write": "when it is written",
    "values": "their words for ours",
    "otherwise": "when nothing was given",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """rules: as in `mapping`. share: our fields that an activity tells."""

    rules: list[dict[str, Any]]
    share: list[str]

    def dump(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {"mapping": self.rules, "share": self.share}

    def mark(self) -> str:
        """Changes with the plan, so that two people who change it at once are noticed."""
        return hashlib.sha256(json.dumps(self.dump(), sort_keys=True).encode()).hexdigest()[:16]


class PlanError(ValueError):
    """A plan cannot be like this. sentences: each names the rule by its place."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class _Rules(fields.Field[list[dict[str, Any]]]):
    """So that what is wrong with the rules is told beside what else is wrong."""

    def _deserialize(self, value: object, *_: Any, **__: Any) -> list[dict[str, Any]]:
        return load_rules(value)


class _PlanSchema(Schema):
    error_messages = {  # noqa: RUF012 - marshmallow's own way
        "unknown": "There is no such part: a file has `mapping` and `share`.",
        "type": "A file has two parts, `mapping` and `share`.",
    }

    class Meta:
        unknown = RAISE

    mapping = _Rules(
        required=True, error_messages={"required": "This part is missing.", "null": "This must be a list of rules."}
    )
    share = fields.List(
        fields.String(validate=validate.OneOf(SHAREABLE, error=_SHAREABLE), error_messages={"invalid": _SHAREABLE}),
        required=True,
        error_messages={
            "required": "This part is missing.",
            "invalid": "This must be a list.",
            "null": "This must be a list.",
        },
    )


def plan_of(connection: Connection) -> Plan:
    """What a connection writes now."""
    kept = connection.mapping
    return Plan(default_rules(connector_class(connection.kind)) if kept is None else kept, list(connection.share))


def default_plan(kind: str) -> Plan:
    """What a new connection of this kind writes."""
    return Plan(default_rules(connector_class(kind)), list(DEFAULT_SHARE))


def load_plan(given: object) -> Plan:
    """Understand what came from a file or a form. Raises PlanError."""
    try:
        data = _PlanSchema().load(given)  # type: ignore[arg-type]  # whatever it is, the schema says so
        return Plan(data["mapping"], list(dict.fromkeys(data["share"])))
    except ValidationError as error:
        raise PlanError(list(_sentences(error.messages, given))) from None


def describe(rule: Rule) -> str:
    """A rule in words: `Phone → phone_number, only when empty`."""
    ours = f"“{rule['value']}”" if "value" in rule else label_of(rule["from"])
    parts = [f"{ours} → {rule['to']}", WRITES_IN_WORDS[rule.get("write", "when_empty")]]
    if values := rule.get("values"):
        parts.append("with " + ", ".join(f"{mine} = {theirs}" for mine, theirs in values.items()))
    if rule.get("otherwise"):
        parts.append(f"“{rule['otherwise']}” when nothing was given")
    return ", ".join(parts)


def changes(before: Plan, after: Plan) -> list[str]:
    """What is different between two plans, in words. There is nothing personal in it."""
    were, are = ({rule["to"]: describe(rule) for rule in plan.rules} for plan in (before, after))
    lines = [f"Changed: {were[to]}. Now: {are[to]}." for to in were if to in are and were[to] != are[to]]
    lines += [f"New: {are[to]}." for to in are if to not in were]
    lines += [f"Gone: {were[to]}." for to in were if to not in are]
    lines += [f"Activities tell: {label_of(name)}." for name in after.share if name not in before.share]
    return lines + [f"Activities no longer tell: {label_of(name)}." for name in before.share if name not in after.share]


def _sentences(messages: Any, given: object) -> Iterator[str]:
    """marshmallow's messages, each with the place it is about."""
    for place, found in messages.items():
        if place == "_schema":
            yield from found
        elif place == "mapping" and isinstance(found, Mapping):
            yield from _sentences(found, given)
        elif isinstance(place, int):
            yield from (f"Rule {place + 1}{_named(given, place)}{text}" for text in _inside(found))
        elif place == "share":
            yield from (f"share: {text}" for text in dict.fromkeys(_texts(found)))
        else:
            yield from (f"{place}: {text}" for text in _texts(found))


def _named(given: object, place: int) -> str:
    """Which field of the CRM the rule writes, where that can be told."""
    rules = given.get("mapping") if isinstance(given, Mapping) else None
    rule = rules[place] if isinstance(rules, list) else None
    name = rule.get("to") if isinstance(rule, Mapping) else None
    return f" ({name[:60]})" if isinstance(name, str) and name.strip() else ""


def _inside(found: Any) -> Iterator[str]:
    """What is wrong with one rule."""
    for word, texts in found.items():
        place = _INPUTS.get(word, "" if word == "_schema" else str(word)[:60])
        yield from (f", {place}: {text}" if place else f": {text}" for text in dict.fromkeys(_texts(texts)))


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, Mapping):
        for inner in found.values():
            yield from _texts(inner)
    else:
        yield from map(str, found)
