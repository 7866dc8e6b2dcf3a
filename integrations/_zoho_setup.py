"""Setting up a connection to Zoho CRM: its options, how it signs in, and the field that holds our lead's id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import validate

from integrations._zoho import DOMAINS, KEY, KEY_LABEL, field_of, is_open
from integrations._zoho_api import Api
from integrations.core import options
from integrations.core.base import Finding, Options, RemoteField
from integrations.core.oauth import OAuth

SCOPES = (
    "ZohoCRM.modules.leads.ALL",
    "ZohoCRM.modules.notes.ALL",
    "ZohoCRM.modules.contacts.READ",  # what a lead was converted to gets the notes
    "ZohoCRM.modules.contacts.DELETE",  # and goes when the person is erased
    "ZohoCRM.settings.fields.ALL",
    "ZohoCRM.coql.READ",
)
_BY_HAND = (
    f"In Zoho, Setup, Modules and Fields, Leads: add a single-line field “{KEY_LABEL}” with “Do not allow duplicate "
    f"values”. Its API name must be {KEY}."
)


class ZohoOptions(Options):
    client_id = options.line(
        "Client ID", "Of a server-based application in Zoho's API console, api-console.zoho.com.", required=True
    )
    client_secret = options.secret("Client secret", "From the same page.", required=True)
    data_centre = options.line(
        "Data centre",
        "How the address of your CRM ends: eu for crm.zoho.eu, ca for Canada.",
        load_default="com",
        validate=validate.OneOf(list(DOMAINS)),
    )
    accounts = options.address("Sign-in address", "Leave it empty: the data centre says it.")


def sign_in(settings: Mapping[str, Any]) -> OAuth:
    """Without `prompt=consent` a second sign-in brings no refresh token. The one there is, stays the same."""
    usual = f"https://accounts.{DOMAINS[settings.get('data_centre', 'com')][0]}"
    home = str(settings.get("accounts") or usual).rstrip("/")
    return OAuth(
        token_url=f"{home}/oauth/v2/token",
        authorize_url=f"{home}/oauth/v2/auth",
        scopes=SCOPES,
        scope_separator=",",
        scheme="Zoho-oauthtoken",
        extra={"access_type": "offline", "prompt": "consent"},
        keep=("api_domain",),
    )


def check(api: Api) -> list[Finding]:
    """Whether leads, notes and queries may be used, and our field is there and unique."""
    field = api.key()
    if field is None:
        return [Finding(False, f"Zoho has no lead field {KEY}. {_BY_HAND}")]
    if not field.get("unique"):
        return [Finding(False, f"The lead field {KEY} allows duplicate values. {_BY_HAND}")]
    api.may_read()
    return [Finding(True, "Zoho accepts the sign-in and has all that is needed.")]


def prepare(api: Api) -> list[Finding]:
    """Create the field, unless it is there."""
    if api.key():
        return []
    if api.make_key():
        return [Finding(True, f"Created the lead field {KEY_LABEL} in Zoho.")]
    return [Finding(False, f"Zoho did not create the lead field {KEY_LABEL}. {_BY_HAND}")]


def remote_fields(api: Api) -> list[RemoteField]:
    """Those that take text; of the others our mapping could fill none."""
    return [field_of(row) for row in api.fields() if is_open(row)]
