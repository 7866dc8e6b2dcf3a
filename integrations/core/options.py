"""The options that most CRMs have, in one line each. label, hint: what the form on the desk and the prompts show."""

from __future__ import annotations

from datetime import date
from typing import Any

from marshmallow import ValidationError, fields


def line(label: str, hint: str, **more: Any) -> fields.String:
    """A line of text. more: as marshmallow takes it, such as `required`, `load_default`, `validate`."""
    return fields.String(metadata={"label": label, "help": hint}, **more)


def secret(label: str, hint: str, **more: Any) -> fields.String:
    """A line that is encrypted and never shown again."""
    return fields.String(metadata={"label": label, "help": hint, "secret": True}, **more)


def address(label: str, hint: str, **more: Any) -> fields.Url:
    """A server, also one in a network of one's own. Without TLS `Http` only calls those that the settings allow."""
    return fields.Url(schemes={"http", "https"}, require_tld=False, metadata={"label": label, "help": hint}, **more)


def day(label: str, hint: str) -> fields.String:
    """A day, as text: `2027-10-31`."""
    return line(label, hint, validate=_is_day)


def _is_day(value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValidationError("Write it like 2027-10-31.") from None


def api_address(usual: str) -> fields.Url:
    """Where the interface of a CRM is that has one address for everybody; tests have it elsewhere."""
    return address("API address", "Leave as it is.", load_default=usual)


def needs_key_or_app(given: dict[str, Any], name: str, sentence: str) -> None:
    """Raise ValidationError where there is neither a key nor an app to sign in by. name: the option for the key."""
    if not given.get(name) and not (given.get("client_id") and given.get("client_secret")):
        raise ValidationError(sentence, name)
