"""What a valid consultation request and a valid call click are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from marshmallow import INCLUDE, Schema, ValidationError, fields, post_load, pre_load, validate, validates_schema

from leads.intake.decode import MAX_TEXT

MAX_ID = 100  # characters of an id that the browser made
ATTRIBUTION = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "referrer", "landing")


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


class PageAddress(LooseString):
    """An address without what follows its path, which can name a patient or an illness; cut, never refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        return path_only(_as_text(value))[: self.limit]


def path_only(address: str) -> str:
    """The address without query and fragment."""
    return address.strip().split("?", 1)[0].split("#", 1)[0]


def _text(limit: int, help_text: str) -> LooseString:
    return LooseString(limit, metadata={"description": help_text})


def _identifier(help_text: str, *, required: bool) -> fields.String:
    length = validate.Length(1, MAX_ID, error=f"Please send 1 to {MAX_ID} characters.")
    return fields.String(required=required, validate=length, metadata={"description": help_text})


class _Intake(Schema):
    class Meta:
        unknown = INCLUDE

    site = _identifier("Public key of the site.", required=True)
    id = _identifier("Made by the browser once per submit, the same on every retry: it counts once.", required=True)
    visitor_id = _identifier("The browser's own visitor id; joins call clicks with a later form.", required=False)
    page = PageAddress(2000, metadata={"description": "Address of the page; query and fragment are dropped."})

    @pre_load
    def _drop_empty(self, data: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value is not None and value != ""}

    @post_load
    def _tidy(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        extra = {name: data.pop(name) for name in list(data) if name not in self.fields}
        if extra:
            data["extra"] = {name: _as_text(value) for name, value in extra.items()}
        return self._understand(data)

    def _understand(self, data: dict[str, Any]) -> dict[str, Any]:
        """Read more out of the fields. No hook of its own: marshmallow runs those by name, and this comes last."""
        return data


def _as_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:MAX_TEXT]


class ConsultationSchema(_Intake):
    """A visitor asks to be contacted. An e-mail or a phone number is needed.

    region: two letters; numbers typed without a country code are read as of this country.
    """

    def __init__(self, region: str = "US", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.region = region

    first_name = _text(100, "First name.")
    last_name = _text(100, "Last name.")
    email = _text(254, "E-mail address.")
    phone = _text(60, "Phone number, as typed.")
    preferred_time = _text(200, "When the visitor likes to be called.")
    preferred_contact = _text(60, "How the visitor likes to be contacted.")
    service = _text(200, "The treatment asked for.")
    message = _text(MAX_TEXT, "Free text. It goes to a CRM only where a connection maps it.")
    consent = fields.Boolean(
        load_default=False, metadata={"description": "Whether the visitor agreed to the site's consent wording."}
    )
    attribution = fields.Dict(
        keys=fields.String(),
        values=fields.Raw(allow_none=True),
        metadata={"description": "Of " + ", ".join(ATTRIBUTION) + "."},
    )

    @validates_schema(skip_on_field_errors=True)
    def _needs_contact(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if not data.get("email") and not data.get("phone"):
            raise ValidationError("Please give an e-mail address or a phone number.", "email")

    def _understand(self, data: dict[str, Any]) -> dict[str, Any]:
        mistakes = {}
        if data.get("email"):
            try:
                data["email"] = validate_email(
                    data["email"], check_deliverability=False, test_environment=True
                ).normalized
            except EmailNotValidError:
                mistakes["email"] = ["Please check the e-mail address: it should look like name@example.com."]
        if data.get("phone"):
            data["phone_typed"] = data["phone"]
            try:
                data["phone"] = e164(data["phone"], self.region)
            except ValueError:
                mistakes["phone"] = ["Please check the phone number, and give it with its area code."]
        if mistakes:
            raise ValidationError(mistakes)
        if "attribution" in data:
            given = data["attribution"]
            data["attribution"] = {
                name: path_only(_as_text(given[name]))[:200] for name in ATTRIBUTION if given.get(name)
            }
        return data


class CallClickSchema(_Intake):
    """A visitor tapped a phone link."""

    tel = _text(60, "The number that was tapped.")
    label = _text(100, "The text of the link.")


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
