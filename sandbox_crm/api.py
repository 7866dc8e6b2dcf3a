"""The API that a connector talks to: `/v1/...`, with a key, and with the faults that are switched on."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, abort, current_app, g, jsonify, request
from marshmallow import Schema, ValidationError

from sandbox_crm import schemas
from sandbox_crm.house import House, house
from sandbox_crm.store import Rejected, Written
from sandbox_crm.wire import break_off, hang_up

api = Blueprint("api", __name__, url_prefix="/v1")
WRITES = {"api.upsert_contacts", "api.upsert_activities", "api.archive"}
BROKEN_AFTERWARDS = {"late_answer", "cut", "garbage"}
MAINTENANCE = "<!doctype html><title>Maintenance</title><p>We will be back soon."


@api.post("/contacts/batch/upsert")
def upsert_contacts() -> Response:
    """Create or update up to 100 contacts; 207 when some of them were not taken."""
    inputs = _body(schemas.Contacts())["inputs"]
    faults = house().switchboard.on
    refused = [one for one in inputs if g.fault == "refuse_phone" and faults.refuses(one["properties"])]
    taken = [one for one in inputs if one not in refused]
    invalid = "The phone number is not valid."
    verdicts = [Rejected(one["external_id"], "invalid_phone", invalid, "phone") for one in refused]
    return _verdicts([*house().store.upsert_contacts(taken, keep=_kept()), *verdicts])


@api.post("/activities/batch/upsert")
def upsert_activities() -> Response:
    """Create or update up to 100 activities; 207 when some of them were not taken."""
    inputs = _body(schemas.Activities())["inputs"]
    return _verdicts(house().store.upsert_activities(inputs, keep=_kept()))


@api.post("/search")
def search() -> Response:
    """The contacts with one of these ids or external ids, and which activities they have."""
    wanted = _body(schemas.Search())
    found = house().store.find(wanted["ids"], wanted["external_ids"])
    return jsonify(contacts=[_as_hit(contact) for contact in found])


@api.post("/contacts/batch/archive")
def archive() -> tuple[str, int]:
    """Delete contacts with their activities."""
    house().store.archive(_body(schemas.Archive())["ids"], keep=_kept())
    return "", 204


@api.get("/me")
def me() -> Response:
    """Whether the key is valid."""
    return jsonify(account="Sandbox CRM")


@api.before_request
def misbehave_or_check_the_key() -> Response | None:
    g.call = house().calls.arrive(request.endpoint or "unknown")
    g.fault = house().switchboard.draw(writes=request.endpoint in WRITES)
    answer = _failure(g.fault, house())
    return answer or _key_is_missing(house())


@api.after_request
def break_the_answer(response: Response) -> Response:
    """The faults that strike after the work was done."""
    if g.fault == "late_answer":
        time.sleep(house().switchboard.on.late_seconds)
    elif g.fault == "garbage":
        response = Response(MAINTENANCE, mimetype="text/html")
    elif g.fault == "cut":
        break_off(response)
    house().calls.settle(g.call, _outcome(response))
    return response


def _failure(fault: str | None, here: House) -> Response | None:
    """The faults that strike before anything is done."""
    if fault == "down":
        hang_up()
    elif fault == "slow":
        time.sleep(here.switchboard.on.slow_seconds)
    elif fault == "wrong_key":
        return _error(401, "unauthorized", "The key is not valid.")
    return None
