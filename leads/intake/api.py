"""The JSON API: consultation requests and call clicks."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, render_template, request
from marshmallow import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from leads.decode import Undecodable, decode_json
from leads.intake import openapi
from leads.intake.cors import let_read
from leads.intake.problems import problem
from leads.intake.receive import NO_SUCH_SITE, Intake, signals
from leads.intake.schemas import schema_of
from leads.intake.spam import HONEYPOT
from leads.store.models import Site

_JSON_TYPES = {"application/json", "text/plain", ""}  # sendBeacon sends a string as text/plain: no preflight
_CONTROL = ("token", HONEYPOT)
_SOURCES = {"consultation_request": "website", "call_click": "call click"}


def create_api(intake: Intake) -> Blueprint:
    """Routes under /api."""
    api = Blueprint("api", __name__, url_prefix="/api", template_folder="templates")

    @api.post("/v1/consultations", provide_automatic_options=False)
    def consultations() -> Response:
        return _receive(intake, "consultation_request")

    @api.post("/v1/call-clicks", provide_automatic_options=False)
    def call_clicks() -> Response:
        return _receive(intake, "call_click")

    @api.route("/v1/consultations", methods=["OPTIONS"], endpoint="consultations_preflight")
    @api.route("/v1/call-clicks", methods=["OPTIONS"], endpoint="call_clicks_preflight")
    def preflight() -> Response:
        return _preflight(intake)

    @api.after_app_request
    def answer(response: Response) -> Response:
        return _readable(intake, response) if response.status_code >= 400 else response

    @api.get("/openapi.json")
    def document() -> Response:
        return jsonify(openapi.document())

    @api.get("/docs")
    def docs() -> str:
        return render_template("docs.html", spec=openapi.document())

    return api


def _receive(intake: Intake, kind: str) -> Response:
    body = request.get_data(cache=True)
    try:
        raw = decode_json(body)  # whatever content type it says: sendBeacon and curl both say another
    except Undecodable as error:
        if kind == "consultation_request":
            intake.keep_unreadable(None, body, str(error))
        if request.mimetype not in _JSON_TYPES:
            return problem(415, "Send JSON", "Use the content type application/json or text/plain.")
        return problem(400, "This could not be read", str(error))
    site = intake.recent_site(raw.get("site"))
    if site is None:
        if kind == "consultation_request":
            intake.keep_unreadable(None, body, NO_SUCH_SITE)
        return problem(404, "Unknown site", "", {"site": ["There is no site with this key."]})
    with intake.groups.on_the_way():
        stored = _store(intake, site, kind, raw)
    let_read(intake, stored, site)
    return stored


def _store(intake: Intake, site: Site, kind: str, raw: dict[str, Any]) -> Response:
    answers = {name: value for name, value in raw.items() if name not in _CONTROL}
    if site.closed_at is not None:
        if kind == "consultation_request":
            intake.keep_if_not_ours(site, answers, request.get_data())
        return problem(410, "This website is closed", "It takes no more enquiries.")
    schema = schema_of(kind, site.region)
    shown = signals(intake, site, raw, kind)
    try:
        data = schema.load(answers)
    except ValidationError as error:
        if kind == "consultation_request":
            intake.keep_if_not_ours(site, answers, request.get_data())
        return problem(422, "Some fields need another look", errors=error.messages_dict, language=site.language)
    accepted = intake.accept(site, kind, data, _SOURCES[kind], intake.spam.suspicion(site.key, shown))
    answer = jsonify(
        id=str(accepted.event_id), reference=accepted.reference, received_at=accepted.received_at.isoformat()
    )
    answer.status_code = 201
    return answer


def _readable(intake: Intake, response: Response) -> Response:
    """An error that came before its site was known: a script must be able to tell "too long" from "later"."""
    if request.path.startswith("/api/v1/") and "Origin" not in response.vary:
        let_read(intake, response, *_sites(intake, response))
    return response


def _sites(intake: Intake, response: Response) -> list[Site]:
    if response.status_code == 503:  # who has waited for the database once must not do so again
        return intake.remembered_sites()
    try:
        return intake.sites()
    except SQLAlchemyError:
        return intake.remembered_sites()


def _preflight(intake: Intake) -> Response:
    """Before the body is there the site is not known: whoever one of the sites would allow may ask."""
    response = Response(status=204)
    if let_read(intake, response, *intake.sites()):
        response.headers["Access-Control-Allow-Methods"] = "POST"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type"
        response.headers["Access-Control-Max-Age"] = "3600"
    return response
