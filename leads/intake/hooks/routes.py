"""Webhooks of form plugins. They try once, and some show the visitor an error for any answer but 200: so what cannot be
understood is kept for a person and answered like the rest."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from leads.decode import MAX_BODY, MAX_TEXT, Undecodable
from leads.intake.hooks.body import read_body, read_query
from leads.intake.hooks.names import Understood, understand
from leads.intake.hooks.shapes import Submission, read_shape
from leads.intake.limit import Limiter
from leads.intake.problems import problem
from leads.intake.receive import Intake
from leads.intake.schemas import schema_of
from leads.store.models import Site
from leads.store.sites import hook_token

TIMES_A_VISITOR = 30  # a plugin sends for all visitors of a website, from one address
_AGAIN = 600  # seconds in which the same without an id is a repeat, not a person who sends twice
_KIND = "consultation_request"
_TOO_LARGE = "It was larger than 64 KiB, so nothing of it could be kept."
_LOOK_THERE = "See who it was in the form plugin’s own list of entries. If it sends files, let it send them no more."
_WRONG_ADDRESS = (
    "It came to an address for form plugins that is not, or no longer, one of ours. Please paste the right one into "
    "the plugin: it stands on the website's page here."
)
_CLOSED = "This website is closed, and its form plugin sends all the same: please take our address out of the plugin."
_NOTHING = (
    "This address takes what a form plugin sends: by POST, or with the answers behind a “?”. Nothing of the kind was "
    "there, so nothing was kept."
)


def create_hooks(intake: Intake, limiter: Limiter) -> Blueprint:
    """Routes under /hooks. limiter: for one site, since all comes from the address of its web server."""
    hooks = Blueprint("hooks", __name__, url_prefix="/hooks")

    @hooks.route("/<key>/<token>", methods=["GET", "POST"])
    def receive(key: str, token: str) -> Response:
        site = intake.site(key)
        expected = hook_token(intake.vault, site) if site else ""
        if site is None or not hmac.compare_digest(token.encode("utf-8", "replace"), expected.encode()):
            return _wrong_address(intake, site)
        within = limiter.hit(intake.vault.digest("hooks", site.id).hex())
        with intake.groups.on_the_way():
            return _receive(intake, site, within=within)

    return hooks


def _wrong_address(intake: Intake, site: Site | None) -> Response:
    """One that was changed since, or pasted in part. The plugin has thanked its visitor, so a person is told."""
    intake.keep_unreadable(site, request.get_data(cache=True).strip() or _query(), _WRONG_ADDRESS)
    return problem(404, "Unknown address", _WRONG_ADDRESS)


def _receive(intake: Intake, site: Site, *, within: bool) -> Response:
    """within: no more than usual came lately."""
    try:
        body = request.get_data(cache=True)
        query = not body.strip()  # some send all that they have to say in the address
        sent = _query() if query else body
    except RequestEntityTooLarge:
        if within:
            _tell_of_what_was_too_large(intake, site)
        raise
    if not sent:
        return _nothing()
    if site.closed_at is not None:  # the plugin has thanked its visitor, so a person has to see it
        return _unreadable(intake, site, sent, _CLOSED, within=within)
    try:
        tree = read_query(sent) if query else read_body(sent, request.mimetype, request.mimetype_params)
        submission = read_shape(tree, request.headers)
        found = understand(submission, site.region, intake.consent_text(site), the_only_one=site.consent_version == "1")
        data = _load(schema_of(_KIND, site.region), site, found)
    except Undecodable as error:
        return _unreadable(intake, site, sent, str(error), within=within)
    data["id"] = _own_id(intake, site, submission, data) or _id_of_body(intake, site, tree)
    suspicion = _suspicion(submission, within=within)
    accepted = intake.accept(site, _KIND, data, submission.plugin, suspicion, unique=submission.unique)
    return jsonify(ok=True, reference=accepted.reference)


def _tell_of_what_was_too_large(intake: Intake, site: Site) -> None:
    """The plugin has thanked the visitor already, and nobody reads its log: so a person is told, though of nothing."""
    told = f"{_LOOK_THERE} It came at {intake.database.time():%Y-%m-%d %H:%M:%S} UTC."
    intake.keep_unreadable(site, told.encode(), _TOO_LARGE, of_plugin=True)


def _suspicion(submission: Submission, *, within: bool) -> str | None:
    if submission.test:
        return "The tool that sent it says that it is only a test."
    return None if within else "Unusually many came through this website's form plugin within ten minutes."


def _query() -> bytes:
    """What stands behind the “?”, no longer than a body may be. Of a HEAD nothing: it asks, and must change nothing."""
    query = b"" if request.method == "HEAD" else request.query_string
    return query if len(query) <= MAX_BODY else abort(413)


def _nothing() -> Response:
    """Somebody looks what is here, or a plugin is set to send nothing: it must not believe that this was taken."""
    if request.method == "POST":
        return problem(400, "Nothing came", _NOTHING)
    answer = problem(405, "Nothing came", _NOTHING)
    answer.headers["Allow"] = "POST"
    return answer


def _unreadable(intake: Intake, site: Site, sent: bytes, reason: str, *, within: bool) -> Response:
    if not within:  # nothing is acknowledged that is not kept
        answer = problem(429, "Too many", "Too much came that cannot be read. Send it again later.")
        answer.headers["Retry-After"] = "600"
        return answer
    intake.keep_unreadable(site, sent, reason, of_plugin=True)
    return jsonify(ok=True, detail=reason + " It is kept for a person to read.")


def _load(schema: Schema, site: Site, found: Understood) -> dict[str, Any]:
    """What our schema refuses stands beside the answers. Raises Undecodable where the rest tells of nobody to reach."""
    if len(message := found.fields.get("message", "")) > MAX_TEXT:
        found.keep("message, whole", message)
        found.fields["message"] = message[:MAX_TEXT]
    data, refused = _loaded(schema, {**found.fields, "attribution": found.attribution, "site": site.key, "id": "-"})
    for name, text in refused.items():
        found.keep(f"{name}_as_sent", text)
    if found.extra:
        data["extra"] = found.extra
    data.pop("consent")
    if found.consent is not None:
        data["consent"] = found.consent
        if not found.our_wording:
            data["consent_version"] = None
    return data


def _loaded(schema: Schema, fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return schema.load(fields), {}
    except ValidationError as error:
        refused = {name: fields[name] for name in error.messages_dict if name in fields}
        if not refused:
            reason = "We found neither an e-mail address nor a phone number in it."
            raise Undecodable(reason) from None
        data, more = _loaded(schema, {name: value for name, value in fields.items() if name not in refused})
        return data, refused | more


def _own_id(intake: Intake, site: Site, sent: Submission, data: Mapping[str, Any]) -> str:
    """Made of the plugin's own id; two websites that count alike are told apart by who it is."""
    if not sent.entry:
        return ""
    person = [] if sent.unique else [data.get("email"), data.get("phone")]
    return "hook-" + intake.vault.digest("hook entry", site.id, sent.plugin, sent.entry, *person).hex()


def _id_of_body(intake: Intake, site: Site, tree: Mapping[str, Any]) -> str:
    """The same body a moment later is the plugin's own repeat, wherever in our count of time the moment falls."""
    said, now = json.dumps(tree, sort_keys=True), intake.database.time()
    this = int(now.timestamp() // _AGAIN)
    ids = ["hook-" + intake.vault.digest("hook body", site.id, said, when).hex() for when in (this - 1, this)]
    before = intake.here_since(site, _KIND, ids[0], now - timedelta(seconds=_AGAIN))
    return ids[0] if before else ids[1]
