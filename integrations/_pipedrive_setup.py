"""Setting up a connection to Pipedrive: its options, how it signs in, and the field that holds our lead's id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validate, validates_schema

from integrations._pipedrive import KEY_NAME, NO_KEY, STANDARD, field_of, is_open
from integrations._pipedrive_api import Api
from integrations.core import options
from integrations.core.base import Finding, Options, RemoteField
from integrations.core.oauth import OAuth

_NEEDS = {"token": ("api_token",), "oauth": ("client_id", "client_secret")}


class PipedriveOptions(Options):
    address = options.address("Address of your Pipedrive", "Such as https://clinic.pipedrive.com", required=True)
    sign_in = options.line(
        "Signs in by",
        "token: a user's own. oauth: a private app of yours.",
        load_default="token",
        validate=validate.OneOf(list(_NEEDS), ["the API token of a user", "OAuth, with a private app of yours"]),
    )
    api_token = options.secret("API token", "In Pipedrive: Personal preferences, API. For “token”.")
    client_id = options.line("Client ID", "From the Developer Hub. For “oauth”.")
    client_secret = options.secret("Client secret", "From the same page. For “oauth”.")
    activity_type = options.line(
        "Kind of activity", "Its key, as under Company settings, Activities.", load_default="call"
    )
    accounts = options.address("Sign-in address", "Leave as it is.", load_default="https://oauth.pipedrive.com")

    @validates_schema
    def _has_what_it_signs_in_with(self, given: Mapping[str, Any], **_: Any) -> None:
        if missing := [name for name in _NEEDS[given["sign_in"]] if not given.get(name)]:
            raise ValidationError({name: ["is needed to sign in like this."] for name in missing})


def sign_in(settings: Mapping[str, Any]) -> OAuth | None:
    """Scopes are ticked in the app, not asked for; PKCE is not in Pipedrive's documentation."""
    if settings.get("sign_in") != "oauth":
        return None
    home = str(settings["accounts"]).rstrip("/")
    return OAuth(
        token_url=f"{home}/oauth/token",
        authorize_url=f"{home}/oauth/authorize",
        client_auth="client_secret_basic",
        pkce=False,
        keep=("api_domain",),
        refresh_days=60,
    )


def check(api: Api, activity_type: str) -> list[Finding]:
    """Whether people and fields may be read, our field is there, and the kind of activity too."""
    if not api.has_key():
        return [Finding(False, NO_KEY)]
    api.newest()
    if activity_type not in api.kinds_of_activity():
        return [Finding(False, f"Pipedrive has no activity type in use with the key “{activity_type}”.")]
    return [Finding(True, "Pipedrive accepts the sign-in and has all that is needed.")]


def prepare(api: Api) -> list[Finding]:
    """Create the field, unless it is there."""
    if api.has_key():
        return []
    api.make_key()
    return [Finding(True, f"Created the person field “{KEY_NAME}” in Pipedrive.")]


def remote_fields(api: Api) -> list[RemoteField]:
    """Name, e-mail and phone, and the account's own fields that take text."""
    return [*STANDARD, *(field_of(row) for row in api.fields() if is_open(row))]
