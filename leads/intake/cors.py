"""Which page of another website may read an answer with a script of its own."""

from __future__ import annotations

from flask import Response, request

from leads.intake.receive import Intake, is_allowed_origin
from leads.store.models import Site


def let_read(intake: Intake, response: Response, *sites: Site) -> bool:
    """Let a page of one of these sites read the answer. Returns whether it may."""
    response.headers.add("Vary", "Origin")
    origin = request.headers.get("Origin")
    if not origin or origin == "null" or not any(is_allowed_origin(intake, site) for site in sites):
        return False
    response.headers["Access-Control-Allow-Origin"] = origin
    return True
