"""Setting up a connection to Dynamics 365: its options, how it signs in, and the rights it needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from marshmallow import ValidationError, fields, validate

from integrations._dynamics import Row
from integrations.core.base import Options
from integrations.core.oauth import OAuth
from integrations.core.reading import objects_at, text

_RIGHTS = [f"prv{what}Lead" for what in ("Create", "Read", "Write", "AppendTo")]
_RIGHTS += [f"prv{what}Activity" for what in ("Create", "Read", "Write", "Append")]
_RIGHTS += ["prvReadContact", "prvAppendToContact"]
_is_name = validate.Regexp(r"[A-Za-z0-9.-]{1,100}\Z")  # it becomes part of an address


def _is_day(value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValidationError("Write it like 2027-10-31.") from None


class DynamicsOptions(Options):
    address = fields.Url(
        required=True,
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "Environment address", "help": "Such as https://clinic.crm4.dynamics.com"},
    )
    tenant_id = fields.String(
        required=True,
        validate=_is_name,
        metadata={"label": "Directory (tenant) ID", "help": "In Microsoft Entra: App registrations, the app's page."},
    )
    client_id = fields.String(
        required=True,
        validate=_is_name,
        metadata={"label": "Application (client) ID", "help": "In Microsoft Entra: App registrations, the app's page."},
    )
    client_secret = fields.String(
        required=True,
        metadata={
            "label": "Client secret",
            "help": "On the same page, Certificates & secrets: its value, not its ID.",
            "secret": True,
        },
    )
    secret_ends = fields.String(
        validate=_is_day,
        metadata={"label": "Secret ends on", "help": "Like 2027-10-31. Frontdesk reminds you in time."},
    )
    sign_in_address = fields.Url(
        load_default="https://login.microsoftonline.com",
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "Sign-in address", "help": "Leave as it is."},
    )


def sign_in(settings: Mapping[str, Any]) -> OAuth:
    """As a program, by Microsoft Entra."""
    entra, address = settings["sign_in_address"].rstrip("/"), settings["address"].rstrip("/")
    return OAuth(
        token_url=f"{entra}/{settings['tenant_id']}/oauth2/v2.0/token",
        grant="client_credentials",
        scopes=(f"{address}/.default",),
    )


def rights_of(user: str) -> tuple[str, dict[str, str]]:
    """Path and parameters of the question which of the rights that we need a user has."""
    listed = ",".join(f'"{name}"' for name in _RIGHTS)
    path = f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserSetOfPrivilegesByNames(PrivilegeNames=@p)"
    return path, {"@p": f"[{listed}]"}


def missing_rights(told: Row) -> list[str]:
    """Those that the answer does not name."""
    held = {text(row.get("PrivilegeName")).lower() for row in objects_at(told, "RolePrivileges")}
    return [name for name in _RIGHTS if name.lower() not in held]
