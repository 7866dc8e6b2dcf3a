"""The API that a connector talks to: `/v1/...`, with a key, and with the faults that are switched on."""

from __future__ import annotations

import hmac
import json
import socket
import time
from typing import Any

from flask import Blueprint, Response, abort, g, jsonify, request
from marshmallow import Schema, ValidationError

from sandbox_crm import schemas
from sandbox_crm.fields import describe
from sandbox_crm.house import house
from sandbox_crm.store import Rejected, Written

api = Blueprint("api", __name__, url_prefix="/v1")
WRITES = {"api.upsert_contacts", "api.upsert_activities", "api.archive"}
_MAINTENANCE = "<!doctype html><title>Maintenance</title><p>We will be back soon."


@api.before_request
def misbehave_or_check_the_key() -> Response | None:
    g.call = house().calls.arrive((request.endpoint or "").removeprefix("api."))
    g.fault = house().switchboard.draw(writes=request.endpoint in WRITES)
    return _failure(g.fault) or _key_trouble()


def _failure(fault: str | None) -> Response | None:
    """The faults that strike before anything is done."""
    settings = house().switchboard.on
    if fault == "down":
        return _error(503, "unavailable", "The service is down.")
    if fault == "error_500":
        return _error(500, "internal_error", "Something went wrong.")
    if fault == "wrong_key":
        return _error(401, "unauthorized", "The key is not valid.")
    if fault == "throttled":
        response = _error(429, "rate_limit", "Too many requests.")
        if settings.retry_after is not None:
            response.headers["Retry-After"] = str(settings.retry_after)
        return response
    if fault == "hang_up":
        _hang_up()
    elif fault == "slow":
        time.sleep(settings.slow_seconds)
    elif fault == "late_write":
        time.sleep(settings.late_seconds)
    return None


def _key_trouble() -> Response | None:
    shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if hmac.compare_digest(shown.encode(), house().key.encode()):
        return None
    return _error(401, "unauthorized", "The key is not valid.")


@api.get("/me")
def me() -> Response:
    """Whether the key is valid."""
    return jsonify(account="Sandbox CRM")


@api.get("/fields")
def fields() -> Response:
    """What a contact can hold."""
    return jsonify(fields=describe())


@api.post("/contacts/batch/upsert")
def upsert_contacts() -> Response:
    """Create or update up to 100 contacts; 207 when some of them were not taken."""
    inputs = _body(schemas.Contacts())["inputs"]
    refused = [one for one in inputs if house().switchboard.refuses(g.fault, one["properties"])]
    taken = [one for one in inputs if one not in refused]
    verdicts = [
        Rejected(one["external_id"], "invalid_phone", "This phone number is not valid.", "phone") for one in refused
    ]
    return _verdicts([*house().store.upsert_contacts(taken, keep=_keeps()), *verdicts])


@api.post("/activities/batch/upsert")
def upsert_activities() -> Response:
    """Create or update up to 100 activities; 207 when some of them were not taken."""
    inputs = _body(schemas.Activities())["inputs"]
    return _verdicts(house().store.upsert_activities(inputs, keep=_keeps()))


@api.post("/search")
def search() -> Response:
    """The contacts with one of these ids, external ids or e-mail addresses, each with its activities."""
    return jsonify(contacts=house().store.find(**_body(schemas.Search())))


@api.post("/contacts/batch/archive")
def archive() -> Response:
    """Delete contacts with their activities."""
    house().store.archive(_body(schemas.Archive())["ids"], keep=_keeps())
    return Response(status=204)


@api.after_request
def break_the_answer(response: Response) -> Response:
    """The faults that strike after the work was done."""
    if g.fault == "late_answer":
        time.sleep(house().switchboard.on.late_seconds)
    elif g.fault == "garbage":
        response = Response(_MAINTENANCE, mimetype="text/html")
    elif g.fault == "cut":
        _cut_short(response)
    elif g.fault == "no_id":
        _leave_out_ids(response)
    met = g.fault if g.fault and g.fault != "refuse_phone" else None
    house().calls.settle(g.call, met or str(response.status_code))
    return response


def _keeps() -> bool:
    return bool(g.fault != "accept_and_forget")


def _body(schema: Schema) -> Any:
    try:
        return schema.load(schemas.parse_json(request.get_data()))
    except ValidationError as error:
        response = jsonify(code="invalid", message="The request is not valid.", errors=error.messages)
        response.status_code = 400
        abort(response)
    except ValueError:
        abort(_error(400, "not_json", "The body is not JSON."))


def _verdicts(written: list[Written | Rejected]) -> Response:
    results = [
        {"id": one.id, "external_id": one.external_id, "new": one.new} for one in written if isinstance(one, Written)
    ]
    errors = [
        {"external_id": one.external_id, "code": one.code, "message": one.message, "field": one.field, "id": one.id}
        for one in written
        if isinstance(one, Rejected)
    ]
    response = jsonify(results=results, errors=errors)
    response.status_code = 207 if errors else 200
    return response


def _error(status: int, code: str, message: str) -> Response:
    response = jsonify(code=code, message=message)
    response.status_code = status
    return response


def _hang_up() -> None:
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    abort(503)


def _leave_out_ids(response: Response) -> None:
    body = response.get_json(silent=True) or {}
    if "results" in body:
        rows = [{name: value for name, value in row.items() if name != "id"} for row in body["results"]]
        response.set_data(json.dumps(body | {"results": rows}))


def _cut_short(response: Response) -> None:
    """Promise the whole answer, send half of it."""
    whole = response.get_data()
    response.set_data(whole[: len(whole) // 2])
    response.headers["Content-Length"] = str(len(whole) or 1)
    response.headers["Connection"] = "close"
