"""Setting up a connection to Salesforce: its options, how it signs in, and the two fields that hold our ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate, validates, validates_schema

from integrations._salesforce import (
    HOMES,
    KEYS,
    LEAD_KEY,
    Row,
    body_of,
    by_hand,
    codes_in,
    errors_in,
    unknown_field,
)
from integrations._salesforce_api import API, Api
from integrations.core import options
from integrations.core.base import Finding, Options, RemoteField, record_id
from integrations.core.oauth import Grant, OAuth
from integrations.core.reading import as_object, objects_at, text

_GRANTS: Mapping[str, Grant] = {
    "browser": "authorization_code",
    "secret": "client_credentials",
    "certificate": "jwt_bearer",
}
_NEEDS = {"browser": ("client_secret",), "secret": ("client_secret",), "certificate": ("username", "private_key")}


class SalesforceOptions(Options):
    address = options.address(
        "My Domain", "Such as https://clinic.my.salesforce.com; in Setup under My Domain.", required=True
    )
    sign_in = options.line(
        "Sign in by",
        "browser: a person, once. secret: client credentials flow. certificate: JWT bearer flow.",
        load_default="browser",
        validate=validate.OneOf(
            list(_GRANTS), ["a person, in the browser, once", "the consumer secret alone", "a certificate"]
        ),
    )
    client_id = options.line(
        "Consumer key", "Of the External Client App: Setup, External Client App Manager.", required=True
    )
    client_secret = options.secret("Consumer secret", "Beside the consumer key. For browser and secret.")
    username = options.line("User name", "For certificate: whom Frontdesk acts as.")
    private_key = fields.String(
        metadata={"label": "Private key", "help": "For certificate: in PEM form.", "secret": True, "lines": True}
    )

    @validates("address")
    def _is_not_that_of_its_pages(self, value: str, **kwargs: Any) -> None:
        if (urlsplit(value).hostname or "").endswith(".lightning.force.com"):
            raise ValidationError("This is the address of its pages. Setup, My Domain shows the one that is needed.")

    @validates_schema
    def _has_what_the_sign_in_needs(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if missing := [name for name in _NEEDS.get(data.get("sign_in", ""), ()) if not data.get(name)]:
            raise ValidationError({name: ["This way to sign in needs it."] for name in missing})


def sign_in(settings: Mapping[str, Any]) -> OAuth:
    """At the clinic's own address, in one of three ways."""
    address, by_person = settings["address"].rstrip("/"), settings["sign_in"] == "browser"
    audience = "https://test.salesforce.com" if ".sandbox." in address else "https://login.salesforce.com"
    return OAuth(
        token_url=f"{address}/services/oauth2/token",
        authorize_url=f"{address}/services/oauth2/authorize",
        grant=_GRANTS[settings["sign_in"]],
        scopes=("api", "refresh_token") if by_person else (),
        keep=("instance_url", "id"),
        claims={"iss": settings["client_id"], "sub": settings.get("username", ""), "aud": audience},
    )


def home(settings: Mapping[str, Any]) -> str:
    """Where the calls go: the server that the token names, if it is Salesforce's, else the clinic's own address."""
    own, named = settings["address"].rstrip("/"), said(settings, "instance_url").rstrip("/")
    parts = urlsplit(named)
    is_theirs = parts.scheme == "https" and (parts.hostname or "").endswith(".salesforce.com")
    return named if is_theirs else str(own)


def said(settings: Mapping[str, Any], name: str) -> str:
    """What Salesforce said beside the token."""
    return str(settings.get("token", {}).get(name, ""))


def flaw(table: str, described: Mapping[str, Any]) -> str | None:
    """What stands in our way with this object, and what to click. described: what Salesforce tells of it."""
    if not (described.get("createable") and described.get("updateable")):
        return f"The user may not create and edit {table.lower()}s. Give it a permission set that allows it."
    key = next((one for one in objects_at(described, "fields") if one.get("name") == KEYS[table]), None)
    if key is None:
        return unknown_field(KEYS[table]).sentence
    if not (key.get("unique") and key.get("externalId")):
        return f"The field {KEYS[table]} must be unique and an external ID. Edit it in Setup and tick both."
    if not (key.get("createable") and key.get("updateable")):
        return f"The user may not edit the field {KEYS[table]}. Allow it under “Set Field-Level Security”."
    return None


def _lacks_key(table: str, described: Mapping[str, Any]) -> bool:
    """Whether our field is missing, or hidden from us, which looks the same."""
    return bool(described) and all(one.get("name") != KEYS[table] for one in objects_at(described, "fields"))


def _custom_field(table: str) -> dict[str, Any]:
    """Our field for the Tooling API."""
    shape = {
        "label": KEYS[table].removesuffix("__c").replace("_", " "),
        "description": "Set by Frontdesk so that an enquiry is never written twice.",
        "type": "Text",
        "length": 36,
        "unique": True,
        "externalId": True,
    }
    return {"FullName": f"{HOMES[table]}.{KEYS[table]}", "Metadata": shape}


def prepare(api: Api, settings: Mapping[str, Any]) -> list[Finding]:
    """Create the fields that are missing, or hidden from us, and let our user see and edit them."""
    missing = [table for table in KEYS if _lacks_key(table, api.described(table))]
    made = [table for table in missing if _made(api, table)]
    if made:
        _allow(api, said(settings, "id").rpartition("/")[2], made)  # after the first call, before which it is not known
    created = [Finding(True, f"Salesforce has the field {KEYS[table]} now.") for table in made]
    return created + [Finding(False, by_hand(table)) for table in missing if table not in made]


def _made(api: Api, table: str) -> bool:
    """Also where it was there, and only hidden from us."""
    answer = api.call("POST", f"{API}/tooling/sobjects/CustomField", _custom_field(table))
    return answer.status == 201 or "DUPLICATE_DEVELOPER_NAME" in codes_in(errors_in(answer))


def _allow(api: Api, user_id: str, tables: list[str]) -> None:
    """By a permission set of our own, since nobody sees a field that the Tooling API has made. What is refused here,
    `check` tells."""
    sets = api.query("PermissionSet", (), "Name", ["Frontdesk"])
    if not sets:
        answer = api.call("POST", f"{API}/sobjects/PermissionSet", {"Name": "Frontdesk", "Label": "Frontdesk"})
        sets = [{"Id": as_object(answer.json()).get("id")}] if answer.status == 201 else []
    for one in sets:
        if set_id := record_id(one["Id"]):
            api.call("POST", f"{API}/composite/sobjects", body_of(_rights(set_id, user_id, tables)))


def _rights(set_id: str, user_id: str, tables: list[str]) -> list[Row]:
    access = {"attributes": {"type": "FieldPermissions"}, "PermissionsRead": True, "PermissionsEdit": True}
    on_fields = [
        {**access, "ParentId": set_id, "SobjectType": table, "Field": f"{table}.{KEYS[table]}"} for table in tables
    ]
    kind = {"attributes": {"type": "PermissionSetAssignment"}}
    return [*on_fields, {**kind, "AssigneeId": user_id, "PermissionSetId": set_id}]


def fields_in(described: Mapping[str, Any]) -> list[RemoteField]:
    """The fields that may be written, but for our own."""
    return [
        _field(one) for one in objects_at(described, "fields") if one.get("createable") and one.get("name") != LEAD_KEY
    ]


def _field(one: Mapping[str, Any]) -> RemoteField:
    name, open_choices = text(one.get("name")), [row for row in objects_at(one, "picklistValues") if row.get("active")]
    choices = {text(row.get("value")): text(row.get("label")) for row in open_choices}
    required = not one.get("nillable") and not one.get("defaultedOnCreate")
    return RemoteField(name, text(one.get("label")) or name, text(one.get("type")), choices, required)
