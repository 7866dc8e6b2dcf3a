"""Setting up a connection to HubSpot: its options, how it signs in, and the property that holds our lead's id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import validates_schema

from integrations._hubspot import KEY, SCOPES, record_in, remote_field
from integrations._hubspot_api import CONTACTS, Api
from integrations.core import options
from integrations.core.base import Finding, Options, RemoteField
from integrations.core.oauth import OAuth
from integrations.core.reading import objects_in

API, SIGN_IN = "https://api.hubapi.com", "https://app.hubspot.com/oauth/authorize"
PROPERTIES = "/crm/properties/2026-03/contacts"
_BY_HAND = "Create it as a single-line text with unique values, or give the key the scope crm.schemas.contacts.write."
_PROPERTY = {
    "name": KEY,
    "label": "Frontdesk lead",
    "description": "Set by Frontdesk so that an enquiry is never written twice.",
    "groupName": "contactinformation",
    "type": "string",
    "fieldType": "text",
    "hasUniqueValue": True,
}


class HubspotOptions(Options):
    token = options.secret(
        "Service key or private-app token",
        "In HubSpot: Settings, Integrations, Service Keys. Begins with pat-. "
        f"Scopes: {', '.join(SCOPES)}. Leave it empty to sign in instead.",
    )
    client_id = options.line("Client ID", "Of your own HubSpot app, to sign in.")
    client_secret = options.secret("Client secret", "Of the same app.")
    api = options.api_address(API)

    @validates_schema
    def _has_a_way_in(self, data: dict[str, Any], **_: Any) -> None:
        options.needs_key_or_app(data, "token", "Enter a key, or the client ID and secret of your app.")


def sign_in(settings: Mapping[str, Any]) -> OAuth | None:
    """With a key there is nothing to sign in to. A refresh token stays good until somebody removes the app."""
    if settings.get("token"):
        return None
    return OAuth(f"{address(settings)}/oauth/2026-03/token", SIGN_IN, scopes=("oauth", *SCOPES))


def address(settings: Mapping[str, Any]) -> str:
    """Where the calls go."""
    return str(settings.get("api") or API)


def check(api: Api) -> list[Finding]:
    """Whether the key works and our property is there and unique."""
    answer = api.call("GET", f"{PROPERTIES}/{KEY}")
    if answer.status == 404:
        return [Finding(False, f"HubSpot has no contact property {KEY}. {_BY_HAND}")]
    if answer.status != 200:
        raise api.wrong(answer)
    if not record_in(answer).get("hasUniqueValue"):
        return [Finding(False, f"The contact property {KEY} does not require unique values. {_BY_HAND}")]
    api.ask("GET", CONTACTS)
    return [Finding(True, "HubSpot accepts the key and has all that is needed.")]


def prepare(api: Api) -> list[Finding]:
    """Create the property, unless it is there."""
    if api.call("GET", f"{PROPERTIES}/{KEY}").status != 404:
        return []
    answer = api.call("POST", PROPERTIES, _PROPERTY)
    if answer.status in (200, 201):
        return [Finding(True, f"Created the contact property {KEY} in HubSpot.")]
    return [Finding(False, api.wrong(answer).sentence)]


def remote_fields(api: Api) -> list[RemoteField]:
    """All properties of a contact that can be written to."""
    found = [
        remote_field(row) for row in objects_in(record_in(api.ask("GET", PROPERTIES, describes=True)).get("results"))
    ]
    return [one for one in found if one and one.name != KEY]
