"""Does a plan suit the CRM? Compared with the fields that the CRM itself says it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from integrations.core.base import Connector, Finding, RemoteField
from integrations.core.errors import DeliveryError
from leads.sync.calls import log_bug
from leads.sync.mapping import HEALTH, Rule, is_health, label_of
from leads.sync.plan import Plan

_ALWAYS_GIVEN = ("reference", "site", "source")


class Asked(NamedTuple):
    """The CRM's fields; and where there are none, why."""

    fields: list[RemoteField]
    finding: Finding | None = None


def ask_fields(connector: Connector | None) -> Asked:
    """Ask the CRM which fields it has. It never raises: a mapping can be written without the list too."""
    try:
        found = connector.remote_fields() if connector else []
    except DeliveryError as error:
        return Asked([], Finding(False, f"The CRM could not be asked for its fields: {error.sentence}"))
    except Exception as error:  # noqa: BLE001 - an answer in a shape that nobody thought of
        log_bug(error)
        return Asked([], Finding(False, "The CRM's list of fields could not be read."))
    return Asked(found, None if found else Finding(True, "This CRM does not tell its fields: nothing was compared."))


def examine(plan: Plan, asked: Asked) -> list[Finding]:
    """What the CRM will not take; or that it will take all."""
    if asked.finding:
        return [asked.finding]
    wrong = [Finding(False, sentence) for sentence in _wrong(plan.rules, {one.name: one for one in asked.fields})]
    return wrong or [Finding(True, "The CRM has all these fields, and takes what is written into them.")]


def health_data(plan: Plan) -> list[str]:
    """What of a patient's own words goes into the CRM by this plan."""
    rules = [f"{label_of(rule['from'])} into the field {rule['to']}" for rule in plan.rules if _writes_health(rule)]
    return rules + [f"{label_of(name)} into the activities" for name in HEALTH if name in plan.share]


def _writes_health(rule: Rule) -> bool:
    return is_health(rule.get("from", "")) and rule.get("write") != "never"


def _wrong(rules: Sequence[Rule], fields: Mapping[str, RemoteField]) -> Iterator[str]:
    active = {rule["to"]: (place, rule) for place, rule in enumerate(rules, 1) if rule.get("write") != "never"}
    for name, (place, rule) in active.items():
        if name in fields:
            yield from _unsuitable(f"Rule {place}", rule, fields[name])
        else:
            yield f"Rule {place}: the CRM has no field “{name}”."
    for field in fields.values():
        if field.required and field.name not in active:
            yield f"The CRM requires “{field.label}” ({field.name}), and no rule writes it."


def _unsuitable(place: str, rule: Rule, field: RemoteField) -> Iterator[str]:
    if field.choices:
        yield from _not_to_choose(place, rule, field)
    if field.required and not _never_empty(rule):
        yield f"{place}: the CRM requires “{field.label}”. Say what is written when nothing was given."


def _not_to_choose(place: str, rule: Rule, field: RemoteField) -> Iterator[str]:
    texts = [rule.get("value"), *rule.get("values", {}).values(), rule.get("otherwise")]
    strange = [text for text in texts if text and text not in field.choices]
    takes = f"“{field.label}” takes only: {', '.join(field.choices)}."
    if strange:
        yield f"{place}: {', '.join(f'“{text}”' for text in strange)} cannot be chosen. {takes}"
    elif "from" in rule and not rule.get("values"):
        yield f"{place}: say which of their words stands for each of ours. {takes}"


def _never_empty(rule: Rule) -> bool:
    return bool("value" in rule or rule.get("otherwise") or rule["from"] in _ALWAYS_GIVEN)
