"""Pages for visitors speak the language of the website that they came from."""

from __future__ import annotations

from flask import Flask, request

from leads.intake.receive import Intake
from leads.languages import ENGLISH, translated


def init_app(app: Flask, intake: Intake) -> None:
    """Give templates `_()` and `page_language()`; a page of no website is in English."""

    def language() -> str:
        site = intake.remembered_site((request.view_args or {}).get("key", ""))
        return site.language if site is not None else ENGLISH

    def gettext(text: str) -> str:
        return translated(text, language())

    app.jinja_env.globals.update(_=gettext, page_language=language)
