"""Who may see the desk: sign-in, the session's end, roles, and the guard against forged forms."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from flask import (
    Flask,
    Request,
    Response,
    abort,
    current_app,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    session,
)
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException

from leads.plain import span
from leads.store.models import User
from leads.store.session import Database

_NOTE_EVERY = 60  # seconds between two notes of the last click, so that not every answer sets a cookie
_OPEN = {"desk.sign_in", "desk.sign_in_code", "desk.static"}
_WITH_ONE_TIME_PASSWORD = {"desk.account", "desk.sign_out"}
_WITHOUT_SECOND_FACTOR = {"desk.second_factor", "desk.second_factor_confirm", "desk.sign_out"}
_HALF = "half_signed_in"  # in the session: whose password was right, and the code is yet to come
_INTERRUPTED = "interrupted"  # in the session: the page they asked for when they had to do something else first
_CODE_PATIENCE = 300  # seconds for it
_ENDED_ELSEWHERE = "You were signed out here: somebody signed out elsewhere, or the password or the user was changed."


class Timeouts(NamedTuple):
    """When a session ends by itself: so long after the last click, and so long after the password was typed."""

    idle: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class SignedIn(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """The person at the other end, as far as pages need to know. sites: the websites they look after; None: all."""

    id: UUID
    name: str
    role: str
    one_time: bool
    session: UUID
    has_second_factor: bool
    sites: frozenset[UUID] | None

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    def get_id(self) -> str:
        """What the session cookie remembers. A new value of the `session` column ends all sessions."""
        return f"{self.id}.{self.session}"


class _DeskSessions(SecureCookieSessionInterface):
    """Only the desk has sessions: whoever sends an enquiry gets no cookie, and no time is spent on one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if request.path.startswith("/desk/") else None


def init_app(app: Flask, database: Database) -> None:
    """Give the app signed-in users and the guard against forged forms."""
    app.session_interface = _DeskSessions()
    # A page may stay open all day: a token is good as long as the session it belongs to.
    app.config.setdefault("WTF_CSRF_TIME_LIMIT", None)
    CSRFProtect(app)
    manager = LoginManager(app)

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load(remembered: str) -> SignedIn | None:
        return _load(database, remembered)

    @app.errorhandler(CSRFError)
    def forged(_error: CSRFError) -> Response:
        if not (request.blueprint or "").startswith("desk"):
            return Response(render_template("error.html", status=400), 400)
        # The form to sign in needs no session: that one was only open for too long.
        is_out = not current_user.is_authenticated and request.endpoint not in _OPEN
        sign_in = _url("desk.sign_in", next=_page_before()) if is_out else ""
        return make_response(render_template("desk/stale.html", sign_in=sign_in), 400)


def _load(database: Database, remembered: str) -> SignedIn | None:
    identifier, _, valid = remembered.partition(".")
    with database.read() as reading:
        user = reading.get(User, UUID(identifier))
    if user is None or str(user.session) != valid:
        return None
    return _signed_in(user)


def _signed_in(user: User) -> SignedIn:
    return SignedIn(user.id, user.name, user.role, user.one_time, user.session, user.has_second_factor, user.sites)


def start_session(user: User) -> None:
    """Sign this user in: a fresh session, so that nothing from before the password was typed is carried over."""
    session.clear()
    login_user(_signed_in(user))
    session["began"] = session["seen"] = int(time.time())


class HalfSignedIn(NamedTuple):
    """Somebody whose password was right and who still has to give a code. wanted: where they are going."""

    user: User
    wanted: str


def start_half_session(user: User, wanted: str) -> None:
    """The password was right, the code is yet to come: a fresh session, which opens no page until then."""
    session.clear()
    session[_HALF] = {
        "user": str(user.id),
        "session": str(user.session),
        "wanted": wanted,
        "at": int(time.time()),
    }


def half_signed_in(database: Database) -> HalfSignedIn | None:
    """Who has given the right password here in the last minutes. None: nobody, or their sessions were ended since."""
    half = session.get(_HALF)
    if half is None or time.time() - half["at"] > _CODE_PATIENCE:
        return None
    with database.read() as reading:
        user = reading.get(User, UUID(half["user"]))
    if user is None or str(user.session) != half["session"]:
        return None
    return HalfSignedIn(user, half["wanted"])


def end_half_session() -> str:
    """Back to the password. Returns where they were going; empty: nobody had given one."""
    half = session.pop(_HALF, None)
    return half["wanted"] if half else ""


def end_session() -> None:
    """Forget in this browser who it was."""
    logout_user()
    session.clear()


def require_sign_in(timeouts: Timeouts, second_factor: bool) -> ResponseReturnValue | None:
    """Before every request to the desk: only those who are signed in may pass, but for the sign-in page itself.

    second_factor: everybody has to have one.
    """
    if request.endpoint in _OPEN:
        return None
    why = _why_not_let_in(timeouts)
    if why is not None:
        if why:
            end_session()
        return _send_to_sign_in(why)
    if (first := must_first(second_factor)) and request.endpoint not in first.open:
        if refreshes_itself():
            return _load_anew()
        if request.method == "GET":
            session[_INTERRUPTED] = _page_asked_for()
        return redirect(_url(first.page), 303)
    return None


def where_they_were_going() -> str:
    """The page that somebody asked for before `must_first` led them elsewhere; else the first one."""
    return str(session.pop(_INTERRUPTED, None) or _url("desk.home"))


class First(NamedTuple):
    """What somebody has to do before anything else: on which page, and which endpoints are open until then."""

    page: str
    open: set[str]


def must_first(second_factor: bool) -> First | None:
    """What whoever is signed in has to do before anything else. second_factor: everybody has to have one."""
    if not current_user.is_authenticated:
        return None
    if current_user.one_time:
        return First("desk.account", _WITH_ONE_TIME_PASSWORD)
    if second_factor and not current_user.has_second_factor:
        return First("desk.second_factor", _WITHOUT_SECOND_FACTOR)
    return None


def _why_not_let_in(timeouts: Timeouts) -> str | None:
    """A sentence on how the session ended, empty for whoever has none; None: come in."""
    if not current_user.is_authenticated:
        return _ENDED_ELSEWHERE if "began" in session else ""
    now = int(time.time())
    if now - session.get("began", 0) > timeouts.longest.total_seconds():
        return f"You were signed out, since you signed in more than {span(timeouts.longest)} ago."
    if now - session.get("seen", 0) > timeouts.idle.total_seconds():
        return f"You were signed out, since nothing was pressed here for {span(timeouts.idle)}."
    if not refreshes_itself() and now - session["seen"] > _NOTE_EVERY:
        session["seen"] = now
    return None


def refreshes_itself() -> bool:
    """Whether the page asked by itself, with nobody there who clicked."""
    return request.headers.get("HX-Request") == "true"


def _send_to_sign_in(why: str) -> ResponseReturnValue:
    if why:
        flash(why)  # also for a page that refreshes itself: it is loaded anew, and then nobody knows any more
    if refreshes_itself():
        return _load_anew()
    if request.method == "GET":
        return redirect(_url("desk.sign_in", next=_page_asked_for()), 303)
    flash("Nothing was done of what you pressed. Please sign in and press it once more.")
    return redirect(_url("desk.sign_in", next=_page_before()), 303)


def _page_asked_for() -> str:
    return request.full_path.rstrip("?")


def _load_anew() -> Response:
    """To a page that refreshes itself, which would put another page into its middle."""
    return Response(status=401, headers={"HX-Refresh": "true"})


def _page_before() -> str | None:
    """The page on which a button was pressed, if it can be opened again."""
    try:
        parts = urlsplit(request.referrer or "")
        current_app.url_map.bind(request.host).match(parts.path, "GET")
    except (HTTPException, ValueError):
        return None
    return urlunsplit(("", "", parts.path, parts.query, "")) if parts.netloc == request.host else None


def safe_next(wanted: str | None) -> str:
    """Where to go after sign-in: a page of the desk, whatever was asked for."""
    home = _url("desk.home")
    try:
        parts = urlsplit(wanted or "")
    except ValueError:
        return home
    if parts.scheme or parts.netloc or not parts.path.startswith(home) or "\\" in parts.path:
        return home
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def admin_only(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
    """Only for users with the role admin; others read why not."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        if not current_user.is_admin:
            abort(403)
        return view(*args, **kwargs)

    return guarded


def _url(endpoint: str, **values: Any) -> str:
    return str(current_app.url_for(endpoint, **values))
