"""Setting up a connection to HighLevel: its options, how it signs in, and the field that holds our lead's id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from integrations._gohighlevel import (
    BY_HAND,
    KEY,
    NAME,
    SCOPES,
    is_good,
    remote_field,
    standard_fields,
    verdict,
    with_id,
)
from integrations._gohighlevel_api import Api
from integrations.core import options
from integrations.core.base import Finding, Options, RemoteField
from integrations.core.oauth import OAuth

SIGN_IN = "https://marketplace.gohighlevel.com/oauth/chooselocation"
_AGENCY = "This sign-in is for an agency. Sign in again and choose the clinic's sub-account."
_is_id = validate.Regexp(r"[A-Za-z0-9_-]{5,60}\Z", error="must be letters and digits")


class GohighlevelOptions(Options):
    key = options.secret(
        "Private Integration token",
        "In the clinic's sub-account: Settings, Private Integrations. Begins with pit-. "
        f"Scopes: {', '.join(SCOPES)}. Leave it empty to sign in instead.",
    )
    location_id = options.line("Location ID", "Settings, Business Profile. Needed with a token.", validate=_is_id)
    client_id = options.line("Client ID", "Of your own marketplace app, to sign in.")
    client_secret = options.secret("Client secret", "Of the same app.")
    pages = fields.Url(
        load_default="https://app.gohighlevel.com",
        schemes={"https"},
        metadata={"label": "Address of HighLevel's pages", "help": "Your agency's own, if it has one."},
    )
    api = options.api_address("https://services.leadconnectorhq.com")

    @validates_schema
    def _has_a_way_in(self, data: dict[str, Any], **_: Any) -> None:
        options.needs_key_or_app(data, "key", "Enter a token, or the client ID and secret of your app.")
        if data.get("key") and not data.get("location_id"):
            raise ValidationError("A token needs the location ID beside it.", "location_id")


def sign_in(settings: Mapping[str, Any]) -> OAuth | None:
    """With a token there is nothing to sign in to. A refresh token is good for one use or one year."""
    if settings.get("key"):
        return None
    return OAuth(
        token_url=f"{settings['api']}/oauth/token",
        authorize_url=SIGN_IN,
        scopes=SCOPES,
        pkce=False,  # it refuses a form with a field that it does not know
        token_extra={"user_type": "Location"},
        keep=("locationId",),
        refresh_days=365,
    )


def location(settings: Mapping[str, Any]) -> str:
    """The id of the sub-account, as the sign-in or a person told it; "" for an agency."""
    signed_in: Mapping[str, str] = settings.get("token", {})
    return str(signed_in.get("locationId") or settings.get("location_id") or "")


def check(api: Api) -> list[Finding]:
    """Whether the token works for this sub-account and our field is there."""
    if not api.location:
        return [Finding(False, _AGENCY)]
    if not api.has_key():
        return [Finding(False, f"HighLevel has no contact field {KEY}. {BY_HAND}")]
    api.search([], 1)
    return [Finding(True, "HighLevel accepts the token and has all that is needed.")]


def prepare(api: Api) -> list[Finding]:
    """Create the field, unless it is there."""
    if not api.location or api.has_key():
        return []
    wanted = {"name": NAME, "dataType": "TEXT", "model": "contact"}
    answer = api.call("POST", f"/locations/{api.location}/customFields", wanted)
    if not is_good(answer):
        return [Finding(False, f"{verdict(answer).sentence} {BY_HAND}")]
    with_id(answer, "customField")
    return [Finding(True, f"Created the contact field “{NAME}” in HighLevel.")]


def remote_fields(api: Api) -> list[RemoteField]:
    """The standard ones, and the sub-account's own that a text can be written to."""
    own = [remote_field(row) for row in api.fields() if row.get("fieldKey") != KEY]
    return standard_fields() + [one for one in own if one]
