"""The form of a mapping: rules as rows of inputs, and what was typed as a plan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from werkzeug.datastructures import MultiDict

from integrations.core.base import RemoteField
from leads.sync.mapping import Rule
from leads.sync.plan import Plan, PlanError, load_plan

_RULE = re.compile(r"to-([0-9]{1,4})")
SAME_TEXT = "same-text"  # in the place of one of our fields: a text that is always the same


class Row(NamedTuple):
    """One rule, as its inputs hold it. values: one `ours = theirs` a line."""

    to: str = ""
    source: str = ""
    value: str = ""
    write: str = "when_empty"
    values: str = ""
    otherwise: str = ""


def rows_of(rules: Sequence[Rule]) -> list[Row]:
    """Rules as they stand in the form."""
    return [
        Row(
            rule["to"],
            rule.get("from", SAME_TEXT),
            rule.get("value", ""),
            rule.get("write", "when_empty"),
            "\n".join(f"{ours} = {theirs}" for ours, theirs in rule.get("values", {}).items()),
            rule.get("otherwise", ""),
        )
        for rule in rules
    ]


def typed_rows(form: Mapping[str, str]) -> list[Row]:
    """What stands in the sent form."""
    numbers = sorted(int(found[1]) for name in form if (found := _RULE.fullmatch(name)))
    return [Row(*(form.get(f"{name}-{number}", "").strip() for name in Row._fields)) for number in numbers]


def plan_in(form: MultiDict[str, str]) -> Plan:
    """The plan that was typed. Raises PlanError."""
    rows = typed_rows(form)
    bad = [number for number, row in enumerate(rows, 1) if not all("=" in line for line in _lines(row))]
    if bad:
        raise PlanError([f"Rule {number}, their words for ours: write ours = theirs on each line." for number in bad])
    return load_plan({"mapping": [_rule(row) for row in rows], "share": form.getlist("share")})


def choices_of(fields: Sequence[RemoteField], chosen: str) -> list[tuple[str, str]]:
    """What can be chosen as the CRM's field, in the order of the alphabet; also what the CRM does not have, if it is
    chosen."""
    found = [(field.name, f"{field.label} ({field.name}, {field.type})") for field in fields]
    found.sort(key=lambda pair: pair[1].casefold())
    strange = chosen and chosen not in {name for name, _ in found}
    return ([(chosen, f"{chosen} (the CRM does not have it)")] if strange else []) + found


def _rule(row: Row) -> dict[str, Any]:
    """Without what was left empty, so that the rule looks as one written by hand."""
    rule: dict[str, Any] = {"to": row.to, "write": row.write}
    rule |= {"value": row.value} if row.source == SAME_TEXT else {"from": row.source}
    if row.source == SAME_TEXT:
        return rule
    if lines := _lines(row):
        pairs = (line.partition(" = " if " = " in line else "=") for line in lines)
        rule["values"] = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    return rule | ({"otherwise": row.otherwise} if row.otherwise else {})


def _lines(row: Row) -> list[str]:
    return [line for line in row.values.splitlines() if line.strip()]
