"""Setting up a connection to EspoCRM: its options, our field, and the rights of its API user."""

from __future__ import annotations

from marshmallow import validate

from integrations._espocrm import FIELDS_PATH, ROLE, equals, fields_in, lacks_field, verdict, without_field
from integrations._espocrm_api import Api
from integrations.core import options
from integrations.core.base import Finding, Options, RemoteField
from integrations.core.http import Answer
from integrations.core.reading import as_object

_RIGHTS = {"create": "yes", "read": "all", "edit": "all", "stream": "all"}
_is_name = validate.Regexp(r"^[a-zA-Z][a-zA-Z0-9]{0,99}$")


class EspocrmOptions(Options):
    url = options.address("Address", "Where you open EspoCRM, such as https://crm.example.com", required=True)
    api_key = options.secret("API key", "In EspoCRM: Administration, API Users.", required=True)
    key_field = options.line(
        "Field for our number",
        "The text field of leads that you made for it. EspoCRM may have put a c before it: cExternalId.",
        load_default="externalId",
        validate=_is_name,
    )


def check(api: Api) -> list[Finding]:
    """Whether the key works, our field is there, and the role may do what is needed."""
    answer = api.call("GET", "/Lead", params=equals(api.key, "frontdesk-check"))
    if lacks_field(answer):
        return [Finding(False, without_field(api.key))]
    if answer.status != 200:
        raise verdict(answer, api.key)
    return _rights(api.ask("GET", "/App/user"))


def _rights(answer: Answer) -> list[Finding]:
    """What the role of the API user may not do. A version that does not tell is believed to allow it."""
    acl = as_object(as_object(answer.json_or_none()).get("acl"))
    table = as_object(acl.get("table"))
    rights = table.get("Lead", False) if table else True
    if rights is True:
        return [Finding(True, "EspoCRM accepts the key and has all that is needed.")]
    may = as_object(rights)
    if lacking := [action for action, level in _RIGHTS.items() if may.get(action) not in (level, "all", "yes")]:
        return [Finding(False, f"The API user may not {', '.join(lacking)} all leads. {ROLE}")]
    found = [Finding(True, "EspoCRM accepts the key and has all that is needed.")]
    if may.get("delete") != "all":
        found.append(Finding(True, "The API user may not delete leads: a person's data must be removed by hand."))
    return found


def remote_fields(api: Api) -> list[RemoteField]:
    """From EspoCRM's description of leads. Before version 8.2 it is not told apart from that of everything."""
    return fields_in(api.ask("GET", "/Metadata", params={"key": FIELDS_PATH}, describes=True))
