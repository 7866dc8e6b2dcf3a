"""Which of our fields goes into which field of the CRM, and when: rules that a person may change, never code.

A rule is a plain dictionary, as it is stored and as it stands in a YAML file:
`to`: the CRM's field. `from`: one of SOURCES, or `value`: the same text always. `write`: `when_empty` (the default:
what staff changed in the CRM stays), `always`, or `never` (kept, but off). `values`: our text → what the CRM calls it.
`otherwise`: what is written when the visitor gave nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from integrations.core.base import Connector

Rule = Mapping[str, Any]
WRITES = ("when_empty", "always", "never")
SOURCES = {
    "first_name": "First name",
    "last_name": "Last name",
    "full_name": "Full name",
    "email": "E-mail",
    "phone": "Phone",
    "reference": "Reference code",
    "site": "Website",
    "source": "Where it came from (form, call click, plugin)",
    "service": "Service asked for",
    "preferred_time": "Preferred time",
    "preferred_contact": "Preferred way of contact",
    "consent": "Consent",
    "page": "Page (may tell of a treatment)",
    "message": "Message (health data)",
}
HEALTH = ("message", "page")  # minimum necessary: never in a mapping that nobody chose


class RuleSchema(Schema):
    """One rule."""

    class Meta:
        unknown = RAISE

    to = fields.String(required=True, validate=validate.Length(1, 200))
    source = fields.String(data_key="from", validate=validate.OneOf(sorted(SOURCES)))
    value = fields.String(validate=validate.Length(1, 500))
    write = fields.String(load_default="when_empty", validate=validate.OneOf(WRITES))
    values = fields.Dict(keys=fields.String(), values=fields.String(validate=validate.Length(max=500)))
    otherwise = fields.String(validate=validate.Length(max=500))

    @validates_schema
    def _has_one_source(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if ("source" in data) == ("value" in data):
            raise ValidationError("Give either `from` or `value`.", "from")


def default_rules(connector: type[Connector]) -> list[dict[str, Any]]:
    """The mapping that a new connection starts with."""
    rules: list[dict[str, Any]] = [
        {"to": theirs, "from": ours, "write": "when_empty"} for ours, theirs in connector.fields.items()
    ]
    for rule in rules:
        if rule["to"] in connector.fallbacks:
            rule["otherwise"] = connector.fallbacks[rule["to"]]
    return rules + [{"to": name, "value": text, "write": "when_empty"} for name, text in connector.constants.items()]


def load_rules(given: object) -> list[dict[str, Any]]:
    """Validate rules from a file or a form. Raises ValidationError: place → sentences."""
    rules = RuleSchema(many=True).load(given)  # type: ignore[arg-type]  # whatever it is, the schema says so
    names = [rule["to"] for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValidationError({"to": [f"{name} is written by two rules." for name in twice]})
    dumped: list[dict[str, Any]] = RuleSchema(many=True).dump(rules)
    return dumped


def apply(rules: Iterable[Rule], facts: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The CRM's field → value: what is written always, and what is written only where the CRM has nothing."""
    parts: dict[str, dict[str, str]] = {"always": {}, "when_empty": {}, "never": {}}
    for rule in rules:
        if text := _value(rule, facts):
            parts[rule.get("write", "when_empty")][rule["to"]] = text
    return parts["always"], parts["when_empty"]


def mapped(rules: Sequence[Rule]) -> set[str]:
    """Our fields that some rule writes."""
    return {rule["from"] for rule in rules if "from" in rule and rule.get("write") != "never"}


def _value(rule: Rule, facts: Mapping[str, Any]) -> str:
    if "value" in rule:
        return str(rule["value"])
    ours = str(facts.get(rule["from"]) or "")
    return str(rule.get("values", {}).get(ours, ours) or rule.get("otherwise", ""))
