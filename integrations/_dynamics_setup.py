"""Setting up a connection to Dynamics 365: its options, how it signs in, and the rights it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import validate

from integrations._dynamics import Row
from integrations.core import options
from integrations.core.base import Options
from integrations.core.oauth import OAuth
from integrations.core.reading import objects_at, text

_RIGHTS = [f"prv{what}Lead" for what in ("Create", "Read", "Write", "AppendTo")]
_RIGHTS += [f"prv{what}Activity" for what in ("Create", "Read", "Write", "Append")]
_RIGHTS += ["prvReadContact", "prvAppendToContact"]
_APP_PAGE = "In Microsoft Entra: App registrations, the app's page."
_is_name = validate.Regexp(r"[A-Za-z0-9.-]{1,100}\Z")  # it becomes part of an address


class DynamicsOptions(Options):
    address = options.address("Environment address", "Such as https://clinic.crm4.dynamics.com", required=True)
    tenant_id = options.line("Directory (tenant) ID", _APP_PAGE, required=True, validate=_is_name)
    client_id = options.line("Application (client) ID", _APP_PAGE, required=True, validate=_is_name)
    client_secret = options.secret(
        "Client secret", "On the same page, Certificates & secrets: its value, not its ID.", required=True
    )
    secret_ends = options.day("Secret ends on", "Like 2027-10-31. Frontdesk reminds you in time.")
    sign_in_address = options.address(
        "Sign-in address", "Leave as it is.", load_default="https://login.microsoftonline.com"
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
