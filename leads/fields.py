"""How a person's details are asked for and written: the same for a visitor's form and for staff who correct it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import phonenumbers
from email_validator import EmailNotValidError, ValidatedEmail, validate_email
from marshmallow import Schema, ValidationError, fields, validates_schema

from leads.languages import Sentence

ASKED = {  # what the form asks, and how
    "first_name": "First name",
    "last_name": "Last name",
    "email": "E-mail",
    "phone": "Phone",
    "preferred_time": "When may we call you?",
    "message": "Your message",
}
MOST_CHOICES = 20  # of a list that is taken for one text
LONGEST_EMAIL = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
_NORTH_AMERICA = 1
_LETTER = re.compile(r"[^\W\d_]")
_BESIDE_A_NUMBER = re.compile(r"[^\d\s()+./–-]")
# RFC 5322's dot-atom, of at most 64 characters (RFC 5321, section 4.5.3.1.1): nothing about it is to be made usual.
_PLAIN_LOCAL_PART = re.compile(r"(?=.{1,64}$)[a-z0-9_+-]+(\.[a-z0-9_+-]+)*", re.IGNORECASE | re.ASCII)


class LooseString(fields.Field[str]):
    """Text as people and plugins send it: trimmed, a number or a short list is fine, empty is missing."""

    def __init__(self, limit: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = limit

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = as_typed(value)
        if len(text) > self.limit:
            raise ValidationError(Sentence("Please keep this under {limit} characters.", limit=self.limit))
        return text


def as_typed(value: Any) -> str:
    """The text that was sent; several choices in one line, as a form sends them. Raises ValidationError."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and len(value) <= MOST_CHOICES and all(isinstance(one, str) for one in value):
        return ", ".join(filter(None, map(str.strip, value)))
    raise ValidationError("This must be text.")


def text_field(limit: int, help_text: str) -> LooseString:
    """A text of at most `limit` characters. help_text: for the description of the API."""
    return LooseString(limit, metadata={"description": f"{help_text} At most {limit:,} characters."})


class EmailAddress(LooseString):
    """An e-mail address, in the form that machines compare."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        typed = super()._deserialize(value, attr, data, **kwargs)
        try:
            return address(typed) if typed else ""
        except EmailNotValidError:
            raise ValidationError("Please check the e-mail address: it should look like name@example.com.") from None


class PhoneNumber(LooseString):
    """A phone number in its international form, read as of the region of its PersonSchema."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        typed = super()._deserialize(value, attr, data, **kwargs)
        try:
            return e164(typed, cast(PersonSchema, self.parent).region) if typed else ""
        except ValueError:
            raise ValidationError("Please check the phone number, and give it with its area code.") from None


class PersonSchema(Schema):
    """Who somebody is and how to reach them. An e-mail or a phone number is needed.

    region: two letters; numbers typed without a country code are read as of this country.
    """

    def __init__(self, region: str = "US", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.region = region

    first_name = text_field(100, "First name.")
    last_name = text_field(100, "Last name.")
    email = EmailAddress(LONGEST_EMAIL, metadata={"description": "E-mail address."})
    phone = PhoneNumber(60, metadata={"description": "Phone number, as typed."})

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _needs_contact(self, data: Mapping[str, Any], sent: Mapping[str, Any], **kwargs: Any) -> None:
        # What was sent and is wrong is not in `data`, and is told by its own field.
        if all(data.get(name, sent.get(name)) in (None, "") for name in ("email", "phone")):
            raise ValidationError("Please give an e-mail address or a phone number.", "email")


def tells_more(typed: str) -> bool:
    """Whether more was typed than a phone number: an extension, or “after five”."""
    return _BESIDE_A_NUMBER.search(typed) is not None


def address(typed: str) -> str:
    """An e-mail address in its usual form. Raises EmailNotValidError."""
    local, _, domain = typed.rpartition("@")
    if _PLAIN_LOCAL_PART.fullmatch(local) and len(typed) <= LONGEST_EMAIL:
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
    ways = (_within, _whole) if _LETTER.search(typed) else (_whole, _within)
    number = next((found for read in ways if (found := read(typed, region)) is not None), None)
    if number is None:
        raise ValueError("no phone number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _within(typed: str, region: str) -> phonenumbers.PhoneNumber | None:
    """People write "call 201 555 0123 after five": the first number in the text. Read as a whole, its letters would be
    digits of the number."""
    match = next(iter(phonenumbers.PhoneNumberMatcher(typed, region)), None)
    return match.number if match is not None else None


def _whole(typed: str, region: str) -> phonenumbers.PhoneNumber | None:
    """All that was typed as one number. Letters are digits where people give numbers so: 1-800-FLOWERS."""
    try:
        number = phonenumbers.parse(typed, region)
    except phonenumbers.NumberParseException:
        return None
    # A number that only works within its area is "possible" too, but nobody can call it from elsewhere.
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    is_word = _LETTER.search(typed) is not None and number.extension is None
    return None if is_word and number.country_code != _NORTH_AMERICA else number
