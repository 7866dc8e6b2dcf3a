"""How a person's details are written: the same rules for a visitor's form and for staff who correct it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import phonenumbers
from email_validator import EmailNotValidError, ValidatedEmail, validate_email
from marshmallow import Schema, ValidationError, fields, validates_schema

_LONGEST = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
# RFC 5322's dot-atom, of at most 64 characters (RFC 5321, section 4.5.3.1.1): nothing about it is to be made usual.
_PLAIN_LOCAL_PART = re.compile(r"(?=.{1,64}$)[a-z0-9_+-]+(\.[a-z0-9_+-]+)*", re.IGNORECASE | re.ASCII)


class LooseString(fields.Field[str]):
    """Text as people and plugins send it: trimmed, a number is fine, empty is missing."""

    def __init__(self, limit: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = limit

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValidationError("This must be text.")
        text = str(value).strip()
        if len(text) > self.limit:
            raise ValidationError(f"Please keep this under {self.limit} characters.")
        return text


def text_field(limit: int, help_text: str) -> LooseString:
    """A text of at most `limit` characters. help_text: for the description of the API."""
    return LooseString(limit, metadata={"description": help_text})


class PersonSchema(Schema):
    """Who somebody is and how to reach them. An e-mail or a phone number is needed.

    region: two letters; numbers typed without a country code are read as of this country.
    """

    def __init__(self, region: str = "US", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.region = region

    first_name = text_field(100, "First name.")
    last_name = text_field(100, "Last name.")
    email = text_field(254, "E-mail address.")
    phone = text_field(60, "Phone number, as typed.")

    @validates_schema(skip_on_field_errors=True)
    def _needs_contact(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if not data.get("email") and not data.get("phone"):
            raise ValidationError("Please give an e-mail address or a phone number.", "email")


def understand_person(data: dict[str, Any], region: str) -> dict[str, Any]:
    """E-mail and phone in the form that machines compare, and the phone as typed beside it. Raises ValidationError."""
    mistakes = {}
    if data.get("email"):
        try:
            data["email"] = address(data["email"])
        except EmailNotValidError:
            mistakes["email"] = ["Please check the e-mail address: it should look like name@example.com."]
    if data.get("phone"):
        data["phone_typed"] = data["phone"]
        try:
            data["phone"] = e164(data["phone"], region)
        except ValueError:
            mistakes["phone"] = ["Please check the phone number, and give it with its area code."]
    if mistakes:
        raise ValidationError(mistakes)
    return data


def address(typed: str) -> str:
    """An e-mail address in its usual form. Raises EmailNotValidError."""
    local, _, domain = typed.rpartition("@")
    if _PLAIN_LOCAL_PART.fullmatch(local) and len(typed) <= _LONGEST:
        return f"{local}@{_domain(domain)}"
    return _validated(typed).normalized


@lru_cache(4096)
def _domain(name: str) -> str:
    """Few domains stand behind most addresses, and to check one takes longer than all else that is done to a form."""
    return _validated(f"a@{name}").domain


def _validated(typed: str) -> ValidatedEmail:
    return validate_email(typed, check_deliverability=False, test_environment=True)


def e164(typed: str, region: str) -> str:
    """The international form of a typed number. Raises ValueError when it cannot be a whole number."""
    try:
        number = phonenumbers.parse(typed, region)
    except phonenumbers.NumberParseException:
        number = None
    # A number that only works within its area is "possible" too, but nobody can call it from elsewhere.
    whole = phonenumbers.ValidationResult.IS_POSSIBLE
    if number is None or phonenumbers.is_possible_number_with_reason(number) != whole:
        # People write "call 201 555 0123 after five": find the number in the text.
        match = next(iter(phonenumbers.PhoneNumberMatcher(typed, region)), None)
        if match is None:
            raise ValueError("no phone number")
        number = match.number
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
