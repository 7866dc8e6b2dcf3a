"""Forms that are drawn from a list of their inputs, as a connector's options schema gives one, and what was typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from marshmallow import fields, validate

from integrations.core.registry import connector_class


class Option(NamedTuple):
    """One input. value: what stands in it; always empty for a secret. choices: value → what people read. usual: whether
    it has a value when nobody gives one."""

    name: str
    label: str
    help: str
    type: str
    required: bool = False
    secret: bool = False
    choices: Mapping[str, str] = MappingProxyType({})
    value: Any = ""
    usual: bool = False


def draw(kind: str, values: Mapping[str, Any] | None = None) -> list[Option]:
    """The inputs of a kind of CRM, filled with `values`. A secret is never put into a page."""
    return [_option(name, field, values or {}) for name, field in connector_class(kind).options().fields.items()]


def _option(name: str, field: Any, values: Mapping[str, Any]) -> Option:
    told, secret = field.metadata, bool(field.metadata.get("secret"))
    choices = next((rule.options() for rule in field.validators if isinstance(rule, validate.OneOf)), [])
    default = field.load_default if isinstance(field.load_default, str | int | float) else ""
    return Option(
        name,
        told.get("label", name),
        told.get("help", ""),
        _type(field, secret),
        field.required,
        secret,
        {value: label or value for value, label in choices},
        "" if secret else values.get(name, default),
        default != "",
    )


def _type(field: Any, secret: bool) -> str:
    if field.metadata.get("lines"):
        return "lines"
    if secret:
        return "password"
    if isinstance(field, fields.Boolean):
        return "checkbox"
    if isinstance(field, fields.Url):
        return "url"
    return "number" if isinstance(field, fields.Number) else "text"


def typed(kind: str, form: Mapping[str, str]) -> dict[str, Any]:
    """What stands in the sent form for this kind's options. A box that is not ticked is not sent, and means no. None: a
    secret that is to be removed."""
    return typed_in(draw(kind), form)


def typed_in(options: Iterable[Option], form: Mapping[str, str]) -> dict[str, Any]:
    """As `typed`, for these inputs."""
    given: dict[str, Any] = {}
    for option in options:
        value = form.get(f"option-{option.name}", "").strip()
        given[option.name] = bool(value) if option.type == "checkbox" else value
        if option.secret and not value and form.get(f"remove-{option.name}"):
            given[option.name] = None
    return given
