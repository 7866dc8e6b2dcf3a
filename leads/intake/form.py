"""The plain form: works without JavaScript, keeps what was typed, puts each error beside its field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from marshmallow import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from leads.intake.decode import Undecodable, clean
from leads.intake.problems import flat
from leads.intake.receive import Intake, signals
from leads.intake.schemas import ConsultationSchema
from leads.intake.spam import HONEYPOT, SpamCheck
from leads.store.models import Site, new_id

_CONTROL = {"token", HONEYPOT, "next"}
_REFERENCE = re.compile(r"[A-Z2-9]{3}-[A-Z2-9]{3}")


def hidden_fields(spam: SpamCheck, site_key: str) -> dict[str, str]:
    """What a form must carry besides its questions: its own id, so that it counts once, and when it was shown."""
    return {"id": str(new_id()), "token": spam.token(site_key)}


def create_form(intake: Intake) -> Blueprint:
    """Routes under /f/<site key>."""
    form = Blueprint(
        "form",
        __name__,
        url_prefix="/f",
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )

    @form.get("/<key>/consultation")
    def show(key: str) -> Response:
        site = intake.site(key) or abort(404)
        return _page(intake, site, {}, {}, 200)

    @form.post("/<key>/consultation")
    def send(key: str) -> Response:
        site = intake.site(key) or abort(404)
        return _receive(intake, site)

    @form.get("/<key>/thanks")
    def thanks(key: str) -> Response:
        site = intake.site(key) or abort(404)
        reference = request.args.get("reference", "")
        shown = reference if _REFERENCE.fullmatch(reference) else ""
        return make_response(render_template("thanks.html", site=site, reference=shown))

    return form


def _receive(intake: Intake, site: Site) -> Response:
    body = request.get_data(cache=True)
    try:
        raw = _fields()
    except Undecodable as error:
        intake.keep_unreadable(site, body, str(error))
        return _page(intake, site, {}, {}, 400, str(error))
    schema = ConsultationSchema(site.region)
    answers = {name: value for name, value in raw.items() if name not in _CONTROL}
    answers.setdefault("id", _own_id(intake, site, answers))
    try:
        data = schema.load({**answers, "site": site.key})
    except ValidationError as error:
        return _page(intake, site, raw, error.messages_dict, 422)
    try:
        accepted = intake.accept(
            site, "consultation_request", data, "form", intake.spam.suspicion(site.key, signals(site, raw))
        )
    except SQLAlchemyError:
        trouble = "We could not store your request just now. Nothing is lost: please send it again in a moment."
        response = _page(intake, site, raw, {}, 503, trouble)
        response.headers["Retry-After"] = "10"
        return response
    return _thank_you(site, raw.get("next"), accepted.reference)


def _fields() -> dict[str, Any]:
    """The form's fields; of a name that stands twice, all values. Files are not taken."""
    form = request.form
    raw = clean({name: ", ".join(form.getlist(name)) for name in form})
    if not any(name not in _CONTROL for name in raw):
        raise Undecodable("There were no form fields in it.")
    return raw


def _own_id(intake: Intake, site: Site, answers: Mapping[str, Any]) -> str:
    """A form without an id of its own: the same answers are the same request, as with a double click."""
    return "answers-" + intake.vault.digest("form", site.id, sorted(answers.items())).hex()


def _thank_you(site: Site, wanted: Any, reference: str) -> Response:
    """Only to pages that the site has listed: anything else would be an open redirect."""
    if wanted in site.thank_you_urls:
        target = str(wanted)
    elif site.thank_you_urls:
        target = site.thank_you_urls[0]
    else:
        target = url_for("form.thanks", key=site.key, reference=reference)
    response = redirect(target, 303)
    return make_response(response)


def _page(
    intake: Intake, site: Site, raw: Mapping[str, Any], errors: Mapping[str, Any], status: int, trouble: str = ""
) -> Response:
    hidden = hidden_fields(intake.spam, site.key)
    # The same attempt goes on: it keeps its id, and the time since the form was first shown.
    hidden |= {name: str(raw[name]) for name in ("id", "token", "visitor_id", "next", "page") if raw.get(name)}
    page = render_template(
        "form.html",
        site=site,
        values=raw,
        errors={name: " ".join(flat(messages)) for name, messages in errors.items()},
        trouble=trouble,
        hidden=hidden,
        honeypot=HONEYPOT,
        consent_text=intake.consent_text(site),
    )
    response = make_response(page, status)
    # A browser checks form-action for the redirect after the form as well.
    origins = {f"{url.scheme}://{url.netloc}" for url in map(urlsplit, site.thank_you_urls)}
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        "form-action " + " ".join(["'self'", *sorted(origins)])
    )
    return response
