"""Which of our fields goes into which field of the CRM, and when: rules that a person may change, never code.

A rule is a plain dictionary, as it is stored and as it stands in a YAML file:
`to`: the CRM's field. `from`: one of SOURCES, or `extra.` and a question of the clinic's own; or `value`: the same text
always. `write`: `when_empty` (the default: what staff changed in the CRM stays), `always`, or `never` (kept, but off).
`values`: our text → what the CRM calls it.
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
    "phone_typed": "Phone, as typed",
    "reference": "Reference code",
    "site": "Website",
    "source": "Where it came from (form, website, call click, or the form plugin’s name)",
    "service": "Service asked for",
    "preferred_time": "Preferred time",
    "preferred_contact": "Preferred way of contact",
    "consent": "Consent",
    "utm_source": "Campaign: source (utm_source)",
    "utm_medium": "Campaign: medium (utm_medium)",
    "utm_campaign": "Campaign: name (utm_campaign)",
    "utm_term": "Campaign: words searched for (utm_term, may tell of a treatment)",
    "utm_content": "Campaign: advertisement (utm_content)",
    "referrer": "Website that led here (referrer)",
    "landing": "Page where they arrived (may tell of a treatment)",
    "first_utm_source": "First campaign: source (first_utm_source)",
    "first_utm_medium": "First campaign: medium (first_utm_medium)",
    "first_utm_campaign": "First campaign: name (first_utm_campaign)",
    "first_utm_term": "First campaign: words searched for (first_utm_term, may tell of a treatment)",
    "first_utm_content": "First campaign: advertisement (first_utm_content)",
    "first_referrer": "Website that led here first (first_referrer)",
    "first_landing": "Page where the visit began (may tell of a treatment)",
    "page": "Page (may tell of a treatment)",
    "message": "Message (health data)",
}
OWN = "extra."  # before the name of a question of the clinic's own, as its form calls it
# Minimum necessary: never in a mapping that nobody chose.
HEALTH = ("message", "page", "landing", "utm_term", "first_landing", "first_utm_term")

_NO_TEXT: dict[str, Any] = {"invalid": "This must be text; put yes, no and numbers in quotes."}
_NO_FIELD = "Say which field of the CRM it is, in at most 200 characters."
_LONGEST_NAME = 300
_TOO_LONG = "Keep this under 500 characters."
_ONE_LINE = validate.Regexp(
    r"[^\x00-\x1f\x7f-\x9f]*\Z", error="Write it in one line, without characters that cannot be seen."
)


def _text(*checks: Any, **more: Any) -> fields.String:
    return fields.String(validate=[*checks, _ONE_LINE], error_messages=_NO_TEXT, **more)


def label_of(ours: str) -> str:
    """What a field of ours is called, in a few words."""
    if ours.startswith(OWN):
        return f"Own question “{ours.removeprefix(OWN)}”"
    return SOURCES.get(ours, ours).partition(" (")[0]


def is_health(ours: str) -> bool:
    """Whether it can tell of an illness, so that it goes to a CRM only where the clinic has decided so. What a clinic's
    own questions ask nobody here knows."""
    return ours in HEALTH or ours.startswith(OWN)


def own_answers(answers: Mapping[str, Any]) -> dict[str, str]:
    """The answers to a clinic's own questions, by the names that rules have for them."""
    return {f"{OWN}{name}": str(text) for name, text in answers.get("extra", {}).items()}


def touches(attribution: Mapping[str, str]) -> dict[str, str]:
    """What led to the website last and first. What alone is known of was the first as well."""
    if any(name.startswith("first_") for name in attribution):
        return dict(attribution)
    return {**attribution, **{f"first_{name}": text for name, text in attribution.items()}}


def _is_source(ours: str) -> None:
    own = ours.removeprefix(OWN) if ours.startswith(OWN) else ""
    if ours not in SOURCES and not 1 <= len(own.strip()) <= _LONGEST_NAME:
        raise ValidationError(
            f"We have no such field. We have: {', '.join(SOURCES)}; and {OWN}NAME for a question of the clinic's own."
        )


class RuleSchema(Schema):
    """One rule."""

    error_messages = {"unknown": "There is no such word in a rule.", "type": "Each rule is a list of words."}  # noqa: RUF012 - marshmallow's own way

    class Meta:
        unknown = RAISE

    to = fields.String(
        required=True,
        validate=[validate.Length(1, 200, error=_NO_FIELD), _ONE_LINE],
        error_messages={**_NO_TEXT, "required": _NO_FIELD},
    )
    source = _text(_is_source, data_key="from")
    value = _text(validate.Length(1, 500, error="Give the text that it always gets, in at most 500 characters."))
    write = _text(validate.OneOf(WRITES, error="Choose when_empty, always or never."), load_default="when_empty")
    words = fields.Dict(  # a field called `values` would be dumped as the method of the dictionary
        data_key="values",
        keys=_text(),
        values=_text(validate.Length(max=500, error=_TOO_LONG)),
        error_messages={"invalid": "Give one line for each of our texts, with theirs."},
    )
    otherwise = _text(validate.Length(max=500, error=_TOO_LONG))

    @validates_schema
    def _has_one_source(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if ("source" in data) == ("value" in data):
            raise ValidationError("Give either a field of ours or a text that is always the same.", "from")


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
    if not isinstance(given, list):
        raise ValidationError({"mapping": ["This must be a list of rules."]})
    rules = RuleSchema(many=True).load(given)
    names = [rule["to"] for rule in rules]
    if again := [place for place, name in enumerate(names) if name in names[:place]]:
        raise ValidationError({place: {"to": ["An earlier rule writes it already."]} for place in again})
    dumped: list[dict[str, Any]] = RuleSchema(many=True).dump(rules)
    return dumped


def apply(rules: Iterable[Rule], facts: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The CRM's field → value: what is written always, and what is written only where the CRM has nothing."""
    parts: dict[str, dict[str, str]] = {"always": {}, "when_empty": {}, "never": {}}
    for rule in rules:
        if text := _value(rule, facts):
            parts[rule.get("write", "when_empty")][rule["to"]] = text
    return parts["always"], parts["when_empty"]


def stopgaps(rules: Iterable[Rule], caller: Mapping[str, Any]) -> dict[str, set[str]]:
    """The CRM's field → what stands there until somebody is known: the name of a caller, or what is written when the
    visitor gave nothing. caller: our field → its text for a caller."""
    found = {
        rule["to"]: {_value(rule, caller), str(rule.get("otherwise", ""))} - {""} for rule in rules if "from" in rule
    }
    return {name: texts for name, texts in found.items() if texts}


def mapped(rules: Sequence[Rule]) -> set[str]:
    """Our fields that some rule writes."""
    return {rule["from"] for rule in rules if "from" in rule and rule.get("write") != "never"}


def _value(rule: Rule, facts: Mapping[str, Any]) -> str:
    if "value" in rule:
        return str(rule["value"])
    ours = str(facts.get(rule["from"]) or "")
    return str(rule.get("values", {}).get(ours, ours) or rule.get("otherwise", ""))
