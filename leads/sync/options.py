"""A connector's options as somebody typed them: validated by its own schema, and refused in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields

from integrations.core.base import Connector
from integrations.core.registry import UnknownKindError, connector_class

UNREADABLE = "What is stored of its settings cannot be used any more. An admin has to enter them again."
_PLAINER = {
    "Missing data for required field.": "Please fill this in.",
    "Not a valid URL.": "Write the whole address, such as https://crm.example.com.",
    "Not a valid number.": "Write a number.",
    "Not a valid integer.": "Write a whole number.",
    "Not a valid boolean.": "Write yes or no.",
    "Unknown field.": "There is no such option.",
}


class SetupError(ValueError):
    """A connection cannot be made like this. errors: `name`, `pace` or an option → sentences; the text is one."""

    def __init__(self, sentence: str, errors: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(sentence)
        self.errors = dict(errors or {})


def load_options(kind: str, typed: Mapping[str, Any]) -> dict[str, Any]:
    """Validate what was typed by the connector's own schema. Raises SetupError naming each option that is wrong."""
    schema = class_of(kind).options()
    given = {name: value for name, value in typed.items() if value not in ("", None)}
    try:
        options: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        messages = {
            name: [_PLAINER.get(text, str(text)) for text in texts] for name, texts in error.messages_dict.items()
        }
        told = " ".join(f"{_label(schema, name)}: {' '.join(texts)}" for name, texts in messages.items())
        raise SetupError(told, messages) from None
    return options


def seem_the_same(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both lead to one account, as far as they tell: by the CRM's own address, or by a key."""
    known = class_of(kind).options().fields.items()
    addresses = [name for name, field in known if isinstance(field, fields.Url) and field.required]
    keys = [name for name, field in known if field.metadata.get("secret")]
    same = {name for name in (*addresses, *keys) if one.get(name) and _bare(one[name]) == _bare(other.get(name))}
    return not same.isdisjoint(keys) or (bool(addresses) and same.issuperset(addresses))


def _bare(value: object) -> str:
    return str(value).strip().rstrip("/")


def needs_person(kind: str, options: Mapping[str, Any]) -> bool:
    """Whether somebody has to sign in at the CRM before it lets us in."""
    oauth = class_of(kind).oauth(options)
    return oauth is not None and oauth.by_person


def _label(schema: Any, name: str) -> str:
    field = schema.fields.get(name)
    return str(field.metadata.get("label", name)) if field else name


def class_of(kind: str) -> type[Connector]:
    """The connector of this kind. Raises SetupError."""
    try:
        return connector_class(kind)
    except UnknownKindError as error:
        raise SetupError(str(error)) from None
