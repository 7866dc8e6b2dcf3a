"""CRMs repeat what was sent when they do not take it. What a visitor typed is then none of the CRM's own words: it must
neither stop the connection for all nor make a record be tried again and again."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from integrations import _dynamics, _espocrm, _gohighlevel, _odoo_load, _salesforce, _twenty_answers
from integrations._dynamics_api import key_in
from integrations._odoo import LEAD
from integrations._odoo_rpc import Fault, Reply, Rpc
from integrations.core.errors import Misconfigured, Refused
from integrations.core.http import Answer
from integrations.core.reading import repeats


def _answer(body: Any, status: int = 400, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps(body).encode(), wrote=True)


def test_words_are_looked_for_in_what_was_sent_whatever_its_case() -> None:
    assert repeats("City", [None, "about the city"])
    assert not repeats("city", ["", None, 1, "Cit"])


@pytest.mark.parametrize(
    "said",
    [
        "Cannot convert the literal '{}' to the expected type 'Edm.DateTimeOffset'.",
        "A plug-in of the clinic's: {}",
    ],
)
def test_dynamics(said: str) -> None:
    typed = "Could not find a property named 'firstname' on type 'Microsoft.Dynamics.CRM.lead'."
    error = {"error": {"code": "0x80048d19", "message": said.format(typed)}}
    assert isinstance(key_in(_answer(error), "leadid", [typed, "Ann"]), Refused)
    assert isinstance(key_in(_answer(error), "leadid", ["Ann"]), Misconfigured)
    assert isinstance(_dynamics.verdict(_answer(error)), Misconfigured), "nothing was to be written"


@pytest.mark.parametrize(
    "typed",
    [
        'Field metadata for field "name" is missing in object metadata person',
        'Object person doesn\'t have any "name" field.',
        "A duplicate entry was detected",
        "Multiple records found with the same unique field values",
    ],
)
def test_twenty(typed: str) -> None:
    error = _twenty_answers.verdict(_answer({"messages": [f"Invalid string value '{typed}' for text field \"city\""]}))
    assert (type(error), error.code) == (Refused, "invalid")


@pytest.mark.parametrize("typed", ["property email should not exist", "invalid field email", "contact 1 not found"])
@pytest.mark.parametrize("listed", [False, True])
def test_gohighlevel(typed: str, listed: bool) -> None:
    said = f"{typed} is not one of the options"
    answer = _answer({"message": ["email must be an email", said] if listed else said}, 422)
    assert isinstance(_gohighlevel.verdict(answer), Refused)
    assert not _gohighlevel.is_missing(answer)


def test_salesforce() -> None:
    said = "NewLead: execution of BeforeInsert caused by: entity type cannot be inserted: Lead"
    error = {"statusCode": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "message": said}
    assert isinstance(_salesforce.refusal(error), Refused)


def test_espocrm() -> None:
    reason = "Not accepted: Not existing attribute 'externalId' in where."
    assert isinstance(_espocrm.verdict(_answer({}, X_Status_Reason=reason), "externalId"), Refused)


@pytest.mark.parametrize(
    ("typed", "name", "said", "code"),
    [
        ("phone", "builtins.KeyError", "'phone'", "server_error"),
        ("phone", "builtins.ValueError", "invalid literal for int() with base 10: 'phone'", "server_error"),
        ("deadlock detected", "odoo.exceptions.ValidationError", "No deadlock detected here.", "invalid"),
        ("deadlock detected", "", "No deadlock detected here.", "not_accepted"),
    ],
)
def test_odoo(typed: str, name: str, said: str, code: str) -> None:
    told = {"ids": False, "messages": [{"type": "error", "record": 0, "message": said}]}
    refused = Reply(_answer({}), None, Fault(name, said)) if name else Reply(_answer({}), told, ok=True)
    well = Reply(_answer({}), True, ok=True)
    rpc = SimpleNamespace(ask=lambda _, method, **__: refused if method == "load" else well)
    columns = ("id", "contact_name", "phone")
    found = _odoo_load.load(cast(Rpc, rpc), LEAD, {"one": (columns, ("one", typed, "+12015550111"))})
    assert getattr(found["one"], "code", None) == code
    if code == "server_error":
        with pytest.raises(Misconfigured):
            _odoo_load.load(cast(Rpc, rpc), LEAD, {"one": (columns, ("one", "Ann", "+12015550111"))})
