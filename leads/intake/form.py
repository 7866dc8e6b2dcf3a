"""The plain form: works without JavaScript, keeps what was typed, puts each error beside its field."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, current_app, make_response, redirect, render_template, request, url_for
from marshmallow import Schema, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from leads.decode import Undecodable, clean, decode_form, once
from leads.fields import ASKED
from leads.intake.cors import let_read
from leads.intake.hooks.consent import begins_with_no
from leads.intake.problems import flat
from leads.intake.receive import NO_SUCH_SITE, Intake, signals
from leads.intake.schemas import schema_of
from leads.intake.spam import HONEYPOT, SpamCheck
from leads.languages import translated
from leads.store import canary
from leads.store.models import Site, new_id
from leads.store.sites import origin_of

_CONTROL = {"token", HONEYPOT, "next", canary.FIELD}
_TYPED_AGAIN = {*ASKED, "consent", "consent_as_sent", "consent_version", HONEYPOT}
_RANDOM = re.compile(r"[0-9a-f]{8}(-?)([0-9a-f]{4}\1){3}[0-9a-f]{12}", re.IGNORECASE)  # a UUID, or its digits alone
_REFERENCE = re.compile(r"[A-Z2-9]{3}-[A-Z2-9]{3}")
_SCRIPT = "website.js"
# A clinic's pages need it while we are away too. Styles are asked for again each time: they must fit their page.
_CACHED = "public, max-age=3600, stale-while-revalidate=86400, stale-if-error=86400"
_POLICY = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action "


def hidden_fields(spam: SpamCheck, site: Site) -> dict[str, str]:
    """What a form carries besides its questions: an id, so that it counts once, when it was shown, and which wording
    it asks to agree to."""
    return {"id": str(new_id()), "token": spam.token(site.key), "consent_version": site.consent_version}


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

    @form.get("/<key>/consultation", strict_slashes=False)
    def show(key: str) -> Response:
        site = intake.site(key) or abort(404)
        if site.closed_at is not None:
            return _closed(intake, site)
        page = _page(intake, site, {}, {}, 200)
        # Whoever goes back and sends again sends the same id: the browser still has this page, and a form that posts to
        # an address of its own (`step`) does not make it forget that one.
        page.headers["Cache-Control"] = "private, no-cache"
        return page

    @form.post("/<key>/consultation", strict_slashes=False)
    def send(key: str) -> Response:
        try:
            site = intake.recent_site(key)
            if site is None:
                intake.keep_unreadable(None, request.get_data(cache=True), NO_SUCH_SITE)
                abort(404)
            with intake.groups.on_the_way():
                return _receive(intake, site)
        except SQLAlchemyError as error:
            current_app.logger.error("the database did not answer: %s", type(error).__name__)
            return _later()

    @form.get("/<key>/thanks")
    def thanks(key: str) -> Response:
        return _thanks(intake, intake.site(key) or abort(404))

    @form.after_request
    def headers(response: Response) -> Response:
        return _framed(intake, _read_by_scripts(intake, _cached(response)))

    return form


def _receive(intake: Intake, site: Site) -> Response:
    body = request.get_data(cache=True)
    try:
        raw = _fields()
    except Undecodable as error:
        intake.keep_unreadable(site, body, str(error))
        return _closed(intake, site) if site.closed_at else _page(intake, site, {}, {}, 400, garbled=True)
    answers = {name: value for name, value in raw.items() if name not in _CONTROL}
    if site.closed_at is not None:
        intake.keep_if_not_ours(site, answers, body)
        return _closed(intake, site)
    identified = _identified(intake, site, answers)
    try:
        data = _load(schema_of("consultation_request", site.region), {**_with_consent(identified), "site": site.key})
    except ValidationError as error:
        intake.keep_if_not_ours(site, answers, body)
        return _page(intake, site, raw, error.messages_dict, 422)
    test_run = canary.run_of(intake.vault, site, raw.get(canary.FIELD))
    shown = signals(intake, site, raw, "consultation_request")
    suspicion = None if test_run else intake.spam.suspicion(site.key, shown)
    accepted = intake.accept(site, "consultation_request", data, "form", suspicion, test_run)
    return _thank_you(site, raw.get("next"), accepted.reference, agreed=data["consent"])


def _load(schema: Schema, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the visitor can see and mend is refused; a wrong value elsewhere is kept beside the answers."""
    try:
        data: dict[str, Any] = schema.load(answers)
    except ValidationError as error:
        unseen = error.messages_dict.keys() - ASKED
        if not unseen:
            raise
        rest = {name: value for name, value in answers.items() if name not in unseen}
        data = schema.load(rest | {f"{name}_as_sent": answers[name] for name in unseen})
    return data


def _fields() -> dict[str, Any]:
    """The form's fields; of a name that stands twice, all values. Of files only the names: they are not taken."""
    fields, files = decode_form(request.get_data(cache=True), request.mimetype, request.mimetype_params)
    if not fields.keys() - _CONTROL:
        raise Undecodable("There were no form fields in it.")
    joined = {name: ", ".join(once(values)) for name, values in fields.items()}
    left_out = {"files_left_out": ", ".join(files)} if files else {}
    return clean(joined | _last_consent(fields.get("consent", ())) | left_out)


def _last_consent(sent: Sequence[str]) -> dict[str, str]:
    """Of several values the last one is the box's: a hidden one before it stands for a box that is not ticked."""
    return {"consent": sent[-1], "consent_as_sent": ", ".join(sent)} if len(sent) > 1 else {}


def _with_consent(answers: Mapping[str, Any]) -> dict[str, Any]:
    """With consent as yes or no; beside it what was sent, unless it is what a box sends of itself."""
    sent = answers.get("consent", "")
    kept = {} if sent in ("", "yes", "on") else {"consent_as_sent": sent}
    return {**kept, **answers, "consent": _is_ticked(sent)}


def _is_ticked(sent: str) -> bool:
    """A box that is not ticked sends nothing at all, so whatever one sends is a yes, unless it begins with a no."""
    return bool(sent.strip()) and not begins_with_no(sent)


def _identified(intake: Intake, site: Site, answers: Mapping[str, Any]) -> dict[str, Any]:
    """With an id to be counted by. What a website calls each of its forms is none, and kept beside the answers."""
    sent = answers.get("id", "")
    if _RANDOM.fullmatch(sent):
        return {**answers}
    return {**answers, "id": _own_id(intake, site, answers), "id_as_sent": sent}


def _own_id(intake: Intake, site: Site, answers: Mapping[str, Any]) -> str:
    """For a form without an id: the same answers on one day are the same request, as with a double click."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return "answers-" + intake.vault.digest("form", site.id, today, sorted(answers.items())).hex()


def _thank_you(site: Site, wanted: Any, reference: str, *, agreed: bool) -> Response:
    """Only to pages that the site has listed: anything else would be an open redirect."""
    # A script of the page that sent the form cannot read what another website answers it, and would call it a failure.
    by_script = request.headers.get("Sec-Fetch-Mode") == "cors"
    if by_script or not site.thank_you_urls:
        target = url_for("form.thanks", key=site.key, reference=reference, consent=None if agreed else "no")
    elif wanted in site.thank_you_urls:
        target = str(wanted)
    else:
        target = site.thank_you_urls[0]
    return make_response(redirect(target, 303))


def _thanks(intake: Intake, site: Site) -> Response:
    reference = request.args.get("reference", "")
    shown = reference if _REFERENCE.fullmatch(reference) else ""
    waits = request.args.get("consent") == "no"
    page = render_template("thanks.html", site=site, reference=shown, waits=waits, back=_way_back(intake, site))
    return make_response(page)


def _closed(intake: Intake, site: Site) -> Response:
    """The website takes no more enquiries: whoever asks for its form, or sends one, is told so and not thanked."""
    page = render_template("closed.html", site=site, sent=request.method == "POST", back=_way_back(intake, site))
    response = make_response(page, 410)
    response.headers["Cache-Control"] = "no-store"  # a browser may keep this answer, and the website may open again
    return response


def _way_back(intake: Intake, site: Site) -> str | None:
    """The page that the visitor came from, or where the website begins: nothing but what the site has listed."""
    came_from = request.referrer or ""
    origin = origin_of(came_from)
    if origin in site.origins:
        return origin + urlsplit(came_from).path
    ours = intake.own_origins()  # they begin with the desk's own door, as in the demo
    return next((listed for listed in site.origins if listed not in ours), None)


def _page(
    intake: Intake, site: Site, raw: Mapping[str, Any], errors: Mapping[str, Any], status: int, *, garbled: bool = False
) -> Response:
    hidden = hidden_fields(intake.spam, site)
    # The same attempt goes on: it keeps its id, the time since the form was first shown, and a clinic's own questions.
    hidden |= {name: value for name, value in raw.items() if value and name not in _TYPED_AGAIN}
    page = render_template(
        "form.html",
        site=site,
        asked=ASKED,
        values={**raw, "consent": _is_ticked(raw.get("consent", ""))},
        errors={name: _told(messages, site.language) for name, messages in errors.items()},
        garbled=garbled,
        hidden=hidden,
        honeypot=HONEYPOT,
        consent_text=intake.consent_text(site),
    )
    response = make_response(page, status)
    # A browser checks form-action for the redirect after the form as well.
    origins = set(map(origin_of, site.thank_you_urls))
    response.headers["Content-Security-Policy"] = _POLICY + " ".join(["'self'", *sorted(origins)])
    return response


def _told(messages: Any, language: str) -> str:
    return " ".join(translated(text, language) for text in flat(messages))


def _later() -> Response:
    """The database is gone and the site with it: a page that holds what was typed and sends it again, unchanged."""
    try:
        typed = _fields()
    except Undecodable:
        typed = {}
    response = make_response(render_template("later.html", typed=typed, shown=ASKED), 503)
    response.headers["Retry-After"] = "10"
    # Where the thank-you page is nobody knows now, and a browser checks form-action for the redirect as well.
    response.headers["Content-Security-Policy"] = f"{_POLICY}*"
    return response


def _cached(response: Response) -> Response:
    of_script = request.endpoint == "form.static" and request.path.endswith(f"/{_SCRIPT}")
    if of_script and response.status_code < 400:
        response.headers["Cache-Control"] = _CACHED
    return response


def _read_by_scripts(intake: Intake, response: Response) -> Response:
    """A page may send its form to us with a script of its own, and has to read what became of it; each may have the
    script, also as a module or with its integrity checked, and under an embedder policy."""
    if request.endpoint == "form.static":
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"  # for pages with an embedder policy
    elif site := intake.remembered_site((request.view_args or {}).get("key", "")):
        let_read(intake, response, site)
    return response


def _framed(intake: Intake, response: Response) -> Response:
    """The form and all that follows it may stand in a frame on pages of the site, mistakes and failures too: where a
    browser refuses one of them, a visitor whose enquiry is here reads that something went wrong.

    A site that lists no pages may send from every page, so each may frame it. So it is while the database is gone and
    nobody remembers the site. X-Frame-Options knows no list, so it is left out.
    """
    site = intake.remembered_site((request.view_args or {}).get("key", ""))
    if site is not None or response.status_code >= 500:
        policy = response.headers.get("Content-Security-Policy", f"{_POLICY}'self'")
        may = " ".join(["'self'", *map(origin_of, site.origins)]) if site is not None and site.origins else "*"
        response.headers["Content-Security-Policy"] = f"{policy}; frame-ancestors {may}"
    return response
