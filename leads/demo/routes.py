"""A small clinic's website to try Frontdesk with: a form that needs no JavaScript, and a "Call Us" link."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Blueprint, Response, abort, make_response, render_template

from leads.store.models import Site
from leads.store.session import Database
from leads.store.sites import consent_text, find_site

SITE_KEY = "demo"


def create_demo(database: Database, hidden_fields: Callable[[Site], Mapping[str, str]]) -> Blueprint:
    """Routes under /demo; not found unless there is a site `demo`. hidden_fields: what a form carries unseen."""
    demo = Blueprint(
        "demo",
        __name__,
        url_prefix="/demo",
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )

    @demo.get("/")
    def clinic() -> Response:
        with database.read() as session:
            site = find_site(session, SITE_KEY)
            if site is None:
                abort(404)
            consent = consent_text(session, site)
        page = render_template("demo.html", site=site, consent_text=consent, hidden=hidden_fields(site))
        return make_response(page, {"Cache-Control": "private, no-cache"})  # as the hosted form: one id after Back

    return demo
