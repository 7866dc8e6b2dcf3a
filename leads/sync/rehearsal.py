"""What a plan would do with enquiries that are stored, without sending anything: what differs, and the requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from integrations.core.base import Connector, Draft, Item
from leads.store.vault import Vault, VaultError
from leads.sync.item import Enquiry, translate
from leads.sync.mapping import Rule, label_of
from leads.sync.plan import WRITES_IN_WORDS, Plan

_NOT_PERSONAL = ("reference", "site", "source", "consent")
_HIDDEN = "‹hidden›"
NOTHING = "nothing"


class Line(NamedTuple):
    """One field that would get something else."""

    field: str
    before: str
    after: str


class Difference(NamedTuple):
    """One enquiry, and what would differ of it."""

    enquiry: Enquiry
    lines: list[Line]


def differences(
    vault: Vault, before: Plan, after: Plan, enquiries: Iterable[Enquiry], *, reveal: bool = False
) -> list[Difference]:
    """What would differ for each of these, field by field. What cannot be read any more is left out."""
    found = []
    for enquiry in enquiries:
        try:
            was, now = (_entries(translate(vault, plan, enquiry), plan) for plan in (before, after))
        except VaultError:
            continue
        found.append(Difference(enquiry, list(_lines(was, now, reveal))))
    return found


def dry_run(vault: Vault, plan: Plan, connector: Connector, enquiry: Enquiry, *, reveal: bool = False) -> list[Draft]:
    """The requests for this enquiry, as if the CRM did not know the person yet.

    Raises VaultError when it cannot be read, and DeliveryError when the connection has to sign in first.
    """
    item = replace(translate(vault, plan, enquiry).in_full(), remote_id=None)
    return connector.draft(item) if reveal else masked_drafts(connector, item, plan)


def masked_drafts(connector: Connector, item: Item, plan: Plan) -> list[Draft]:
    """The requests for an item with everything personal masked."""
    try:
        return connector.draft(masked(item, plan))
    except Exception:  # noqa: BLE001 - a connector may take a phone number apart, and a mask is none
        return [Draft(one.method, _host(one.url), _hide(one.body)) for one in connector.draft(item)]


def masked(item: Item, plan: Plan) -> Item:
    """With `‹First name›` for the first name, and so on. What tells nothing of the person is left."""
    rules = {rule["to"]: rule for rule in plan.rules}
    record, fill = ({to: _masked(text, rules[to]) for to, text in part.items()} for part in (item.record, item.fill))
    activity = {name: text if name in _NOT_PERSONAL else _label(name) for name, text in item.activity.items()}
    return replace(item, record=record, fill=fill, activity=activity)


class _Entry(NamedTuple):
    """What stands in one place. how: when it is written. mask: what is shown instead of the text."""

    text: str
    how: str
    mask: str

    def shown(self, reveal: bool) -> str:
        return ", ".join(filter(None, (self.text if reveal else self.mask, self.how)))


def _entries(item: Item, plan: Plan) -> dict[str, _Entry]:
    hidden, found = masked(item, plan), dict[str, _Entry]()
    for how, part, mask in (("always", item.record, hidden.record), ("when_empty", item.fill, hidden.fill)):
        found |= {name: _Entry(text, WRITES_IN_WORDS[how], mask[name]) for name, text in part.items()}
    for name, text in item.activity.items():
        found[f"Activity: {_plain(name)}"] = _Entry(text, "", hidden.activity[name])
    return found


def _lines(was: Mapping[str, _Entry], now: Mapping[str, _Entry], reveal: bool) -> Iterable[Line]:
    for name in {**was, **now}:
        before, after = was.get(name), now.get(name)
        if (before and before[:2]) != (after and after[:2]):
            shown = (entry.shown(reveal) if entry else NOTHING for entry in (before, after))
            yield Line(name, *shown)


def _masked(text: str, rule: Rule) -> str:
    known = "value" in rule or rule["from"] in _NOT_PERSONAL or text == rule.get("otherwise")
    return text if known else _label(rule["from"], "in their words" if rule.get("values") else "")


def _label(name: str, more: str = "") -> str:
    return f"‹{', '.join(filter(None, (_plain(name), more)))}›"


def _plain(name: str) -> str:
    """Our field in a few words."""
    given = name.removesuffix("_given")
    return label_of(given) if name == given else f"{label_of(given)} this time"


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _hide(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(inner) for inner in value]
    return value if value is None or isinstance(value, bool) else _HIDDEN


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{_HIDDEN}"
