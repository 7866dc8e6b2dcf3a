"""The web application: engine, blueprints, error pages, headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import BadHost, BadRequest, HTTPException, InternalServerError
from werkzeug.middleware.proxy_fix import ProxyFix

from config.settings import Settings
from leads.decode import MAX_BODY, MAX_PARTS
from leads.demo.routes import create_demo
from leads.desk import auth
from leads.desk.room import Room
from leads.desk.routes import create_desk
from leads.intake import language
from leads.intake.api import create_api
from leads.intake.form import create_form, hidden_fields
from leads.intake.hooks.routes import TIMES_A_VISITOR, create_hooks
from leads.intake.limit import Limiter
from leads.intake.problems import problem
from leads.intake.receive import Intake
from leads.intake.spam import SpamCheck
from leads.store.erasure_list import ErasureList
from leads.store.schema import open_vault, require_current
from leads.store.session import Database, is_away, is_unfit
from leads.store.soundness import require_sound
from leads.sync.connect import Limits
from leads.upkeep.health import create_health
from leads.upkeep.metrics import create_metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
}
_SECURE = {"Strict-Transport-Security": "max-age=31536000", **_HEADERS}


class _Headers:
    """Adds the usual headers to every answer; what a page has said of itself stands."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        usual = _SECURE if environ["wsgi.url_scheme"] == "https" else _HEADERS

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            said = {name.lower() for name, _ in headers}
            headers += [header for header in usual.items() if header[0].lower() not in said]
            return start_response(status, headers, *error)

        return self._app(environ, start)


def create_app(settings: Settings) -> Flask:
    """Build the app on an up-to-date database.

    Raises DamagedError, SchemaError when migrations are missing, and VaultError when the key does not fit the data.
    """
    database = Database(settings.database_url, min_free=settings.min_free_mb * 2**20)
    require_sound(database, settings.keys_file, make=False)
    require_current(database)
    vault = open_vault(database, settings.keys_file)
    limiter = Limiter(settings.rate_limit, settings.rate_limit_store)
    spam = SpamCheck(vault.signing_key, settings.form_min_seconds, limiter, settings.rate_limit_exempt)
    intake = Intake(database, vault, spam, settings.public_url)
    app = _empty_app(settings, vault.signing_key)
    auth.init_app(app, database)
    language.init_app(app, intake)
    public = [
        create_api(intake),
        create_form(intake),
        create_hooks(intake, Limiter(settings.rate_limit * TIMES_A_VISITOR, settings.rate_limit_store)),
        create_demo(database, partial(hidden_fields, spam)),
        create_health(database),
        create_metrics(database, settings.metrics_token),
    ]
    for blueprint in public:
        app.register_blueprint(blueprint)
        app.extensions["csrf"].exempt(blueprint)  # no cookie is read there, so there is nothing to forge
    timeouts = auth.Timeouts(settings.session_idle, settings.session_longest)
    room = Room(
        database,
        vault,
        Limits(settings.lease_seconds, settings.crm_timeout, settings.allowed_private_hosts, settings.sweep_days),
        public_url=settings.public_url,
        erasures=ErasureList(settings.data_dir),
        keep=timedelta(days=settings.keep_days),
        can_mail=settings.can_mail and settings.tells_somebody,
    )
    desk = create_desk(room, timeouts, second_factor_required=settings.second_factor == "required")
    app.register_blueprint(desk)
    app.add_url_rule("/", "home", lambda: redirect(url_for("desk.home")))
    _handle_errors(app)
    return app


def _empty_app(settings: Settings, key: bytes) -> Flask:
    """What holds for every request: bounds of its body, the cookie, the headers, and which proxies are believed."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=key,
        MAX_CONTENT_LENGTH=MAX_BODY,
        MAX_FORM_MEMORY_SIZE=MAX_BODY,
        MAX_FORM_PARTS=MAX_PARTS,
        SESSION_COOKIE_NAME="frontdesk",
        SESSION_COOKIE_SECURE=settings.public_url.startswith("https:"),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.wsgi_app = _Headers(app.wsgi_app)  # type: ignore[method-assign]  # Flask's own advice
    if hops := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, hops, hops, hops, hops)  # type: ignore[method-assign]  # as above
    return app


def _handle_errors(app: Flask) -> None:
    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> ResponseReturnValue:
        status = error.code or 500
        if error.response is not None or isinstance(error, BadHost):  # of no host there are no addresses to link
            return error.get_response()
        if _wants_json():
            return problem(status, error.name, error.description or "")
        files = request.mimetype == "multipart/form-data"
        return Response(render_template("error.html", status=status, files=files), status)

    @app.errorhandler(SQLAlchemyError)
    def database_error(error: SQLAlchemyError) -> ResponseReturnValue:
        if not is_away(error):
            return not_of_the_database(error)
        app.logger.error("the database did not answer: %s", type(error).__name__)
        if _wants_json():
            return problem(503, "It could not be stored", "Send it again in a moment, with the same id.")
        return Response(render_template("error.html", status=503), 503, {"Retry-After": "10"})

    def not_of_the_database(error: SQLAlchemyError) -> ResponseReturnValue:
        if is_unfit(error) and not _wants_json():
            return http_error(BadRequest())
        # Without its text, which may quote somebody's name. Whoever sends an enquiry keeps it and tries again.
        app.logger.error("a statement failed: %s, %s", type(error).__name__, type(error.__cause__).__name__)
        return http_error(InternalServerError())


def _wants_json() -> bool:
    return request.path.startswith(("/api/", "/hooks/"))
